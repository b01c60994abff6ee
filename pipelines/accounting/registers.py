"""
Readings become steps: what a meter measured between two moments, in its carrier's canonical unit.

    READINGS -> in order, registered unit -> register: differences | interval: as told | power: trapezoid -> STEPS

Nothing is guessed silently: what cannot be attributed carries no quantity, a name, and what it would have been. Where
there is no step, nothing is known.
"""

from math import isfinite

import polars as pl

from ingest.model import Period
from ingest.schema import TIME, moment
from ingest.units import UNITS, ratio
from pipelines import runs
from pipelines.accounting.forensics import KINDS, LONGEST, register_steps

STEPS = pl.Schema(
    {
        "row": pl.UInt32(),
        "start": TIME,
        "end": TIME,
        "quantity": pl.Float64(),
        "covered": pl.Boolean(),
        "kind": KINDS,
        "unattributed": pl.Float64(),
        "before": pl.Float64(),
        "after": pl.Float64(),
        "bound": pl.Float64(),
    }
)

# a meter may run this much above its rated power before a step is not believed
OVERLOAD = 1.2

# stamps of intervals may jitter by this share of the period before the overlap counts as counted twice
JITTER = 0.1

# a stored value may be in another unit than is registered now: unit, wanted unit, and what to multiply with
RATIOS = pl.DataFrame(
    [(found, wanted, factor) for found in UNITS for wanted in UNITS if (factor := ratio(found, wanted)) is not None],
    schema={"unit": pl.String, "wanted": pl.String, "ratio": pl.Float64},
    orient="row",
)


def steps(
    readings: pl.DataFrame, meters: pl.DataFrame, exchanges: pl.DataFrame, within: Period | None = None
) -> pl.DataFrame:
    """
    Turn readings into steps.

    Args:
        readings: READINGS rows in any order; facility, meter, time, value and unit are used. Readings of meters that
            are not in `meters`, in a unit that cannot be converted, or that are no finite number count as not taken.
        meters: `Registry.meters`.
        exchanges: `Registry.exchanges`. [shown unit]
        within: only steps that reach into it; all where there is none.

    Returns:
        STEPS, by meter and time: row (of the meter in `meters`; `named` puts its name in place of it), start, end
        (UTC), quantity [canonical unit of the carrier; null where nothing is attributed], covered (the step is no
        longer than twice the meter's period), kind, and as evidence, null for what is plain: unattributed [canonical
        unit], before, after [shown unit], bound (the most that was plausible) [canonical unit]. Steps that start before
        the meter's `valid_from` are left out.
    """
    known = _scaled(meters)
    series = _series(readings, known)
    reaches = pl.lit(value=True)
    if within is not None:
        start, end = moment(within.start), moment(within.end)
        reaches = (pl.col("end") > start) & ((pl.col("start") < end) | (pl.col("end") <= end))
    parts = []
    for kind, road in (("register", register_steps), ("interval", _interval), ("power", _power)):
        mine = known["kind"] == kind
        if mine.any():
            own = series if mine.all() else series.filter(mine[series["row"]])
            parts.append(_valid(road(own, known, exchanges, reaches), known))
    return runs.by_row(parts or [STEPS.to_frame()])


def named(frame: pl.DataFrame, meters: pl.DataFrame) -> pl.DataFrame:
    """Put facility and meter in place of `row` (of the meter in `meters`)."""
    return meters.select("facility", "meter")[frame["row"]].hstack(frame.drop("row"))


def _scaled(meters: pl.DataFrame) -> pl.DataFrame:
    """Add row and scale (shown unit to canonical unit); rated is what an hour can bring at most. [canonical unit/h]"""
    return meters.with_columns_seq(
        row=pl.int_range(pl.len(), dtype=pl.UInt32),
        scale=pl.col("multiplier") * pl.col("to_canonical"),
        rated=pl.col("rated") * OVERLOAD,
    )


def _series(readings: pl.DataFrame, meters: pl.DataFrame) -> pl.DataFrame:
    """Usable values by meter and time: row of the meter in `meters`, time, value [registered unit]."""
    # a filter leaves names in pieces, in which they are compared half as fast
    readings = readings.rechunk()
    place = runs.places(readings, meters, on=["facility", "meter", "unit"])
    series = readings[["time", "value"]].insert_column(0, place.alias("row"))
    if place.has_nulls():
        other = place.is_null()
        series = pl.concat([series.filter(~other), _converted(readings.filter(other), meters)])
    # what has a finite sum has no infinite value
    if series["value"].has_nulls() or not isfinite(series["value"].sum()):
        series = series.filter(pl.col("value").is_finite())
    return runs.in_order(series, "row", "time")


def _converted(readings: pl.DataFrame, meters: pl.DataFrame) -> pl.DataFrame:
    """Series of readings that are stored in another unit than is registered now; those of no meter are left out."""
    known = meters.select("facility", "meter", "row", wanted="unit").join(RATIOS, on="wanted")
    found = readings.join(known, on=["facility", "meter", "unit"], maintain_order="left")
    return found.select("row", "time", value=pl.col("value") * pl.col("ratio"))


def _valid(found: pl.DataFrame, meters: pl.DataFrame) -> pl.DataFrame:
    """Leave out steps from before the meter was valid."""
    steps = found if found.schema == STEPS else found.select(STEPS.names()).cast(STEPS)
    if (steps["start"] >= meters["valid_from"].max()).all():
        return steps
    return steps.filter(steps["start"] >= meters["valid_from"][steps["row"]])


def _interval(series: pl.DataFrame, meters: pl.DataFrame, _: pl.DataFrame, reaches: pl.Expr) -> pl.DataFrame:
    """
    Take intervals as told; what one shares with the interval before it was told twice and is not attributed twice.

    Intervals of one meter are equally long, so the one before reaches furthest.
    """
    facts = meters.select("period", "stamp", "scale", "rated")[series["row"]]
    told = pl.when(pl.col("stamp") == "end").then(pl.col("time") - pl.col("period")).otherwise("time")
    reached = pl.when(pl.col("row") == pl.col("row").shift()).then(pl.col("end").shift())
    overlap = ((pl.col("end").shift() - pl.col("told")) / pl.col("period")).clip(0, 1)
    twice = pl.when(pl.col("row") == pl.col("row").shift()).then(overlap).fill_null(0.0)
    return _bounded(
        series.hstack(facts)
        .with_columns(told=told)
        .with_columns(end=pl.col("told") + pl.col("period"))
        .with_columns(
            start=pl.max_horizontal("told", reached),
            whole=pl.col("value") * pl.col("scale"),
            twice=pl.when(twice > JITTER).then(twice).otherwise(0.0),
            shown=pl.col("scale"),
            before=pl.lit(None, pl.Float64()),
        )
        .rename({"value": "after"}),
        reaches,
    )


def _power(series: pl.DataFrame, meters: pl.DataFrame, _: pl.DataFrame, reaches: pl.Expr) -> pl.DataFrame:
    """Trapezoid between two values of power that are no further apart than the longest bridge."""
    pairs = series.select(
        "row",
        same=pl.col("row") == pl.col("row").shift(),
        start=pl.col("time").shift(),
        end="time",
        before=pl.col("value").shift(),
        after="value",
        twice=pl.lit(0.0),
    ).filter("same")
    mean, hours = (pl.col("before") + pl.col("after")) / 2, _elapsed() / pl.duration(hours=1)
    return _bounded(
        pairs.hstack(meters.select("period", "scale", "rated")[pairs["row"]])
        .filter(_elapsed() <= LONGEST * pl.col("period"))
        .with_columns(whole=mean * hours * pl.col("scale"), shown=hours * pl.col("scale")),
        reaches,
    )


def _bounded(told: pl.DataFrame, reaches: pl.Expr) -> pl.DataFrame:
    """Name what was told as energy: an advance, an overlap with what was told before, or a jump above rated power."""
    bound = pl.col("rated") * (_elapsed() / pl.duration(hours=1)) + pl.col("shown")
    whole, twice = pl.col("whole"), pl.col("twice")
    jump = (whole.abs() * (1 - twice) > bound).fill_null(value=False)
    kind = pl.when(jump).then(pl.lit("jump")).when(twice > 0).then(pl.lit("overlap")).otherwise(pl.lit("advance"))
    named = told.filter(reaches).with_columns(kind=kind.cast(KINDS), bound=bound, covered=True)
    plain = pl.col("kind") == "advance"
    return named.with_columns(
        quantity=pl.when(~jump).then(whole * (1 - twice)),
        unattributed=pl.when(~plain).then(pl.when(jump).then(whole).otherwise(whole * twice)),
        **{name: pl.when(~plain).then(name) for name in ("before", "after", "bound")},
    )


def _elapsed() -> pl.Expr:
    return pl.col("end") - pl.col("start")
