"""
Which days must be computed: those that something new makes dirty, cut into windows.

A window is a run of whole days of one zone inside one month, with the facilities they concern.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta
from itertools import accumulate, groupby
from math import ceil
from operator import itemgetter
from zoneinfo import ZoneInfo

import polars as pl

from ingest.model import Period
from ingest.registry import Registry
from ingest.schema import ACTIVITY, INDICATORS, READINGS, moment
from ingest.screen import LONGEST_OUTPUT
from ingest.store.base import Store
from pipelines import periods
from pipelines.indicators import intensity
from pipelines.jobs import engine
from pipelines.jobs.neighbours import beyond
from pipelines.jobs.neighbours import taken as only_taken
from pipelines.periods import between

# meters times days of one share: about a million slots, which is what bounds the memory
_MOST = 10_000

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
    """
    Part facilities into even shares, so that those worked on at once are done at once; a facility is never parted.

    A share is a little larger than what fits where its last facility reaches over; few meters are not worth parting.
    """
    meters = [len(registry.facilities[name].meter) for name in names]
    many = sum(meters) > _MOST // 10
    count = engine.AT_ONCE * ceil(sum(meters) / (engine.AT_ONCE * _MOST)) if many else 1
    place = (before * count // sum(meters) for before in accumulate(meters, initial=0))
    for _, share in groupby(zip(names, place, strict=False), key=itemgetter(1)):
        yield [name for name, _ in share]


def portions(window: Period, zone: ZoneInfo, *, meters: int) -> Iterator[Period]:
    """Part a window into runs of whole days that fit into memory."""
    days = periods.days(window, zone)
    size = max(1, _MOST // meters)
    for first in range(0, len(days), size):
        part = days[first : first + size]
        yield Period(part[0].start, part[-1].end)


def around(store: Store, meters: pl.DataFrame, window: Period, at: datetime) -> pl.DataFrame:
    """
    Read the readings of a window, and those before and after it that its steps depend on.

    Returns:
        READINGS rows; void ones are left out.
    """
    names = meters["facility"].unique().to_list()
    inside = only_taken(store.read(READINGS.name, window, facility=names))
    nothing = inside.clear()
    return pl.concat(
        [
            beyond(store, meters.with_columns(edge=moment(window.start)), window.start, "before", at, nothing),
            inside,
            beyond(store, meters.with_columns(edge=moment(window.end)), window.end, "after", at, nothing),
        ]
    )


def passed(news: Period, zone: ZoneInfo) -> set[date]:
    """
    Return the local dates that began in a period, and those that ended in it.

    A day gets its rows when it begins: missing data is a verdict. It is looked at again when it is over: a year may end
    with it. In between only what is new to it changes anything.
    """
    days = days_of(Period(news.start - timedelta(microseconds=1), news.end), zone)
    return days if len(days) > 1 else set()


def dirty(store: Store, registry: Registry, received: Period, at: datetime) -> dict[str, set[date]]:
    """
    Return, for each facility, the local dates that readings and outputs received in a period make dirty.

    A reading moves the steps around it, as far as its neighbours reach; an output moves the days it was made in.

    Args:
        store: holds the readings.
        registry: readings of other facilities are passed over.
        received: when they were received.
        at: now; nothing is looked for later.
    """
    fresh = store.read(
        READINGS.name, received, on="received", columns=[*_METER, "time"], facility=list(registry.facilities)
    )
    days: dict[str, set[date]] = defaultdict(set)
    for zone, names in registry.by_zone().items():
        own = fresh.filter(pl.col("facility").is_in(names))
        for span, facilities in _stretches(own, zone).items():
            inside = pl.col("time").is_between(span.start, span.end, closed="left")
            late = own.filter(inside, pl.col("facility").is_in(facilities))
            for name, first, last in _touched(store, registry.meters, late, at):
                days[name] |= days_of(Period(first, last + timedelta(microseconds=1)), zone)
    for name, period in _outputs(store, registry, received):
        days[name] |= days_of(period, registry.facilities[name].zone)
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


def _touched(
    store: Store, meters: pl.DataFrame, late: pl.DataFrame, at: datetime
) -> Iterator[tuple[str, datetime, datetime]]:
    """Give for each meter the facility, and from when to when its late readings can move anything."""
    first, last = late.select(pl.min("time"), last=pl.max("time")).row(0)
    span = Period(first, last + timedelta(microseconds=1))
    bounds = late.group_by(_METER).agg(first=pl.min("time"), last=pl.max("time"))
    own = meters.join(bounds, on=_METER)
    names = own["facility"].unique().to_list()
    known = store.read(READINGS.name, span, facility=names).join(own, on=_METER, how="semi")
    known = known.join(late, on=[*_METER, "time"], how="anti")
    edges = {side: own.with_columns(edge=pl.col(edge)) for side, edge in (("before", "first"), ("after", "last"))}
    found = pl.concat(
        [
            beyond(store, edges["before"], span.start, "before", at, known),
            beyond(store, edges["after"], span.end, "after", at, known),
        ]
    )
    reach = found.group_by(_METER).agg(least=pl.min("time"), most=pl.max("time"))
    told = pl.when(pl.col("kind") == "interval").then("period").otherwise(pl.duration())
    ends = pl.col("stamp") == "end"
    least, most = pl.min_horizontal("first", "least"), pl.max_horizontal("last", "most")
    yield from (
        own.join(reach, on=_METER, how="left")
        .select(
            "facility",
            first=pl.when(ends).then(pl.min_horizontal(least, pl.col("first") - told)).otherwise(least),
            last=pl.when(ends).then(most).otherwise(most + told),
        )
        .group_by("facility")
        .agg(pl.min("first"), pl.max("last"))
        .iter_rows()
    )


def _outputs(store: Store, registry: Registry, received: Period) -> Iterator[tuple[str, Period]]:
    """
    Give the facility and the time that each output received in a period can move.

    That is the time it was made in; and where it was corrected, or overlaps with others, the days that are stored with
    another output than the one known now.
    """
    names = list(registry.facilities)
    fresh = store.read(ACTIVITY.name, received, on="received", facility=names)
    if fresh.is_empty():
        return
    for name, first, last in fresh.select("facility", "start", "end").iter_rows():
        yield name, Period(first, last)
    products = registry.products.rename({"product": "scope"}).join(
        fresh.select("facility", scope="product").unique(), on=["facility", "scope"], how="semi"
    )
    facilities, scopes = (products[name].unique().to_list() for name in ("facility", "scope"))
    # what it reached over before, and what overlaps with that
    first, last = fresh.select(pl.min("start") - _DAY, pl.max("end") + 2 * LONGEST_OUTPUT).row(0)
    known = store.read(ACTIVITY.name, Period(first - 2 * LONGEST_OUTPUT, last), facility=facilities)
    stored = store.read(
        INDICATORS.name,
        Period(first, last),
        facility=facilities,
        scope=scopes,
        indicator=[intensity.CODE],
        interval=["1d"],
    )
    for name, first, last in intensity.outdated(stored, known, products).iter_rows():
        yield name, Period(first, last)
