"""
The quarantine as a tool: how much of it a facility may fill, what is in it, and how a refusal leaves it.

    refused rows -> Bounded.write() -> quarantine
    quarantine, quarantine_states -> refusals() -> replay(): decode -> screen -> store again, or discard()

A refusal is never changed and never deleted: what became of it is a row of its own. So the same refusal that comes
again, from a meter or after a restart, cannot open what a person has closed.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

import polars as pl

from ingest.decode.entries import WHOLE
from ingest.decode.payload import Decoded, decode
from ingest.decode.table import Gateways
from ingest.model import Message, Period
from ingest.registry import Facility, Registry
from ingest.schema import ACTIVITY, QUARANTINE, QUARANTINE_STATES, READINGS, TIME, Table
from ingest.screen import AHEAD, Screened, screen
from ingest.store.base import Store

MIB = 1 << 20
_ROW = 512  # [bytes] what a row costs beside its payload: otherwise empty payloads would cost nothing
_AT_ONCE = 32 * MIB  # bytes replayed in one go
_DAY, _TICK = timedelta(days=1), timedelta(microseconds=1)
_LAST = pl.lit(2**31 - 1, pl.Int32)  # no payload has an item after it
_DIGEST = 32  # characters; `id` begins with the hash of topic and payload
_SHOWN = [name for name in QUARANTINE.schema if name != "payload"]


class Bounded:
    """
    A store in which a facility can fill only so much of the quarantine a day (UTC).

    Beyond its allowance a refusal keeps reason and sentence but no bytes, and the refusals of a batch with one reason
    become one row: a broken meter fills no disk. Unknown facilities share one allowance. The allowance starts from what
    the store holds and is counted on in memory, so each of several collectors may fill it once.
    """

    def __init__(self, store: Store, facilities: Mapping[str, Facility], *, mib: int, at: datetime) -> None:
        """
        Prepare.

        Args:
            store: where rows go.
            facilities: those that have an allowance of their own.
            mib: the allowance of a facility and day. [MiB]
            at: now; what the store holds of this day is counted.

        Raises:
            StoreError: the store cannot be read.
        """
        self._store = store
        self._source = pl.when(pl.col("facility").is_in(list(facilities))).then("facility").otherwise(pl.lit(""))
        self._limit = mib * MIB
        self._day = at.astimezone(UTC).date()
        today = datetime(self._day.year, self._day.month, self._day.day, tzinfo=UTC)
        held = store.read(QUARANTINE.name, Period(today, today + _DAY), columns=["id", "facility", "bytes"])
        self._used: dict[str, float] = _cost(held.with_columns(source=self._source))
        self.read, self.maintain, self.close = store.read, store.maintain, store.close
        self.overflow = 0

    def write(self, table: str, rows: pl.DataFrame) -> int:
        """Store rows; refusals beyond the allowance lose their bytes. See `Store.write`."""
        if table != QUARANTINE.name or rows.is_empty():
            return self._store.write(table, rows)
        self._turn(rows["received"].dt.date().max())
        kept, beyond = self._parted(rows.with_columns(source=self._source))
        lean = _lean(beyond, self._limit // MIB)
        stored = pl.concat([kept, lean])
        new = self._store.write(table, stored.drop("source"))
        # the store says how many were new, not which: those that it knew already cost nothing
        for source, cost in _cost(stored).items():
            self._used[source] = self._used.get(source, 0.0) + cost * new / stored.height
        self.overflow += int(beyond["entries"].sum())
        return new

    def _turn(self, day: object) -> None:
        if isinstance(day, date) and day > self._day:
            self._day, self._used = day, {}

    def _parted(self, rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        used = pl.col("source").replace_strict(self._used, default=0.0, return_dtype=pl.Float64)
        within = used + (pl.col("bytes") + _ROW).cum_sum().over("source") <= self._limit
        return rows.filter(within), rows.filter(~within)


def _cost(rows: pl.DataFrame) -> dict[str, float]:
    sums = rows.group_by("source").agg((pl.col("bytes").fill_null(0) + _ROW).sum().cast(pl.Float64))
    return dict(sums.iter_rows())


def _lean(rows: pl.DataFrame, mib: int) -> pl.DataFrame:
    """One row without bytes for all refusals of one source and reason."""
    others = pl.when(pl.len() > 1).then(pl.format("+{}", pl.len() - 1)).otherwise(pl.lit(""))
    like = pl.when(pl.len() > 1).then(pl.format(" (and {} more rows like it)", pl.len() - 1)).otherwise(pl.lit(""))
    why = pl.lit(f"; its bytes were not kept: more than {mib} MiB were refused that day")
    merged = rows.group_by("source", "reason", maintain_order=True).agg(
        pl.format("{}{}", pl.first("id"), others).alias("id"),
        pl.first("facility", "topic", "item", "received"),
        pl.lit(None, pl.Binary).alias("payload"),
        pl.lit(None, pl.Int64).alias("bytes"),
        pl.col("entries").sum(),
        pl.format("{}{}{}", pl.first("sentence"), like, why).alias("sentence"),
    )
    return merged.select(pl.col(name).cast(dtype) for name, dtype in rows.schema.items())


def refusals(store: Store, period: Period | None = None, *, facility: str = "", reason: str = "") -> pl.DataFrame:
    """
    Read what was refused, without the bytes.

    Args:
        store: where it lies.
        period: only what was received in it.
        facility: only of this one; of all where it is empty.
        reason: only with this reason code; with any where it is empty.

    Returns:
        The columns of the quarantine but the payload, and state (open | replayed | discarded), at, by, why (null where
        nobody touched it); in the order of receipt. The sentence is the one it was refused with last.
    """
    match = {name: [value] for name, value in (("facility", facility), ("reason", reason)) if value}
    rows = store.read(QUARANTINE.name, period, on=None, columns=_SHOWN, **match)
    states = store.read(QUARANTINE_STATES.name)
    again = pl.when(pl.col("state") == "open").then("why")
    return (
        rows.join(states, on="id", how="left")
        .with_columns(pl.col("state").fill_null("open"), sentence=pl.coalesce(again, "sentence"))
        .sort("received", "id")
    )


class Replayed(NamedTuple):
    """
    How a replay ended.

    Attributes:
        refusals: how many were passed again.
        stored: entries that were new to the store.
        duplicate: entries that the store knew already, or newer.
        refused: entries that are still refused.
    """

    refusals: int = 0
    stored: int = 0
    duplicate: int = 0
    refused: int = 0


def replay(store: Store, registry: Registry, rows: pl.DataFrame, *, at: datetime, ahead: timedelta = AHEAD) -> Replayed:
    """
    Pass the open refusals that have bytes through decode and screen again, as of their receipt, and store what is good.

    Only the entries that were refused pass again, and none of them replaces what was received after it. A refusal that
    comes out again stays open with its new sentence; any other is replayed, and where an entry is refused for another
    reason now, that is a refusal of its own. Doing it again changes nothing.

    Args:
        store: where the refusals lie and the rows go.
        registry: as it is now.
        rows: as `refusals` returns them.
        at: now; what is stored counts as received now, so that the jobs find it.
        ahead: how far a time may lie after its receipt.

    Raises:
        StoreError: the store refused; what was passed before stays passed.
    """
    gateways, done = Gateways(registry), Replayed()
    for ids in _portions(rows.filter(pl.col("state") == "open", pl.col("bytes").is_not_null())):
        part = store.read(QUARANTINE.name, id=ids).sort("received", "id")
        again = screen(_again(part, gateways), registry, ahead=ahead)
        done = Replayed(*map(sum, zip(done, _kept(store, part, again, at), strict=True)))
    return done


def _portions(rows: pl.DataFrame) -> Iterator[list[str]]:
    portion = (pl.col("bytes").cum_sum() // _AT_ONCE).alias("portion")
    for part in rows.select("id", portion).partition_by("portion", maintain_order=True):
        yield part["id"].to_list()


def _kept(store: Store, part: pl.DataFrame, again: Screened, at: datetime) -> Replayed:
    # the refusals first: an entry must not leave the quarantine before it stands somewhere else
    store.write(QUARANTINE.name, again.quarantine)
    stored = sum(
        store.write(table.name, _newest(store, table, rows, at).with_columns(received=pl.lit(at.astimezone(UTC), TIME)))
        for table, rows in ((READINGS, again.readings), (ACTIVITY, again.activity))
        if not rows.is_empty()
    )
    store.write(QUARANTINE_STATES.name, _states(part, again, at))
    good = again.readings.height + again.activity.height
    return Replayed(part.height, stored, good - stored, again.refused)


def _newest(store: Store, table: Table, rows: pl.DataFrame, at: datetime) -> pl.DataFrame:
    """Leave out the rows under whose key the store holds what was received later, but for what this replay stored."""
    first, last = rows.select(first=pl.col(table.time).min(), last=pl.col(table.time).max()).row(0)
    facilities = rows["facility"].unique().to_list()
    columns = [*table.key, "received"]
    held = store.read(table.name, Period(first, last + _TICK), columns=columns, facility=facilities)
    since = pl.col("received_held")
    later = rows.join(held, on=table.key, suffix="_held").filter(since > pl.col("received"), since != at)
    return rows.join(later, on=table.key, how="anti", maintain_order="left")


def _again(part: pl.DataFrame, gateways: Gateways) -> Decoded:
    """Decode each payload once, and keep the entries that its refusals stand for."""
    refused = part.with_columns(digest=pl.col("id").str.head(_DIGEST))
    letters = refused.unique("digest", keep="first", maintain_order=True).with_row_index("message")
    decoded = decode([Message(*row) for row in letters.select("topic", "payload", "received").iter_rows()], gateways)
    several = (pl.col("item") == WHOLE) | (pl.col("entries") > 1)
    spans = refused.join(letters.select("digest", "message"), on="digest").select(
        "message", first="item", last=pl.when(several).then(_LAST).otherwise("item")
    )
    return replace(
        decoded,
        readings=_within(decoded.readings, spans),
        activity=_within(decoded.activity, spans),
        refused=_within(decoded.refused, spans),
    )


def _within(entries: pl.DataFrame, spans: pl.DataFrame) -> pl.DataFrame:
    """Keep the entries inside a span of their message, and what is said of a whole payload."""
    places = (
        entries.select("message", "item")
        .join(spans, on="message")
        .filter(pl.col("item").is_between("first", "last") | (pl.col("item") == WHOLE))
    )
    return entries.join(places, on=["message", "item"], how="semi", maintain_order="left")


def _states(part: pl.DataFrame, again: Screened, at: datetime) -> pl.DataFrame:
    """What became of each refusal; one that is refused as before, in the same words, has no news."""
    now = again.quarantine.select("id", why="sentence")
    joined = part.select("id", "sentence").join(now, on="id", how="left")
    changed = joined.filter(pl.col("why").is_null() | (pl.col("why") != pl.col("sentence")))
    return changed.select(
        "id",
        state=pl.when(pl.col("why").is_null()).then(pl.lit("replayed")).otherwise(pl.lit("open")),
        at=pl.lit(at.astimezone(UTC), TIME),
        by=pl.lit(""),
        why=pl.col("why").fill_null(""),
    )


def discard(store: Store, ids: Collection[str], *, by: str, why: str, at: datetime) -> None:
    """
    Put refusals away for good: nothing is deleted, they are only no longer open.

    Args:
        store: where they lie.
        ids: of open refusals.
        by: who decided it.
        why: the reason.
        at: now.

    Raises:
        StoreError: the store refused.
    """
    rows = pl.DataFrame({"id": list(ids)}, schema={"id": pl.String}).with_columns(
        state=pl.lit("discarded"), at=pl.lit(at.astimezone(UTC), TIME), by=pl.lit(by), why=pl.lit(why)
    )
    store.write(QUARANTINE_STATES.name, rows)
