"""
The default store: a folder of Delta tables, no server.

A write appends the rows that are new or changed in one commit, as the very next version after the one it compared them
with. A read takes one snapshot: whole commits, the newest row of each key. Several processes may do both at once.
"""

from collections.abc import Collection
from datetime import date, datetime
from pathlib import Path

import polars as pl

from ingest.errors import StoreError, StoreUnavailable
from ingest.model import Period
from ingest.schema import TABLES
from ingest.store.lake.maintenance import maintain
from ingest.store.lake.query import days, selected, selections, unseen
from ingest.store.lake.table import LakeTable, faults
from ingest.store.rows import accepted, chosen, table_of

_ATTEMPTS = 100


class Lake:
    """
    A store in a folder, which is made where there is none.

    Raises:
        StoreUnavailable: the folder cannot be made or is none.
        StoreError: the path holds a percent sign or a backslash.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        if {"%", "\\"} & set(self.folder.as_posix()):
            raise StoreError(f"lake {folder}: the path holds a `%` or a backslash, which Delta decodes; wanted neither")
        with faults(folder):
            folder.mkdir(parents=True, exist_ok=True)
        self._tables = {name: LakeTable(self.folder, table) for name, table in TABLES.items()}

    def write(self, table: str, rows: pl.DataFrame) -> int:
        """Store rows; all of them or none. See `Store.write`."""
        batch = accepted(table_of(table), rows)
        if batch.is_empty():
            return 0
        with faults(self.folder):
            return self._append(self._tables[table], batch)

    def read(
        self,
        table: str,
        period: Period | None = None,
        *,
        on: str | None = None,
        columns: Collection[str] = (),
        **match: Collection[str],
    ) -> pl.DataFrame:
        """Read rows, sorted by the table's key. See `Store.read`."""
        wanted = selections(table_of(table), period, on, match)
        names = chosen(table_of(table), columns)
        lake_table = self._tables[table]
        with faults(self.folder):
            snapshot = lake_table.snapshot()
            if snapshot is None:
                return pl.DataFrame(schema=lake_table.table.schema).select(names)
            return selected(lake_table.table, lake_table.folder, snapshot.files, wanted, columns=names)

    def days(self, table: str) -> list[date]:
        """Name the days of a table, by the statistics of its files. See `WholeStore.days`."""
        lake_table = self._tables[table_of(table).name]
        with faults(self.folder):
            snapshot = lake_table.snapshot()
        return [] if snapshot is None else days(lake_table.table, snapshot.files)

    def maintain(self, at: datetime) -> dict[str, int]:
        """Merge small files, checkpoint, and drop what no reader can need any more. See `Store.maintain`."""
        with faults(self.folder):
            merged = {name: maintain(table, at) for name, table in self._tables.items()}
        return {name: files for name, files in merged.items() if files}

    def close(self) -> None:
        """Let go of the open tables."""
        for table in self._tables.values():
            table.close()

    def _append(self, table: LakeTable, batch: pl.DataFrame) -> int:
        for _ in range(_ATTEMPTS):
            snapshot = table.snapshot()
            if snapshot is None:
                table.create()
                continue
            fresh = unseen(table.table, table.folder, snapshot.files, batch)
            if fresh.is_empty() or table.append(fresh, snapshot.version):
                return fresh.height
        raise StoreUnavailable(f"lake {self.folder}: other writers of {table.table.name} were faster {_ATTEMPTS} times")
