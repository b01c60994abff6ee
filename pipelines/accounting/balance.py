"""
The meter tree: virtual meters (sums and differences), and the balance of a main meter against its sub-meters.

    ENERGY 15m of meters -> virtual() -> ENERGY 15m of virtual meters
    ENERGY 15m -> balances() -> BALANCE 15m, 1d

Meters and sub-meters are always compared over the same time: only a slot in which the main meter and all its sub-meters
are covered is assessable, and a day is the sum of such slots.
"""

from datetime import timedelta
from zoneinfo import ZoneInfo

import polars as pl

from ingest.carriers import CANONICAL_UNITS
from ingest.model import Period
from ingest.schema import BALANCE, ENERGY, TIME
from pipelines import periods, runs
from pipelines.accounting.energy import TO
from pipelines.accounting.slots import SLOT

_AMOUNTS = ("quantity", "kwh", "kgce", "kg_co2")
_GROUP = ["facility", "main"]
_SPAN = ["interval", "start", "end"]
_ABSENT = "not covered: "
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
    if parts.is_empty():
        return ENERGY.empty()
    numbered, own = _parts(energy, parts)
    weight = pl.col("quantity").abs()
    sums = (
        numbered.select("group", "part", "member", "times", "due")
        .join(own, on="member")
        .sort("group", "start", "part")
        .with_columns(
            *(pl.col(name).is_null().alias(f"no_{name}") for name in _AMOUNTS),
            *(pl.col(name) * pl.col("times") for name in _AMOUNTS),
            weight=weight,
            weighted=weight * pl.col("estimated"),
        )
        .group_by("group", *_SPAN, maintain_order=True)
        .agg(
            pl.first("carrier", "unit", "due"),
            pl.col(_AMOUNTS).sum(),
            pl.col([f"no_{name}" for name in _AMOUNTS]).any(),
            pl.min("coverage"),
            pl.sum("weight", "weighted"),
            oldest=pl.min("factor_version"),
            newest=pl.max("factor_version"),
            found=pl.len(),
        )
        .filter(pl.col("found") == pl.col("due"))
        .with_columns(
            *(pl.when(~pl.col(f"no_{name}")).then(name).alias(name) for name in _AMOUNTS),
            estimated=pl.when(pl.col("weight") > 0).then(pl.col("weighted") / pl.col("weight")).otherwise(0.0),
        )
        .join(numbered.select("group", "facility", meter="virtual").unique(), on="group", maintain_order="left")
    )
    alike = pl.col("oldest") == pl.col("newest")
    sums = sums.with_columns(
        factor_version=pl.when(alike).then("newest").otherwise(pl.col("oldest") + TO + pl.col("newest"))
    )
    known = tree.filter("virtual").select("facility", "meter", "role", "scope")
    return sums.join(known, on=["facility", "meter"], maintain_order="left").select(ENERGY.schema.names())


def _parts(energy: pl.DataFrame, parts: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Parts of virtual meters, and their energy, with numbers in place of names: group (a virtual meter), member."""
    members = parts.select("facility", "meter").unique().with_row_index("member")
    numbered = (
        parts.sort("facility", "virtual", "meter")
        .with_row_index("part")
        .with_columns(group=pl.struct("facility", "virtual").rle_id(), due=pl.len().over("facility", "virtual"))
        .join(members, on=["facility", "meter"], maintain_order="left")
    )
    own = runs.look_up(energy.drop("role", "scope"), members, on=["facility", "meter"])
    return numbered, own.drop("facility", "meter").drop_nulls("member")


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
    if (tree["parent"] == "").all() or (groups := _groups(tree)).is_empty():
        return BALANCE.empty()
    (zone,) = tree["timezone"].unique()
    slots = _slots(energy, groups)
    slow = slots["group"].is_in(groups[slots["due"].unique()].filter(pl.col("period") > SLOT)["group"].implode())
    compared = [
        _compared(slots.filter(~slow), groups, "15m"),
        _compared(_days(slots, groups, days, ZoneInfo(zone)), groups, "1d"),
    ]
    return pl.concat(compared).sort(BALANCE.key)


def _groups(tree: pl.DataFrame) -> pl.DataFrame:
    """
    One row a main meter and meter of its balance, by name.

    Returns:
        group (a number for facility and main), member (a number for facility and meter), facility, main, meter, sign (0
        the main itself), class, class_assumed, carrier, period, valid_from.
    """
    meters = tree.filter(~pl.col("virtual")).select(
        "facility", "meter", "role", "carrier", "parent", "valid_from", "period", "class", "class_assumed"
    )
    below = meters.filter(pl.col("parent") != "").rename({"parent": "main"})
    mains = meters.join(below, left_on=["facility", "meter"], right_on=_GROUP, how="semi")
    generates = below.join(mains.select("facility", main="meter", of="role"), on=_GROUP)
    against = (pl.col("role") == "generation") & (pl.col("of") != "generation")
    every = [
        mains.with_columns(main="meter", sign=0).drop("parent"),
        generates.with_columns(sign=pl.when(against).then(-1).otherwise(1)),
    ]
    return (
        pl.concat(every, how="diagonal")
        .drop("role", "of")
        .sort(*_GROUP, "meter")
        .with_columns(
            group=pl.struct(_GROUP).rle_id(), member=pl.struct("facility", "meter").rank("dense").cast(pl.UInt32) - 1
        )
    )


def _slots(energy: pl.DataFrame, groups: pl.DataFrame) -> pl.DataFrame:
    """
    Every meter due in every slot in which one of its balance has a row, in order of group, start and meter.

    Returns:
        group, due (row of `groups`), start, end, sign, quantity and coverage (null where there is no row), covered,
        all_covered (all of the balance are).
    """
    numbers = groups.select("facility", "meter", "member").unique()
    rows = energy.select("facility", "meter", "start", "quantity", "coverage")
    own = runs.look_up(rows, numbers, on=["facility", "meter"]).drop("facility", "meter").drop_nulls("member")
    some = groups.select("group", "member").join(own.select("member", "start"), on="member").select("group", "start")
    due = groups.with_row_index("due").select("due", "group", "member", "sign", "valid_from")
    wanted = (
        some.unique()
        .sort("group", "start")
        .join(due, on="group", maintain_order="left_right")
        .filter(pl.col("valid_from") <= pl.col("start"))
    )
    return (
        wanted.hstack(_looked_up(own, wanted, groups.height))
        .with_columns(covered=pl.col("quantity").is_not_null() & (pl.col("coverage") >= _WHOLE))
        .with_columns(
            all_covered=pl.col("covered").all().over(pl.struct("group", "start").rle_id()), end=pl.col("start") + SLOT
        )
    )


def _looked_up(own: pl.DataFrame, wanted: pl.DataFrame, members: int) -> pl.DataFrame:
    """Quantity and coverage of wanted members and slots, by their place in a table of members x slots: no join."""
    if own.is_empty():
        return own.select("quantity", "coverage")
    first, end = own.select(first=pl.min("start"), end=pl.max("start") + SLOT).row(0)
    width = (end - first) // SLOT
    slot = (pl.col("start") - first).to_physical() // (SLOT // timedelta(microseconds=1))
    cell = (pl.col("member").cast(pl.Int64) * width + slot).cast(pl.UInt32)
    table = pl.repeat(None, members * width, dtype=pl.UInt32, eager=True)
    table = table.scatter(own.select(cell).to_series(), pl.int_range(own.height, dtype=pl.UInt32, eager=True))
    return own.select("quantity", "coverage")[table[wanted.select(cell).to_series()]]


def _days(slots: pl.DataFrame, groups: pl.DataFrame, window: Period, zone: ZoneInfo) -> pl.DataFrame:
    """Every meter due on every day: its quantity in the slots in which all of its balance are covered."""
    spans = [(own.start, own.end) for own in periods.days(window, zone)]
    days = pl.DataFrame(spans, schema={"day": TIME, "day_end": TIME}, orient="row")
    members = groups.with_row_index("due").select("due", "group", "sign", "valid_from")
    due = members.join(days, how="cross").filter(pl.col("valid_from") < pl.col("day_end"))
    whole = pl.col("day_end") - pl.col("day")
    lost = ~pl.col("covered").fill_null(value=False)
    found = (
        slots.with_columns(days["day"][days["day"].search_sorted(slots["start"], side="right") - 1])
        .group_by("due", "day")
        .agg(
            quantity=pl.col("quantity").filter("all_covered").sum(),
            usable=pl.col("all_covered").sum(),
            lost=lost.sum(),
        )
    )
    return (
        due.join(found, on=["due", "day"], how="left")
        .with_columns(
            start="day",
            end="day_end",
            all_covered=(pl.col("usable") > 0).fill_null(value=False).all().over("group", "day"),
            covered=(pl.col("lost") == 0).fill_null(value=False),
            coverage=pl.col("usable").fill_null(0) * (SLOT / whole),
        )
        .sort("group", "start", "due")
    )


def _compared(rows: pl.DataFrame, groups: pl.DataFrame, interval: str) -> pl.DataFrame:
    """Compare rows of one balance and span each: group, due, start, end, sign, quantity, coverage, covered."""
    quantity, sign = pl.col("quantity"), pl.col("sign")
    share = groups["class"][rows["due"]] / 100
    sums = (
        rows.with_columns(subs=quantity * sign, allowed=(share * quantity) ** 2, main=pl.when(sign == 0).then(quantity))
        .group_by("group", "start", "end", maintain_order=True)
        .agg(
            assessable=pl.col("all_covered").all(),
            paired=(sign == 0).any() & (sign != 0).any(),
            quantity=pl.col("main").sum(),
            subs=pl.col("subs").sum(),
            tolerance=pl.col("allowed").sum().sqrt(),
            noise=quantity.abs().sum() * _NOISE,
            coverage=pl.col("coverage").fill_null(0.0).min(),
            last=pl.col("valid_from").max(),
        )
        .filter("paired")
        .with_columns(difference=pl.col("quantity") - pl.col("subs"), interval=pl.lit(interval))
        .with_columns(beyond=pl.col("difference").abs() > pl.col("tolerance") + pl.col("noise"))
    )
    told = sums.join(_texts(sums, groups), on=["group", "last"], maintain_order="left").join(
        _absent(rows, groups), on=["group", "start"], how="left", maintain_order="left"
    )
    return told.with_columns(
        *(pl.when("assessable").then(name).alias(name) for name in ("quantity", "subs", "difference", "tolerance")),
        unit=pl.col("carrier").replace_strict(CANONICAL_UNITS, return_dtype=pl.String),
        status=pl.when(~pl.col("assessable"))
        .then(pl.lit("not_assessable"))
        .when("beyond")
        .then(pl.lit("beyond_tolerance"))
        .otherwise(pl.lit("ok")),
        reason=pl.when("assessable")
        .then(pl.col("assumed").fill_null(""))
        .otherwise(_ABSENT + pl.col("absent").fill_null("")),
    ).select(pl.col(name).cast(dtype) for name, dtype in BALANCE.schema.items())


def _texts(sums: pl.DataFrame, groups: pl.DataFrame) -> pl.DataFrame:
    """What a balance is made of while the same meters are due, told once: facility, meter, carrier, meters, assumed."""
    sign, assumed = pl.col("sign"), pl.col("meter").filter("class_assumed")
    plus, minus = pl.col("meter").filter(sign > 0), pl.lit(" - ") + pl.col("meter").filter(sign < 0)
    return (
        sums.select("group", "last")
        .unique()
        .join(groups, on="group", maintain_order="left_right")
        .filter(pl.col("valid_from") <= pl.col("last"))
        .group_by("group", "last")
        .agg(
            pl.first("facility", "carrier"),
            meter=pl.col("main").first(),
            meters=pl.col("main").first() + " / " + plus.str.join(", ") + minus.str.join(""),
            assumed=pl.when(assumed.len() > 0).then(
                pl.lit("no class registered, that of GB 17167-2006 (RECALLED) assumed: ") + assumed.str.join(", ")
            ),
        )
    )


def _absent(rows: pl.DataFrame, groups: pl.DataFrame) -> pl.DataFrame:
    """Return the meters that are not covered: group, start, absent."""
    lost = rows.filter(~pl.col("covered")).select("group", "start", "due")
    named = lost.with_columns(groups["meter"][lost["due"]])
    return named.group_by("group", "start", maintain_order=True).agg(absent=pl.col("meter").str.join(", "))
