"""
Payloads to frames, for a whole batch of messages at once: our own, and those of registered gateways of other formats.

    messages -> decode() -> Decoded: readings, activity, what was refused and why, status, seq

Nothing is raised and nothing is dropped: every payload ends in one of these, or is counted as unmapped.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import polars as pl

from ingest.decode import times, topics
from ingest.decode.entries import KINDS, WHOLE, Opened, Refusal, open_payload
from ingest.decode.reasons import Reason, shown
from ingest.decode.table import Gateways
from ingest.decode.topics import Topic
from ingest.model import Message, Publication
from ingest.schema import TIME

_PLACE = {"message": pl.UInt32(), "item": pl.Int32()}
_REFUSED = pl.Schema(_PLACE | {"reason": pl.String(), "sentence": pl.String()})


@dataclass(frozen=True, slots=True)
class Decoded:
    """
    A batch of messages, decoded.

    Attributes:
        messages: the batch; column `message` of each frame is an index into it.
        readings: message, item, facility, gateway, flags (2: the time is the message's default, 4: that of its
            receipt), received, meter, time, value, unit (null: the meter's).
        activity: message, item, facility, gateway, received, product, start, end, quantity, unit (null: the product's).
        refused: message, item (-1: the whole payload), reason, sentence.
        statuses: topic and `online`, `offline` or `unknown`, one for each status message.
        seqs: topic and `seq`, one for each message that has one.
        items: how many items the batch counts in the loss equation: 1 for a payload that is refused whole, the number
            of its entries for any other, 0 for a status.
        unmapped: messages of other formats that name no mapped value: of a device that sends a topic for each value,
            or only what changed. They are no items.
        asked: what to publish to devices whose messages cannot be read without it, each topic once.
    """

    messages: Sequence[Message]
    readings: pl.DataFrame
    activity: pl.DataFrame
    refused: pl.DataFrame
    statuses: Sequence[tuple[Topic, str]]
    seqs: Sequence[tuple[Topic, int]]
    items: int
    unmapped: int
    asked: Sequence[Publication]


class _Part(NamedTuple):
    """One opened payload and the message it came in."""

    message: int
    topic: Topic
    opened: Opened


def decode(messages: Sequence[Message], gateways: Gateways | None = None) -> Decoded:
    """
    Decode a batch of messages; raises nothing.

    Args:
        messages: in the order they came.
        gateways: those of other formats; None where all messages are of our own.
    """
    parts: list[_Part] = []
    unknown: list[tuple[int, Refusal]] = []
    statuses: list[tuple[Topic, str]] = []
    unmapped, asked = 0, dict[str, Publication]()
    others = gateways or None
    for index, message in enumerate(messages):
        topic = topics.split(message.topic)
        if topic is None:
            unknown.append((index, _unknown(message.topic)))
        elif others is not None and topic in others:
            opened, state, ask = others.open(topic, message)
            parts.append(_Part(index, topic._replace(kind="readings"), opened))
            statuses.extend([(topic, state)] if state else [])
            asked |= {ask.topic: ask} if ask else {}
            unmapped += not (state or opened.entries or opened.refused)
        elif topic.kind in KINDS:
            parts.append(_Part(index, topic, open_payload(message.payload, KINDS[topic.kind])))
        elif topic.kind == "status":
            statuses.append((topic, _state(message.payload)))
        else:
            unknown.append((index, _unknown(message.topic)))
    readings, untimed_readings = _readings([part for part in parts if part.topic.kind == "readings"])
    activity, untimed_activity = _activity([part for part in parts if part.topic.kind == "activity"])
    refused = [*unknown, *((part.message, refusal) for part in parts for refusal in part.opened.refused)]
    received = _received(messages)
    return Decoded(
        messages=messages,
        readings=readings.with_columns(received=received[readings["message"]]),
        activity=activity.with_columns(received=received[activity["message"]]),
        refused=pl.concat([_refused(refused), untimed_readings, untimed_activity]),
        statuses=statuses,
        seqs=[(part.topic, part.opened.seq) for part in parts if part.opened.seq is not None],
        items=len(refused) + sum(len(part.opened.entries) for part in parts),
        unmapped=unmapped,
        asked=list(asked.values()),
    )


def _unknown(topic: str) -> Refusal:
    return Refusal(WHOLE, Reason.TOPIC, Reason.TOPIC.sentence.format(shown(topic), "readings, activity or status"))


def _state(payload: bytes) -> str:
    text = payload[:8].decode("ascii", "replace")
    return text if text in {"online", "offline"} else "unknown"


def _received(messages: Sequence[Message]) -> pl.Series:
    """When each message was received; a batch has few moments, and each is converted once."""
    place = {moment: at for at, moment in enumerate(dict.fromkeys(message.received for message in messages))}
    return pl.Series(list(place), dtype=TIME)[[place[message.received] for message in messages]]


def _readings(parts: Sequence[_Part]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Readings with a time, and the refusals of those without."""
    entries = [entry for part in parts for entry in part.opened.entries]
    defaults = [part.opened.time for part in parts for _ in part.opened.entries]
    said = [default if entry.time is None else entry.time for entry, default in zip(entries, defaults, strict=True)]
    defaulted = pl.Series([entry.time is None for entry in entries], dtype=pl.Boolean)
    frame = _places(parts).with_columns(
        pl.Series("meter", [entry.meter for entry in entries], dtype=pl.String),
        times.parse(said).alias("time"),
        pl.Series("value", [entry.value for entry in entries], dtype=pl.Float64),
        pl.Series("unit", [entry.unit for entry in entries], dtype=pl.String),
        flags=pl.when(defaulted).then("flags").otherwise(pl.lit(0, pl.Int32)),
    )
    return _timed(frame, {"time": said})


def _activity(parts: Sequence[_Part]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Activity with start and end, and the refusals of those without."""
    entries = [entry for part in parts for entry in part.opened.entries]
    starts, ends = [entry.start for entry in entries], [entry.end for entry in entries]
    frame = (
        _places(parts)
        .drop("flags")
        .with_columns(
            pl.Series("product", [entry.product for entry in entries], dtype=pl.String),
            times.parse(starts).alias("start"),
            times.parse(ends).alias("end"),
            pl.Series("quantity", [entry.quantity for entry in entries], dtype=pl.Float64),
            pl.Series("unit", [entry.unit for entry in entries], dtype=pl.String),
        )
    )
    return _timed(frame, {"start": starts, "end": ends})


def _places(parts: Sequence[_Part]) -> pl.DataFrame:
    senders = pl.DataFrame(
        [(part.message, part.topic.facility, part.topic.gateway, part.opened.flag) for part in parts],
        schema={"message": pl.UInt32(), "facility": pl.String(), "gateway": pl.String(), "flags": pl.Int32()},
        orient="row",
    )
    part = pl.Series([index for index, part in enumerate(parts) for _ in part.opened.items], dtype=pl.UInt32)
    item = pl.Series("item", [item for part in parts for item in part.opened.items], dtype=pl.Int32)
    return senders[part].insert_column(1, item)


def _timed(frame: pl.DataFrame, said: dict[str, list[object]]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Split off the rows where a time could not be parsed; the first such column of a row is told."""
    bad = frame.select(pl.any_horizontal(pl.col(name).is_null() for name in said)).to_series()
    refused = []
    for row in bad.arg_true():
        name = next(name for name in said if frame[name][row] is None)
        sentence = Reason.BAD_TIME.sentence.format(f"'{name}'", _told(said[name][row]))
        refused.append((frame["message"][row], Refusal(frame["item"][row], Reason.BAD_TIME, sentence)))
    return frame.filter(~bad), _refused(refused)


def _told(value: object) -> str:
    return "missing" if value is None else shown(value)


def _refused(refused: Sequence[tuple[int, Refusal]]) -> pl.DataFrame:
    rows = [(message, item, str(reason), sentence) for message, (item, reason, sentence) in refused]
    return pl.DataFrame(rows, schema=_REFUSED, orient="row")
