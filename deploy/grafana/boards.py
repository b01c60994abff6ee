"""The dashboards as data. A further panel is an entry in words.PANELS and a line here."""

from panels import Board, Panel, Query
from queries import (
    CHOSEN,
    EVIDENCE,
    PLACES,
    ZONE,
    indicator,
    limits,
    obliged,
    of_balance,
    of_division,
    of_role,
    open_breaches,
    verdicts,
)

_OVERVIEW = Board(
    "overview",
    (
        Panel("obliged", "stat", (obliged("key_energy_user"),), width=4, height=5),
        Panel("connected", "stat", (obliged("connected"),), width=4, height=5),
        Panel("online", "stat", (obliged("online"),), width=4, height=5),
        Panel("complete", "stat", (obliged("coverage", "mean"),), "percentunit", 1, 4, 5),
        Panel(
            "open_by_severity",
            "stat",
            tuple(open_breaches(f"\"severity\" = '{one}'", f"{{{one}}}") for one in ("breach", "warning")),
            width=8,
            height=5,
            alarm=True,
        ),
        Panel(
            "open_by_age",
            "stat",
            (
                open_breaches("time >= now() - 30d", "{month}"),
                open_breaches("time < now() - 30d AND time >= now() - 90d", "{quarter}"),
                open_breaches("time < now() - 90d", "{older}"),
            ),
            width=12,
            height=7,
            alarm=True,
        ),
        Panel(
            "divisions_open",
            "table",
            (
                Query(
                    f'SELECT count("value") AS "open" FROM "breaches" WHERE "state" = \'open\' AND {PLACES}'
                    ' AND "facility" =~ /^$facility$/ GROUP BY "division", "severity"'
                ),
            ),
            height=7,
        ),
        Panel(
            "divisions",
            "table",
            (
                of_division("key_energy_user", "obliged"),
                of_division("connected", "connected"),
                of_division("online", "online"),
                of_division("coverage", "complete", "mean"),
            ),
            width=24,
        ),
        Panel(
            "ranking",
            "table",
            (verdicts("\"interval\" = '12mo' AND "),),
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
        Panel("tce", "lines", (indicator("energy_consumption", "1mo", "$tag_facility"),), "suffix:tce", 1),
        Panel("co2", "lines", (indicator("co2", "1mo", "$tag_facility"),), "suffix:t CO2", 1),
        Panel(
            "carriers",
            "lines",
            (
                Query(
                    'SELECT "kgce" / 1000 AS "tce" FROM "energy" WHERE "role" = \'total\' AND "interval" = \'1mo\''
                    f' AND {CHOSEN} GROUP BY "facility", "carrier", "meter"',
                    "$tag_facility $tag_carrier $tag_meter",
                ),
            ),
            "suffix:tce",
            1,
            24,
        ),
        Panel("peak_demand", "lines", (indicator("peak_demand", "1d", "$tag_facility"),), "kwatt", 1),
        Panel("co2_market", "lines", (indicator("co2_market", "1mo", "$tag_facility"),), "suffix:t CO2", 1),
        Panel(
            "intensity",
            "lines",
            (
                indicator("intensity", "1mo", "$tag_facility $tag_scope", by='"facility", "scope"'),
                limits("intensity", "1mo", by='"facility", "scope"'),
            ),
            "suffix:kgce",
            2,
        ),
        Panel(
            "intensity_year",
            "lines",
            (
                indicator("intensity", "12mo", "$tag_facility $tag_scope", by='"facility", "scope"'),
                limits("intensity", "12mo", by='"facility", "scope"'),
            ),
            "suffix:kgce",
            2,
        ),
        Panel("balance", "lines", (of_balance("difference"), of_balance("tolerance")), "none", 1, 24),
        Panel("verdicts", "table", (verdicts(),), decimals=3, width=24),
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
            (verdicts("\"indicator\" = 'pue' AND \"interval\" = '12mo' AND "),),
            decimals=3,
            width=24,
        ),
        Panel("pue_year", "lines", (indicator("pue", "12mo", "$tag_facility"), limits("pue", "12mo")), decimals=3),
        Panel("pue_month", "lines", (indicator("pue", "1mo", "$tag_facility"), limits("pue", "1mo")), decimals=3),
        Panel(
            "it_load",
            "lines",
            (
                Query(
                    # the kWh of an hour are its mean kW; the mean over wider steps stays one
                    'SELECT mean("kwh") FROM "energy" WHERE "role" = \'it\' AND "interval" = \'1h\''
                    f' AND {CHOSEN} GROUP BY time($__interval), "facility", "meter" fill(none)',
                    "$tag_facility $tag_meter",
                ),
            ),
            "kwatt",
            2,
        ),
        Panel(
            "shares",
            "bars",
            tuple(of_role(role) for role in ("it", "cooling", "power_distribution", "lighting")),
            "kwatth",
            2,
        ),
    ),
    sector="data_centre",
)

_QUALITY = Board(
    "quality",
    (
        Panel("coverage", "lines", (indicator("coverage", "1d", "$tag_facility"),), "percentunit", 1),
        Panel(
            "estimated",
            "lines",
            (
                Query(
                    f'SELECT mean("estimated") FROM "energy" WHERE "interval" = \'1d\' AND {CHOSEN}'
                    f' GROUP BY time(1d), "facility" fill(none) {ZONE}',
                    "$tag_facility",
                ),
            ),
            "percentunit",
            1,
        ),
        Panel("not_assessable", "table", (verdicts("\"status\" = 'not_assessable' AND "),), decimals=3, width=24),
        Panel(
            "odd_steps",
            "bars",
            (
                Query(
                    f'SELECT sum("steps") FROM "unattributed" WHERE {CHOSEN}'
                    f' GROUP BY time(1d), "kind" fill(none) {ZONE}',
                    "$tag_kind",
                ),
            ),
        ),
        Panel(
            "refused",
            "bars",
            (
                Query(
                    f'SELECT sum("entries") FROM "quarantine" WHERE $timeFilter GROUP BY time(1d) fill(none) {ZONE}',
                    "{refused}",
                ),
            ),
        ),
        Panel(
            "beyond_tolerance",
            "table",
            (
                Query(
                    'SELECT "facility", "meter", "quantity", "subs", "difference", "tolerance", "unit", "coverage",'
                    ' "reason", "meters" FROM "balance" WHERE "interval" = \'1d\' AND "status" = \'beyond_tolerance\''
                    f" AND {CHOSEN} ORDER BY time DESC LIMIT 200"
                ),
            ),
            decimals=1,
            width=24,
        ),
        Panel(
            "unattributed",
            "table",
            (
                Query(
                    'SELECT "facility", "meter", "kind", "quantity", "attributed", "unit", "steps", "sentence"'
                    f' FROM "unattributed" WHERE "steps" > 0 AND {CHOSEN} ORDER BY time DESC LIMIT 200'
                ),
            ),
            decimals=1,
            width=24,
        ),
        Panel(
            "refusals",
            "table",
            (
                Query(
                    'SELECT "facility", "topic", "reason", "sentence", "entries" FROM "quarantine"'
                    f" WHERE {CHOSEN} ORDER BY time DESC LIMIT 100"
                ),
            ),
            width=24,
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
                    f'{EVIDENCE}, "closed" / 1000 AS "closed_ms", "document", "clause", "breach_id" FROM "breaches"'
                    f" WHERE {PLACES} AND {CHOSEN} ORDER BY time DESC"
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
                    f'SELECT "kind", "severity", "facility", "rule", "scope", "interval", {EVIDENCE}, "clause",'
                    f' "breach_id" FROM "breach_events" WHERE {CHOSEN} ORDER BY time DESC LIMIT 500'
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
                    # a process that starts anew counts from nothing: the step down is left out
                    'SELECT non_negative_derivative(last("stored"), 1s) FROM "traffic"'
                    ' WHERE $timeFilter GROUP BY time(5m), "collector"',
                    "$tag_collector",
                ),
            ),
            "suffix:1/s",
            2,
        ),
        Panel(
            "lag",
            "lines",
            (Query(f'SELECT "lag" FROM "connections" WHERE {CHOSEN} GROUP BY "facility"', "$tag_facility"),),
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
            alarm=True,
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
