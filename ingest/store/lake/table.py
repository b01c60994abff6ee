"""
One table of the lake: a Delta table, its files with their statistics, and commits that never overtake each other.

A commit names the version it was computed against and happens only as the very next one; who comes second is told so
and computes again. So a stored row's `_version` is the commit that stored it: an order of all rows without a clock.
Rows go in as frames and come to rest in Parquet files below `day=...`, sorted by key; a file is on disk before the
commit that names it, and the commit before the call returns.
"""

import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from threading import Lock
from typing import Any, Literal, TypeAlias
from uuid import uuid4

import polars as pl
from deltalake import CommitProperties, DeltaTable, Schema
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction

from ingest.errors import StoreError, StoreUnavailable
from ingest.schema import Table
from ingest.store.rows import ascending, day_of

Action: TypeAlias = AddAction | RemoveAction

DAY = "day"
VERSION = "_version"
_PROPERTIES = {
    "delta.logRetentionDuration": "interval 10 minutes",
    "delta.deletedFileRetentionDuration": "interval 1 hours",
}
_OS_ERROR = re.compile(r"(?:os error |code: )(\d+)")
_ONCE = CommitProperties(max_commit_retries=0)


def stored_schema(table: Table) -> pl.Schema:
    """Columns of a data file: the table's, and the commit that stored the row."""
    return pl.Schema({**table.schema, VERSION: pl.Int64()})


def statistics(table: Table) -> list[str]:
    """Columns whose least and greatest value is known for each file: the key and every time."""
    return [name for name, dtype in table.schema.items() if name in table.key or dtype == pl.Datetime]


@contextmanager
def faults(folder: Path) -> Iterator[None]:
    """Say every fault of the disk and of the libraries below in one sentence of our own."""
    try:
        yield
    except (OSError, DeltaError, pl.exceptions.PolarsError) as error:
        code = _os_error(error)
        if code is not None:
            raise StoreUnavailable(f"lake {folder}: {os.strerror(code)}") from error
        if isinstance(error, OSError):
            raise StoreUnavailable(f"lake {folder}: {_first_line(error)}") from error
        raise StoreError(f"lake {folder} is damaged: {_first_line(error)}") from error


def _os_error(error: Exception) -> int | None:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    found = _OS_ERROR.search(str(error))
    return int(found[1]) if found else None


def _first_line(error: Exception) -> str:
    return re.sub(r"\x1b\[\d+m", "", str(error)).strip().partition("\n")[0]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """
    The files of a table at one version.

    `files` has one row a file: path (below the table's folder), size [bytes], rows, day, and `min.X`, `max.X` for each
    column of `statistics`, to the millisecond and never too narrow; null where they are not known.
    """

    version: int
    files: pl.DataFrame


class LakeTable:
    """A Delta table in a folder. One handle is kept open: opening anew costs more with every commit."""

    def __init__(self, lake: Path, table: Table) -> None:
        self.table = table
        self.folder = lake / table.name
        self._log = self.folder / "_delta_log"
        self._lock = Lock()
        self._handle: DeltaTable | None = None
        self._schema = Schema.from_arrow(pl.Schema({**stored_schema(table), DAY: pl.Date()}))

    def snapshot(self) -> Snapshot | None:
        """Return the newest version, or None where nothing was ever stored."""
        with self._lock:
            handle = self._refreshed()
            if handle is None:
                return None
            actions = pl.DataFrame(handle.get_add_actions(flatten=True))
            return Snapshot(handle.version(), self._files(actions))

    def create(self) -> None:
        """Make the table; somebody else may be making it at this moment."""
        try:
            DeltaTable.create(self.folder, self._schema, mode="ignore", partition_by=[DAY], configuration=_PROPERTIES)
        except CommitFailedError:
            if self.snapshot() is None:
                raise

    def append(self, rows: pl.DataFrame, version: int) -> bool:
        """
        Store rows as the commit after `version`; False where another commit came first and nothing was stored.

        Args:
            rows: columns of the table.
            version: the version `rows` were compared with.
        """
        stamped = rows.with_columns(day_of(self.table).alias(DAY), pl.lit(version + 1, pl.Int64).alias(VERSION))
        if not ascending(rows, self.table.key):
            stamped = stamped.sort(self.table.key)
        parts = stamped.partition_by(DAY, as_dict=True, include_key=False)
        added: list[AddAction] = []
        try:
            for (day,), part in parts.items():
                added.append(self.write_file(part, day, purpose="append"))
        except BaseException:
            self.discard(added)
            raise
        # when the commit itself raises it may stand: its files stay, and are vacuumed if it does not
        committed = self.commit(added, version)
        if not committed:
            self.discard(added)
        return committed

    def write_file(self, rows: pl.DataFrame, day: date, *, purpose: Literal["append", "merge"]) -> AddAction:
        """Write one data file, safe on disk, and return the action that will add it; nothing stays where it fails."""
        path = self.folder / f"{DAY}={day}" / f"{uuid4()}.parquet"
        fresh = not path.parent.exists()
        path.parent.mkdir(exist_ok=True)
        try:
            rows.write_parquet(path)
            _sync(path, path.parent, *([self.folder] if fresh else []))
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        state = path.stat()
        return AddAction(
            path=f"{path.parent.name}/{path.name}",
            size=state.st_size,
            partition_values={DAY: str(day)},
            modification_time=state.st_mtime_ns // 1_000_000,
            data_change=purpose == "append",
            stats=_stats(rows, statistics(self.table)),
        )

    def discard(self, added: Sequence[AddAction]) -> None:
        """Delete data files that no commit names."""
        for action in added:
            (self.folder / action.path).unlink(missing_ok=True)

    def commit(self, actions: Sequence[Action], version: int) -> bool:
        """Commit as the version after `version`; False where another commit came first."""
        with self._lock:
            handle = self._handle
            if handle is None or handle.version() != version:
                return False
            try:
                handle.create_write_transaction(list(actions), "append", self._schema, [DAY], commit_properties=_ONCE)
            except CommitFailedError:
                return False
        _sync(self._log / f"{version + 1:020}.json", self._log)
        return True

    def close(self) -> None:
        """Let go of the handle; the next call opens it again."""
        with self._lock:
            self._handle = None

    def _refreshed(self) -> DeltaTable | None:
        if self._handle is not None:
            self._log.stat()  # a log that went away has nothing new to say to a handle
            self._handle.update_incremental()
            return self._handle
        # listing says what is wrong where the lake is gone or a file stands in its place; Delta would say "not found"
        if self.folder not in self.folder.parent.iterdir() or self._log not in self.folder.iterdir():
            return None
        try:
            handle = DeltaTable(self.folder)
        except TableNotFoundError:  # a log without a commit: its maker died
            return None
        if handle.schema() != self._schema:
            raise StoreError(f"lake table {self.folder}: its columns are not those of this version of PeakWatch")
        self._handle = handle
        return handle

    def _files(self, actions: pl.DataFrame) -> pl.DataFrame:
        return actions.select(
            "path",
            pl.col("size_bytes").alias("size"),
            pl.col("num_records").alias("rows"),
            pl.col(f"partition.{DAY}").alias(DAY),
            *(f"{bound}.{name}" for name in statistics(self.table) for bound in ("min", "max")),
        )


def removal(file: dict[str, Any], left: int) -> RemoveAction:
    """Return the action that takes a file of a snapshot out at a moment [ms since 1970]; the disk keeps it an hour."""
    return RemoveAction(
        path=file["path"],
        data_change=False,
        deletion_timestamp=left,
        size=file["size"],
        partition_values={DAY: str(file[DAY])},
    )


def _stats(rows: pl.DataFrame, columns: Sequence[str]) -> str:
    """Delta's file statistics. Its times hold milliseconds: the greatest is rounded up, or a row would be missed."""
    known = pl.col(columns)
    least, most = known.min().name.prefix("minValues."), known.max().name.prefix("maxValues.")
    found = rows.select(least, most, known.null_count().name.prefix("nullCount.")).row(0, named=True)
    bounds: dict[str, dict[str, object]] = {"minValues": {}, "maxValues": {}, "nullCount": {}}
    for name, value in found.items():
        bound, _, column = name.partition(".")
        bounds[bound][column] = _milliseconds(value, bound) if isinstance(value, datetime) else value
    return json.dumps({"numRecords": rows.height, **bounds}, ensure_ascii=False)


def _milliseconds(moment: datetime, bound: str) -> str | None:
    if bound == "maxValues":
        try:
            moment += timedelta(microseconds=-moment.microsecond % 1000)
        except OverflowError:  # the last millisecond of time has none after it: a bound that is not known misses no row
            return None
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def _sync(*paths: Path) -> None:
    """Have the disk keep files and names: an acknowledged row must outlive a power cut."""
    for path in paths:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
