"""
The store as everything else sees it: frames in, frames out, keyed rows, nothing of a database.

Every adapter passes one suite (tests/ingest/test_store.py). A store may be opened by several processes at once.
"""

from collections.abc import Collection
from datetime import date, datetime
from typing import Protocol

import polars as pl

from ingest.model import Period


class Store(Protocol):
    """A keyed table store. Table and column names are those of `ingest.schema`."""

    def write(self, table: str, rows: pl.DataFrame) -> int:
        """
        Store rows: all of them when the call returns.

        A row whose key is known is dropped when it is the same row again (`Table.identity`) and replaces the stored
        one otherwise, whole: null takes the place of a value. Inside `rows` the last of several rows with one key
        counts. A reading that replaces another value of its key, stored or earlier in `rows`, gets the bit
        `schema.REPLACED` in its flags.

        Args:
            table: name of the table.
            rows: exactly the table's columns, in any order.

        Returns:
            How many rows were new or changed; the rest of `rows` were duplicates. Exact for one writer; two writers
            that store the same row at the same moment may both count it, and it is still stored once.

        Raises:
            StoreUnavailable: cannot be reached, full, read-only; the same call may succeed later.
            RowsRefused: one or more of the rows were refused, or hold what this store cannot; others may be taken.
            StoreError: everything is refused.

        After an error the lake has stored nothing. What a server has stored of the rows is not known; the same call
        again, or its halves, completes it and stores no row twice.
        """
        ...

    def read(
        self,
        table: str,
        period: Period | None = None,
        *,
        on: str | None = None,
        columns: Collection[str] = (),
        **match: Collection[str],
    ) -> pl.DataFrame:
        """
        Read rows, sorted by the table's key.

        Args:
            table: name of the table.
            period: only rows whose time lies in it; everything where it is None.
            on: the time column the period is about; the table's own where it is None.
            columns: only these, the others are not read; all of them where it is empty.
            match: column name to wanted values, e.g. `facility=["dc-sample"], interval=["1d"]`.

        Returns:
            Columns in the order of the table's schema; no rows where there is nothing.

        Raises:
            StoreUnavailable: cannot be reached.
            StoreError: the read was refused or came back incomplete.
        """
        ...

    def maintain(self, at: datetime) -> dict[str, int]:
        """
        Keep the store fast: compact, checkpoint and drop what no reader can need any more.

        Args:
            at: now; nothing that a reader which started in the last hour may use is dropped.

        Returns:
            Name of the table to the number of files (or shards) that were merged; empty where there was nothing to do.
        """
        ...

    def close(self) -> None:
        """Let go of connections and files."""
        ...


class WholeStore(Store, Protocol):
    """A store that knows where its rows lie, which copying all of them needs."""

    def days(self, table: str) -> list[date]:
        """
        Name the UTC days on which the rows of a table lie, sorted; a day that has none may be among them.

        Raises:
            StoreUnavailable: cannot be reached.
            StoreError: the read was refused or came back incomplete.
        """
        ...
