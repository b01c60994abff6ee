"""
A broker in this process, for the demonstration and for a first try: amqtt on loopback.

It speaks MQTT 3.1.1, lets everybody in and keeps nothing on disk. That is why it listens on loopback only: nobody but
this machine may reach it, and real facilities need a real broker with TLS, logins and ACL.
"""

import asyncio
import logging
import os
import threading
from concurrent.futures import Future
from functools import partial
from typing import Any, Self

from ingest.collect.mqtt import Broker
from ingest.errors import BrokerError, ConfigurationError, Problem

_HOST = "127.0.0.1"
_MOMENT = 0.01  # [s]
_CONFIG = {
    "listeners": {"default": {"type": "external"}},
    "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
}


class EmbeddedBroker:
    """
    A broker on loopback while the context lasts.

    Attributes:
        broker: how to connect to it.
    """

    broker: Broker

    def __init__(self, port: int = 0) -> None:
        """Prepare; `port` 0 takes a free one."""
        self._port = port
        self._stop: asyncio.Event
        self._loop: asyncio.AbstractEventLoop
        self._thread: threading.Thread

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self.broker.port

    def __enter__(self) -> Self:
        """
        Start it.

        Raises:
            ConfigurationError: amqtt is not installed.
            BrokerError: the port is in use.
        """
        amqtt = _load()
        started: Future[int] = Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(amqtt, started)), name="embedded-broker", daemon=True
        )
        self._thread.start()
        try:
            self.broker = Broker(_HOST, started.result(), versions=("3.1.1",))
        except OSError as error:
            why = os.strerror(error.errno or 0)
            raise BrokerError(f"the embedded broker cannot listen on {_HOST}:{self._port}: {why}") from error
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    async def _serve(self, amqtt: Any, started: "Future[int]") -> None:
        self._stop = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(lambda *_: None)  # a client that hangs up is no news
        broker = _lossless(amqtt.Broker)(_CONFIG)
        await broker.start()
        try:
            # a listener of our own: it knows the port it got, and amqtt does not tell a port in use from other faults
            server = await asyncio.start_server(
                partial(broker.stream_connected, listener_name="default"), _HOST, self._port
            )
        except OSError as error:
            started.set_exception(error)
        else:
            started.set_result(server.sockets[0].getsockname()[1])
            await self._stop.wait()
            server.close()
        await broker.shutdown()


def _lossless(broker: Any) -> Any:
    """
    Make amqtt pass on what it has acked.

    amqtt acks a message when it comes in and forgets what it has not passed on yet when the publisher leaves: here, a
    client has left once its messages are passed on. One that comes back under the same name before that still loses
    them: a broker on its own is what facilities need.
    """

    class Lossless(broker):  # type: ignore[misc]
        async def _client_message_loop(self, client_session: Any, handler: Any) -> None:
            leaves = handler.wait_disconnect

            async def leaves_with_nothing_left() -> Any:
                left = await leaves()
                while not client_session.delivered_message_queue.empty():
                    await asyncio.sleep(_MOMENT)
                return left

            handler.wait_disconnect = leaves_with_nothing_left
            await super()._client_message_loop(client_session, handler)

    return Lossless


def _load() -> Any:
    try:
        import amqtt.broker as amqtt  # noqa: PLC0415 - an extra, and no other command should pay for it
    except ImportError:
        wanted = "the extra `broker` installed (pip install 'peakwatch[broker]'), or mqtt://host:1883"
        raise ConfigurationError([Problem("setting broker", "embedded without amqtt", wanted)]) from None
    for noisy in ("amqtt", "transitions"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL + 1)
    return amqtt
