"""
The nouns that travel between the floors: a message as received or to be published, and a period.

Time is always aware. A period is half-open, `[start, end)`, and is labelled by its start.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple


class Message(NamedTuple):
    """One MQTT message as it was received: nothing decoded, nothing dropped."""

    topic: str
    payload: bytes
    received: datetime
    retained: bool = False


class Publication(NamedTuple):
    """One MQTT message to be published."""

    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True, order=True)
class Period:
    """
    A half-open, aware span of time [start, end).

    Raises:
        ValueError: a bound without a zone, or an end that is not after the start.
    """

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.start.tzinfo is None or self.end.tzinfo is None:
            raise ValueError(f"period {self.start} to {self.end}: both bounds need a time zone")
        if self.end <= self.start:
            raise ValueError(f"period {self.start} to {self.end}: the end must be after the start")

    @property
    def length(self) -> timedelta:
        """Elapsed time from start to end, also over a change of clocks."""
        return self.end.astimezone(UTC) - self.start.astimezone(UTC)

    def __contains__(self, moment: datetime) -> bool:
        return self.start <= moment < self.end

    def __str__(self) -> str:
        return f"[{self.start.isoformat()}, {self.end.isoformat()})"
