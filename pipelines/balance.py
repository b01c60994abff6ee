"""
The meter tree: virtual meters (sums and differences), and the balance of a main meter against its sub-meters.

    ENERGY 15m of meters -> virtual() -> ENERGY 15m of virtual meters
    ENERGY 15m -> balances() -> BALANCE 15m, 1d

Meters and sub-meters are always compared over the same time: only a slot in which the main meter and all its sub-meters
are covered is assessable, and a day is the sum of such slots.
"""

from zoneinfo import ZoneInfo

import polars as pl

from ingest.carriers import CARRIERS
from ingest.model import Period
from ingest.schema import BALANCE, ENERGY, TIME
from pipelines import periods
from pipelines.energy import SLOT, TO

_AMOUNTS = ("quantity", "kwh", "kgce", "kg_co2")
_GROUP = ["facility", "main"]
_SPAN = ["interval", "start", "end"]
_UNITS = {code: carrier.unit for code, carrier in CARRIERS.items()}
_WHOLE = 1 - 1e-9
# relative to the quantities: what is left of a sum of floats, far below the last digit of any meter
_NOISE = 1e-9


def virtual(energy: pl.DataFrame, tree: pl.DataFrame, parts: pl.DataFrame) -> pl.DataFrame:
    """
    Compute the energy of virtual meters.

    Args:
        energy: ENERGY rows of meters, of one interval.
        tree: `Registry.tree`.
        parts: `Registry.virtual_parts`.

    Returns:
        ENERGY rows of virtual meters, where every part has one. Amounts are the parts' added and subtracted, null where
        one of them is null; coverage is the least of the parts; estimated is weighted by their quantities.
    """
    weight = pl.col("quantity").abs()
    sums = (
        parts.with_columns(due=pl.len().over("facility", "virtual"))
        .join(energy.drop("role", "scope"), on=["facility", "meter"])
        .sort("facility", "virtual", "start", "meter")
        .group_by("facility", "virtual", *_SPAN, maintain_order=True)
        .agg(
            pl.first("carrier", "unit", "due"),
            *(
                pl.when(pl.col(name).null_count() == 0).then((pl.col(name) * pl.col("times")).sum()).alias(name)
                for name in _AMOUNTS
            ),
            pl.min("coverage"),
            estimated=pl.when(weight.sum() > 0)
            .then((weight * pl.col("estimated")).sum() / weight.sum())
            .otherwise(0.0),
            oldest=pl.min("factor_version"),
            newest=pl.max("factor_version"),
            found=pl.len(),
        )
        .filter(pl.col("found") == pl.col("due"))
        .rename({"virtual": "meter"})
    )
    alike = pl.col("oldest") == pl.col("newest")
    sums = sums.with_columns(
        factor_version=pl.when(alike).then("newest").otherwise(pl.col("oldest") + TO + pl.col("newest"))
    )
    known = tree.filter("virtual").select("facility", "meter", "role", "scope")
    return sums.join(known, on=["facility", "meter"], maintain_order="left").select(ENERGY.schema.names())


def balances(energy: pl.DataFrame, tree: pl.DataFrame, days: Period) -> pl.DataFrame:
    """
    Compare every main meter with the sum of the meters directly below it, per slot and day.

    difference = main - sum of sub-meters; what generates below a main meter counts against it, for it brings energy in
    beside the main: main + generation = use + export. tolerance = sqrt(sum of (class/100 x quantity)^2) over the main
    and its sub-meters. Slots are compared where all these meters are read at least every 15 minutes; a day always.

    Args:
        energy: ENERGY rows of interval 15m, of facilities of one zone.
        tree: `Registry.tree`.
        days: whole local days.

    Returns:
        BALANCE rows, sorted by key: a day for every main meter, a slot where one of the meters has a row. Amounts are
        in the carrier's canonical unit. Not assessable, with the reason, where a meter is not covered.
    """
    groups = _groups(tree)
    if groups.is_empty():
        return BALANCE.schema.to_frame()
    (zone,) = tree["timezone"].unique()
    slots = _slots(energy, groups)
    quick = pl.col("period").max().over(_GROUP) <= SLOT
    return pl.concat([_compared(slots.filter(quick)), _compared(_days(slots, groups, days, ZoneInfo(zone)))]).sort(
        BALANCE.key
    )


def _groups(tree: pl.DataFrame) -> pl.DataFrame:
    """One row a main meter and meter of its balance: main, meter, sign (0 the main itself), class, valid_from."""
    meters = tree.filter(~pl.col("virtual")).select(
        "facility", "meter", "role", "carrier", "parent", "valid_from", "period", "class", "class_assumed"
    )
    below = meters.filter(pl.col("parent") != "").rename({"parent": "main"})
    mains = meters.join(below, left_on=["facility", "meter"], right_on=_GROUP, how="semi")
    generates = below.join(mains.select("facility", main="meter", of="role"), on=_GROUP)
    against = (pl.col("role") == "generation") & (pl.col("of") != "generation")
    return pl.concat(
        [
            mains.with_columns(main="meter", sign=0).drop("parent"),
            generates.with_columns(sign=pl.when(against).then(-1).otherwise(1)),
        ],
        how="diagonal",
    ).drop("role", "of")


def _slots(energy: pl.DataFrame, groups: pl.DataFrame) -> pl.DataFrame:
    """Every meter due in every slot in which one of its balance has a row: quantity and coverage, null where none."""
    own = energy.select("facility", "meter", *_SPAN, "quantity", "coverage")
    some = groups.select(*_GROUP, "meter").join(own, on=["facility", "meter"]).select(*_GROUP, *_SPAN).unique()
    return (
        some.join(groups, on=_GROUP)
        .filter(pl.col("valid_from") <= pl.col("start"))
        .join(own, on=["facility", "meter", *_SPAN], how="left")
        .with_columns(covered=pl.col("quantity").is_not_null() & (pl.col("coverage") >= _WHOLE))
        .with_columns(all_covered=pl.col("covered").all().over(*_GROUP, "start"))
    )


def _days(slots: pl.DataFrame, groups: pl.DataFrame, window: Period, zone: ZoneInfo) -> pl.DataFrame:
    """Every meter due on every day: its quantity in the slots in which all of its balance are covered."""
    spans = [(own.start, own.end) for own in periods.days(window, zone)]
    days = pl.DataFrame(spans, schema={"day": TIME, "day_end": TIME}, orient="row")
    due = groups.join(days, how="cross").filter(pl.col("valid_from") < pl.col("day_end"))
    whole = pl.col("day_end") - pl.col("day")
    lost = ~pl.col("covered").fill_null(value=False)
    found = (
        slots.sort("start")
        .join_asof(days.sort("day"), left_on="start", right_on="day")
        .group_by(*_GROUP, "meter", "day")
        .agg(
            quantity=pl.col("quantity").filter("all_covered").sum(),
            usable=pl.col("all_covered").sum(),
            lost=lost.sum(),
        )
    )
    return due.join(found, on=[*_GROUP, "meter", "day"], how="left").with_columns(
        interval=pl.lit("1d"),
        start="day",
        end="day_end",
        all_covered=(pl.col("usable") > 0).fill_null(value=False).all().over(*_GROUP, "day"),
        covered=(pl.col("lost") == 0).fill_null(value=False),
        coverage=pl.col("usable").fill_null(0) * (SLOT / whole),
    )


def _compared(rows: pl.DataFrame) -> pl.DataFrame:
    """Compare rows of one main meter and span each: facility, main, meter, sign, class, quantity, coverage, covered."""
    quantity, sign = pl.col("quantity"), pl.col("sign")
    missing = pl.col("meter").filter(~pl.col("covered"))
    assumed = pl.col("meter").filter("class_assumed")
    main, subs = quantity.filter(sign == 0).first(), (quantity * sign).sum()
    plus, minus = pl.col("meter").filter(sign > 0), pl.lit(" - ") + pl.col("meter").filter(sign < 0)
    return (
        rows.sort(*_GROUP, "start", "meter")
        .group_by(*_GROUP, *_SPAN, maintain_order=True)
        .agg(
            assessable=pl.col("all_covered").all(),
            paired=(sign == 0).any() & (sign != 0).any(),
            quantity=main,
            subs=subs,
            tolerance=((pl.col("class") / 100 * quantity) ** 2).sum().sqrt(),
            noise=quantity.abs().sum() * _NOISE,
            coverage=pl.col("coverage").fill_null(0.0).min(),
            meters=pl.col("main").first() + " / " + plus.str.join(", ") + minus.str.join(""),
            absent=pl.lit("not covered: ") + missing.str.join(", "),
            assumed=pl.when(assumed.len() > 0).then(
                pl.lit("no class registered, that of GB 17167-2006 (RECALLED) assumed: ") + assumed.str.join(", ")
            ),
            carrier=pl.first("carrier"),
        )
        .filter("paired")
        .with_columns(difference=pl.col("quantity") - pl.col("subs"), meter="main")
        .with_columns(beyond=pl.col("difference").abs() > pl.col("tolerance") + pl.col("noise"))
        .with_columns(
            *(pl.when("assessable").then(name).alias(name) for name in ("quantity", "subs", "difference", "tolerance")),
            unit=pl.col("carrier").replace_strict(_UNITS, return_dtype=pl.String),
            status=pl.when(~pl.col("assessable"))
            .then(pl.lit("not_assessable"))
            .when("beyond")
            .then(pl.lit("beyond_tolerance"))
            .otherwise(pl.lit("ok")),
            reason=pl.when("assessable").then(pl.col("assumed").fill_null("")).otherwise("absent"),
        )
        .select(pl.col(name).cast(dtype) for name, dtype in BALANCE.schema.items())
    )
