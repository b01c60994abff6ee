"""
What the meters publish, taken message by message and acked by hand.

    broker -> Subscription.take() -> Delivery, Delivery, ... -> stored -> Subscription.ack()
"""

import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple

import structlog
from paho.mqtt import client as paho
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.reasoncodes import ReasonCode

from ingest.collect.buffered import BufferedClient
from ingest.collect.inbox import Arrival, Inbox
from ingest.collect.mqtt import KEEPALIVE, Broker, Link, Version
from ingest.decode import topics
from ingest.model import Message, Publication
from ingest.registry import Registry

log = structlog.get_logger(__name__)

_SESSION = 7 * 24 * 3600  # [s] what an absent collector has not acked is kept this long
_SIZE = 16 << 20  # [bytes] payload that may wait: messages of a few kilobytes never reach it
_AGAIN = 5.0  # [s]
_OURS = tuple(topics.filters(Registry({})))


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
    All messages of some topics, each acked by hand once it is stored.

    At most `in_flight` messages wait to be taken. MQTT 5 tells the broker so; 3.1.1 cannot, and mosquitto 2.0.11 sends
    more once the first are acked, so beyond that number nothing is read from the socket.
    """

    def __init__(
        self,
        broker: Broker,
        client_id: str,
        *,
        clock: Callable[[], datetime],
        filters: Sequence[str] = _OURS,
        in_flight: int = 10_000,
        group: str = "",
        keepalive: int = KEEPALIVE,
    ) -> None:
        """
        Prepare; entering the context connects.

        Args:
            broker: where to connect.
            client_id: stable name of this collector: the broker keeps what it has not acked under it.
            clock: stamps what is taken.
            filters: topic filters of `topics.filters`; those of our own format by default.
            in_flight: how many messages may wait for an ack. Twice the collector's batch: one is decoded while another
                is stored.
            group: share the messages among all collectors of this group; empty for all messages.
            keepalive: how long the broker may be silent before it is asked for an answer. [s]
        """
        super().__init__(broker, client_id, session=_SESSION, in_flight=in_flight, keepalive=keepalive)
        # every collector of a group notes what the gateways say of themselves: a shared subscription would tell only
        # one of them, and what is retained none
        own = [one for one in filters if not group or topics.for_all(one)]
        self._shared = [f"$share/{group}/{one}" for one in filters if one not in own]
        self._topics = [(one, 1) for one in (*own, *self._shared)]
        self.clock = clock
        self._inbox = Inbox(messages=self._in_flight, size=_SIZE)
        self._received = 0
        self._acked = 0
        self._connection = 0
        self._acking = threading.Lock()
        self._closing = threading.Event()
        self._left = threading.Event()

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
        Take messages until there are `limit`, no more fit, or `age` seconds have passed, whichever comes first.

        A message counts as received now: one that waited here while the store was away must not look old to whoever
        looks for what is new.
        """
        arrivals = self._inbox.take(limit, age)
        now = self.clock()
        return [
            Delivery(Message(one.topic, one.payload, now, one.retained), one.connection, one.mid) for one in arrivals
        ]

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Ack what is stored. The ack of a lost connection is dropped: the broker sends the message again."""
        with self._acking:
            here = [one.mid for one in deliveries if one.mid and one.connection == self._connection]
            self._client.ack_all(here)
        self._acked += len(deliveries)

    def ask(self, publication: Publication) -> None:
        """Publish to a device; what gets lost is asked again."""
        self._client.publish(publication.topic, publication.payload)
        log.info("device asked", topic=publication.topic)

    def leave(self, timeout: float) -> bool:
        """
        Leave the group, so that the broker sets nothing more aside for this collector; False where there is none.

        What the broker has set aside already still arrives. mosquitto would go on setting messages aside for a member
        that is away. Waits at most `timeout` for the broker's answer. [s]
        """
        if self._shared:
            self._left.clear()
            if self._client.unsubscribe(self._shared)[0] == MQTTErrorCode.MQTT_ERR_SUCCESS:
                self._left.wait(timeout)
        return bool(self._shared)

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._inbox.close()
        super().__exit__()

    def _make(self, version: Version) -> BufferedClient:
        client = super()._make(version)
        client.on_message = self._on_message
        client.on_subscribe = self._on_subscribe
        client.on_unsubscribe = lambda *_: self._left.set()
        return client

    def _greet(self, reason: ReasonCode, flags: paho.ConnectFlags) -> None:  # noqa: ARG002
        # What waits in the inbox stays, though the broker sends it again: killed, mosquitto may have lost it.
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
        self._received += 1
        mid = message.mid if message.qos else 0
        self._inbox.put(Arrival(topic, bytes(message.payload), message.retain, self._connection, mid))

    def _on_subscribe(self, _: object, __: object, ___: int, reasons: list[ReasonCode], ____: object) -> None:
        answer = next((reason for reason in reasons if reason.is_failure), reasons[0])
        if not self._stood:
            self._answers.put(answer)
        elif answer.is_failure:
            log.warning("broker refuses the subscription", broker=str(self._broker), answer=str(answer), wait=_AGAIN)
            self._closing.wait(_AGAIN)
            self._client.subscribe(self._topics)
