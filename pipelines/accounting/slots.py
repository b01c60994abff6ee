"""
Steps are spread over the 15-minute grid of UTC.

    STEPS -> slots: row of the meter, start, quantity, how much of the slot is covered, how much of it is estimated

A step that reaches over slots is spread in proportion to time and, where it is longer than allowed, marked estimated.
A slot without attributed time has no row: a gap is a gap, not a zero.
"""

from datetime import timedelta
from functools import reduce
from operator import or_

import polars as pl

from ingest.model import Period
from ingest.schema import EPOCH, TIME
from pipelines import runs

# every offset of every IANA zone today is a whole number of these, so that hours, days and months of all zones fit
SLOT = timedelta(minutes=15)

_SLOT_US = SLOT // timedelta(microseconds=1)
_BEGUN, _ENDED = pl.col("start").to_physical(), pl.col("end").to_physical()
# half as wide, and never too narrow: times lie in the years 1 to 9999
_SHORT = pl.col("slot").cast(pl.Int32, wrap_numerical=True)
_FROM = pl.col("slot").cast(pl.Int64) * _SLOT_US
_FILLS = pl.col("whole") == _SLOT_US

# number of the slot since 1970 in which a moment `start` lies
NUMBER = (_BEGUN // _SLOT_US).cast(pl.Int32, wrap_numerical=True).alias("slot")


def spread(steps: pl.DataFrame, period: Period) -> pl.DataFrame:
    """
    Spread steps over the 15-minute grid of UTC in proportion to time, and add up what falls into one slot.

    Args:
        steps: STEPS. Unattributed ones contribute nothing.
        period: only slots that lie inside it.

    Returns:
        One row a meter and slot with attributed time, by meter and time: row, slot (its number since 1970), start, end
        (UTC), quantity [canonical unit], coverage (share of the slot that is covered) [0..1], estimated (share of the
        quantity that rests on steps that are not covered) [0..1].
    """
    first, last = -((EPOCH - period.start) // SLOT), (period.end - EPOCH) // SLOT
    told = (steps if first < last else steps.clear())[["row", "start", "end", "quantity", "covered"]]
    told = told.with_columns_seq(slot=_BEGUN // _SLOT_US, whole=_ENDED - _BEGUN)
    # of meters read on the quarter hour each step is one slot
    inside = pl.col("slot").min() >= first, pl.col("slot").max() < last
    alike = _FILLS.all(), (_FROM == _BEGUN).all(), pl.col("covered").all(), pl.col("quantity").is_not_null().all()
    if told.select_seq(pl.all_horizontal(*inside, *alike)).item():
        return told.select_seq("row", _SHORT, "start", "end", "quantity", coverage=pl.lit(1.0), estimated=pl.lit(0.0))
    wanted = pl.col("quantity").is_not_null(), pl.col("whole") > 0, pl.col("slot") < last, first * _SLOT_US < _ENDED
    # how far a step reaches from the begin of its slot [us]
    kept = runs.where(told, *wanted).with_columns_seq(_SHORT, reach=_ENDED - _FROM)
    odd = kept["row"].filter(reduce(or_, kept.select_seq(**_odd(last)))).unique().implode()
    apart = pl.col("row").is_in(odd)
    parts = [_one_by_one(kept.filter(~apart), first, last)]
    if len(odd.item()):
        parts.append(_added_up(kept.filter(apart), first, last))
    start, end = _FROM.cast(TIME).alias("start"), (_FROM + _SLOT_US).cast(TIME).alias("end")
    return runs.by_row(parts).select_seq("row", "slot", start, end, "quantity", "coverage", "estimated")


def _odd(last: int) -> dict[str, pl.Expr]:
    """What can make a slot hold more than a part of one step and the end of the step before, or what is not covered."""
    row, slot = pl.col("row"), pl.col("slot")
    again = (row == row.shift()) & (slot == slot.shift())
    alone = _goes_on(last) & ((row != row.shift(-1)) | (slot.shift(-1) != slot + 1)).fill_null(value=True)
    far = pl.col("reach") > 2 * _SLOT_US
    return {"again": again.fill_null(value=False), "alone": alone, "far": far, "silent": ~pl.col("covered")}


def _goes_on(last: int) -> pl.Expr:
    return (pl.col("reach") > _SLOT_US) & (pl.col("slot") < last - 1)


def _one_by_one(steps: pl.DataFrame, first: int, last: int) -> pl.DataFrame:
    """
    Slots of steps that are not odd, as of nearly every meter: row, slot, quantity, coverage, estimated.

    Each step makes a slot, to which the row before leaves what reaches into it.
    """
    if steps.select_seq((_FILLS & (pl.col("reach") == _SLOT_US)).all()).item():
        return steps.select_seq("row", "slot", "quantity", coverage=pl.lit(1.0), estimated=pl.lit(0.0))
    rows = steps.select_seq(
        *("row", "slot", "quantity"),
        whole=pl.col("whole").cast(pl.Float64),
        time=pl.col("whole") - pl.when(pl.col("reach") > _SLOT_US).then(pl.col("reach") - _SLOT_US).otherwise(0),
        left=pl.when(_goes_on(last)).then(pl.col("reach") - _SLOT_US).otherwise(0),
    )
    here, left = (pl.col("quantity") * (pl.col(part) / pl.col("whole")) for part in ("time", "left"))
    return rows.select_seq(
        *("row", "slot"),
        quantity=here + left.shift(fill_value=0.0),
        coverage=(pl.col("time") + pl.col("left").shift(fill_value=0)) / _SLOT_US,
        estimated=pl.lit(0.0),
    ).filter(pl.col("slot") >= first)


def _added_up(steps: pl.DataFrame, first: int, last: int) -> pl.DataFrame:
    """Slots of any steps: each is cut into one piece for each slot it reaches over, and the pieces are added up."""
    begin, end = pl.max_horizontal("slot", first), pl.min_horizontal((_ENDED - 1) // _SLOT_US, last - 1)
    count = end - begin + 1
    counted = steps.with_columns(slot=begin, before=count.cum_sum() - count)
    # rows are repeated by position: an explode of lists of slots takes five times as long
    position = steps.select(pl.int_range(pl.len(), dtype=pl.UInt32).repeat_by(count).explode()).to_series()
    piece = pl.int_range(pl.len(), dtype=pl.Int64) - pl.col("before")
    cut = counted[position].with_columns((pl.col("slot") + piece).cast(pl.Int32))
    cut = cut.with_columns(time=pl.min_horizontal(_ENDED, _FROM + _SLOT_US) - pl.max_horizontal(_BEGUN, _FROM))
    covered = pl.col("covered")
    pieces = cut.with_columns(quantity=pl.col("quantity") * (pl.col("time") / pl.col("whole"))).select(
        *("row", "slot", "quantity"),
        time=pl.when(covered).then("time").otherwise(0),
        guessed=pl.when(covered).then(0.0).otherwise("quantity"),
    )
    return runs.totals(pieces, ["row", "slot"], sums=["quantity", "time", "guessed"], first=[]).select(
        *("row", "slot", "quantity"),
        coverage=within(pl.col("time") / _SLOT_US),
        estimated=share(pl.col("guessed"), pl.col("quantity")),
    )


def share(part: pl.Expr, whole: pl.Expr) -> pl.Expr:
    """Share of a whole [0..1]; 0 of nothing. More than the whole (intervals that overlap) counts as the whole."""
    return pl.when(whole != 0).then(within(part / whole)).otherwise(0.0)


def within(share: pl.Expr) -> pl.Expr:
    """Limit to [0..1], in half the time of `clip`."""
    return pl.when(share > 1).then(1.0).when(share < 0).then(0.0).otherwise(share)
