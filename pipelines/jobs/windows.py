"""
Which days must be computed, and which readings that needs.

A reading moves the steps around it, so it makes every day between its nearest readings, two on either side, dirty.
What is dirty is cut into windows: whole days of one zone inside one month, with the facilities they concern.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

import polars as pl

from ingest.model import Period
from ingest.registry import Registry
from ingest.schema import READINGS
from ingest.store.base import Store
from pipelines import periods
from pipelines.periods import between

# meters times days that are worked on at once: about a million slots, which is what bounds the memory
_MOST = 10_000

# a register silent for longer is not bridged: its advance cannot be attributed to any month with honesty
REACH = timedelta(days=64)

# readings wanted on either side of a window: whether a value is a glitch shows in the one after it
_BESIDE = 2

_DAY = timedelta(days=1)
_METER = ["facility", "meter"]


def days_of(period: Period, zone: ZoneInfo) -> set[date]:
    """Return the local dates that a period touches."""
    first = period.start.astimezone(zone).date()
    last = (period.end - timedelta(microseconds=1)).astimezone(zone).date()
    return {first + n * _DAY for n in range((last - first).days + 1)}


def cut(days: Mapping[str, set[date]], registry: Registry) -> Iterator[tuple[Period, list[str]]]:
    """
    Cut days into windows: consecutive days of one zone and one month that concern the same facilities.

    Yields:
        The window (whole local days) and as many of its facilities as fit into memory, in the order of time.
    """
    by_zone: dict[str, dict[date, set[str]]] = defaultdict(lambda: defaultdict(set))
    for name, dates in days.items():
        for day in dates:
            by_zone[registry.facilities[name].timezone][day].add(name)
    for key, concerned in by_zone.items():
        zone, first = ZoneInfo(key), None
        for day in sorted(concerned):
            first = first or day
            following = day + _DAY
            if following.month != day.month or concerned.get(following) != concerned[day]:
                window = between(first, day, zone)
                yield from ((window, share) for share in _shares(sorted(concerned[day]), registry))
                first = None


def _shares(names: list[str], registry: Registry) -> Iterator[list[str]]:
    """Part facilities into shares of at most as many meters as fit; a facility is never parted."""
    share: list[str] = []
    meters = 0
    for name in names:
        count = len(registry.facilities[name].meter)
        if share and meters + count > _MOST:
            yield share
            share, meters = [], 0
        share.append(name)
        meters += count
    yield share


def portions(window: Period, zone: ZoneInfo, *, meters: int) -> Iterator[Period]:
    """Part a window into runs of whole days that fit into memory."""
    days = periods.days(window, zone)
    size = max(1, _MOST // meters)
    for first in range(0, len(days), size):
        part = days[first : first + size]
        yield Period(part[0].start, part[-1].end)


def around(store: Store, meters: pl.DataFrame, window: Period, at: datetime) -> pl.DataFrame:
    """
    Read the readings of a window, and each meter's nearest readings before and after it.

    A register's step over the edge of the window needs its other end, and what stands beyond it; they are looked for in
    growing spans, up to REACH.

    Returns:
        READINGS rows.
    """
    names = meters["facility"].unique().to_list()
    return pl.concat(
        [
            _last_before(store, meters, window.start),
            store.read(READINGS.name, window, facility=names),
            _first_from(store, meters, window.end, at),
        ]
    )


def dirty(store: Store, registry: Registry, received: Period, at: datetime) -> dict[str, set[date]]:
    """
    Return, for each facility, the local dates that readings received in a period make dirty.

    Args:
        store: holds the readings.
        registry: readings of other facilities are passed over.
        received: when the readings were received.
        at: now; nothing is looked for later.
    """
    fresh = store.read(READINGS.name, received, on="received", facility=list(registry.facilities))
    days: dict[str, set[date]] = defaultdict(set)
    for zone, names in registry.by_zone().items():
        own = fresh.filter(pl.col("facility").is_in(names))
        for span, facilities in _stretches(own, zone).items():
            inside = pl.col("time").is_between(span.start, span.end, closed="left")
            meters = own.filter(inside, pl.col("facility").is_in(facilities)).select(_METER).unique()
            for name, touched in _with_neighbours(store, meters, span, at):
                days[name] |= days_of(touched, zone)
    return days


def _stretches(rows: pl.DataFrame, zone: ZoneInfo) -> dict[Period, list[str]]:
    """Return runs of consecutive local dates with readings, and the facilities that have this very run."""
    local = rows.select("facility", day=pl.col("time").dt.convert_time_zone(zone.key).dt.date()).unique()
    gap = (pl.col("day").diff() != _DAY).fill_null(value=True)
    runs = (
        local.sort("facility", "day")
        .with_columns(run=gap.cum_sum().over("facility"))
        .group_by("facility", "run")
        .agg(first=pl.min("day"), last=pl.max("day"))
        .group_by("first", "last")
        .agg("facility")
    )
    return {between(first, last, zone): names for first, last, names in runs.iter_rows()}


def _with_neighbours(store: Store, meters: pl.DataFrame, span: Period, at: datetime) -> Iterator[tuple[str, Period]]:
    """Give each facility the span, widened to the nearest readings of its meters outside."""
    edges = pl.concat([_last_before(store, meters, span.start), _first_from(store, meters, span.end, at)])
    reach = edges.group_by("facility").agg(first=pl.min("time"), last=pl.max("time"))
    for name, first, last in meters.select("facility").unique().join(reach, on="facility", how="left").iter_rows():
        yield name, Period(min(first or span.start, span.start), max(last or span.end, span.end))


def _last_before(store: Store, meters: pl.DataFrame, edge: datetime) -> pl.DataFrame:
    spans = (Period(edge - far, edge - near) for near, far in _growing(REACH))
    return _nearest(store, meters, spans, keep="last")


def _first_from(store: Store, meters: pl.DataFrame, edge: datetime, at: datetime) -> pl.DataFrame:
    spans = (Period(edge + near, edge + far) for near, far in _growing(min(REACH, at + _DAY - edge)))
    return _nearest(store, meters, spans, keep="first")


def _growing(reach: timedelta) -> Iterator[tuple[timedelta, timedelta]]:
    near, far = timedelta(0), _DAY
    while near < reach:
        yield near, far
        near, far = far, far * 2


def _nearest(
    store: Store, meters: pl.DataFrame, spans: Iterator[Period], *, keep: Literal["first", "last"]
) -> pl.DataFrame:
    found, missing = [pl.DataFrame(schema=READINGS.schema)], meters.select(_METER)
    for span in spans:
        if missing.is_empty():
            break
        facilities, names = (missing[name].unique().to_list() for name in _METER)
        rows = store.read(READINGS.name, span, facility=facilities, meter=names)
        near = rows.join(missing, on=_METER, how="semi").sort(READINGS.key).group_by(_METER, maintain_order=True)
        found.append((near.head(_BESIDE) if keep == "first" else near.tail(_BESIDE)).select(READINGS.schema.names()))
        enough = pl.concat(found).group_by(_METER).len().filter(pl.col("len") >= _BESIDE)
        missing = missing.join(enough, on=_METER, how="anti")
    return pl.concat(found)
