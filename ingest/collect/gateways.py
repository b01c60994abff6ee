"""
What the gateways say of themselves: online or offline (their last will), and `seq`, by which a loss upstream shows.

    Decoded, batch by batch -> Gateways -> facility and gateway to its state and what it lost

Kept in memory only; the retained last will comes again with every subscription.
"""

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

from ingest.decode.payload import Decoded
from ingest.registry import Facility

Name: TypeAlias = tuple[str, str]  # facility and gateway

# A facility may publish under any gateway name below its own: beside those the registry names, this many are noted.
# It bounds the memory, the rows and the metrics, and a facility that floods takes no room from the others.
_MOST = 100
_NO_COUNT = 1 << 53  # no gateway counts that far; the sum stays a number that every metric can hold


class Gateway(NamedTuple):
    """
    One gateway.

    Attributes:
        state: `online`, `offline` or `unknown`, as its last will says; empty where it has none.
        lost_upstream: messages it numbered and nobody received.
        seq: the newest number; None where it numbers nothing.
    """

    state: str = ""
    lost_upstream: int = 0
    seq: int | None = None


class Gateways:
    """The gateways of the registered facilities."""

    def __init__(self, facilities: Mapping[str, Facility]) -> None:
        self._facilities = facilities
        self._registered = {(name, one.id) for name, facility in facilities.items() for one in facility.gateway}
        self._others: Counter[str] = Counter()
        self.seen: dict[Name, Gateway] = {}

    def note(self, decoded: Decoded) -> int:
        """
        Take note of a batch.

        Returns:
            How many messages are missing: the steps of `seq` beyond one. A `seq` that does not grow is a message sent
            again or a gateway that started anew, and counts nothing.
        """
        for topic, state in decoded.statuses:
            if self._admits(name := (topic.facility, topic.gateway)):
                self.seen[name] = self.seen.get(name, Gateway())._replace(state=state)
        lost = 0
        for topic, seq in decoded.seqs:
            if 0 <= seq < _NO_COUNT and self._admits(name := (topic.facility, topic.gateway)):
                one = self.seen.get(name, Gateway())
                missing = 0 if one.seq is None else max(0, seq - one.seq - 1)
                self.seen[name] = Gateway(one.state, one.lost_upstream + missing, seq)
                lost += missing
        return lost

    def _admits(self, name: Name) -> bool:
        if name in self.seen or name in self._registered:
            return True
        facility = name[0]
        if facility not in self._facilities or self._others[facility] == _MOST:
            return False
        self._others[facility] += 1
        return True
