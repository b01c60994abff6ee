"""
The demonstration: thirteen months of invented facilities through the whole line, on this machine, in about a minute.

    simulate -> MQTT (embedded broker) -> collect -> lake -> compute -> judge -> announce -> a table, an e-mail, a page

The clock is simulated, so the same figures come out on every day and on every machine.
"""

import email
import email.policy
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import datetime
from email.message import EmailMessage
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ingest.collect.broker import EmbeddedBroker
from ingest.collect.collector import Collector, Tally
from ingest.collect.publish import publish
from ingest.collect.simulate import simulate
from ingest.collect.subscription import Subscription
from ingest.errors import ConfigurationError, Problem, WorkError
from ingest.model import Period
from ingest.schema import BREACH_EVENTS, NOTICES
from pipelines.commands import show
from pipelines.jobs import announce, compute, judge, view
from pipelines.jobs.context import Context
from pipelines.periods import months
from pipelines.reports import overview

_ZONE = ZoneInfo("Asia/Shanghai")
NOW = datetime(2026, 11, 1, 9, 30, tzinfo=_ZONE)
MONTHS = Period(datetime(2025, 10, 1, tzinfo=_ZONE), datetime(2026, 11, 1, tzinfo=_ZONE))
SEED = 1

_MARK = ".peakwatch-demo"
_PATIENCE, _POLL = 60.0, 0.05  # [s]


def fresh(folder: Path) -> None:
    """
    Make the demo's folder anew.

    Raises:
        ConfigurationError: the folder holds something that is not a demo's.
    """
    if folder.exists() and not (folder / _MARK).exists() and (folder.is_file() or any(folder.iterdir())):
        found = "a file" if folder.is_file() else "a folder with other things in it"
        raise ConfigurationError([Problem(str(folder), found, "a new folder, or one that an earlier demo made")])
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / _MARK).touch()


def play(context: Context, folder: Path, out: Console) -> None:
    """
    Play the whole line and show what came out.

    Args:
        context: an empty store, a folder for mail, the sample registry.
        folder: where the page is written, and where one may look into the rest.
        out: the terminal.

    Raises:
        WorkError: something that was published did not reach the store.
    """
    with _progress(out) as step:
        tally = _collect(context, step)
        with step("compute", len(months(MONTHS, _ZONE))) as advance:
            compute.over(replace(context, advance=advance), MONTHS, NOW)
        with step("judge", None) as advance:
            judge.over(replace(context, advance=advance), MONTHS, NOW)
        view.due(context, MONTHS, NOW)
        with step("announce", None) as advance:
            announce.due(replace(context, advance=advance), MONTHS, NOW)
    standing = overview.standing(context, MONTHS, NOW)
    page = folder / "index.html"
    page.write_text(overview.page(context, standing, MONTHS, NOW), "utf-8")
    show.standing(out, standing)
    show.mail(out, _a_breach(context, folder / "outbox"))
    show.tally(out, tally)
    lake = f"\nlake     {folder / 'data'}" if (folder / "data").exists() else ""
    out.print(f"page     {page}\ne-mails  {folder / 'outbox'}{lake}", highlight=False)


Step = Callable[[str, int | None], AbstractContextManager[Callable[[int], None]]]


@contextmanager
def _progress(out: Console) -> Iterator[Step]:
    columns = (TextColumn("{task.description:<20}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=out, disable=not out.is_terminal) as progress:
        yield contextmanager(partial(_step, progress))


def _step(progress: Progress, title: str, total: int | None) -> Iterator[Callable[[int], None]]:
    task = progress.add_task(title, total=total)
    yield partial(progress.advance, task)
    progress.update(task, total=progress.tasks[task].completed)


def _collect(context: Context, step: Step) -> Tally:
    """Publish the simulated months to an embedded broker and collect them into the store."""
    sent = list(simulate(context.registry, MONTHS, seed=SEED))
    with (
        EmbeddedBroker() as embedded,
        Subscription(embedded.broker, "peakwatch-demo-collector", clock=lambda: NOW) as subscription,
        _collector(context, subscription) as collector,
    ):
        with step("publish and collect", len(sent)) as advance:
            publish(embedded.broker, sent, client_id="peakwatch-demo-meters", advance=advance)
            _wait_for(subscription, len(sent))
        return collector.tally


def _wait_for(subscription: Subscription, count: int) -> None:
    end = monotonic() + _PATIENCE
    while subscription.acked < count:
        if monotonic() > end:
            raise WorkError(f"{subscription.acked} of {count} messages were stored {_PATIENCE:g} s after the last one")
        sleep(_POLL)


@contextmanager
def _collector(context: Context, subscription: Subscription) -> Iterator[Collector]:
    """Run a collector in a thread; what ends it early is raised here."""
    collector = Collector(context.store, context.registry, subscription)
    stop = threading.Event()
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(collector.run, stop)
        try:
            yield collector
        finally:
            stop.set()
            running.result()


def _a_breach(context: Context, outbox: Path) -> EmailMessage:
    """Find the e-mail of the newest breach, by its record in the store."""
    events = context.store.read(BREACH_EVENTS.name).filter(kind="opened", severity="breach").sort("start", "rule")
    notices = context.store.read(NOTICES.name, event_id=events["event_id"].tail(1).to_list())
    mails = (email.message_from_bytes(file.read_bytes(), policy=email.policy.default) for file in outbox.glob("*.eml"))
    return next(mail for mail in mails if mail["Message-ID"] in notices["message_id"])
