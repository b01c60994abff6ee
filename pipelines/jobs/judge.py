"""
Judge: indicators of a period against the rules -> verdicts -> breach events, both in the store.

A period is judged when it is over and its last readings had time to come in. Judging again changes nothing; after late
data the verdicts may change, and then the events say so (opened, closed or withdrawn).
"""

from datetime import UTC, datetime, timedelta

import polars as pl

from ingest.model import Period
from ingest.schema import BREACH_EVENTS, INDICATORS, VERDICTS
from ingest.store.base import Store
from pipelines.jobs.context import BY_HAND, Context, Done
from rules import evaluate, lifecycle
from rules.model import Interval

# the last readings of a period come in after its end; a verdict in the same minute would rest on an incomplete period
SETTLING = timedelta(hours=6)

# how far before its end a period of each interval may start
_LONGEST: dict[Interval, timedelta] = {
    "1d": timedelta(days=1, hours=1),
    "1mo": timedelta(days=31, hours=1),
    "12mo": timedelta(days=366, hours=1),
}


def verdicts(context: Context, period: Period, at: datetime) -> pl.DataFrame:
    """
    Judge the indicators whose period ends in `period` and is settled at `at`.

    Returns:
        VERDICTS rows (rules.evaluate), one for each rule and indicator row it binds.
    """
    judged = {(rule.indicator, each) for rule in context.catalogue.rules.values() for each in rule.severities}
    rows = [pl.DataFrame(schema=INDICATORS.schema)]
    for interval, longest in _LONGEST.items():
        wanted = [indicator for indicator, each in judged if each == interval]
        span = Period(period.start - longest, period.end)
        names = list(context.registry.facilities)
        rows.append(context.store.read(INDICATORS.name, span, facility=names, indicator=wanted, interval=[interval]))
    settled = pl.concat(rows).filter(_settled(period, at))
    return evaluate.verdicts(
        context.catalogue, settled, facts=context.registry.facts, products=context.registry.products
    )


def over(context: Context, period: Period, at: datetime) -> Done:
    """
    Judge what ended in a period of measured time and store the verdicts and the events that follow.

    Returns:
        The number of new events and the period.
    """
    history = context.store.read(BREACH_EVENTS.name, facility=list(context.registry.facilities))
    judged = verdicts(context, period, at)
    stored = context.store.write(BREACH_EVENTS.name, lifecycle.events(judged, history, at))
    context.store.write(VERDICTS.name, _to_store(context, judged, period, at))
    context.advance(1)
    return Done(stored, period)


def _to_store(context: Context, judged: pl.DataFrame, period: Period, at: datetime) -> pl.DataFrame:
    """Return VERDICTS rows of what was judged, and void the stored ones of the same periods that did not come again."""
    least = {rule.id: rule.min_coverage for rule in context.catalogue.rules.values()}
    fresh = judged.with_columns(
        pl.col("enforceable").cast(pl.Int64),
        min_coverage=pl.col("rule").replace_strict(least, return_dtype=pl.Float64),
    ).select(VERDICTS.schema.names())
    span = Period(period.start - max(_LONGEST.values()), period.end)
    stored = context.store.read(VERDICTS.name, span, facility=list(context.registry.facilities))
    gone = stored.filter(_settled(period, at)).join(fresh, on=VERDICTS.key, how="anti")
    void = {"status": pl.lit("void"), "reason": pl.lit(""), "enforceable": pl.lit(0, pl.Int64)}
    return pl.concat([fresh, gone.with_columns(**void, limit=pl.lit(None, pl.Float64))])


def _settled(period: Period, at: datetime) -> pl.Expr:
    return pl.col("end").is_between(period.start, period.end, closed="right") & (
        pl.col("end") <= (at - SETTLING).astimezone(UTC)
    )


def due(context: Context, news: Period, at: datetime) -> Done:
    """Judge everything that compute wrote in `news`, and what settled meanwhile."""
    touched = _touched(context.store, news)
    starts = [news.start - SETTLING - timedelta(days=1), *(span.start for span in touched)]
    # a month or a year that holds a touched day may end after it
    return over(context, Period(min(starts), max([at, *(span.end + _LONGEST["12mo"] for span in touched)])), at)


def _touched(store: Store, news: Period) -> list[Period]:
    runs = store.read("runs", news, job=["compute", BY_HAND], outcome=["done"]).drop_nulls("touched_from")
    return [Period(start, end) for start, end in runs.select("touched_from", "touched_until").iter_rows()]
