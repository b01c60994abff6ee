"""
Own: the rows of one facility into the database it has of its own, which its operator reads.

    runs of compute since the last good turn -> the days they made new -> copied, each day proved
    what is small, or changes in place       -> copied whole

One job a facility: with its own watermark, and its own failure where its database is away. It follows compute: what was
not computed yet is not copied yet. A database that is empty gets everything.
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from functools import partial

import polars as pl
import structlog

from ingest.model import Period
from ingest.registry.facility import Facility
from ingest.schema import (
    ACTIVITY,
    BALANCE,
    BREACH_EVENTS,
    BREACHES,
    CONNECTIONS,
    CORRECTIONS,
    ENERGY,
    ENTRIES,
    FACILITIES,
    FREEZES,
    GATEWAYS,
    INDICATORS,
    NOTICES,
    QUARANTINE,
    READINGS,
    RUNS,
    UNATTRIBUTED,
    VERDICTS,
)
from ingest.store.base import Store
from ingest.store.copying import Copied, copy
from pipelines.jobs import compute
from pipelines.jobs.context import BY_HAND, Context, Done, Job
from pipelines.jobs.windows import days_of, dirty, passed
from pipelines.periods import between

log = structlog.get_logger()

# rows of a day; those of a month lie on its first day
DAILY = (READINGS, ENERGY, UNATTRIBUTED, BALANCE)
# few rows, that begin up to a year before the day they end on
YEARLY = (ACTIVITY, INDICATORS, VERDICTS)
# rows of a moment that do not change later
RECENT = (QUARANTINE, CONNECTIONS)
# few rows, that change in place
WHOLE = (BREACH_EVENTS, BREACHES, NOTICES, GATEWAYS, ENTRIES, FREEZES, CORRECTIONS)
# written last: a database without it was never filled to the end
LAST = FACILITIES

# a record of what was computed by hand stands in the store this long after its moment at the latest
_RECORDED = timedelta(minutes=1)

_DAY = timedelta(days=1)
_YEAR = timedelta(days=367)
_EVER = datetime(1970, 1, 1, tzinfo=UTC)


def job(facility: str, opened: Callable[[], Store]) -> Job:
    """
    Make the job of one facility.

    Args:
        facility: its id.
        opened: opens its database; called at every turn, so a new secret needs no new start.
    """
    return Job(f"copy-{facility}", partial(due, facility=facility, opened=opened), cron="6-59/15 * * * *")


def due(context: Context, news: Period, at: datetime, *, facility: str, opened: Callable[[], Store]) -> Done:
    """
    Copy what is new of a facility into its own database.

    A day that does not agree afterwards is logged and does not come again by itself: a row the database refuses would
    come for ever.

    Returns:
        Rows that were new there, or changed.

    Raises:
        ConfigurationError: it has no secret.
        StoreUnavailable: one of the databases cannot be reached.
        StoreError: a read or a write was refused.
    """
    known = context.registry.facilities[facility]
    with closing(opened()) as target:
        empty = target.read(LAST.name, facility=[facility]).is_empty()
        days = _every(known, at) if empty else _fresh(context, known, news, at)
        rows = 0
        for table, span in _work(days, known, _EVER if empty else news.start - _DAY, at):
            copied = copy(context.store, target, table, span, facility=facility)
            rows += copied.written
            if not copied.verified:
                _tell(copied, facility)
    return Done(rows)


def _work(days: set[date], known: Facility, since: datetime, at: datetime) -> Iterator[tuple[str, Period]]:
    """Give table and span of everything to compare."""
    for day in sorted(days | {day.replace(day=1) for day in days}):
        span = between(day, day, known.zone)
        yield from ((table.name, span) for table in DAILY)
    first = min((between(day, day, known.zone).start for day in days), default=since)
    end = at.astimezone(UTC) + _YEAR
    yield from ((table.name, Period(min(first, since) - _YEAR, end)) for table in YEARLY)
    yield from ((table.name, Period(since, end)) for table in RECENT)
    yield from ((table.name, Period(_EVER, end)) for table in (*WHOLE, LAST))


def _every(known: Facility, at: datetime) -> set[date]:
    """Return the local dates on which a facility can have rows: no reading is older than its first meter."""
    last = at.astimezone(known.zone).date()
    first = min((meter.valid_from for meter in known.meter), default=last)
    return {first + n * _DAY for n in range((last - first).days + 1)}


def _fresh(context: Context, known: Facility, news: Period, at: datetime) -> set[date]:
    """Return the local dates that compute made new in its runs that ended in `news`, by itself and by hand."""
    store, own = context.store, context.registry.select([known.id])
    runs = store.read(RUNS.name, Period(news.start - _DAY, at), job=["compute", BY_HAND], outcome=["done"])
    ended = pl.col("at") + pl.duration(microseconds=pl.col("seconds") * 1e6)
    by_hand, days = pl.col("job") == BY_HAND, set[date]()
    seen = pl.when(by_hand).then(_RECORDED).otherwise(compute.OVERLAP)
    runs = runs.filter(ended >= news.start.astimezone(UTC) - seen)
    for first, last in runs.filter(by_hand).select("touched_from", "touched_until").iter_rows():
        days |= days_of(Period(first, last), known.zone)
    if not (runs := runs.filter(~by_hand)).is_empty():
        since, until = runs.select(pl.min("since"), pl.max("until")).row(0)
        days |= dirty(store, own, Period(since - compute.OVERLAP, until), at).get(known.id, set())
        days |= passed(Period(since, until), known.zone)
    return days


def _tell(copied: Copied, facility: str) -> None:
    log.warning(
        "copy does not agree",
        facility=facility,
        table=copied.table,
        day=str(copied.day),
        rows=copied.differing,
        refusal=copied.refusal,
    )
