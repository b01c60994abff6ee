"""
What may be stored: every decoded entry against the registry, by joins, never one by one.

    decoded, registry -> screen() -> Screened: readings and activity as stored, and the quarantine with its reasons

A reading is normalised to its meter's registered unit. The facility of the topic is the only one whose meters and
products may appear inside.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import polars as pl

from ingest.decode import topics
from ingest.decode.entries import WHOLE
from ingest.decode.payload import Decoded
from ingest.decode.reasons import Reason, shown_text
from ingest.registry import Registry
from ingest.schema import ACTIVITY, QUARANTINE, READINGS, TIME, Table
from ingest.units import UNITS, ratio

AHEAD = timedelta(minutes=10)
EVER = timedelta(days=3_652_059)  # the years 1 to 9999
LONGEST_OUTPUT = timedelta(days=366)  # output is reported by the year at most; compute looks no further back

_CONVERTED = 1  # of readings.flags; the others are set where the reading is decoded
# A payload may be stored once for each entry refused in it. Beyond this many bytes for one reason, the last row stands
# for the entries after it: otherwise a hostile payload of n bytes would take n^2 bytes to keep.
_MOST_BYTES = 1 << 20

_REFUSED = ["message", "item", "reason", "sentence"]
_RATIOS = pl.DataFrame(
    [(found, wanted, ratio(found, wanted)) for found in UNITS for wanted in UNITS],
    schema={"unit": pl.String, "registered": pl.String, "ratio": pl.Float64},
    orient="row",
)


@dataclass(frozen=True, slots=True)
class Screened:
    """
    A batch of messages, screened.

    Attributes:
        readings, activity, quarantine: rows of the tables of these names.
        refused: entries in quarantine; at least as many as it has rows, as one row may stand for a whole payload.
    """

    readings: pl.DataFrame
    activity: pl.DataFrame
    quarantine: pl.DataFrame
    refused: int


def screen(decoded: Decoded, registry: Registry, *, ahead: timedelta = AHEAD, behind: timedelta = EVER) -> Screened:
    """
    Screen a decoded batch.

    Args:
        decoded: what `decode` returned.
        registry: the facilities with their meters and products.
        ahead: how far a time may lie after the time of receipt; gateway clocks are never exact.
        behind: how far it may lie before it.
    """
    received = pl.col("received")
    readings = _judge_readings(decoded.readings, registry, received - behind, received + ahead)
    activity = _judge_activity(decoded.activity, registry, received - behind, received + ahead)
    refused = pl.concat(
        [
            decoded.refused,
            _sentences(readings, _reading_sentences(ahead, behind)).select(_REFUSED),
            _sentences(activity, _activity_sentences(ahead, behind)).select(_REFUSED),
        ]
    )
    good = pl.col("reason").is_null()
    converted = pl.when(pl.col("unit") != pl.col("registered")).then(_CONVERTED).otherwise(0)
    return Screened(
        readings=readings.filter(good)
        .with_columns(pl.col("flags") + converted.cast(pl.Int32), unit="registered", value="normal")
        .select(READINGS.schema.names()),
        activity=activity.filter(good)
        .with_columns(unit="registered", quantity="normal")
        .select(ACTIVITY.schema.names()),
        quarantine=_quarantine(decoded, refused),
        refused=refused.height,
    )


def _judge_readings(readings: pl.DataFrame, registry: Registry, earliest: pl.Expr, latest: pl.Expr) -> pl.DataFrame:
    meters = registry.meters.select("facility", "meter", "valid_from", registered="unit")
    joined = _normalise(readings.join(meters, on=["facility", "meter"], how="left", maintain_order="left"), "value")
    return joined.with_columns(
        reason=_first(
            {
                Reason.UNKNOWN_FACILITY: ~pl.col("facility").is_in(list(registry.facilities)),
                Reason.FOREIGN_METER: pl.col("registered").is_null() & pl.col("meter").is_in(meters["meter"].to_list()),
                Reason.UNKNOWN_METER: pl.col("registered").is_null(),
                Reason.WRONG_UNIT: pl.col("ratio").is_null(),
                Reason.NOT_FINITE: ~pl.col("normal").is_finite(),
                Reason.FUTURE: pl.col("time") > latest,
                Reason.PAST: pl.col("time") < earliest,
                Reason.BEFORE_VALID: pl.col("time") < pl.col("valid_from"),
            }
        )
    )


def _judge_activity(activity: pl.DataFrame, registry: Registry, earliest: pl.Expr, latest: pl.Expr) -> pl.DataFrame:
    products = registry.products.select("facility", "product", registered="unit")
    joined = activity.join(products, on=["facility", "product"], how="left", maintain_order="left")
    return _normalise(joined, "quantity").with_columns(
        reason=_first(
            {
                Reason.UNKNOWN_FACILITY: ~pl.col("facility").is_in(list(registry.facilities)),
                Reason.UNKNOWN_PRODUCT: pl.col("registered").is_null(),
                Reason.WRONG_UNIT: pl.col("ratio").is_null(),
                Reason.NOT_FINITE: ~pl.col("normal").is_finite(),
                Reason.BAD_QUANTITY: pl.col("quantity") < 0,
                Reason.FUTURE: pl.col("end") > latest,
                Reason.PAST: pl.col("end") < earliest,
                Reason.BAD_PERIOD: (pl.col("end") <= pl.col("start"))
                | (pl.col("end") - pl.col("start") > LONGEST_OUTPUT),
            }
        )
    )


def _normalise(rows: pl.DataFrame, value: str) -> pl.DataFrame:
    """Add `ratio` and `normal`, the value in the registered unit; the payload's unit defaults to that."""
    return (
        rows.with_columns(pl.col("unit").fill_null(pl.col("registered")))
        .join(_RATIOS, on=["unit", "registered"], how="left", maintain_order="left")
        .with_columns(normal=pl.col(value) * pl.col("ratio"))
    )


def _first(checks: Mapping[Reason, pl.Expr]) -> pl.Expr:
    """The first reason whose check holds; null where none does."""
    return pl.coalesce(*(pl.when(check).then(pl.lit(reason.value)) for reason, check in checks.items()))


def _reading_sentences(ahead: timedelta, behind: timedelta) -> Mapping[Reason, list[pl.Expr]]:
    meter, facility, unit = shown_text("meter"), shown_text("facility"), shown_text("unit")
    return {
        Reason.UNKNOWN_FACILITY: [facility],
        Reason.FOREIGN_METER: [meter, facility],
        Reason.UNKNOWN_METER: [meter, facility],
        Reason.WRONG_UNIT: [unit, pl.lit("meter"), pl.col("meter"), pl.col("registered")],
        Reason.NOT_FINITE: [pl.lit("'value'"), pl.col("value")],
        Reason.FUTURE: [_utc("time"), _utc("received"), pl.lit(int(ahead.total_seconds()))],
        Reason.PAST: [_utc("time"), _utc("received"), pl.lit(int(behind.total_seconds()))],
        Reason.BEFORE_VALID: [_utc("time"), pl.col("meter"), _utc("valid_from")],
    }


def _activity_sentences(ahead: timedelta, behind: timedelta) -> Mapping[Reason, list[pl.Expr]]:
    product, facility, unit = shown_text("product"), shown_text("facility"), shown_text("unit")
    return {
        Reason.UNKNOWN_FACILITY: [facility],
        Reason.UNKNOWN_PRODUCT: [product, facility],
        Reason.WRONG_UNIT: [unit, pl.lit("product"), pl.col("product"), pl.col("registered")],
        Reason.NOT_FINITE: [pl.lit("'quantity'"), pl.col("quantity")],
        Reason.BAD_QUANTITY: [pl.col("quantity")],
        Reason.BAD_PERIOD: [_utc("end"), _utc("start")],
        Reason.FUTURE: [_utc("end"), _utc("received"), pl.lit(int(ahead.total_seconds()))],
        Reason.PAST: [_utc("end"), _utc("received"), pl.lit(int(behind.total_seconds()))],
    }


def _utc(column: str) -> pl.Expr:
    return pl.col(column).dt.to_string("%Y-%m-%dT%H:%M:%SZ")


def _sentences(rows: pl.DataFrame, found: Mapping[Reason, list[pl.Expr]]) -> pl.DataFrame:
    """The refused rows, each with the sentence of its reason."""
    return rows.filter(pl.col("reason").is_not_null()).with_columns(
        sentence=pl.coalesce(
            *(
                pl.when(pl.col("reason") == reason.value).then(pl.format(reason.sentence, *values))
                for reason, values in found.items()
            )
        )
    )


def refused_by_store(decoded: Decoded, table: Table, rows: pl.DataFrame, sentence: str) -> pl.DataFrame:
    """
    Rows of the quarantine for entries that passed the screen and were refused by the store.

    Args:
        decoded: what the rows came from.
        table: readings or activity.
        rows: columns of the table.
        sentence: the store's words.
    """
    entries = decoded.readings if table is READINGS else decoded.activity
    refused = entries.join(rows, on=table.key, how="semi", nulls_equal=True).select(
        "message",
        "item",
        reason=pl.lit(Reason.STORE_REFUSED.value),
        sentence=pl.lit(Reason.STORE_REFUSED.sentence.format(sentence)),
    )
    return _quarantine(decoded, refused)


def _quarantine(decoded: Decoded, refused: pl.DataFrame) -> pl.DataFrame:
    """Rows of the quarantine, in the order of messages and items."""
    whole = pl.col("reason") == Reason.UNKNOWN_FACILITY.value
    rows = (
        refused.with_columns(item=pl.when(whole).then(WHOLE).otherwise("item"))
        .with_columns(entries=pl.len().over("message", "item", "reason"))
        .unique(["message", "item", "reason"], keep="first")
        .sort("message", "item", "reason")
        .join(_letters(decoded, refused["message"].unique().to_list()), on="message", maintain_order="left")
    )
    return (
        _bounded(rows)
        .with_columns(id=pl.format("{}:{}:{}", "digest", "item", "reason"), bytes=pl.col("payload").bin.size())
        .select(pl.col(name).cast(dtype) for name, dtype in QUARANTINE.schema.items())
    )


def _bounded(rows: pl.DataFrame) -> pl.DataFrame:
    """Keep as many rows of one message and reason as `_MOST_BYTES` allow; the last one says how many it stands for."""
    place = pl.int_range(pl.len()).over("message", "reason")
    most = (_MOST_BYTES // pl.col("payload").bin.size().clip(1)).clip(1)
    left = pl.len().over("message", "reason") - most
    more = (place == most - 1) & (left > 0)
    tail = pl.when(more).then(pl.format(" (and {} more entries like it)", left)).otherwise(pl.lit(""))
    return rows.with_columns(
        sentence=pl.concat_str("sentence", tail),
        entries=pl.col("entries") + pl.when(more).then(left).otherwise(0),
    ).filter(place < most)


def _letters(decoded: Decoded, indices: list[int]) -> pl.DataFrame:
    """The messages behind refused entries: message, facility, topic, payload, received, digest."""
    messages = [decoded.messages[index] for index in indices]
    parsed = [topics.split(message.topic) for message in messages]
    return pl.DataFrame(
        {
            "message": pl.Series(indices, dtype=pl.UInt32),
            "facility": ["" if topic is None else topic.facility for topic in parsed],
            "topic": [message.topic for message in messages],
            "payload": pl.Series([message.payload for message in messages], dtype=pl.Binary),
            "received": [message.received for message in messages],
            "digest": [_digest(message.topic, message.payload) for message in messages],
        },
        schema_overrides={"facility": pl.String, "topic": pl.String, "received": TIME, "digest": pl.String},
    )


def _digest(topic: str, payload: bytes) -> str:
    return hashlib.blake2b(topic.encode() + b"\0" + payload, digest_size=16).hexdigest()
