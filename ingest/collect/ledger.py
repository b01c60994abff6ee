"""
The counts of a collector in the store, where any other process can check them.

    Count -> rows of `collectors`, `traffic` and `gateways`, every few seconds and at the end

A process that is killed loses the counts of its last seconds, never a reading.
"""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Self

import polars as pl
import structlog

from ingest.collect.metrics import Count
from ingest.errors import StoreError
from ingest.schema import COLLECTORS, GATEWAYS, TRAFFIC
from ingest.store.base import Store

log = structlog.get_logger(__name__)

_EVERY = 5.0  # [s]
# of `traffic`: short enough for a curve of a day, long enough for years of it
_TICK = timedelta(minutes=5)


def collector_row(count: Count, *, collector: str, started: datetime, at: datetime) -> pl.DataFrame:
    """Return the row of `collectors` of one process."""
    tally = count.tally
    row = {
        "collector": collector,
        "started": started.astimezone(UTC),
        "at": at.astimezone(UTC),
        "items": tally.received,
        **{name: getattr(tally, name) for name in ("stored", "duplicate", "quarantined", "pending")},
        "overflow": count.overflow,
    }
    return pl.DataFrame([row], schema=COLLECTORS.schema)


def traffic_row(counted: pl.DataFrame) -> pl.DataFrame:
    """Return the row of `traffic` for a row of `collectors`; a later one of the same five minutes replaces it."""
    return counted.with_columns(pl.col("at").dt.truncate(_TICK)).select(TRAFFIC.schema.names())


def gateway_rows(count: Count, *, collector: str, started: datetime, at: datetime, shared: bool) -> pl.DataFrame:
    """Return the rows of `gateways` of one process; what is lost upstream is not known where messages are shared."""
    process = (collector, started.astimezone(UTC))
    rows = [
        (*process, *name, one.state, None if shared else one.lost_upstream, at.astimezone(UTC))
        for name, one in count.gateways.items()
    ]
    return pl.DataFrame(rows, schema=GATEWAYS.schema, orient="row")


class Ledger:
    """Keeps the counts of one process of a collector in the store while the context lasts, and once more at its end."""

    def __init__(
        self, store: Store, collector: str, count: Callable[[], Count], *, clock: Callable[[], datetime], shared: bool
    ) -> None:
        """
        Prepare.

        Args:
            store: where the counts go.
            collector: client id of the collector.
            count: tells what was counted so far.
            clock: tells the time of a count; the first one is the start of the process.
            shared: whether a group shares the messages.
        """
        self._store = store
        self._collector = collector
        self._count = count
        self._clock = clock
        self._shared = shared
        self._started = clock()
        self._kept: Count | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ledger")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._keep()

    def _run(self) -> None:
        while not self._stop.wait(_EVERY):
            self._keep()

    def _keep(self) -> None:
        count, at = self._count(), self._clock()
        if count == self._kept:
            return
        try:
            row = collector_row(count, collector=self._collector, started=self._started, at=at)
            self._store.write(COLLECTORS.name, row)
            self._store.write(TRAFFIC.name, traffic_row(row))
            rows = gateway_rows(count, collector=self._collector, started=self._started, at=at, shared=self._shared)
            self._store.write(GATEWAYS.name, rows)
        except StoreError as error:
            # the counts are of the readings, not the readings: the collector goes on, the next turn tries again
            log.warning("counts not kept", collector=self._collector, error=str(error))
        else:
            self._kept = count
