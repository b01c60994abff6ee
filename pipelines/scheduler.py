"""
When the jobs run: APScheduler in UTC, one run of a job at a time, nothing skipped.

A turn that comes late still runs, several late turns become one, and what each run looks at follows from the job's own
watermark in the store: a scheduler that was down for a week catches up at its first turn.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from time import monotonic

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from ingest.collect.metrics import serving
from pipelines.jobs.context import Context, Job
from pipelines.jobs.table import JOBS, run


class Turns:
    """
    What became of the turns of each job in this process, as Prometheus reads it.

    `peakwatch_job_last_success_timestamp_seconds` is 0 until the first good turn: a job that never ran well is late.
    The label is `job_name`, for Prometheus calls what it scrapes a job.

    Args:
        copies: jobs besides those every scheduler has.
    """

    def __init__(self, copies: Collection[Job] = ()) -> None:
        names = [*JOBS, *(job.name for job in copies)]
        self._success = dict.fromkeys(names, 0.0)
        self._seconds = dict.fromkeys(names, 0.0)
        self._failures = dict.fromkeys(names, 0)

    def take(self, job: Job, context: Context, clock: Callable[[], datetime]) -> None:
        """Run a job once and note how it went."""
        begun = monotonic()
        done = run(job, context, clock())
        self._seconds[job.name] = monotonic() - begun
        if done is None:
            self._failures[job.name] += 1
        else:
            self._success[job.name] = clock().timestamp()

    def families(self) -> Iterator[Metric]:
        """Tell what was noted."""
        success = GaugeMetricFamily(
            "peakwatch_job_last_success_timestamp_seconds", "End of the last good turn.", labels=["job_name"]
        )
        seconds = GaugeMetricFamily("peakwatch_job_last_seconds", "How long the last turn took.", labels=["job_name"])
        failures = CounterMetricFamily("peakwatch_job_failures", "Turns that failed.", labels=["job_name"])
        for name in self._success:
            success.add_metric([name], self._success[name])
            seconds.add_metric([name], self._seconds[name])
            failures.add_metric([name], self._failures[name])
        yield from (success, seconds, failures)


@contextmanager
def scheduling(
    context: Context, clock: Callable[[], datetime], *, copies: Collection[Job] = (), metrics: str = ""
) -> Iterator[None]:
    """
    Run the jobs in the background while the context lasts.

    Args:
        context: the world of the jobs.
        clock: tells the time.
        copies: jobs that fill the databases of single facilities.
        metrics: where metrics of the jobs are served, PORT or HOST:PORT; nowhere where it is empty.

    Raises:
        ConfigurationError: the metrics cannot be served there.
    """
    turns = Turns(copies)
    jobs = schedule(context, clock, turns, copies)
    with serving(metrics, turns.families) if metrics else nullcontext():
        jobs.start()
        try:
            yield
        finally:
            jobs.shutdown()


def schedule(
    context: Context, clock: Callable[[], datetime], turns: Turns, copies: Collection[Job] = ()
) -> BackgroundScheduler:
    """
    Build the scheduler of all jobs; every job has its first turn at once. The caller starts it and shuts it down.

    The jobs share one thread: they follow each other, and no two of them touch the same tables at the same time. The
    copies have a thread of their own: they only read what the jobs write, and a database that is slow, or filled for
    the first time, keeps no verdict waiting.
    """
    scheduler = BackgroundScheduler(
        timezone=UTC,
        executors={"default": ThreadPoolExecutor(1), "copies": ThreadPoolExecutor(1)},
        job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
    )
    for job in (*JOBS.values(), *copies):
        scheduler.add_job(
            lambda job=job: turns.take(job, context, clock),
            CronTrigger.from_crontab(job.cron, timezone=UTC),
            id=job.name,
            executor="copies" if job in copies else "default",
            next_run_time=clock(),
        )
    return scheduler
