"""
What the gateways say of themselves: online or offline (their last-will), and `seq`, by which a loss upstream shows.

Kept in memory only; the retained last-will comes again with every subscription.
"""

from collections.abc import Container

from ingest.decode.payload import Decoded

_MOST = 100_000  # anyone may publish under any gateway name below its own facility: this bounds the memory
_NO_COUNT = 1 << 53  # no gateway counts that far; the sum stays a number that every metric can hold


class Gateways:
    """The gateways of the registered facilities."""

    def __init__(self, facilities: Container[str]) -> None:
        self._facilities = facilities
        self._last: dict[tuple[str, str], int] = {}
        self.states: dict[tuple[str, str], str] = {}

    def note(self, decoded: Decoded) -> int:
        """
        Take note of a batch.

        Returns:
            How many messages are missing: the steps of `seq` beyond one. A `seq` that does not grow is a message sent
            again or a gateway that started anew, and counts nothing.
        """
        for topic, state in decoded.statuses:
            if self._known(gateway := (topic.facility, topic.gateway), self.states):
                self.states[gateway] = state
        lost = 0
        for topic, seq in decoded.seqs:
            if 0 <= seq < _NO_COUNT and self._known(gateway := (topic.facility, topic.gateway), self._last):
                lost += max(0, seq - self._last.get(gateway, seq) - 1)
                self._last[gateway] = seq
        return lost

    def _known(self, gateway: tuple[str, str], noted: Container[tuple[str, str]]) -> bool:
        return gateway in noted or (gateway[0] in self._facilities and len(self.states) + len(self._last) < _MOST)
