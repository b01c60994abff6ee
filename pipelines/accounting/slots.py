"""
Steps are spread over the 15-minute grid of UTC.

    STEPS -> slots: row of the meter, start, quantity, covered time, what of it is estimated

A step that reaches over slots is spread in proportion to time and, where it is longer than allowed, marked estimated.
A slot without attributed time has no row: a gap is a gap, not a zero.
"""

from datetime import UTC, datetime, timedelta

import polars as pl

from ingest.model import Period
from ingest.schema import TIME
from pipelines.accounting import runs

# every offset of every IANA zone today is a whole number of these, so that hours, days and months of all zones fit
SLOT = timedelta(minutes=15)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SPAN = pl.col("end") - pl.col("start")
_PARTS = ("quantity", "covered_seconds", "estimated_quantity")


def spread(steps: pl.DataFrame, period: Period) -> pl.DataFrame:
    """
    Spread steps over the 15-minute grid of UTC in proportion to time, and add up what falls into one slot.

    Args:
        steps: STEPS. Unattributed ones contribute nothing.
        period: only slots that lie inside it.

    Returns:
        One row a meter and slot with attributed time, by meter and time: row, start, end (UTC), quantity [canonical
        unit], covered_seconds [s], estimated_quantity (the part from steps that are not covered) [canonical unit].
    """
    first = EPOCH - (EPOCH - period.start) // SLOT * SLOT
    last = EPOCH + (period.end - EPOCH) // SLOT * SLOT
    inside = (pl.col("end") > first) & (pl.col("start") < last) & (pl.col("start") < pl.col("end"))
    kept = steps.select("row", "start", "end", "quantity", "covered").filter(
        pl.lit(first < last), pl.col("quantity").is_not_null(), inside
    )
    kept = kept.with_columns(slot=pl.col("start").dt.truncate(SLOT))
    if kept.select(((pl.col("start") == pl.col("slot")) & (_SPAN == SLOT)).all()).item():
        return _whole(kept)
    # a step that reaches over three slots, or that starts in the slot of the one before
    again = (pl.col("row") == pl.col("row").shift()) & (pl.col("slot") == pl.col("slot").shift())
    odd = kept.select((pl.col("end") > pl.col("slot") + 2 * SLOT) | again.fill_null(value=False)).to_series()
    if not odd.any():
        return _beside(kept, first, last)
    apart = kept["row"].is_in(kept["row"].filter(odd).unique().implode())
    return runs.by_row([_beside(kept.filter(~apart), first, last), _pieced(kept.filter(apart), first, last)])


def _whole(steps: pl.DataFrame) -> pl.DataFrame:
    """Slots of steps that each fill one, as those of meters that are read on the quarter hour."""
    covered = pl.col("covered")
    return steps.select(
        *("row", "start", "end", "quantity"),
        covered_seconds=pl.when(covered).then(SLOT.total_seconds()).otherwise(0.0),
        estimated_quantity=pl.when(covered).then(0.0).otherwise("quantity"),
    )


def _beside(steps: pl.DataFrame, first: datetime, last: datetime) -> pl.DataFrame:
    """
    Slots of steps that reach over two of them at most, and of which no two of a meter start in the same one.

    So a slot holds the first part of one step and the second part of the step before; nearly every meter is read so.
    """
    middle = pl.col("slot") + SLOT
    until = pl.min_horizontal("end", middle)
    heads = _pieces(steps, pl.col("slot"), until - pl.col("start"))
    reaches = steps.select(pl.col("end") > middle).to_series()
    if not reaches.any():
        return heads
    tails = _pieces(steps, middle, pl.col("end") - until)
    beside = (pl.col("row") == pl.col("row").shift(-1)) & (pl.col("slot").shift(-1) == middle)
    meets = reaches & steps.select(beside.fill_null(value=False)).to_series()
    added = tails.select(pl.when(meets).then(pl.col(_PARTS)).otherwise(0.0).shift(1, fill_value=0.0))
    whole = heads.with_columns(heads[name] + added[name] for name in _PARTS).filter(pl.col("start") >= first)
    return runs.in_order(pl.concat([whole, tails.filter(reaches & ~meets, pl.col("start") < last)]), "row", "start")


def _pieced(steps: pl.DataFrame, first: datetime, last: datetime) -> pl.DataFrame:
    """Slots of any steps: each is cut into one piece for each slot it reaches over between `first` and `last`."""
    begin, end = pl.max_horizontal("slot", pl.lit(first, TIME)), pl.min_horizontal("end", pl.lit(last, TIME))
    count = (_seconds(end - begin) / SLOT.total_seconds()).ceil().cast(pl.UInt32)
    counted = steps.with_columns(slot=begin, before=count.cum_sum() - count)
    # rows are repeated by position: an explode of lists of slots takes five times as long
    position = steps.select(pl.int_range(pl.len(), dtype=pl.UInt32).repeat_by(count).explode()).to_series()
    piece = pl.int_range(pl.len(), dtype=pl.Int64) - pl.col("before")
    cut = counted[position].with_columns(slot=pl.col("slot") + piece * SLOT)
    inside = pl.min_horizontal("end", pl.col("slot") + SLOT) - pl.max_horizontal("start", "slot")
    return runs.totals(_pieces(cut, pl.col("slot"), inside), ["row", "start", "end"], sums=_PARTS)


def _pieces(steps: pl.DataFrame, slot: pl.Expr, inside: pl.Expr) -> pl.DataFrame:
    """For each step the part of it that lies inside a slot, in proportion to time."""
    seconds, quantity = pl.col("covered_seconds"), pl.col("quantity")
    parts = steps.select(
        "row", "covered", "quantity", start=slot, covered_seconds=_seconds(inside), whole=_seconds(_SPAN)
    )
    return parts.with_columns(quantity=quantity * (seconds / pl.col("whole"))).select(
        "row",
        "start",
        end=pl.col("start") + SLOT,
        quantity=quantity,
        covered_seconds=pl.when("covered").then(seconds).otherwise(0.0),
        estimated_quantity=pl.when("covered").then(0.0).otherwise(quantity),
    )


def _seconds(span: pl.Expr) -> pl.Expr:
    return span / timedelta(seconds=1)
