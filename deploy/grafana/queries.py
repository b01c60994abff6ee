"""
The statements that several panels are made of. Every figure and every limit comes from the store; nothing is computed
here that the jobs compute.
"""

from panels import Query

# rows of the facilities that are chosen, inside the time range of the dashboard
CHOSEN = '"facility" =~ /^$facility$/ AND $timeFilter'
PLACES = '"division" =~ /^$division$/ AND "kind" =~ /^$sector$/'
# days begin at midnight here; a day's row of another zone falls into the day it begins in
ZONE = "tz('Asia/Shanghai')"
EVIDENCE = '"value", "limit", "unit", "coverage"'


def indicator(code: str, interval: str, alias: str, *, by: str = '"facility"') -> Query:
    """Ask for the values of an indicator."""
    where = f"\"indicator\" = '{code}' AND \"interval\" = '{interval}' AND {CHOSEN}"
    return Query(f'SELECT "value" FROM "indicators" WHERE {where} GROUP BY {by}', alias)


def limits(code: str, interval: str, *, by: str = '"facility"') -> Query:
    """Ask for the limits that held when an indicator was judged."""
    where = f"\"indicator\" = '{code}' AND \"interval\" = '{interval}' AND {CHOSEN}"
    text = f'SELECT "limit" FROM "verdicts" WHERE {where} GROUP BY {by}, "rule"'
    return Query(text, "{limit} $tag_facility $tag_rule")


def obliged(column: str, how: str = "sum") -> Query:
    """Sum or average a column of the newest connections of the key energy users."""
    newest = (
        f'SELECT last("{column}") AS "{column}" FROM "connections"'
        f' WHERE "key_energy_user" = 1 AND {PLACES} AND {CHOSEN} GROUP BY "facility"'
    )
    return Query(f'SELECT {how}("{column}") AS "{column}" FROM ({newest})')


def of_division(column: str, name: str, how: str = "sum") -> Query:
    """Do the same for each division."""
    newest = (
        f'SELECT last("{column}") AS "{column}" FROM "connections"'
        f' WHERE "key_energy_user" = 1 AND {PLACES} AND {CHOSEN} GROUP BY "facility", "division"'
    )
    return Query(f'SELECT {how}("{column}") AS "{name}" FROM ({newest}) GROUP BY "division"')


def open_breaches(condition: str, alias: str) -> Query:
    """Count the breaches that are open and meet a condition."""
    where = f'"state" = \'open\' AND {PLACES} AND "facility" =~ /^$facility$/ AND {condition}'
    return Query(f'SELECT count("value") FROM "breaches" WHERE {where}', alias)


def verdicts(condition: str = "") -> Query:
    """Ask for the newest verdict of every rule, facility and product; a condition ends in AND."""
    return Query(
        f'SELECT last("status") AS "status", {EVIDENCE}, "reason", "clause" FROM "verdicts"'
        f' WHERE "status" != \'void\' AND {condition}{CHOSEN} GROUP BY "facility", "rule", "scope", "interval"'
    )


def of_role(role: str) -> Query:
    """Ask for the electricity of the meters of a role."""
    where = f"\"role\" = '{role}' AND \"carrier\" = 'electricity' AND \"interval\" = '1mo' AND {CHOSEN}"
    return Query(f'SELECT "kwh" FROM "energy" WHERE {where} GROUP BY "facility", "meter"', f"{{{role}}} $tag_meter")


def of_balance(column: str) -> Query:
    """Ask for a column of the daily balance of each main meter."""
    where = f"\"interval\" = '1d' AND {CHOSEN}"
    text = f'SELECT "{column}" FROM "balance" WHERE {where} GROUP BY "facility", "meter"'
    return Query(text, f"$tag_facility $tag_meter {{{column}}}")
