"""
When the jobs run: APScheduler in UTC, one run of a job at a time, nothing skipped.

A turn that comes late still runs, several late turns become one, and what each run looks at follows from the job's own
watermark in the store: a scheduler that was down for a week catches up at its first turn.
"""

from collections.abc import Callable
from datetime import UTC, datetime

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger

from pipelines.jobs.context import Context
from pipelines.jobs.table import JOBS, run


def schedule(context: Context, clock: Callable[[], datetime]) -> BackgroundScheduler:
    """
    Build the scheduler of all jobs; every job has its first turn at once. The caller starts it and shuts it down.

    The jobs share one thread: they follow each other, and no two of them touch the same tables at the same time.
    """
    scheduler = BackgroundScheduler(
        timezone=UTC,
        executors={"default": ThreadPoolExecutor(1)},
        job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
    )
    for job in JOBS.values():
        scheduler.add_job(
            lambda job=job: run(job, context, clock()),
            CronTrigger.from_crontab(job.cron, timezone=UTC),
            id=job.name,
            next_run_time=clock(),
        )
    return scheduler
