"""
Compute: readings of a period -> energy per slot, hour, day and month -> indicators.

    readings (and the nearest ones outside) -> steps -> slots -> energy 15m -> 1h -> 1d -> 1mo -> indicators
                                             steps -> unattributed

Works on whole days of the facility's zone, on so many facilities and days at once that memory stays bounded.
Running it again over the same readings changes nothing; a slot that lost its energy (a corrected reading made its step
unattributable) is emptied, never left standing.
"""

from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import date, datetime, timedelta
from functools import partial
from itertools import groupby
from operator import itemgetter
from zoneinfo import ZoneInfo

import polars as pl

from ingest.model import Period
from ingest.registry import Registry
from ingest.schema import ACTIVITY, BALANCE, ENERGY, FREEZES, INDICATORS, UNATTRIBUTED
from ingest.screen import LONGEST_OUTPUT
from ingest.store.base import Store
from pipelines import periods, runs
from pipelines.accounting import balance, energy, registers, unattributed
from pipelines.accounting.slots import spread
from pipelines.indicators import table
from pipelines.indicators.peak_demand import CODE as PEAK
from pipelines.jobs import engine, frozen
from pipelines.jobs.context import Context, Done
from pipelines.jobs.draft import Draft
from pipelines.jobs.neighbours import bridged
from pipelines.jobs.windows import around, cut, days_of, dirty, passed, portions

# readings reach the store after they were received; what a run may have missed for that, the next one looks at again
OVERLAP = timedelta(hours=1)

# slots: to sort so many takes longer than a commit
_MANY = 100_000

_SERIES = [name for name in ENERGY.key if name != ENERGY.time]
_FIGURES = [name for name in ENERGY.schema if name not in ENERGY.key]

# an output may reach into a window from before it, and overlap with one that began as long before
_BEFORE = 2 * LONGEST_OUTPUT


def over(context: Context, period: Period, at: datetime) -> Done:
    """
    Compute every facility over the whole days that touch a period.

    Args:
        context: the world of the job.
        period: measured time.
        at: now; twelve-month windows that end later are left alone.

    Returns:
        Rows written or changed in `energy`, `unattributed` and `indicators`, and the span they lie in.
    """
    return _all(context, {name: days_of(period, known.zone) for name, known in context.registry.facilities.items()}, at)


def due(context: Context, news: Period, at: datetime) -> Done:
    """
    Compute what readings and outputs received in `news` made dirty, and the days that began or ended meanwhile.

    A day on which nothing arrived gets its rows too: missing data is a verdict.
    """
    late = dirty(context.store, context.registry, Period(news.start - OVERLAP, news.end), at)
    days = {
        name: passed(news, known.zone) | late.get(name, set()) for name, known in context.registry.facilities.items()
    }
    return _all(context, days, at)


def month_anew(context: Context, facility: str, month: Period, at: datetime) -> dict[str, pl.DataFrame]:
    """
    Compute one facility over a whole month without storing anything.

    Returns:
        By table, the rows of every period that ends in the month: what would be stored if it were not frozen; of energy
        those alone that do not stand so.
    """
    draft = Draft(context.store)
    _window(replace(context, store=draft), context.registry.select([facility]), window=month, at=at)
    return {table: frozen.ending(draft.written(table), month) for table in frozen.FIGURES}


def correct(context: Context, facility: str, month: Period, at: datetime, *, by: str, why: str) -> int:
    """
    Compute a frozen month anew, store what differs and keep what stood there; windows of twelve months follow.

    Returns:
        The number of rows changed.
    """
    changed = frozen.apply(
        context.store, month_anew(context, facility, month, at), facility, month, by=by, why=why, at=at
    )
    registry = context.registry.select([facility])
    guarded = _guarded(context, [facility])
    changed += _indicators(replace(context, store=guarded), registry, {"12mo": _years(month, _zone(registry), at)})
    _compare(context, guarded.kept, at)
    return changed


def _guarded(context: Context, facilities: Collection[str]) -> frozen.Guarded:
    return frozen.Guarded(context.store, context.store.read(FREEZES.name, facility=facilities))


def _compare(context: Context, months: set[tuple[str, Period]], at: datetime) -> None:
    """Compare frozen months with what they would be now."""
    for name, month in sorted(months):
        frozen.propose(context.store, month_anew(context, name, month, at), name, month, at)


def _all(context: Context, days: dict[str, set[date]], at: datetime) -> Done:
    """Compute days; what lies in a frozen month is only compared with what is stored."""
    guarded = _guarded(context, days)
    final, still_open = frozen.parted(days, guarded.months, context.registry)
    opened = replace(context, store=guarded)
    done: list[Done] = []
    # a later window stands on the months of an earlier one; shares of the same window have no facility in common
    for window, shares in groupby(cut(still_open, context.registry), key=itemgetter(0)):
        own = [context.registry.select(names) for _, names in shares]
        done += engine.run(partial(_window, opened, window=window, at=at), own)
    _compare(context, final | guarded.kept, at)
    spans = [one.touched for one in done if one.touched]
    return Done(sum(one.rows for one in done), periods.span(spans) if spans else None)


def _window(context: Context, registry: Registry, *, window: Period, at: datetime) -> Done:
    """Compute facilities of one zone over whole days of one month."""
    zone, names, store = _zone(registry), list(registry.facilities), context.store
    (month,) = periods.months(window, zone)
    done = [_days(context, registry, portion, at) for portion in portions(window, zone, meters=registry.meters.height)]
    rows = sum(written for written, _ in done)
    days = _filled(store.read(ENERGY.name, month, facility=names, interval=["1d"]))
    rows += _settle(store, energy.roll_up(days, "1mo", zone), month, names, ["1mo"])
    wanted = {"1d": periods.days(window, zone), "1mo": [month], "12mo": _years(month, zone, at)}
    rows += _indicators(context, registry, wanted, pl.concat(peaks for _, peaks in done))
    context.advance(1)
    return Done(rows, window)


def _days(context: Context, registry: Registry, window: Period, at: datetime) -> tuple[int, pl.DataFrame]:
    """Compute slots, hours and days, and what was attributed to none; gives the rows changed, and the days' peaks."""
    zone, names, store, meters = _zone(registry), list(registry.facilities), context.store, registry.meters
    steps = bridged(registers.steps(around(store, meters, window, at), meters, registry.exchanges, window))
    factors = context.factors.with_measured(registry.calorific)
    slots = spread(steps, window)
    levels = _with_virtual(energy.levels(slots, meters, factors, zone), registry, zone)
    written = sum(_settle(store, rows, window, names, intervals) for intervals, rows in _batches(levels))
    ledger = unattributed.ledger(steps, slots, meters, periods.days(window, zone))
    peaks = table.daily_peaks(levels["15m"], registry, periods.days(window, zone), factors=context.factors)
    written += _booked(store, ledger, names, window) + _balance(store, levels["15m"], registry, window)
    return written, peaks


def _with_virtual(levels: dict[str, pl.DataFrame], registry: Registry, zone: ZoneInfo) -> dict[str, pl.DataFrame]:
    """Add the energy of virtual meters to that of the meters, by interval."""
    quarters = balance.virtual(levels["15m"], registry.tree, registry.virtual_parts)
    if quarters.is_empty():
        return levels
    own = energy.levels_of(quarters, zone)
    return {interval: pl.concat([rows, own[interval]]) for interval, rows in levels.items()}


def _booked(store: Store, ledger: pl.DataFrame, names: list[str], window: Period) -> int:
    """Write the ledger of what was attributed to no slot."""
    stored = store.read(UNATTRIBUTED.name, window, facility=names)
    return store.write(UNATTRIBUTED.name, unattributed.settled(ledger, stored))


def _balance(store: Store, slots: pl.DataFrame, registry: Registry, window: Period) -> int:
    """Write the balance of main and sub-meters, and withdraw stored slots that no energy supports any more."""
    rows = balance.balances(slots, registry.tree, window)
    stored = store.read(BALANCE.name, window, facility=list(registry.facilities)).join(rows, on=BALANCE.key, how="anti")
    nothing = {name: pl.lit(None, pl.Float64()) for name in ("quantity", "subs", "difference", "tolerance")}
    gone = stored.with_columns(
        **nothing, coverage=0.0, status=pl.lit("not_assessable"), reason=pl.lit("no meter has energy any more")
    )
    return store.write(BALANCE.name, pl.concat([rows, gone]))


def _years(month: Period, zone: ZoneInfo, at: datetime) -> list[Period]:
    return [year for year in periods.twelve_months_with(month, zone) if year.end <= at]


def _indicators(
    context: Context, registry: Registry, wanted: dict[str, list[Period]], peaks: pl.DataFrame | None = None
) -> int:
    """Write the indicators of periods, and the peaks of days that were computed with their slots."""
    names, store = list(registry.facilities), context.store
    fresh = INDICATORS.empty() if peaks is None else peaks
    if not any(wanted.values()):
        return 0
    span = periods.span(period for group in wanted.values() for period in group)
    known = _parts(partial(store.read, INDICATORS.name, facility=names, indicator=[PEAK]), wanted, span)
    rows = table.compute(
        _filled(_parts(partial(store.read, ENERGY.name, facility=names), wanted, span)),
        registry,
        store.read(ACTIVITY.name, Period(span.start - _BEFORE, span.end), facility=names),
        wanted,
        factors=context.factors,
        peaks=pl.concat([known.join(fresh, on=INDICATORS.key, how="anti"), fresh]),
    )
    return store.write(INDICATORS.name, pl.concat([rows, fresh]))


def _parts(read: Callable[..., pl.DataFrame], wanted: dict[str, list[Period]], years: Period) -> pl.DataFrame:
    """Read what periods are made of: the days of the months wanted, and the months of all years wanted."""
    months = wanted.get("1mo", [])
    spans = [("1d", periods.span(months))] if months else []
    return pl.concat(read(span, interval=[interval]) for interval, span in [*spans, ("1mo", years)])


def _batches(levels: dict[str, pl.DataFrame]) -> list[tuple[list[str], pl.DataFrame]]:
    """Intervals and rows that are written at once: all of them, or where they are many, each in its own order."""
    if levels["15m"].height < _MANY:
        return [(list(levels), pl.concat(levels.values()))]
    return [([interval], rows) for interval, rows in levels.items()]


def _settle(store: Store, rows: pl.DataFrame, window: Period, names: list[str], intervals: list[str]) -> int:
    """
    Write energy rows of intervals, and empty the stored ones of the window that no reading supports any more.

    Most stand in the store as they are. They are found there by numbers, and are not offered to it again.
    """
    stored = _filled(store.read(ENERGY.name, window, facility=names, interval=intervals))
    place = runs.beside(rows, stored, _SERIES, ENERGY.time)
    was = stored[_FIGURES][place]
    fresh = pl.any_horizontal(place.is_null(), *(pl.col(name).ne_missing(was[name]) for name in _FIGURES))
    nothing = {name: pl.lit(None, pl.Float64()) for name in ("quantity", "kwh", "kgce", "kg_co2")}
    gone = stored.filter(~pl.int_range(pl.len()).is_in(place.implode()))
    emptied = gone.with_columns(**nothing, coverage=0.0, estimated=0.0)
    return store.write(ENERGY.name, pl.concat([rows.filter(fresh), emptied]))


def _filled(rows: pl.DataFrame) -> pl.DataFrame:
    """Leave out the rows that were emptied: they count as if they had never been."""
    return rows.filter(pl.col("quantity").is_not_null())


def _zone(registry: Registry) -> ZoneInfo:
    return next(iter(registry.facilities.values())).zone
