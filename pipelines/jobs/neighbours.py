"""
The readings next to a moment, as far away as what happens there can depend on them, or move them.

Whether a register's value is a glitch shows in the values around it, and may hang on a chain of them. A chain ends at a
calm value: one between a smaller one before it and a greater one after it, or one held for long. No glitch rule reaches
over a calm value, so the same readings give the same steps however the time is cut and in whatever order they came.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Literal

import polars as pl

from ingest.model import Period
from ingest.schema import READINGS, VOID, moment
from ingest.store.base import Store
from pipelines import runs
from pipelines.accounting.forensics import HELD, REACH

Side = Literal["before", "after"]

_DAY = timedelta(days=1)
# most meters are read often enough that what ends a chain lies within this
_FIRST_LOOK = timedelta(hours=2)
_METER = ["facility", "meter"]


def taken(readings: pl.DataFrame) -> pl.DataFrame:
    """Leave out what was marked as known to be wrong: a void reading counts as not taken."""
    return readings.filter(pl.col("flags") & VOID == 0)


def beyond(
    store: Store, meters: pl.DataFrame, since: datetime, side: Side, at: datetime, known: pl.DataFrame
) -> pl.DataFrame:
    """
    Read each meter's readings before (after) its edge, up to the one that ends every chain.

    They are looked for in growing spans, until a silence longer than REACH, which nothing bridges.

    Args:
        store: holds the readings.
        meters: facility, meter, kind, period, stamp, and edge: the moment to look from.
        since: the moment from which the store is read.
        side: before or after the edge.
        at: now; nothing is looked for after tomorrow.
        known: READINGS rows between `since` and the edges.

    Returns:
        READINGS rows; void ones are left out.
    """
    before, missing = side == "before", meters
    found = _past(taken(known), meters, before=before).sort(READINGS.key)
    # where hardly anything can lie any more, one look is enough
    last = not before and since + _FIRST_LOOK >= at
    for near, far in _growing(at + _DAY - since if last else _FIRST_LOOK):
        calm = _calm(found, meters, before=before)
        missing = _open(found, missing.join(calm, on=_METER, how="anti"), near, since, before=before)
        if missing.is_empty() or (not before and since + near >= at + _DAY):
            break
        span = Period(since - far, since - near) if before else Period(since + near, since + far)
        facilities, names = (missing[name].unique().to_list() for name in _METER)
        rows = taken(store.read(READINGS.name, span, facility=facilities, meter=names))
        found = pl.concat([found, rows.join(missing, on=_METER, how="semi")]).sort(READINGS.key)
    outside = pl.col("time") < pl.col("calm") if before else pl.col("time") > pl.col("calm")
    return (
        found.join(calm, on=_METER, how="left", maintain_order="left")
        .filter(~outside.fill_null(value=False))
        .select(READINGS.schema.names())
    )


def bridged(steps: pl.DataFrame) -> pl.DataFrame:
    """Leave out STEPS longer than REACH: the advance of so long a silence belongs to no month with honesty."""
    return steps.filter(pl.col("end") - pl.col("start") <= REACH)


def _past(rows: pl.DataFrame, meters: pl.DataFrame, *, before: bool) -> pl.DataFrame:
    beside = pl.col("time") < pl.col("edge") if before else pl.col("time") > pl.col("edge")
    return rows.join(meters.select(*_METER, "edge"), on=_METER).filter(beside).drop("edge")


def _growing(first: timedelta) -> Iterator[tuple[timedelta, timedelta]]:
    near, far = timedelta(0), first
    while True:
        yield near, far
        # a look costs more than what it reads
        near, far = far, far * 4


def _open(found: pl.DataFrame, meters: pl.DataFrame, near: timedelta, since: datetime, *, before: bool) -> pl.DataFrame:
    """Keep the meters for which no silence was found either."""
    if meters.is_empty():
        return meters
    furthest = found.group_by(_METER).agg(far=pl.min("time") if before else pl.max("time"))
    looked = moment(since - near if before else since + near)
    far = pl.coalesce("far", "edge")
    silent = (far - looked if before else looked - far) > REACH
    return meters.join(furthest, on=_METER, how="left").filter(~silent).drop("far")


def _calm(ordered: pl.DataFrame, meters: pl.DataFrame, *, before: bool) -> pl.DataFrame:
    """
    Find for each meter the calm value nearest to its edge: facility, meter, calm (time of the value beyond it).

    A value of a power or an interval meter depends on its neighbour alone; an interval reaches over its period.
    """
    if ordered.is_empty():
        return ordered.select(*_METER, calm="time")
    held = runs.aggregate(ordered, [*_METER, "value"], columns={"first": pl.min("time"), "last": pl.max("time")})
    value, previous, following = pl.col("value"), *(pl.col("value").shift(by).over(_METER) for by in (1, -1))
    reach = pl.when(pl.col("kind") == "interval", stamp="start").then("period").otherwise(pl.duration())
    alone = (pl.col("kind") != "register") & (pl.lit(not before) | (pl.col("first") <= pl.col("edge") - reach))
    calm = ((previous < value) & (value < following)) | (pl.col("last") - pl.col("first") > HELD) | alone
    past = (
        pl.coalesce(pl.col("last").shift(1).over(_METER), "first")
        if before
        else pl.coalesce(pl.col("first").shift(-1).over(_METER), "last")
    )
    ends = held.join(meters.select(*_METER, "kind", "period", "stamp", "edge"), on=_METER, maintain_order="left")
    nearest = pl.col("past").last() if before else pl.col("past").first()
    return (
        ends.with_columns(past=past, ends=calm)
        .filter(pl.col("ends").fill_null(value=False))
        .group_by(_METER)
        .agg(calm=nearest)
    )
