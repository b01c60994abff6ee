"""
Rows from one store into another, a UTC day at a time, each day proved.

A day is proved by the SHA-256 of its rows, sorted by key, as JSON: one object a line in the order of the schema, a
moment as microseconds since 1970, bytes in hexadecimal, a number of `Float64` as the shortest text that reads back as
it. So it says the same of any store, on any machine, in any year. Rows that only the target has are left alone and are
not part of it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from hashlib import sha256
from typing import Any

import polars as pl

from ingest.errors import RowsRefused
from ingest.model import Period
from ingest.schema import TABLES, Table
from ingest.store.base import Store, WholeStore

_ROWS = 200_000  # in hand at a time, if one facility has not more in a day


@dataclass(frozen=True, slots=True)
class Copied:
    """
    One day of one table.

    Attributes:
        table: its name.
        day: UTC date.
        rows: how many the source has.
        written: how many of them were new to the target, or changed what it held.
        differing: how many the target still has not, or has otherwise.
        checksum: of the rows of the source.
        refusal: why the target refused rows; empty where it did not.
    """

    table: str
    day: date
    rows: int
    written: int
    differing: int
    checksum: str
    refusal: str = ""

    @property
    def verified(self) -> bool:
        """Whether the target holds every row of the source as it is there."""
        return not self.differing and not self.refusal


def spans(source: WholeStore, table: str, period: Period | None) -> list[Period]:
    """
    Name the days of a table.

    Returns:
        UTC days in which the source may have rows; the first and the last one cut where the period cuts them.
    """
    days = [_whole(day) for day in source.days(table)]
    if period is None:
        return days
    met = [day for day in days if day.start < period.end and period.start < day.end]
    return [Period(max(day.start, period.start), min(day.end, period.end)) for day in met]


def copy(source: Store, target: Store, table: str, span: Period, *, facility: str = "") -> Copied:
    """
    Copy what the target does not hold yet of a day, and read it again.

    Interrupted at any moment it has lost nothing: the same call again completes it.

    Args:
        source: to read.
        target: to write.
        table: name of the table.
        span: a day, or a part of it.
        facility: only rows of this one; all where it is empty.

    Raises:
        StoreUnavailable: one of the stores cannot be reached.
        StoreError: a read or a write was refused; not what was refused of single rows, which is told in `Copied`.
    """
    known, digest = TABLES[table], sha256()
    rows = written = differing = 0
    refusals: dict[str, None] = {}
    for match in _parts(source, known, span, facility):
        wanted = source.read(table, span, **match)
        proof = text(wanted)
        found = _found(target, known, wanted, span, match)
        if text(found) != proof:
            try:
                written += target.write(table, wanted)
            except RowsRefused as error:
                refusals[str(error)] = None
            found = _found(target, known, wanted, span, match)
        digest.update(proof)
        rows += wanted.height
        differing += 0 if text(found) == proof else _differing(wanted, found)
    return Copied(table, span.start.date(), rows, written, differing, digest.hexdigest(), "; ".join(refusals))


def text(rows: pl.DataFrame) -> bytes:
    """Write rows as what their checksum is made of."""
    plain = [_plain(name, dtype) for name, dtype in rows.schema.items()]
    return rows.select(plain).write_ndjson().encode() if rows.height else b""


def _plain(name: str, dtype: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    if dtype == pl.Datetime:
        return column.dt.timestamp("us")
    if dtype == pl.Binary:
        return column.bin.encode("hex")
    return column.cast(pl.String) if dtype == pl.Float64 else column


def _whole(day: date) -> Period:
    start = datetime.combine(day, time(), UTC)
    return Period(start, start + timedelta(days=1) if day < date.max else datetime.max.replace(tzinfo=UTC))


def _parts(source: Store, table: Table, span: Period, facility: str) -> Iterator[dict[str, Any]]:
    """Part a day by facilities, in the order of the key, so that only so many rows are in hand."""
    if facility:
        yield {"facility": [facility]}
    elif table.key[0] != "facility":
        yield {}
    else:
        held = source.read(table.name, span, columns=["facility"]).group_by("facility").len().sort("facility")
        number = ((pl.col("len").cum_sum() - 1) // _ROWS).alias("number")
        for part in held.with_columns(number).partition_by("number", maintain_order=True):
            yield {"facility": part["facility"].to_list()}


def _found(target: Store, table: Table, wanted: pl.DataFrame, span: Period, match: dict[str, Any]) -> pl.DataFrame:
    if wanted.is_empty():
        return wanted
    return target.read(table.name, span, **match).join(wanted, on=table.key, how="semi", maintain_order="left")


def _differing(wanted: pl.DataFrame, found: pl.DataFrame) -> int:
    """Count the rows that were not found as they are, where the proofs differ."""
    plain = [_plain(name, dtype) for name, dtype in wanted.schema.items()]
    return wanted.select(plain).join(found.select(plain), on=wanted.columns, how="anti", nulls_equal=True).height or 1
