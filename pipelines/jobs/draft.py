"""A store that keeps what is written to it in memory, on top of another one: what would be, beside what is."""

from collections.abc import Collection
from datetime import datetime

import polars as pl

from ingest.model import Period
from ingest.schema import TABLES
from ingest.store.base import Store
from ingest.store.rows import accepted, chosen, meeting, table_of


class Draft:
    """A store on top of another one, which it reads and never changes. Not for several threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._rows: dict[str, pl.DataFrame] = {}

    def written(self, table: str) -> pl.DataFrame:
        """Return the rows that were written to the draft."""
        return self._rows.get(table, TABLES[table].empty())

    def write(self, table: str, rows: pl.DataFrame) -> int:
        """Keep rows; returns how many there were. See `Store.write`."""
        known = table_of(table)
        fresh = accepted(known, rows)
        kept = self.written(table).join(fresh, on=known.key, how="anti")
        self._rows[table] = pl.concat([kept, fresh])
        return fresh.height

    def read(
        self,
        table: str,
        period: Period | None = None,
        *,
        on: str | None = None,
        columns: Collection[str] = (),
        **match: Collection[str],
    ) -> pl.DataFrame:
        """Read rows of the draft and, where it has none of that key, of the store below. See `Store.read`."""
        known = table_of(table)
        wanted = meeting(known, period, on, match).values()
        below = self._store.read(table, period, on=on, **match)
        own = self.written(table)
        rows = pl.concat([below.join(own, on=known.key, how="anti"), own.filter(*wanted)])
        return rows.sort(known.key).select(chosen(known, columns))

    def maintain(self, at: datetime) -> dict[str, int]:
        """Do nothing: there are no files."""
        del at
        return {}

    def close(self) -> None:
        """Forget what was written."""
        self._rows.clear()
