"""
MQTT: where a broker is, and a client's connection to it. The modules of this folder share the client library, paho.

    Broker.parse(url) -> Link: a connection that stands, or one sentence why not

MQTT 5 where the broker speaks it, 3.1.1 otherwise. The first connection either stands or raises; a connection that
stood once is made again for ever, with growing waits that differ from client to client.
"""

import random
import ssl
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Literal, Self
from urllib.parse import urlsplit

import structlog
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from ingest.collect.buffered import BufferedClient
from ingest.errors import BrokerError, BrokerUnavailable, ConfigurationError, Problem

log = structlog.get_logger(__name__)

Version = Literal["5", "3.1.1"]

_PROTOCOLS = {"5": MQTTProtocolVersion.MQTTv5, "3.1.1": MQTTProtocolVersion.MQTTv311}
_PORTS = {"mqtt": 1883, "mqtts": 8883}
_ANSWER = 5.0  # [s] a broker that knows no MQTT 5 may also keep silent
KEEPALIVE = 30  # [s]
_MOST_IN_FLIGHT = 65_535
_BUSY = {136, 137, 151, 159}  # server unavailable, server busy, quota exceeded, connection rate exceeded
_OTHER_VERSION = 132


@dataclass(frozen=True, slots=True)
class Broker:
    """Where a broker is and how to log in; `versions` are the MQTT versions to try, in this order."""

    host: str
    port: int
    tls: bool = False
    user: str = ""
    password: str | None = field(default=None, repr=False)
    ca: Path | None = None
    versions: tuple[Version, ...] = ("5", "3.1.1")

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, url: str, *, user: str = "", password: str | None = None, ca: Path | None = None) -> Self:
        """
        Read `mqtt://host:1883` or `mqtts://host:8883`.

        Args:
            url: the broker's address, without user and password.
            user, password: the login; none where `user` is empty.
            ca: file of the certificate authority; None for those of the system.

        Raises:
            ConfigurationError: the URL names no broker or holds a secret, or there is no such CA file.
        """
        wanted = "mqtt://host:1883 or mqtts://host:8883"
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise ConfigurationError([Problem("setting broker", str(error), wanted)]) from None
        if "@" in parts.netloc:
            where = "them in PEAKWATCH_BROKER_USER and PEAKWATCH_BROKER_PASSWORD"
            raise ConfigurationError([Problem("setting broker", "a user or a password in the URL", where)])
        if parts.scheme not in _PORTS or not parts.hostname or parts.path.strip("/") or parts.query or parts.fragment:
            raise ConfigurationError([Problem("setting broker", repr(url), wanted)])
        if ca is not None and not ca.is_file():
            raise ConfigurationError([Problem("setting broker_ca", repr(str(ca)), "a file that exists")])
        return cls(parts.hostname, port or _PORTS[parts.scheme], parts.scheme == "mqtts", user, password, ca)


class Link:
    """
    One client's connection: it stands or it is refused in one sentence; once it stood, it is kept up.

    Attributes:
        connected: whether it stands now, as far as is known.
    """

    def __init__(
        self, broker: Broker, client_id: str, *, session: int, in_flight: int, keepalive: int = KEEPALIVE
    ) -> None:
        """
        Prepare; entering the context connects.

        Args:
            broker: where to connect.
            client_id: name of this client; another client of this name is cut off.
            session: how long the broker keeps messages for this client while it is away; 0 for not at all. [s]
            in_flight: how many messages may wait for an ack, either way.
            keepalive: how long the broker may be silent before it is asked for an answer; where that does not come
                for as long again, the connection is made anew. [s]
        """
        self._broker = broker
        self._client_id = client_id
        self._session = session
        self._in_flight = min(in_flight, _MOST_IN_FLIGHT)
        self._keepalive = keepalive
        self._stood = False
        self.connected = False
        self._client: BufferedClient
        self._answers: SimpleQueue[ReasonCode | None]

    def __enter__(self) -> Self:
        """
        Connect.

        Raises:
            BrokerError: the broker refuses the login or the subscription, or its certificate is not trusted.
            BrokerUnavailable: the broker cannot be reached, is busy or speaks no MQTT that we do.
        """
        for version in self._broker.versions:
            answer = self._try(version)
            if answer is not None and not answer.is_failure:
                self._stood = True
                return self
            self._stop()
            if answer is not None and answer.value != _OTHER_VERSION:
                kind = BrokerUnavailable if answer.value in _BUSY else BrokerError
                raise kind(f"broker {self._broker} refuses client {self._client_id!r}: {answer}")
        versions = " or ".join(self._broker.versions)
        raise BrokerUnavailable(f"broker {self._broker} takes the connection but does not answer in MQTT {versions}")

    def __exit__(self, *_: object) -> None:
        self._stop()

    def _try(self, version: Version) -> ReasonCode | None:
        """Connect with one version; None where the broker does not answer."""
        self._answers = SimpleQueue()
        self._client = client = self._make(version)
        options: dict[str, Any] = {"keepalive": self._keepalive}
        if version == "5":
            options |= {"clean_start": not self._session, "properties": self._properties()}
        try:
            client.connect(self._broker.host, self._broker.port, **options)
        except ssl.SSLCertVerificationError as error:
            raise BrokerError(f"certificate of broker {self._broker} is not trusted: {error.verify_message}") from error
        except OSError as error:
            raise BrokerUnavailable(f"broker {self._broker} cannot be reached: {error}") from error
        client.loop_start()
        with suppress(Empty):
            return self._answers.get(timeout=_ANSWER)
        return None

    def _make(self, version: Version) -> BufferedClient:
        client = BufferedClient(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            clean_session=None if version == "5" else not self._session,
            protocol=_PROTOCOLS[version],
            manual_ack=True,
        )
        if self._broker.user:
            client.username_pw_set(self._broker.user, self._broker.password)
        if self._broker.tls:
            client.tls_set(ca_certs=None if self._broker.ca is None else str(self._broker.ca))
        # drawn anew for each client, so that a fleet does not come back in step; paho doubles the first to the last
        first, longest = random.uniform(0.5, 1.5), random.uniform(20.0, 60.0)  # noqa: S311
        client.reconnect_delay_set(first, longest)  # type: ignore[arg-type]  # any number does
        client.max_inflight_messages_set(self._in_flight)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        return client

    def _properties(self) -> Properties:
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = self._session
        properties.ReceiveMaximum = self._in_flight
        return properties

    def _stop(self) -> None:
        self._client.disconnect()
        with suppress(AttributeError):  # paho's thread may end between paho's look at it and the join
            self._client.loop_stop()

    def _on_connect(self, _: object, __: object, flags: paho.ConnectFlags, reason: ReasonCode, ___: object) -> None:
        self.connected = not reason.is_failure
        if self.connected:
            if self._stood:
                log.info("broker answers again", broker=str(self._broker))
            self._greet(reason, flags)
        elif self._stood:
            log.warning("broker refuses, tried again", broker=str(self._broker), answer=str(reason))
        else:
            self._answers.put(reason)

    def _on_disconnect(self, _: object, __: object, ___: object, reason: ReasonCode, ____: object) -> None:
        if self._stood and self.connected and reason.is_failure:
            log.warning("broker lost", broker=str(self._broker), reason=str(reason))
        self.connected = False
        self._lost()
        if not self._stood:
            self._answers.put(None)

    def _greet(self, reason: ReasonCode, flags: paho.ConnectFlags) -> None:  # noqa: ARG002 - for those that need it
        """Do what a new connection needs, then answer the first one: here, nothing."""
        if not self._stood:
            self._answers.put(reason)

    def _lost(self) -> None:
        """Do what the end of a connection needs: here, nothing."""
