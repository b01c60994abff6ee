"""
Compute: readings of a period -> energy per slot, hour, day and month -> indicators.

    readings (and the nearest ones outside) -> steps -> slots -> energy 15m -> 1h -> 1d -> 1mo -> indicators
                                             steps -> unattributed

Works on whole days of the facility's zone, on so many facilities and days at once that memory stays bounded.
Running it again over the same readings changes nothing; a slot that lost its energy (a corrected reading made its step
unattributable) is emptied, never left standing.
"""

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl

from ingest.model import Period
from ingest.registry import Registry
from ingest.schema import ACTIVITY, BALANCE, ENERGY, INDICATORS, UNATTRIBUTED
from ingest.store.base import Store
from pipelines import balance, energy, periods, registers, unattributed
from pipelines.indicators import table
from pipelines.jobs.context import Context, Done
from pipelines.jobs.windows import around, cut, days_of, dirty, portions

# readings reach the store after they were received; what a run may have missed for that, the next one looks at again
OVERLAP = timedelta(hours=1)

# longest period of output that may end in a window and start before it
_LONGEST_ACTIVITY = timedelta(days=366)


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
    Compute what readings received in `news` made dirty, and the days the clock passed over meanwhile.

    A day on which nothing arrived gets its rows too: missing data is a verdict.
    """
    late = dirty(context.store, context.registry, Period(news.start - OVERLAP, news.end), at)
    days = {
        name: days_of(news, known.zone) | late.get(name, set()) for name, known in context.registry.facilities.items()
    }
    return _all(context, days, at)


def _all(context: Context, days: dict[str, set[date]], at: datetime) -> Done:
    done = [
        _window(context, context.registry.select(names), window, at) for window, names in cut(days, context.registry)
    ]
    if not done:
        return Done(0)
    spans = [one.touched for one in done if one.touched]
    return Done(sum(one.rows for one in done), Period(min(s.start for s in spans), max(s.end for s in spans)))


def _window(context: Context, registry: Registry, window: Period, at: datetime) -> Done:
    """Compute facilities of one zone over whole days of one month."""
    zone, names, store = _zone(registry), list(registry.facilities), context.store
    (month,) = periods.months(window, zone)
    rows = sum(
        _days(context, registry, portion, at) for portion in portions(window, zone, meters=registry.meters.height)
    )
    days = store.read(ENERGY.name, month, facility=names, interval=["1d"])
    rows += _settle(store, energy.roll_up(days, "1mo", zone), month, intervals=["1mo"], facilities=names)
    rows += _indicators(context, registry, window, at)
    context.advance(1)
    return Done(rows, window)


def _days(context: Context, registry: Registry, window: Period, at: datetime) -> int:
    """Compute slots, hours and days, and what was attributed to none."""
    zone, names, store = _zone(registry), list(registry.facilities), context.store
    steps = registers.steps(around(store, registry.meters, window, at), registry.meters, registry.exchanges)
    factors = context.factors.with_measured(registry.calorific)
    slots = energy.slots(steps, window)
    quarters = energy.to_energy(slots, registry.meters, registry.facts, factors)
    quarters = pl.concat([quarters, balance.virtual(quarters, registry.tree, registry.virtual_parts)])
    hours = energy.roll_up(quarters, "1h", zone)
    fine = pl.concat([quarters, hours, energy.roll_up(hours, "1d", zone)])
    ledger = unattributed.ledger(steps, slots, registry.meters, periods.days(window, zone))
    written = _settle(store, fine, window, intervals=["15m", "1h", "1d"], facilities=names)
    return written + _booked(store, ledger, names, window) + _balance(store, quarters, registry, window)


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


def _indicators(context: Context, registry: Registry, window: Period, at: datetime) -> int:
    zone, names = _zone(registry), list(registry.facilities)
    months = periods.months(window, zone)
    years = [year for month in months for year in periods.twelve_months_with(month, zone) if year.end <= at]
    wanted = {"1d": periods.days(window, zone), "1mo": months, "12mo": years}
    span = _span(period for group in wanted.values() for period in group)
    rows = table.compute(
        context.store.read(ENERGY.name, span, facility=names, interval=["1d", "1mo"]),
        registry,
        context.store.read(ACTIVITY.name, Period(span.start - _LONGEST_ACTIVITY, span.end), facility=names),
        wanted,
        factors=context.factors,
    )
    return context.store.write(INDICATORS.name, rows)


def _settle(store: Store, rows: pl.DataFrame, window: Period, *, intervals: list[str], facilities: list[str]) -> int:
    """Write energy rows, and empty the stored ones of the window that no reading supports any more."""
    stored = store.read(ENERGY.name, window, facility=facilities, interval=intervals)
    gone = stored.filter(pl.col("quantity").is_not_null()).join(rows, on=ENERGY.key, how="anti")
    nothing = {name: pl.lit(None, pl.Float64()) for name in ("quantity", "kwh", "kgce", "kg_co2")}
    emptied = gone.with_columns(**nothing, coverage=0.0, estimated=0.0)
    return store.write(ENERGY.name, pl.concat([rows, emptied]))


def _span(every: Iterable[Period]) -> Period:
    spans = list(every)
    return Period(min(span.start for span in spans), max(span.end for span in spans))


def _zone(registry: Registry) -> ZoneInfo:
    return next(iter(registry.facilities.values())).zone
