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
from ingest.schema import EPOCH, moment
from pipelines.accounting import runs

# every offset of every IANA zone today is a whole number of these, so that hours, days and months of all zones fit
SLOT = timedelta(minutes=15)

_SLOT_US = SLOT // timedelta(microseconds=1)
_NEXT = pl.col("slot") + SLOT
_FILLS = pl.col("beyond") == 0, pl.col("whole") == _SLOT_US


def spread(steps: pl.DataFrame, period: Period) -> pl.DataFrame:
    """
    Spread steps over the 15-minute grid of UTC in proportion to time, and add up what falls into one slot.

    Args:
        steps: STEPS. Unattributed ones contribute nothing.
        period: only slots that lie inside it.

    Returns:
        One row a meter and slot with attributed time, by meter and time: row, start, end (UTC), quantity [canonical
        unit], coverage (share of the slot that is covered) [0..1], estimated (share of the quantity that rests on steps
        that are not covered) [0..1].
    """
    since, until = EPOCH - (EPOCH - period.start) // SLOT * SLOT, EPOCH + (period.end - EPOCH) // SLOT * SLOT
    first, last, start, end = moment(since), moment(until), pl.col("start"), pl.col("end")
    told = (steps if since < until else steps.clear())[["row", "start", "end", "quantity", "covered"]]
    kept = runs.where(told, pl.col("quantity").is_not_null(), end > first, start < last, start < end)
    # how far into its slot a step begins, how long it is, and how far it reaches from the begin of that slot [us]
    begun, ended = pl.col("start").to_physical(), pl.col("end").to_physical()
    kept = kept.with_columns_seq(beyond=begun % _SLOT_US, whole=ended - begun)
    if all(kept.select_seq(*(each.all() for each in _FILLS), pl.col("covered").all()).row(0)):
        return kept.select_seq("row", "start", "end", "quantity", coverage=pl.lit(1.0), estimated=pl.lit(0.0))
    slot, reach = pl.col("start") - pl.col("beyond").cast(pl.Duration("us")), pl.col("beyond") + pl.col("whole")
    kept = kept.with_columns_seq(slot=slot, reach=reach)
    odd = kept["row"].filter(reduce(or_, kept.select_seq(**_odd(last)))).unique().implode()
    apart = pl.col("row").is_in(odd)
    parts = [_one_by_one(kept.filter(~apart), first, last)]
    if len(odd.item()):
        parts.append(_added_up(kept.filter(apart), first, last))
    return runs.by_row(parts).select_seq(
        *("row", pl.col("slot").alias("start"), _NEXT.alias("end"), "quantity", "coverage", "estimated")
    )


def _odd(last: pl.Expr) -> dict[str, pl.Expr]:
    """What can make a slot hold more than a part of one step and the end of the step before, or what is not covered."""
    row, slot = pl.col("row"), pl.col("slot")
    again = (row == row.shift()) & (slot == slot.shift())
    alone = _goes_on(last) & ((row != row.shift(-1)) | (slot.shift(-1) != _NEXT)).fill_null(value=True)
    far = pl.col("reach") > 2 * _SLOT_US
    return {"again": again.fill_null(value=False), "alone": alone, "far": far, "silent": ~pl.col("covered")}


def _goes_on(last: pl.Expr) -> pl.Expr:
    return (pl.col("reach") > _SLOT_US) & (pl.col("slot") < last - SLOT)


def _one_by_one(steps: pl.DataFrame, first: pl.Expr, last: pl.Expr) -> pl.DataFrame:
    """
    Slots of steps that are not odd, as of nearly every meter: row, slot, quantity, coverage, estimated.

    Each step makes a slot, to which the row before leaves what reaches into it.
    """
    if all(steps.select_seq(*(each.all() for each in _FILLS)).row(0)):
        return steps.select_seq("row", "slot", "quantity", coverage=pl.lit(1.0), estimated=pl.lit(0.0))
    rows = steps.select_seq(
        *("row", "slot", "quantity"),
        whole=pl.col("whole").cast(pl.Float64),
        time=pl.when(pl.col("reach") > _SLOT_US).then(_SLOT_US - pl.col("beyond")).otherwise("whole"),
        left=pl.when(_goes_on(last)).then(pl.col("reach") - _SLOT_US).otherwise(0),
    )
    here, left = (pl.col("quantity") * (pl.col(part) / pl.col("whole")) for part in ("time", "left"))
    return rows.select_seq(
        *("row", "slot"),
        quantity=here + left.shift(fill_value=0.0),
        coverage=(pl.col("time") + pl.col("left").shift(fill_value=0)) / _SLOT_US,
        estimated=pl.lit(0.0),
    ).filter(pl.col("slot") >= first)


def _added_up(steps: pl.DataFrame, first: pl.Expr, last: pl.Expr) -> pl.DataFrame:
    """Slots of any steps: each is cut into one piece for each slot it reaches over, and the pieces are added up."""
    begin, end = pl.max_horizontal("slot", first), pl.min_horizontal("end", last)
    count = ((end - begin).to_physical() - 1) // _SLOT_US + 1
    counted = steps.with_columns(slot=begin, before=count.cum_sum() - count)
    # rows are repeated by position: an explode of lists of slots takes five times as long
    position = steps.select(pl.int_range(pl.len(), dtype=pl.UInt32).repeat_by(count).explode()).to_series()
    piece = pl.int_range(pl.len(), dtype=pl.Int64) - pl.col("before")
    time = (pl.min_horizontal("end", _NEXT) - pl.max_horizontal("start", "slot")).to_physical()
    cut = counted[position].with_columns(slot=pl.col("slot") + piece * SLOT).with_columns(time=time)
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
