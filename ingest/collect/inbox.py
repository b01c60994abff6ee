"""
What has arrived and is not taken yet, bounded in messages and in bytes.

    connection -> put() -> Inbox -> take() -> collector

While it is full `put` waits: nothing more is read from the socket, and the broker keeps what it has.
"""

import threading
from collections import deque
from typing import NamedTuple


class Arrival(NamedTuple):
    """A message as it arrived, the number of its connection, and its MQTT message id (0: it asks for no ack)."""

    topic: str
    payload: bytes
    retained: bool
    connection: int
    mid: int


class Inbox:
    """A queue between one thread that puts and one that takes."""

    def __init__(self, *, messages: int, size: int) -> None:
        """Prepare; it is full at `messages`, or at `size` of payload. [bytes]"""
        self._messages = messages
        self._size = size
        self._waiting: deque[Arrival] = deque()
        self._held = 0
        self._wanted = 0
        self._closed = False
        self._changed = threading.Condition()

    def put(self, arrival: Arrival) -> None:
        """Add one; waits while it is full. Once it is closed nothing is added: the broker sends it again."""
        with self._changed:
            while self._full and not self._closed:
                self._changed.wait()
            if self._closed:
                return
            self._waiting.append(arrival)
            self._held += len(arrival.payload)
            # whoever takes is woken once for a batch, not for every message
            if self._full or len(self._waiting) == self._wanted:
                self._changed.notify_all()

    def take(self, limit: int, age: float) -> list[Arrival]:
        """Take up to `limit`; waits until there are so many, until it is full or until `age` has passed. [s]"""
        with self._changed:
            self._wanted = limit
            self._changed.wait_for(lambda: self._full or self._closed or len(self._waiting) >= limit, age)
            taken = [self._waiting.popleft() for _ in range(min(limit, len(self._waiting)))]
            self._held -= sum(len(arrival.payload) for arrival in taken)
            self._changed.notify_all()
            return taken

    def close(self) -> None:
        """Let nothing wait any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def _full(self) -> bool:
        return len(self._waiting) >= self._messages or self._held >= self._size
