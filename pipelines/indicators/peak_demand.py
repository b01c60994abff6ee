"""
Maximum demand (最大需量): the largest mean power over 15 minutes of the electricity that crosses the boundary.

    ENERGY 15m -> of_days() -> INDICATORS 1d -> peak_demand() -> 1mo: the largest of its days -> 12mo: of its months

Only slots count in which every meter of the boundary is covered whole and nothing was spread over a gap: an estimate is
even and hides a peak. The meters are added up slot by slot, for the peak of a sum is not the sum of the peaks.
"""

import polars as pl

from pipelines import runs
from pipelines.accounting.slots import SLOT
from pipelines.indicators import meters
from pipelines.indicators.parts import World, rows

CODE = "peak_demand"

_HOURS = SLOT.total_seconds() / 3600
_WHOLE = 1 - 1e-9
_ABSENT = "no electricity meter of role total without a parent is valid"
_SPAN = ["facility", "interval", "start", "end"]
_LENGTH = (pl.col("end") - pl.col("start")) / pl.duration(seconds=1)


def of_days(world: World) -> pl.DataFrame:
    """
    Find the largest mean power over a slot of each day. [kW]

    Args:
        world: its energy are ENERGY rows of interval 15m, virtual meters too; the periods wanted are days.

    Returns:
        INDICATORS rows; numerator: electricity of the slot [kWh], denominator: its length [h]; `meters` ends with the
        local start of the slot. Coverage is the share of the day in slots that could be used. Not assessable where
        there are none, and where a meter is read less often than every 15 minutes.
    """
    members = _members(world)
    best = (
        _slots(world, members)
        .sort("facility", "kwh", "at", descending=[False, True, False])
        .group_by("facility", "start", maintain_order=True)
        .agg(pl.first("kwh", "at"), slots=pl.len())
    )
    days = world.parts.select(interval="part", start="part_start", end="part_end")
    due = members.join(days, how="cross").filter(pl.col("valid_from") < pl.col("end"))
    slow = pl.col("period") > SLOT
    names = due.group_by("facility", "start").agg(
        slow=pl.format("{} (every {} min)", "meter", pl.col("period").dt.total_minutes())
        .filter(slow)
        .sort()
        .str.join(", "),
        due=pl.col("meter").sort().str.join(", "),
    )
    found = (
        world.facts.select("facility")
        .join(days, how="cross")
        .join(names, on=["facility", "start"], how="left")
        .join(best, on=["facility", "start"], how="left")
        .with_columns(
            coverage=(pl.col("slots").fill_null(0) * SLOT.total_seconds() / _LENGTH),
            reason=pl.when(pl.col("due").is_null())
            .then(pl.lit(_ABSENT))
            .when(pl.col("slow") != "")
            .then(pl.lit("no mean over 15 minutes is known of ") + pl.col("slow"))
            .when(pl.col("kwh").is_null())
            .then(pl.lit("no 15 minutes are measured whole by ") + pl.col("due"))
            .otherwise(pl.lit("")),
            numerator="kwh",
        )
        .join(meters.evidence(members).drop("scope"), on="facility", how="left")
    )
    zone = world.facts["timezone"][0]
    moment = pl.col("at").dt.convert_time_zone(zone).dt.strftime("%Y-%m-%dT%H:%M%:z")
    return _rows(world, found.with_columns(meters=pl.concat_str("meters", pl.lit(" @ ") + moment.fill_null("none"))))


def _members(world: World) -> pl.DataFrame:
    """Electricity meters of every boundary: facility, scope, meter, sign, valid_from, period."""
    electric = world.meters.filter(pl.col("carrier") == "electricity")
    known = electric.select("facility", "meter", "valid_from", "period")
    return meters.boundary(electric).join(known, on=["facility", "meter"])


def _slots(world: World, members: pl.DataFrame) -> pl.DataFrame:
    """Slots that every meter due in them covers whole: facility, start (of the day), at (start of the slot), kwh."""
    numbered = members.select("facility", "meter", "sign").with_row_index("member")
    own = runs.look_up(
        world.energy.select("facility", "meter", "kwh", "coverage", "estimated", at="start"),
        numbered,
        on=["facility", "meter"],
    )
    whole = (pl.col("coverage") >= _WHOLE) & (pl.col("estimated") == 0) & pl.col("kwh").is_not_null()
    # added in the order of the members, so that the same slots give the same sum to the last bit
    sums = (
        own.filter(pl.col("member").is_not_null(), whole)
        .sort("facility", "at", "member")
        .group_by("facility", "at", maintain_order=True)
        .agg(kwh=(pl.col("kwh") * pl.col("sign")).sum(), found=pl.len())
    )
    starts = world.parts["part_start"]
    day = pl.Series("start", starts[starts.search_sorted(sums["at"], side="right").cast(pl.Int64) - 1])
    due = members.group_by("facility").agg(due=pl.len())
    later = (
        members.filter(pl.col("valid_from") > starts.min())
        .join(sums.select("facility", "at"), on="facility")
        .filter(pl.col("valid_from") > pl.col("at"))
        .group_by("facility", "at")
        .agg(later=pl.len())
    )
    return (
        sums.hstack([day])
        .join(due, on="facility", maintain_order="left")
        .join(later, on=["facility", "at"], how="left", maintain_order="left")
        .filter(pl.col("found") == pl.col("due") - pl.col("later").fill_null(0))
    )


def peak_demand(world: World) -> pl.DataFrame:
    """
    Take the largest peak of the days of each month, and of the months of each twelve months. [kW]

    Returns:
        INDICATORS rows of 1mo and 12mo, as those of `of_days`: the figures of the day the peak was on. Coverage is the
        share of the period in slots that could be used. Not assessable where there are none in it; twelve months also
        where the facility was not metered in the first of them.
    """
    spans = ["interval", "start", "end"]
    wanted = world.wanted.group_by(spans, maintain_order=True).agg(first_end=pl.min("part_end"))
    monthly, yearly = (wanted.filter(pl.col("interval") == name) for name in ("1mo", "12mo"))
    months = _largest(world, monthly, world.peaks.filter(pl.col("interval") == "1d"))
    stored = world.peaks.filter(pl.col("interval") == "1mo").join(months, on=_SPAN, how="anti")
    return pl.concat([months, _largest(world, yearly, pl.concat([stored, months]))])


def _largest(world: World, wanted: pl.DataFrame, parts: pl.DataFrame) -> pl.DataFrame:
    """
    Take the largest of INDICATORS rows that lie in each period wanted, the earliest of equal ones.

    `wanted` has interval, start, end, and first_end: the end of the first day or month in it.
    """
    inside = parts.filter(pl.col("facility").is_in(world.facts["facility"].implode())).join(
        wanted.select("interval", first="start", last="end"), how="cross", suffix="_wanted"
    )
    usable = pl.col("status") == "ok"
    found = (
        inside.filter(pl.col("start") >= pl.col("first"), pl.col("end") <= pl.col("last"))
        .sort("facility", usable, "value", "start", descending=[False, True, True, False])
        .group_by("facility", interval="interval_wanted", start="first", end="last")
        .agg(
            pl.first("numerator", "denominator", "reason", "meters"),
            covered=(pl.col("coverage") * _LENGTH).filter(usable).sum(),
        )
    )
    every = world.facts.select("facility").join(wanted, how="cross")
    return _rows(
        world,
        every.join(found, on=_SPAN, how="left")
        .join(world.metered_since, on="facility", how="left")
        .with_columns(
            coverage=pl.col("covered").fill_null(0.0) / _LENGTH,
            reason=pl.when(pl.col("first_end") <= pl.col("since"), pl.col("reason") == "")
            .then(pl.format("the facility is metered only since {}", "since_day"))
            .otherwise(pl.col("reason").fill_null("no day of it was computed")),
        ),
    )


def _rows(world: World, found: pl.DataFrame) -> pl.DataFrame:
    blank = pl.lit("")
    folded = found.with_columns(
        scope=blank, versions=blank, doubts=blank, denominator=pl.when(pl.col("numerator").is_not_null()).then(_HOURS)
    )
    value = runs.quotient(pl.col("numerator"), pl.col("denominator"))
    return rows(world, folded, indicator=CODE, unit=pl.lit("kW"), value=value)
