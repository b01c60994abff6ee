"""
Keeping a table of the lake fast: merge the small files of a day, checkpoint, and drop what no reader can need any more.

A merge writes the newest row of each key into one file sorted by key, then swaps it in for the files it read, if they
are all still there. Appends that happen meanwhile stay what they are: rows keep the `_version` that stored them.
"""

from collections.abc import Iterator
from datetime import date, datetime

import polars as pl
from deltalake import DeltaTable

from ingest.store.lake.query import newest
from ingest.store.lake.table import DAY, Action, LakeTable, Snapshot, removal

_SMALL = 100_000  # rows; a file up to this always joins a merge
_GROWTH = 4  # a larger one joins when the smaller ones hold a quarter of its rows, so each row is rewritten rarely


def maintain(table: LakeTable, at: datetime) -> int:
    """Merge the small files of each day and clean up; return how many files were merged."""
    snapshot = table.snapshot()
    if snapshot is None:
        return 0
    merged = sum(files.height for files in mergeable(snapshot.files) if swap(table, files, at))
    handle = DeltaTable(table.folder)
    if merged:
        handle.create_checkpoint()  # the next commit drops the log before it
    # files that left the table an hour ago, and files of writers that died before their commit
    if any((table.folder / path).exists() for path in handle.vacuum(dry_run=True, full=True)):
        handle.vacuum(dry_run=False, full=True)
    return merged


def mergeable(files: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Yield for each day the files that are worth one merge: two or more, none far larger than the rest together."""
    ranked = files.sort(DAY, "rows", "path").with_columns(
        smaller=(pl.col("rows").cum_sum() - pl.col("rows")).over(DAY),
    )
    worth = pl.col("rows") <= pl.max_horizontal(pl.lit(_SMALL), pl.col("smaller") * _GROWTH)
    # the largest file that is worth it takes all smaller ones along
    chosen = ranked.filter(worth.cast(pl.Int8).cum_max(reverse=True).over(DAY) == 1)
    return (group for group in chosen.partition_by(DAY, maintain_order=True) if group.height > 1)


def swap(table: LakeTable, files: pl.DataFrame, at: datetime) -> bool:
    """Swap files of one day for their merge; False where somebody else merged one of them first."""
    day: date = files[DAY][0]
    added = table.write_file(newest(table.table, table.folder, files), day, purpose="merge")
    # whatever `at` says, readers are running now: the disk knows when that is
    left = max(int(at.timestamp() * 1000), added.modification_time)
    actions: list[Action] = [added, *(removal(file, left) for file in files.iter_rows(named=True))]
    while (snapshot := table.snapshot()) is not None and _all_there(files, snapshot):
        if table.commit(actions, snapshot.version):
            return True
    table.discard([added])
    return False


def _all_there(files: pl.DataFrame, snapshot: Snapshot) -> bool:
    return files.join(snapshot.files, on="path", how="anti").is_empty()
