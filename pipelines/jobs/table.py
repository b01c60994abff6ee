"""The one list of jobs, in the order they follow each other, and how one is run: watermark, boundary, record."""

from collections.abc import Collection
from datetime import datetime, timedelta
from time import perf_counter

import polars as pl
import structlog

from ingest.model import Period
from ingest.schema import RUNS
from ingest.store.base import Store
from pipelines import periods
from pipelines.jobs import announce, compute, judge, view
from pipelines.jobs.context import BY_HAND, Context, Done, Job

log = structlog.get_logger()

# where a job that never ran begins: the longest window a rule looks at, and the month it ends in
FIRST = timedelta(days=400)


def _maintain(context: Context, news: Period, at: datetime) -> Done:
    """Keep the store fast. Returns the number of files it merged."""
    del news
    return Done(sum(context.store.maintain(at).values()))


JOBS: dict[str, Job] = {
    job.name: job
    for job in (
        Job("compute", compute.due, cron="1-59/15 * * * *"),
        Job("judge", judge.due, cron="3-59/15 * * * *"),
        Job("view", view.due, cron="4-59/15 * * * *"),
        Job("announce", announce.due, cron="*/5 * * * *"),
        Job("maintain", _maintain, cron="7-59/10 * * * *"),
    )
}


def watermark(store: Store, job: str, at: datetime) -> datetime:
    """Up to where the good runs of a job have looked: a fold over the runs in the store."""
    runs = store.read(RUNS.name, job=[job], outcome=["done"])
    last = runs["until"].max()
    return last if isinstance(last, datetime) else at - FIRST


def by_hand(store: Store, touched: Collection[Period], rows: int, at: datetime) -> None:
    """
    Record what a person had computed, so that judge and the copies follow.

    Args:
        store: where the figures stand now.
        touched: the measured time they lie in.
        rows: how many are new or changed.
        at: now.
    """
    if not touched:
        return
    row: dict[str, object] = {"job": BY_HAND, "at": at, "since": at, "until": at, "rows": rows}
    _record(store, row | _of(periods.span(touched)) | {"outcome": "done", "error": ""}, perf_counter())


def run(job: Job, context: Context, at: datetime) -> Done | None:
    """
    Run a job on what is new since its last good run, and record the run.

    This is the boundary of a job: whatever fails in it is logged and recorded with job and period, and tried again at
    the next turn from the same watermark. Nothing is raised.

    Returns:
        What it did; None where it failed.
    """
    started = perf_counter()
    period = "unknown"
    try:
        since = watermark(context.store, job.name, at)
        if since >= at:
            return Done(0)
        news = Period(since, at)
        period = str(news)
        return _recorded(job, context, news)
    except Exception as error:
        log.exception("job failed", job=job.name, period=period, error=str(error), seconds=perf_counter() - started)
        return None


def _recorded(job: Job, context: Context, news: Period) -> Done:
    started = perf_counter()
    row: dict[str, object] = {"job": job.name, "at": news.end, "since": news.start, "until": news.end}
    try:
        done = job.run(context, news, news.end)
    except Exception as error:
        _record(context.store, row | {"outcome": "failed", "error": str(error)}, started)
        raise
    span = _of(done.touched) if done.touched else {}
    _record(context.store, row | span | {"rows": done.rows, "outcome": "done", "error": ""}, started)
    log.info("job done", job=job.name, period=str(news), rows=done.rows, seconds=round(perf_counter() - started, 2))
    return done


def _of(touched: Period) -> dict[str, object]:
    return {"touched_from": touched.start, "touched_until": touched.end}


def _record(store: Store, row: dict[str, object], started: float) -> None:
    store.write(RUNS.name, pl.DataFrame([row | {"seconds": perf_counter() - started}], schema=RUNS.schema))
