"""
Evaluate: indicators against the catalogue -> verdicts. Vectorised: one pass for each rule, none for each row.

    indicators x rules that bind them -> pass, breach, or not_assessable with the reason

A rule binds a row of its indicator and of one of its intervals whose facility is in its scope and whose period lies
wholly, by the facility's own calendar, between the first and the last day of the rule (or of the limit row the rule
points to).
"""

from collections.abc import Iterator

import polars as pl

from rules.catalogue import Catalogue
from rules.model import VERDICTS, Limit, Rule, Scope

# relative to the limit: what is left of a sum of floats, far below the last digit of any meter
_NOISE = 1e-9

# a limit in kilograms of oil equivalent is compared in coal equivalent: 1 kgoe = 1.4286 kgce (GB 30251-2024 appendix A)
_OIL, _COAL, _KGCE_PER_KGOE = "kgoe/", "kgce/", 1.4286

_FACTS = ("facility", "timezone", "kind", "division", "key_energy_user", "scale", "hub_node", "approved")

# `limited` is the indicator the row limits; `dated` says whether it is known since when the row is in force
_LIMITS = pl.Schema(
    {
        "code": pl.String(),
        "standard": pl.String(),
        "limited": pl.String(),
        "limit_unit": pl.String(),
        "level1": pl.Float64(),
        "level2": pl.Float64(),
        "level3": pl.Float64(),
        "valid_from": pl.Date(),
        "valid_to": pl.Date(),
        "dated": pl.Boolean(),
        "row_enforceable": pl.Boolean(),
    }
)


def verdicts(
    catalogue: Catalogue, indicators: pl.DataFrame, *, facts: pl.DataFrame, products: pl.DataFrame
) -> pl.DataFrame:
    """
    Judge every indicator row by every rule that binds it.

    A value equals its limit when the two differ by no more than 1e-9 of the limit; otherwise they are compared in full,
    not rounded. Not assessable is: a fact missing in the registry, an indicator without a value, a coverage below the
    rule's minimum, another unit or indicator than the limit's, a limit row without the level or without a date.

    Args:
        catalogue: the rules and limits, and what of them the operator has confirmed.
        indicators: INDICATORS rows; several intervals and facilities together.
        facts: Registry.facts; a facility that is not in it is not judged.
        products: Registry.products; the scope of an indicator row is a product.

    Returns:
        VERDICTS rows, sorted by rule, facility, scope, interval and start. `severity` is that of the interval. `status`
        is pass, breach or not_assessable. `reason` says why a row is not assessable or, otherwise, why it is not
        enforceable; else it is empty.
    """
    rows = _with_local_days(indicators.join(facts.select(_FACTS), on="facility"))
    of_product = products.select("facility", scope="product", code="limit")
    limited = rows.join(of_product, on=["facility", "scope"]).join(_limits(catalogue), on="code")
    judged = [
        _judged(catalogue, rule, _own_limit(rule, rows) if rule.level is None else _row_limit(rule, limited))
        for rule in catalogue.rules.values()
    ]
    return pl.concat([VERDICTS.to_frame(), *judged]).sort("rule", "facility", "scope", "interval", "start")


def _with_local_days(rows: pl.DataFrame) -> pl.DataFrame:
    """Add the first and the last day of the period in the facility's zone."""
    zones = rows["timezone"].unique().sort().to_list()

    def local_day(moment: pl.Expr) -> pl.Expr:
        days = [pl.when(pl.col("timezone") == zone).then(moment.dt.convert_time_zone(zone).dt.date()) for zone in zones]
        return pl.coalesce(*days, pl.lit(None, pl.Date))

    return rows.with_columns(
        first_day=local_day(pl.col("start")), last_day=local_day(pl.col("end") - pl.duration(microseconds=1))
    )


def _limits(catalogue: Catalogue) -> pl.DataFrame:
    rows = [
        (
            limit.code,
            limit.standard,
            limit.indicator,
            limit.unit.replace(_OIL, _COAL),
            *(_in_coal(limit, level) for level in (limit.level1, limit.level2, limit.level3)),
            limit.valid_from,
            limit.valid_to,
            limit.valid_from is not None or limit.code in catalogue.confirmed,
            catalogue.limit_enforceable(limit),
        )
        for limit in catalogue.limits.values()
    ]
    return pl.DataFrame(rows, schema=_LIMITS, orient="row")


def _in_coal(limit: Limit, level: float | None) -> float | None:
    return None if level is None else level * (_KGCE_PER_KGOE if limit.unit.startswith(_OIL) else 1.0)


def _own_limit(rule: Rule, rows: pl.DataFrame) -> pl.DataFrame:
    """Select the rule's indicator rows and give each the limit that stands in the rule itself."""
    return rows.filter(pl.col("indicator") == rule.indicator).with_columns(
        code=pl.lit(""),
        limited=pl.lit(rule.indicator),
        limit_unit=pl.lit(rule.unit),
        limit=pl.lit(rule.limit, pl.Float64),
        valid_from=pl.lit(rule.valid_from, pl.Date),
        valid_to=pl.lit(rule.valid_to, pl.Date),
        dated=pl.lit(value=True),
        row_enforceable=pl.lit(value=True),
    )


def _row_limit(rule: Rule, limited: pl.DataFrame) -> pl.DataFrame:
    """Select the rule's indicator rows whose product is limited by its standard, with the limit of the rule's level."""
    return limited.filter(pl.col("indicator") == rule.indicator, pl.col("standard") == rule.standard).with_columns(
        limit=pl.col(f"level{rule.level}")
    )


def _judged(catalogue: Catalogue, rule: Rule, rows: pl.DataFrame) -> pl.DataFrame:
    asked = _asked(rule.applies)
    bound = rows.filter(
        pl.col("interval").is_in(list(rule.severities)),
        pl.col("valid_from").is_null() | (pl.col("first_day") >= pl.col("valid_from")),
        pl.col("valid_to").is_null() | (pl.col("last_day") <= pl.col("valid_to")),
        # a null is a fact the registry does not say: the row stays, to be shown as not assessable
        pl.all_horizontal(pl.lit(value=True), *asked.values()).fill_null(value=True),
    )
    obstacle = pl.coalesce(*_obstacles(rule, asked))
    doubt = pl.coalesce(*_doubts(catalogue, rule))
    document = catalogue.documents[rule.document]
    return bound.with_columns(
        rule=pl.lit(rule.id),
        comparison=pl.lit(rule.comparison),
        unit=pl.col("limit_unit"),
        status=pl.when(obstacle.is_not_null())
        .then(pl.lit("not_assessable"))
        .when(_holds(rule))
        .then(pl.lit("pass"))
        .otherwise(pl.lit("breach")),
        reason=pl.coalesce(obstacle, doubt, pl.lit("")),
        severity=pl.col("interval").replace_strict(rule.severities, default=None, return_dtype=pl.String),
        enforceable=doubt.is_null(),
        document=pl.lit(document.cited),
        clause=pl.lit(rule.clause.zh),
        factor_version=pl.col("catalogue_version"),
        catalogue_version=pl.lit(catalogue.version),
    ).select(VERDICTS.names())


def _asked(scope: Scope) -> dict[str, pl.Expr]:
    """Name each fact the scope asks for, with its condition: true, false, or null where the registry says nothing."""
    asked: dict[str, pl.Expr] = {}
    if scope.kind:
        asked["kind"] = pl.col("kind").is_in(scope.kind)
    if scope.scale:
        asked["scale"] = pl.col("scale").is_in(scope.scale)
    if scope.hub_node is not None:
        asked["hub_node"] = pl.col("hub_node") == scope.hub_node
    if scope.key_energy_user is not None:
        asked["key_energy_user"] = pl.col("key_energy_user") == scope.key_energy_user
    if scope.division:
        asked["division"] = pl.any_horizontal(pl.col("division").str.starts_with(prefix) for prefix in scope.division)
    if scope.approved_from or scope.approved_to:
        approved = pl.col("approved")
        after = approved >= scope.approved_from if scope.approved_from else pl.lit(value=True)
        asked["approved"] = (after & (approved <= scope.approved_to)) if scope.approved_to else after
    return asked


def _obstacles(rule: Rule, asked: dict[str, pl.Expr]) -> Iterator[pl.Expr]:
    """Yield the sentences why a row cannot be judged, the first cause first; each is null where it does not hold."""
    for fact, condition in asked.items():
        yield pl.when(condition.is_null()).then(pl.lit(f"the registry does not say {fact}, which the rule asks for"))
    yield pl.when(~pl.col("dated")).then(
        pl.format("it is not known since when limit {} is in force: the operator has to confirm it", "code")
    )
    yield pl.when(pl.col("limited") != rule.indicator).then(
        pl.format("limit {} is about {}, the indicator is {}", "code", "limited", "indicator")
    )
    yield pl.when(pl.col("unit") != pl.col("limit_unit")).then(
        pl.format("the indicator is in {}, the limit in {}", "unit", "limit_unit")
    )
    yield pl.when(pl.col("limit").is_null()).then(pl.format(f"limit {{}} has no level {rule.level}", "code"))
    unsaid = pl.col("reason").fill_null("") == ""
    yield pl.when((pl.col("status") != "ok") & unsaid).then(pl.lit("the indicator is not assessable"))
    yield pl.when(pl.col("status") != "ok").then(pl.col("reason"))
    yield pl.when(~_finite("value")).then(pl.lit("the indicator has no value"))
    yield pl.when(~_finite("coverage")).then(pl.lit("the indicator has no coverage"))
    wanted = f"{rule.min_coverage * 100:g}"
    yield pl.when(pl.col("coverage") < rule.min_coverage - _NOISE).then(
        pl.format(f"coverage {{}} % is below the {wanted} % the rule asks for", _percent(pl.col("coverage")))
    )


def _doubts(catalogue: Catalogue, rule: Rule) -> Iterator[pl.Expr]:
    """Yield the sentences why a verdict is not enforceable."""
    if not catalogue.enforceable(rule):
        yield pl.lit(f"rule {rule.id} is not verified: the operator has to confirm it")
    yield pl.when(pl.col("unverified").fill_null("") != "").then(
        pl.format("it rests on factors that are not verified: {}; the operator has to confirm them", "unverified")
    )
    yield pl.when(~pl.col("row_enforceable")).then(
        pl.format(
            "limit {} is not verified, or holds only at a reference condition: the operator has to confirm it", "code"
        )
    )


def _finite(column: str) -> pl.Expr:
    return pl.col(column).is_finite().fill_null(value=False)


def _percent(share: pl.Expr) -> pl.Expr:
    # cut, not rounded: a coverage just below the minimum must not read as the minimum
    return (share * 10_000).floor() / 100


def _holds(rule: Rule) -> pl.Expr:
    value, limit = pl.col("value"), pl.col("limit")
    equal = (value - limit).abs() <= _NOISE * limit.abs()
    match rule.comparison:
        case "<=":
            return (value < limit) | equal
        case "<":
            return (value < limit) & ~equal
        case ">=":
            return (value > limit) | equal
        case ">":
            return (value > limit) & ~equal
