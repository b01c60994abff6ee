"""
A store and an archive of its older rows, read as one: what the store no longer keeps, the archive still does.

    write -> is it the archive's row again? -> store
    read  -> the store's rows, and the archive's where the store has none of their key

The archive is filled by `peakwatch copy` alone. It belongs to no database: both sides are any `Store`.
"""

from collections.abc import Collection
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl

from ingest.model import Period
from ingest.schema import EPOCH, Table
from ingest.store.base import Store, WholeStore
from ingest.store.rows import accepted, chosen, day_of, matched, replacing, table_of

_TICK = timedelta(microseconds=1)


class Archived:
    """
    A store whose older rows lie in an archive.

    Args:
        store: is written; its row wins where both hold one of a key.
        archive: is read and maintained.
    """

    def __init__(self, store: WholeStore, archive: WholeStore) -> None:
        self._store, self._archive = store, archive

    def write(self, table: str, rows: pl.DataFrame) -> int:
        """
        Store rows in the store alone, those that are not in the archive as they are. See `Store.write`.

        A row older than what the store keeps is refused by the store, with its words.
        """
        known = table_of(table)
        batch = accepted(known, rows)
        old = _held(self._archive, known, batch, known.schema.names())
        if not old.is_empty():
            old = old.join(_held(self._store, known, old, known.key), on=known.key, how="anti")
            fresh = batch.join(old, on=known.identity, how="anti", nulls_equal=True, maintain_order="left")
            batch = replacing(known, fresh, old)
        return self._store.write(table, batch)

    def read(
        self,
        table: str,
        period: Period | None = None,
        *,
        on: str | None = None,
        columns: Collection[str] = (),
        **match: Collection[str],
    ) -> pl.DataFrame:
        """Read rows of both, sorted by the table's key. See `Store.read`."""
        known = table_of(table)
        asked = {*match} if period is None else {*match, matched(known, on, match)}
        names = chosen(known, columns)
        needed = [name for name in known.schema if name in {*names, *known.key}]
        old = self._archive.read(table, period, on=on, columns=needed, **match)
        if old.is_empty():
            return self._store.read(table, period, on=on, columns=names, **match)
        new = self._store.read(table, period, on=on, columns=needed, **match)
        # what was asked of other columns than the key, the store's row of that key may not answer to
        hiding = new if asked <= set(known.key) else _held(self._store, known, old, known.key)
        return pl.concat([new, old.join(hiding, on=known.key, how="anti")]).sort(known.key).select(names)

    def days(self, table: str) -> list[date]:
        """Name the days of both. See `WholeStore.days`."""
        return sorted({*self._store.days(table), *self._archive.days(table)})

    def maintain(self, at: datetime) -> dict[str, int]:
        """Keep both fast. See `Store.maintain`."""
        merged, old = self._store.maintain(at), self._archive.maintain(at)
        return {name: merged.get(name, 0) + old.get(name, 0) for name in {**merged, **old}}

    def close(self) -> None:
        """Let go of both."""
        self._store.close()
        self._archive.close()


def _held(store: Store, table: Table, keys: pl.DataFrame, columns: Collection[str]) -> pl.DataFrame:
    """
    Read the rows of a store that have one of these keys.

    Args:
        store: to read.
        table: of the rows.
        keys: the table's key.
        columns: to read, the key among them.
    """
    dated = table.time in table.key
    texts = [name for name in table.key if table.schema[name] == pl.String]
    names = [name for name in table.schema if name in columns]
    found = [pl.DataFrame(schema=table.schema).select(names)]
    # a day at a time: one row of long ago makes no long read
    grain = day_of(table) if dated else pl.lit(0)
    for part in keys.with_columns(grain.alias("_day")).partition_by("_day"):
        period = _span(part[table.time]) if dated else None
        wanted: dict[str, Any] = {name: part[name].unique().to_list() for name in texts}
        rows = store.read(table.name, period, columns=names, **wanted)
        found.append(rows.join(part, on=table.key, how="semi"))
    return pl.concat(found)


def _span(moments: pl.Series) -> Period | None:
    """Return the period from the first moment to the last, both of them in; None where time ends before it does."""
    first, last = moments.dt.timestamp("us").min(), moments.dt.timestamp("us").max()
    start, end = (EPOCH + int(moment) * _TICK for moment in (first, last))  # type: ignore[arg-type]
    return Period(start, end + _TICK) if end < datetime.max.replace(tzinfo=UTC) else None
