"""
What the meters publish, taken message by message and acked by hand.

    broker -> Subscription.take() -> Delivery, Delivery, ... -> stored -> Subscription.ack()
"""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from queue import Empty, Full, Queue
from time import monotonic
from typing import NamedTuple, TypeAlias

from paho.mqtt import client as paho
from paho.mqtt.reasoncodes import ReasonCode

from ingest.collect.buffered import BufferedClient
from ingest.collect.mqtt import Broker, Link, Version
from ingest.decode.topics import OURS
from ingest.model import Message

_SESSION = 7 * 24 * 3600  # [s] what an absent collector has not acked is kept this long
_POLL = 0.2  # [s]


# topic, payload, retained, connection, mid
_Waiting: TypeAlias = tuple[str, bytes, bool, int, int]


class Delivery(NamedTuple):
    """
    A message in hand.

    Attributes:
        message: what was received.
        connection: number of the connection it came over; only that connection can ack it.
        mid: its MQTT message id; 0 where the publisher asked for no ack.
    """

    message: Message
    connection: int
    mid: int


class Subscription(Link):
    """
    All messages of the public topics, each acked by hand once it is stored.

    At most `in_flight` messages wait to be taken. MQTT 5 tells the broker so; 3.1.1 cannot, and mosquitto 2.0.11 sends
    more once the first are acked, so beyond that number nothing is read from the socket.
    """

    def __init__(
        self,
        broker: Broker,
        client_id: str,
        *,
        clock: Callable[[], datetime],
        topics: Sequence[str] = OURS,
        in_flight: int = 5000,
        group: str = "",
    ) -> None:
        """
        Prepare; entering the context connects.

        Args:
            broker: where to connect.
            client_id: stable name of this collector: the broker keeps what it has not acked under it.
            clock: stamps what is taken.
            topics: filters of what to collect.
            in_flight: how many messages may wait for an ack. At least the collector's batch.
            group: share the messages among all collectors of this group; empty for all messages.
        """
        super().__init__(broker, client_id, session=_SESSION, in_flight=in_flight)
        self._topics = [(f"$share/{group}/{topic}" if group else topic, 1) for topic in topics]
        self.clock = clock
        self._queue: Queue[_Waiting] = Queue(self._in_flight)
        self._closing = False
        self._received = 0
        self._acked = 0
        self._connection = 0
        self._acking = threading.Lock()

    @property
    def unacked(self) -> int:
        """How many messages this process has received and not acked."""
        return self._received - self._acked

    @property
    def acked(self) -> int:
        """How many messages were acked, or were so before a connection was lost."""
        return self._acked

    def take(self, limit: int, age: float) -> list[Delivery]:
        """
        Take messages until there are `limit` or `age` seconds have passed, whichever comes first.

        A message counts as received now: one that waited here while the store was away must not look old to whoever
        looks for what is new.
        """
        taken: list[_Waiting] = []
        end = monotonic() + age
        with suppress(Empty):
            while len(taken) < limit:
                taken.append(self._queue.get(timeout=max(0.0, end - monotonic())))
        now = self.clock()
        return [
            Delivery(Message(topic, payload, now, retained), connection, mid)
            for topic, payload, retained, connection, mid in taken
        ]

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Ack what is stored. The ack of a lost connection is dropped: the broker sends the message again."""
        with self._acking:
            here = [one.mid for one in deliveries if one.mid and one.connection == self._connection]
            self._client.ack_all(here)
        self._acked += len(deliveries)

    def __exit__(self, *_: object) -> None:
        self._closing = True
        super().__exit__()

    def _make(self, version: Version) -> BufferedClient:
        client = super()._make(version)
        client.on_message = self._on_message
        client.on_subscribe = self._on_subscribe
        return client

    def _greet(self, reason: ReasonCode, flags: paho.ConnectFlags) -> None:  # noqa: ARG002
        if flags.session_present:
            # the broker sends all of these again; kept, they would pile up with every connection lost
            with suppress(Empty):
                while True:
                    self._queue.get_nowait()
                    self._received -= 1
        self._client.subscribe(self._topics)

    def _lost(self) -> None:
        # Message ids start anew with a connection. Counted here, before paho forgets the acks of the old one: an ack
        # either goes to the connection it belongs to, or nowhere.
        with self._acking:
            self._connection += 1

    def _on_message(self, _: object, __: object, message: paho.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = ""
        mid = message.mid if message.qos else 0
        waiting: _Waiting = (topic, bytes(message.payload), message.retain, self._connection, mid)
        self._received += 1
        waits = True
        while waits and not self._closing:
            with suppress(Full):
                self._queue.put(waiting, timeout=_POLL)
                waits = False

    def _on_subscribe(self, _: object, __: object, ___: int, reasons: list[ReasonCode], ____: object) -> None:
        refused = [reason for reason in reasons if reason.is_failure]
        self._answers.put((refused or reasons)[0])
