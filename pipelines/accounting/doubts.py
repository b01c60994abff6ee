"""
Doubtful values: a register that stands still while its sub-meters advance, a value held or drawn with a ruler.

    plain STEPS of some days -> the steps in doubt, with their kind. Their energy stays attributed: a doubt is a lead.
"""

from datetime import timedelta

import polars as pl

# a register that stands still this long while its sub-meters advance is frozen (eight readings of 15 minutes)
STILL = timedelta(hours=2)

# power that is held, or that changes by the same amount, over this many steps on end
STEPS_ON_END = 8

# two rates are the same within this share
SAME = 1e-5

# a sub-meter of these roles counts what flows the other way
_AGAINST = ("generation", "export")

_DAY = ["facility", "meter", "day", "day_end"]


def frozen_registers(plain: pl.DataFrame, slots: pl.DataFrame, links: pl.DataFrame) -> pl.DataFrame:
    """
    Find registers that stood still for STILL or longer within a day while the meters below them advanced.

    Args:
        plain: plain STEPS of the registers in `links`, by meter and time, with facility, meter, day and day_end.
        slots: as `slots.spread` makes them, with facility and meter (`registers.named`).
        links: facility, meter, sub: the meters below a meter.

    Returns:
        facility, meter, day, day_end, kind (frozen), end, quantity (0), below (what the sub-meters counted meanwhile)
        [canonical unit]; one row a standstill.
    """
    still = plain.with_columns(still=pl.col("covered") & (pl.col("quantity") == 0))
    stood = (
        still.with_columns(run=pl.struct(*_DAY, "still").rle_id())
        .filter("still")
        .group_by(*_DAY, "run")
        .agg(since=pl.col("start").min(), until=pl.col("end").max())
        .filter(pl.col("until") - pl.col("since") >= STILL)
    )
    below = links.join(slots, left_on=["facility", "sub"], right_on=["facility", "meter"])
    return (
        stood.join(below.select("facility", "meter", "start", "end", "quantity"), on=["facility", "meter"])
        .filter(pl.col("start") >= pl.max_horizontal("since", "day"), pl.col("end") <= pl.col("until"))
        .group_by(*_DAY, end="until")
        .agg(below=pl.col("quantity").sum())
        .filter(pl.col("below") > 0)
        .select(*_DAY, kind=pl.lit("frozen"), end="end", quantity=pl.lit(0.0), below="below")
    )


def sub_meters(meters: pl.DataFrame) -> pl.DataFrame:
    """Return the links from a meter to the meters below it whose flow is its own: facility, meter, sub."""
    own = meters.filter(pl.col("parent") != "", ~pl.col("role").is_in(_AGAINST))
    return own.select("facility", meter="parent", sub="meter")


def drawn(plain: pl.DataFrame) -> pl.DataFrame:
    """
    Find power that was held (frozen) or runs along a ruler (interpolated) over STEPS_ON_END steps within a day.

    Zero is no doubt: much equipment is off. A register is judged by `frozen_registers`, for a whole unit a step is
    everyday life where the unit is coarse.

    Args:
        plain: plain STEPS of power and interval meters, by meter and time, with facility, meter, day and day_end.

    Returns:
        facility, meter, day, day_end, kind (frozen or interpolated), end, quantity [canonical unit], below (null); one
        row a step.
    """
    rate = pl.col("quantity") / ((pl.col("end") - pl.col("start")) / timedelta(hours=1))
    # a day is judged by itself: the same steps are found whether it is worked on alone or among others
    own = pl.struct("facility", "meter", "day")
    joined = (pl.col("start") == pl.col("end").shift()) & (own == own.shift())
    rates = plain.with_columns(rate=rate, joined=joined.fill_null(value=False))
    change, tolerance = pl.when("joined").then(pl.col("rate").diff()), SAME * pl.col("rate").abs()
    held = pl.col("joined") & (change.abs() <= tolerance) & (pl.col("rate") != 0)
    ruled = pl.col("joined") & (change.abs() > tolerance) & ((change - change.shift()).abs() <= SAME * change.abs())
    kind = pl.when(held).then(pl.lit("frozen")).when(ruled.fill_null(value=False)).then(pl.lit("interpolated"))
    found = rates.with_columns(kind=kind).with_columns(run=pl.struct(*_DAY, "kind").rle_id())
    return found.filter(pl.col("kind").is_not_null() & (pl.len().over("run") >= STEPS_ON_END)).select(
        *_DAY, "kind", "end", "quantity", below=pl.lit(None, pl.Float64())
    )
