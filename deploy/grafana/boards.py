"""
The dashboards as data. A further panel is an entry in words.PANELS and a line here.

Every figure and every limit comes from the store; nothing is computed here that the jobs compute.
"""

from panels import Board, Panel, Query

# rows of the facilities that are chosen, inside the time range of the dashboard
_CHOSEN = '"facility" =~ /^$facility$/ AND $timeFilter'
_PLACES = '"division" =~ /^$division$/ AND "kind" =~ /^$sector$/'
# days begin at midnight here; a day's row of another zone falls into the day it begins in
_ZONE = "tz('Asia/Shanghai')"
_EVIDENCE = '"value", "limit", "unit", "coverage"'


def _indicator(code: str, interval: str, alias: str, *, by: str = '"facility"') -> Query:
    where = f"\"indicator\" = '{code}' AND \"interval\" = '{interval}' AND {_CHOSEN}"
    return Query(f'SELECT "value" FROM "indicators" WHERE {where} GROUP BY {by}', alias)


def _limits(code: str, interval: str, *, by: str = '"facility"') -> Query:
    where = f"\"indicator\" = '{code}' AND \"interval\" = '{interval}' AND {_CHOSEN}"
    text = f'SELECT "limit" FROM "verdicts" WHERE {where} GROUP BY {by}, "rule"'
    return Query(text, "{limit} $tag_facility $tag_rule")


def _obliged(column: str, how: str = "sum") -> Query:
    """Sum or average a column of the newest connections of the key energy users."""
    newest = (
        f'SELECT last("{column}") AS "{column}" FROM "connections"'
        f' WHERE "key_energy_user" = 1 AND {_PLACES} AND {_CHOSEN} GROUP BY "facility"'
    )
    return Query(f'SELECT {how}("{column}") AS "{column}" FROM ({newest})')


def _of_division(column: str, name: str, how: str = "sum") -> Query:
    newest = (
        f'SELECT last("{column}") AS "{column}" FROM "connections"'
        f' WHERE "key_energy_user" = 1 AND {_PLACES} AND {_CHOSEN} GROUP BY "facility", "division"'
    )
    return Query(f'SELECT {how}("{column}") AS "{name}" FROM ({newest}) GROUP BY "division"')


def _open(condition: str, alias: str) -> Query:
    where = f'"state" = \'open\' AND {_PLACES} AND "facility" =~ /^$facility$/ AND {condition}'
    return Query(f'SELECT count("value") FROM "breaches" WHERE {where}', alias)


def _verdicts(condition: str = "") -> Query:
    """Ask for the newest verdict of every rule, facility and product; a condition ends in AND."""
    return Query(
        f'SELECT last("status") AS "status", {_EVIDENCE}, "reason", "clause" FROM "verdicts"'
        f' WHERE "status" != \'void\' AND {condition}{_CHOSEN} GROUP BY "facility", "rule", "scope", "interval"'
    )


def _role(role: str) -> Query:
    where = f"\"role\" = '{role}' AND \"carrier\" = 'electricity' AND \"interval\" = '1mo' AND {_CHOSEN}"
    return Query(f'SELECT "kwh" FROM "energy" WHERE {where} GROUP BY "facility", "meter"', f"{{{role}}} $tag_meter")


_OVERVIEW = Board(
    "overview",
    (
        Panel("obliged", "stat", (_obliged("key_energy_user"),), width=4, height=5),
        Panel("connected", "stat", (_obliged("connected"),), width=4, height=5),
        Panel("online", "stat", (_obliged("online"),), width=4, height=5),
        Panel("complete", "stat", (_obliged("coverage", "mean"),), "percentunit", 1, 4, 5),
        Panel(
            "open_by_severity",
            "stat",
            tuple(_open(f"\"severity\" = '{one}'", f"{{{one}}}") for one in ("breach", "warning")),
            width=8,
            height=5,
        ),
        Panel(
            "open_by_age",
            "stat",
            (
                _open("time >= now() - 30d", "{month}"),
                _open("time < now() - 30d AND time >= now() - 90d", "{quarter}"),
                _open("time < now() - 90d", "{older}"),
            ),
            width=12,
            height=6,
        ),
        Panel(
            "divisions_open",
            "table",
            (
                Query(
                    f'SELECT count("value") AS "open" FROM "breaches" WHERE "state" = \'open\' AND {_PLACES}'
                    ' AND "facility" =~ /^$facility$/ GROUP BY "division", "severity"'
                ),
            ),
            height=6,
        ),
        Panel(
            "divisions",
            "table",
            (
                _of_division("key_energy_user", "obliged"),
                _of_division("connected", "connected"),
                _of_division("online", "online"),
                _of_division("coverage", "complete", "mean"),
            ),
            width=24,
        ),
        Panel(
            "ranking",
            "table",
            (_verdicts("\"interval\" = '12mo' AND "),),
            decimals=3,
            width=24,
            height=12,
            sort="value",
        ),
    ),
)

_FACILITY = Board(
    "facility",
    (
        Panel("tce", "lines", (_indicator("energy_consumption", "1mo", "$tag_facility"),), "suffix: tce", 1),
        Panel("co2", "lines", (_indicator("co2", "1mo", "$tag_facility"),), "suffix: t CO2", 1),
        Panel(
            "carriers",
            "lines",
            (
                Query(
                    'SELECT "kgce" / 1000 AS "tce" FROM "energy" WHERE "role" = \'total\' AND "interval" = \'1mo\''
                    f' AND {_CHOSEN} GROUP BY "facility", "carrier", "meter"',
                    "$tag_facility $tag_carrier $tag_meter",
                ),
            ),
            "suffix: tce",
            1,
            24,
        ),
        Panel(
            "intensity",
            "lines",
            (
                _indicator("intensity", "1mo", "$tag_facility $tag_scope", by='"facility", "scope"'),
                _limits("intensity", "1mo", by='"facility", "scope"'),
            ),
            "suffix: kgce",
            2,
        ),
        Panel(
            "intensity_year",
            "lines",
            (
                _indicator("intensity", "12mo", "$tag_facility $tag_scope", by='"facility", "scope"'),
                _limits("intensity", "12mo", by='"facility", "scope"'),
            ),
            "suffix: kgce",
            2,
        ),
        Panel("verdicts", "table", (_verdicts(),), decimals=3, width=24),
    ),
    annotations=(
        Query(
            'SELECT "title_zh", "title_en", "severity", "facility", "clause", "value" FROM "breaches"'
            ' WHERE "state" =~ /open|closed/ AND "facility" =~ /^$facility$/ AND $timeFilter'
        ),
    ),
)

_DATA_CENTRE = Board(
    "data-centre",
    (
        Panel(
            "pue_now",
            "table",
            (_verdicts("\"indicator\" = 'pue' AND \"interval\" = '12mo' AND "),),
            decimals=3,
            width=24,
        ),
        Panel("pue_year", "lines", (_indicator("pue", "12mo", "$tag_facility"), _limits("pue", "12mo")), decimals=3),
        Panel("pue_month", "lines", (_indicator("pue", "1mo", "$tag_facility"), _limits("pue", "1mo")), decimals=3),
        Panel(
            "it_load",
            "lines",
            (
                Query(
                    # the kWh of an hour are its mean kW; the mean over wider steps stays one
                    'SELECT mean("kwh") FROM "energy" WHERE "role" = \'it\' AND "interval" = \'1h\''
                    f' AND {_CHOSEN} GROUP BY time($__interval), "facility", "meter" fill(none)',
                    "$tag_facility $tag_meter",
                ),
            ),
            "kwatt",
            0,
        ),
        Panel(
            "shares",
            "bars",
            tuple(_role(role) for role in ("it", "cooling", "power_distribution", "lighting")),
            "kwatth",
        ),
    ),
    sector="data_centre",
)

_QUALITY = Board(
    "quality",
    (
        Panel("coverage", "lines", (_indicator("coverage", "1d", "$tag_facility"),), "percentunit", 1),
        Panel(
            "estimated",
            "lines",
            (
                Query(
                    f'SELECT mean("estimated") FROM "energy" WHERE "interval" = \'1d\' AND {_CHOSEN}'
                    f' GROUP BY time(1d), "facility" fill(none) {_ZONE}',
                    "$tag_facility",
                ),
            ),
            "percentunit",
            1,
        ),
        Panel("not_assessable", "table", (_verdicts("\"status\" = 'not_assessable' AND "),), decimals=3, width=24),
        Panel(
            "refused",
            "bars",
            (
                Query(
                    f'SELECT sum("entries") FROM "quarantine" WHERE $timeFilter GROUP BY time(1d) fill(none) {_ZONE}',
                    "$m",
                ),
            ),
        ),
        Panel(
            "refusals",
            "table",
            (
                Query(
                    'SELECT "facility", "topic", "reason", "sentence", "entries" FROM "quarantine"'
                    f" WHERE {_CHOSEN} ORDER BY time DESC LIMIT 100"
                ),
            ),
        ),
    ),
    since="now-90d",
)

_BREACHES = Board(
    "breaches",
    (
        Panel(
            "cases",
            "table",
            (
                Query(
                    'SELECT "state", "severity", "facility", "name_{lang}", "title_{lang}", "scope", "interval", '
                    f'{_EVIDENCE}, "closed" / 1000 AS "closed_ms", "document", "clause", "breach_id" FROM "breaches"'
                    f" WHERE {_PLACES} AND {_CHOSEN} ORDER BY time DESC"
                ),
            ),
            decimals=3,
            width=24,
            height=14,
        ),
        Panel(
            "events",
            "table",
            (
                Query(
                    f'SELECT "kind", "severity", "facility", "rule", "scope", "interval", {_EVIDENCE}, "clause",'
                    f' "breach_id" FROM "breach_events" WHERE {_CHOSEN} ORDER BY time DESC LIMIT 500'
                ),
            ),
            decimals=3,
            width=24,
            height=12,
        ),
    ),
)

_HEALTH = Board(
    "health",
    (
        Panel(
            "rate",
            "lines",
            (
                Query(
                    'SELECT count("value") / 300 FROM "raw"."readings" WHERE $timeFilter GROUP BY time(5m) fill(0)',
                    "$m",
                ),
            ),
            "suffix: 1/s",
            2,
        ),
        Panel(
            "lag",
            "lines",
            (Query(f'SELECT "lag" FROM "connections" WHERE {_CHOSEN} GROUP BY "facility"', "$tag_facility"),),
            "s",
        ),
        Panel(
            "loss",
            "stat",
            (
                Query(
                    'SELECT sum("items") - sum("stored") - sum("duplicate") - sum("quarantined") - sum("pending")'
                    ' FROM "collectors"'
                ),
            ),
            width=6,
        ),
        Panel(
            "collectors",
            "table",
            (
                Query(
                    'SELECT "collector", "items", "stored", "duplicate", "quarantined", "pending" FROM "collectors"'
                    " ORDER BY time DESC LIMIT 50"
                ),
            ),
            width=18,
        ),
        Panel(
            "jobs",
            "table",
            (Query('SELECT last("outcome") AS "outcome", "rows", "seconds", "error" FROM "runs" GROUP BY "job"'),),
            decimals=1,
        ),
        Panel(
            "seconds",
            "lines",
            (Query('SELECT "seconds" FROM "runs" WHERE $timeFilter GROUP BY "job"', "$tag_job"),),
            "s",
            1,
        ),
    ),
    since="now-24h",
)

BOARDS = (_OVERVIEW, _FACILITY, _DATA_CENTRE, _QUALITY, _BREACHES, _HEALTH)
