"""
Publish messages and wait for every ack.

    publications -> publish() -> how many the broker acked: all of them, or an error
"""

import threading
from collections.abc import Callable, Iterable

from paho.mqtt.reasoncodes import ReasonCode

from ingest.collect.buffered import BufferedClient
from ingest.collect.mqtt import Broker, Link, Version
from ingest.errors import BrokerError, BrokerUnavailable
from ingest.model import Publication


def publish(
    broker: Broker,
    publications: Iterable[Publication],
    *,
    client_id: str,
    window: int = 200,
    timeout: float = 30.0,
    advance: Callable[[int], None] = lambda _: None,
) -> int:
    """
    Publish all messages with QoS 1, in their order.

    Args:
        broker: where to.
        publications: the messages.
        client_id: name of this publisher; another client of this name is cut off.
        window: how many messages may wait for an ack.
        timeout: how long no ack may arrive before the broker counts as gone. [s]
        advance: told how many more messages were acked, for a progress bar.

    Returns:
        How many messages were acked: all of them.

    Raises:
        BrokerError: the broker refuses the login or a message.
        BrokerUnavailable: the broker cannot be reached or stays away.
    """
    with Publisher(broker, client_id, window=window, timeout=timeout) as publisher:
        told = 0
        for publication in publications:
            publisher.send(publication)
            acked = publisher.acked
            advance(acked - told)
            told = acked
        publisher.drain()
        advance(publisher.acked - told)
        return publisher.acked


class Publisher(Link):
    """Publishes with QoS 1 and counts the acks; a lost connection is made again and what had no ack is sent again."""

    def __init__(self, broker: Broker, client_id: str, *, window: int = 200, timeout: float = 30.0) -> None:
        """
        Prepare; entering the context connects.

        Args:
            broker: where to connect.
            client_id: name of this publisher.
            window: how many messages may wait for an ack. paho takes steps in this number for each ack.
            timeout: how long no ack may arrive before the broker counts as gone. [s]
        """
        super().__init__(broker, client_id, session=0, in_flight=window)
        self._window = window
        self._timeout = timeout
        self._sent = 0
        self._acked = 0
        self._topics: dict[int, str] = {}
        self._refused: tuple[int, ReasonCode] | None = None
        self._changed = threading.Condition()

    @property
    def acked(self) -> int:
        """How many messages the broker has acked."""
        return self._acked

    def send(self, publication: Publication) -> None:
        """
        Publish one message; waits while the window is full.

        Raises:
            BrokerError: the broker refused a message.
            BrokerUnavailable: no ack arrived for `timeout` seconds.
        """
        self._until_unacked(self._window - 1)
        info = self._client.publish(publication.topic, publication.payload, qos=1)
        self._topics[info.mid] = publication.topic
        self._sent += 1

    def drain(self) -> None:
        """Wait until every message is acked; raises what `send` raises."""
        self._until_unacked(0)

    def _until_unacked(self, most: int) -> None:
        with self._changed:
            while self._refused is None and self._sent - self._acked > most:
                if not self._changed.wait(self._timeout):
                    sentence = f"broker {self._broker} sent no ack for {self._timeout:g} s"
                    raise BrokerUnavailable(f"{sentence}: {self._acked} of {self._sent} messages acked")
            if self._refused is not None:
                mid, reason = self._refused
                raise BrokerError(f"broker {self._broker} refuses a message on {self._topics[mid]!r}: {reason}")

    def _make(self, version: Version) -> BufferedClient:
        client = super()._make(version)
        client.on_publish = self._on_publish
        return client

    def _on_publish(self, _: object, __: object, mid: int, reason: ReasonCode, ___: object) -> None:
        with self._changed:
            if reason.is_failure and self._refused is None:
                self._refused = mid, reason
            self._acked += 1
            self._changed.notify_all()
