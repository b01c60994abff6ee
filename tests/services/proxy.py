"""
A network that fails on demand: a TCP proxy on loopback.

    client -> Proxy -> server

It delays and cuts at random (seeded), cuts at once, or lets packets vanish: then both ends keep a connection over which
nothing comes any more.
"""

import random
import socket
import threading
import time
from contextlib import suppress
from typing import Self


class Proxy:
    """Listens on `port` while the context lasts and passes on to a server on loopback."""

    def __init__(self, server: int) -> None:
        self._server = server
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.connections = 0
        self._pairs: list[tuple[socket.socket, socket.socket, threading.Event]] = []
        self._vanishing = False
        self._random = random.Random(0)  # noqa: S311
        self._cuts = self._delay = 0.0
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self.cut()
        for thread in self._threads:
            thread.join(10)
        self._listener.close()

    def trouble(self, seed: int, *, cuts: float, delay: float) -> None:
        """From now on cut a connection with this chance at each chunk, and hold a chunk back for up to `delay` s."""
        self._random = random.Random(seed)  # noqa: S311
        self._cuts, self._delay = cuts, delay

    def vanish(self) -> None:
        """Let all packets vanish, of these connections for ever and of new ones until `heal`."""
        self._vanishing = True
        for *_, vanished in self._pairs:
            vanished.set()

    def heal(self) -> None:
        """Let new connections pass, without trouble."""
        self._vanishing = False
        self._cuts = self._delay = 0.0

    def cut(self) -> None:
        """Cut all connections."""
        for pair in self._pairs:
            _end(*pair[:2])

    def _start(self, work, *given: object) -> None:
        self._threads.append(threading.Thread(target=work, args=given, daemon=True))
        self._threads[-1].start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                try:
                    server = socket.create_connection(("127.0.0.1", self._server))
                except OSError:
                    client.close()
                    continue
                vanished = threading.Event()
                if self._vanishing:
                    vanished.set()
                self._pairs.append((client, server, vanished))
                self._start(self._pump, client, server, vanished)
                self._start(self._pump, server, client, vanished)

    def _pump(self, source: socket.socket, sink: socket.socket, vanished: threading.Event) -> None:
        with suppress(OSError):
            while data := source.recv(4096):
                if vanished.is_set():
                    continue
                time.sleep(self._random.uniform(0, self._delay))
                if self._random.random() < self._cuts:
                    sink.sendall(data[: self._random.randrange(len(data))])
                    break
                sink.sendall(data)
        if not vanished.is_set():
            _end(source, sink)
        source.close()


def _end(*ends: socket.socket) -> None:
    for end in ends:
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
