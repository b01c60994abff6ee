"""
The nouns that travel between the floors: messages, periods, and texts in two languages.

Time is always aware. A period is half-open, `[start, end)`, and is labelled by its start.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field


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
    A half-open, aware span of time [start, end), kept in UTC, where adding a duration is adding elapsed time.

    Raises:
        ValueError: a bound without a zone, or an end that is not after the start.
    """

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.start.tzinfo is None or self.end.tzinfo is None:
            raise ValueError(f"period {self.start} to {self.end}: both bounds need a time zone")
        object.__setattr__(self, "start", self.start.astimezone(UTC))
        object.__setattr__(self, "end", self.end.astimezone(UTC))
        if self.end <= self.start:
            raise ValueError(f"period {self}: the end must be after the start")

    @property
    def length(self) -> timedelta:
        """Elapsed time from start to end."""
        return self.end - self.start

    def __contains__(self, moment: datetime) -> bool:
        return self.start <= moment < self.end

    def __str__(self) -> str:
        return f"[{self.start.isoformat()}, {self.end.isoformat()})"


class Strict(BaseModel):
    """Base of all data that people write in TOML: unknown keys and wrong types are refused, nothing changes later."""

    # strict: TOML has types of its own, a date in quotes is a text
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Text(Strict):
    """A text in both languages of the product."""

    zh: Annotated[str, Field(min_length=1)]
    en: Annotated[str, Field(min_length=1)]

    def of(self, language: str) -> str:
        """Return the text in `zh` or `en`."""
        return self.zh if language == "zh" else self.en
