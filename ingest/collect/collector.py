"""
The collector: from the broker to the store, acked only when stored.

    take -> decode -> screen -> store.write -> ack

One equation holds whenever the tally is read: received = stored + duplicate + quarantined + pending. An item enters it
when its message is decoded; a message that waits undecoded is the broker's, and is sent again if this process dies.
"""

import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, timedelta
from time import monotonic, sleep

import polars as pl
import structlog

from ingest.collect.gateways import Gateway, Gateways, Name
from ingest.collect.subscription import Delivery, Subscription
from ingest.decode.payload import decode
from ingest.decode.table import Gateways as Formats
from ingest.errors import StoreUnavailable
from ingest.registry import Registry
from ingest.schema import TIME
from ingest.screen import AHEAD, Screened, screen
from ingest.store.base import Store

log = structlog.get_logger(__name__)

_FIRST_WAIT, _LONGEST_WAIT, _POLL = 0.2, 30.0, 0.02  # [s]


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
        """
        self._store = store
        self._registry = registry
        self._subscription = subscription
        self._batch = batch
        self._age = age
        self._ahead = ahead
        self._tally = Tally()
        self._gateways = Gateways(registry.facilities)
        self._formats = Formats(registry)

    @property
    def tally(self) -> Tally:
        """What became of the items so far."""
        return self._tally

    @property
    def gateways(self) -> dict[Name, Gateway]:
        """Facility and gateway to its state and what it lost upstream."""
        return dict(self._gateways.seen)

    def run(self, stop: threading.Event) -> None:
        """
        Collect until `stop` is set, then store and ack what is in hand.

        A store that cannot be reached is tried again for ever, and nothing is acked meanwhile.

        Raises:
            StoreError: the store refuses rows for good; their messages are not acked.
        """
        while not stop.is_set():
            self._collect(self._subscription.take(self._batch, self._age), stop)
        self._collect(self._subscription.take(self._batch, 0.0), stop)

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

    def _collect(self, deliveries: Sequence[Delivery], stop: threading.Event) -> None:
        if not deliveries:
            return
        decoded = decode([delivery.message for delivery in deliveries], self._formats)
        self._count(
            received=decoded.items,
            pending=decoded.items,
            status=len(decoded.statuses),
            lost_upstream=self._gateways.note(decoded),
            unmapped=decoded.unmapped,
        )
        if self._keep(screen(decoded, self._registry, ahead=self._ahead), stop):
            self._subscription.ack(deliveries)

    def _keep(self, screened: Screened, stop: threading.Event) -> bool:
        """Store one batch; False where it was told to stop before the store took all of it."""
        if self._write("quarantine", screened.quarantine, stop) is None:
            return False
        self._count(quarantined=screened.refused, pending=-screened.refused)
        for table, rows in (("readings", screened.readings), ("activity", screened.activity)):
            new = self._write(table, rows, stop)
            if new is None:
                return False
            self._count(stored=new, duplicate=rows.height - new, pending=-rows.height)
        return True

    def _write(self, table: str, rows: pl.DataFrame, stop: threading.Event) -> int | None:
        """Write until the store takes it; None where it was told to stop first."""
        if rows.is_empty():
            return 0
        wait = _FIRST_WAIT
        while True:
            try:
                return self._store.write(table, rows)
            except StoreUnavailable as error:
                seconds = error.retry_after or wait * random.uniform(0.5, 1.0)  # noqa: S311 - spreads collectors
                log.warning("store cannot be reached", table=table, rows=rows.height, error=str(error), wait=seconds)
            if stop.wait(seconds):
                return None
            wait = min(2 * wait, _LONGEST_WAIT)
            # whoever looks for what is new looks by the time of receipt: rows that had to wait must not look old
            rows = rows.with_columns(received=pl.lit(self._subscription.clock().astimezone(UTC), TIME))

    def _count(self, **more: int) -> None:
        # one writer, and the tally is replaced as a whole: whoever reads it sees one moment
        self._tally = replace(self._tally, **{name: getattr(self._tally, name) + n for name, n in more.items()})
