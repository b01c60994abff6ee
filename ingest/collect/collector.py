"""
The collector: from the broker to the store, acked only when stored.

    take -> decode -> screen ->| store.write -> ack

While one batch is stored the next is decoded: `|` stands between the two threads.

One equation holds whenever the tally is read: received = stored + duplicate + quarantined + pending. An item enters it
when its message is decoded; a message that waits undecoded is the broker's, and is sent again if this process dies.
"""

import random
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, timedelta
from time import monotonic, sleep

import polars as pl
import structlog

from ingest.collect.gateways import Gateway, Gateways, Name
from ingest.collect.subscription import Delivery, Subscription
from ingest.decode.payload import Decoded, decode
from ingest.decode.table import Gateways as Formats
from ingest.errors import RowsRefused, StoreUnavailable
from ingest.model import Publication
from ingest.registry import Registry
from ingest.schema import ACTIVITY, QUARANTINE, READINGS, TIME, Table
from ingest.screen import AHEAD, EVER, Screened, refused_by_store, screen
from ingest.store.base import Store

log = structlog.get_logger(__name__)

_FIRST_WAIT, _LONGEST_WAIT, _POLL = 0.2, 30.0, 0.02  # [s]
_ASK_AGAIN = 60.0  # [s]
_QUIET, _LEAVING = 0.3, 5.0  # [s] a group is left when nothing arrived for so long, and anyhow after so long


@dataclass(frozen=True, slots=True)
class Tally:
    """
    What became of the items received: readings, entries of activity, and payloads refused whole.

    Attributes:
        received: items decoded.
        stored: items that were new to the store, or changed what it held.
        duplicate: items the store knew already.
        quarantined: items refused.
        pending: items decoded and not yet stored.
        status: status messages; they are no items.
        lost_upstream: messages a gateway numbered and nobody received.
        unmapped: messages of devices with nothing in them that the registry maps to a meter; they are no items.
    """

    received: int = 0
    stored: int = 0
    duplicate: int = 0
    quarantined: int = 0
    pending: int = 0
    status: int = 0
    lost_upstream: int = 0
    unmapped: int = 0

    @property
    def whole(self) -> bool:
        """Whether the loss equation holds."""
        return self.received == self.stored + self.duplicate + self.quarantined + self.pending


class Collector:
    """Collects from one subscription into one store."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        subscription: Subscription,
        *,
        batch: int = 5000,
        age: float = 1.0,
        ahead: timedelta = AHEAD,
        behind: timedelta = EVER,
    ) -> None:
        """
        Prepare.

        Args:
            store: where rows go.
            registry: the facilities whose messages are taken.
            subscription: where messages come from; its context is the caller's.
            batch: most messages stored at once.
            age: longest time a message waits for its batch to fill. [s]
            ahead: how far a reading's time may lie after its receipt.
            behind: how far it may lie before its receipt.
        """
        self._store = store
        self._registry = registry
        self._subscription = subscription
        self._batch = batch
        self._age = age
        self._ahead = ahead
        self._behind = behind
        self._tally = Tally()
        self._counting = threading.Lock()
        self._gateways = Gateways(registry.facilities)
        self._formats = Formats(registry)
        self._asked: dict[str, float] = {}

    @property
    def tally(self) -> Tally:
        """What became of the items so far."""
        return self._tally

    @property
    def gateways(self) -> dict[Name, Gateway]:
        """Facility and gateway to its state and what it lost upstream."""
        return dict(self._gateways.seen)

    def run(self, stop: threading.Event, leaving: threading.Event | None = None) -> None:
        """
        Collect until `stop` is set, then store and ack what is in hand.

        A store that cannot be reached is tried again for ever, and nothing is acked meanwhile. Rows that the store
        refuses while it takes others go to quarantine.

        Args:
            stop: ends it.
            leaving: set before `stop` where the collector leaves its group for good. Otherwise it stays a member: what
                comes while it is away waits for it.

        Raises:
            StoreError: the store refuses everything; nothing is acked.
        """
        with ThreadPoolExecutor(1, "store") as storing:
            last: Future[None] | None = None
            while not stop.is_set():
                last = self._collect(self._subscription.take(self._batch, self._age), last, storing, stop)
            self._drain(last, storing, stop, leaving=leaving is not None and leaving.is_set())

    def idle(self, seconds: float, *, timeout: float) -> bool:
        """Wait until nothing arrived and nothing was unacked for `seconds`; False where `timeout` came first. [s]"""
        end = monotonic() + timeout
        quiet, seen = monotonic(), self._tally
        while (now := monotonic()) < end:
            if self._subscription.unacked or seen is not self._tally:
                quiet, seen = now, self._tally
            elif now - quiet >= seconds:
                return True
            sleep(_POLL)
        return False

    def _drain(
        self, last: Future[None] | None, storing: ThreadPoolExecutor, stop: threading.Event, *, leaving: bool
    ) -> None:
        """Store and ack what is in hand; out of a group, also what the broker has set aside for this collector."""
        end = monotonic() + _LEAVING
        patience = _QUIET if leaving and self._subscription.leave(_LEAVING) else 0.0
        deliveries = self._subscription.take(self._batch, patience)
        while deliveries:
            last = self._collect(deliveries, last, storing, stop)
            more = patience and monotonic() < end
            deliveries = self._subscription.take(self._batch, patience) if more else []
        if last:
            last.result()

    def _collect(
        self,
        deliveries: Sequence[Delivery],
        last: Future[None] | None,
        storing: ThreadPoolExecutor,
        stop: threading.Event,
    ) -> Future[None] | None:
        """Decode one batch, wait until the last one is stored, and have this one stored."""
        batch = self._decoded(deliveries) if deliveries else None
        if last:
            last.result()
        return storing.submit(self._store_and_ack, *batch, deliveries, stop) if batch else None

    def _decoded(self, deliveries: Sequence[Delivery]) -> tuple[Decoded, Screened]:
        decoded = decode([delivery.message for delivery in deliveries], self._formats)
        self._ask(decoded.asked)
        self._count(
            received=decoded.items,
            pending=decoded.items,
            status=len(decoded.statuses),
            lost_upstream=self._gateways.note(decoded),
            unmapped=decoded.unmapped,
        )
        return decoded, screen(decoded, self._registry, ahead=self._ahead, behind=self._behind)

    def _ask(self, asked: Sequence[Publication]) -> None:
        """Publish what devices are asked for; a device that does not answer is asked again after a while."""
        now = monotonic()
        for publication in asked:
            if now - self._asked.get(publication.topic, -_ASK_AGAIN) >= _ASK_AGAIN:
                self._asked[publication.topic] = now
                self._subscription.ask(publication)

    def _store_and_ack(
        self, decoded: Decoded, screened: Screened, deliveries: Sequence[Delivery], stop: threading.Event
    ) -> None:
        if self._keep(decoded, screened, stop):
            self._subscription.ack(deliveries)

    def _keep(self, decoded: Decoded, screened: Screened, stop: threading.Event) -> bool:
        """Store one batch; False where it was told to stop before the store took all of it."""
        if self._write(QUARANTINE, screened.quarantine, stop) is None:
            return False
        self._count(quarantined=screened.refused, pending=-screened.refused)
        tables = (READINGS, screened.readings), (ACTIVITY, screened.activity)
        return all(self._sift(table, rows, decoded, stop) for table, rows in tables)

    def _sift(self, table: Table, rows: pl.DataFrame, decoded: Decoded, stop: threading.Event) -> bool:
        """Store rows; halve them where the store refuses some, until the refused ones stand alone in quarantine."""
        try:
            new = self._write(table, rows, stop)
        except RowsRefused as error:
            if rows.height > 1:
                half = rows.height // 2
                return all(self._sift(table, part, decoded, stop) for part in (rows[:half], rows[half:]))
            refusal = refused_by_store(decoded, table, rows, str(error))
            if self._write(QUARANTINE, refusal, stop) is None:
                return False
            self._count(quarantined=1, pending=-1)
            return True
        if new is None:
            return False
        self._count(stored=new, duplicate=rows.height - new, pending=-rows.height)
        return True

    def _write(self, table: Table, rows: pl.DataFrame, stop: threading.Event) -> int | None:
        """Write until the store takes it; None where it was told to stop first."""
        if rows.is_empty():
            return 0
        wait = _FIRST_WAIT
        while True:
            # whoever looks for what is new looks by the time of receipt: rows that had to wait must not look old
            rows = rows.with_columns(received=pl.lit(self._subscription.clock().astimezone(UTC), TIME))
            try:
                return self._store.write(table.name, rows)
            except StoreUnavailable as error:
                seconds = error.retry_after or wait * random.uniform(0.5, 1.0)  # noqa: S311 - spreads collectors
                log.warning(
                    "store cannot be reached", table=table.name, rows=rows.height, error=str(error), wait=seconds
                )
            if stop.wait(seconds):
                return None
            wait = min(2 * wait, _LONGEST_WAIT)

    def _count(self, **more: int) -> None:
        # the tally is replaced as a whole: whoever reads it sees one moment
        with self._counting:
            self._tally = replace(self._tally, **{name: getattr(self._tally, name) + n for name, n in more.items()})
