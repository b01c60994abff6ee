"""
Which days must be computed, and which readings that needs.

A reading moves the step before it and the step after it, so it makes every day between its neighbours dirty. What is
dirty is cut into windows: whole days of one zone inside one month, with the facilities they concern.
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
from pipelines.periods import midnight

# a register silent for longer is not bridged: its advance cannot be attributed to any month with honesty
REACH = timedelta(days=64)

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
        The window (whole local days) and its facilities, in the order of time for each zone.
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
                yield Period(midnight(first, zone), midnight(following, zone)), sorted(concerned[day])
                first = None


def around(store: Store, meters: pl.DataFrame, window: Period, at: datetime) -> pl.DataFrame:
    """
    Read the readings of a window, and each meter's nearest reading before and after it.

    A register's step over the edge of the window needs its other end; it is looked for in growing spans, up to REACH.

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
    for (name,), rows in fresh.group_by("facility"):
        zone = registry.facilities[str(name)].zone
        for first, last in _stretches(rows["time"].dt.convert_time_zone(zone.key).dt.date().unique().sort().to_list()):
            span = Period(midnight(first, zone), midnight(last + _DAY, zone))
            days[str(name)] |= days_of(_with_neighbours(store, rows, span, at), zone)
    return days


def _with_neighbours(store: Store, rows: pl.DataFrame, span: Period, at: datetime) -> Period:
    meters = rows.filter(pl.col("time").is_between(span.start, span.end, closed="left")).select(_METER).unique()
    before = _last_before(store, meters, span.start)["time"].to_list()
    after = _first_from(store, meters, span.end, at)["time"].to_list()
    return Period(min([span.start, *before]), max([span.end, *after]))


def _stretches(dates: list[date]) -> Iterator[tuple[date, date]]:
    first = dates[0] if dates else None
    for day, following in zip(dates, [*dates[1:], None], strict=True):
        if first and following != day + _DAY:
            yield first, day
            first = following


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
        rows = (
            rows.join(missing, on=_METER, how="semi").sort(READINGS.key).unique(_METER, keep=keep, maintain_order=True)
        )
        found.append(rows)
        missing = missing.join(rows, on=_METER, how="anti")
    return pl.concat(found)
