"""
Which rows of the lake are meant: the pure part of reading and writing.

In go the files of a snapshot with their statistics, out come lazy frames that touch only the files and row groups which
can matter. The log is append-only, so a key may stand in several files: the row with the greatest `_version` counts.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import reduce
from operator import and_
from pathlib import Path

import polars as pl

from ingest.model import Period
from ingest.schema import Table, moment
from ingest.store.lake.table import DAY, VERSION, statistics, stored_schema
from ingest.store.rows import day_of, meeting, replacing


@dataclass(frozen=True, slots=True)
class Selection:
    """A filter on one column: as a condition on rows, and on files that may hold such rows."""

    column: str
    rows: pl.Expr
    files: pl.Expr


def selections(
    table: Table, period: Period | None, on: str | None, match: Mapping[str, Collection[str]]
) -> list[Selection]:
    """
    Translate the arguments of `Store.read`.

    Raises:
        StoreError: a column is not known or not of the right kind, or the wanted values are no collection of texts.
    """
    rows = meeting(table, period, on, match)
    files = {name: _matching(table, name, values) for name, values in match.items()}
    if period is not None:
        files = {on or table.time: _within(on or table.time, period), **files}
    return [Selection(name, condition, files[name]) for name, condition in rows.items()]


def _matching(table: Table, column: str, values: Collection[str]) -> pl.Expr:
    if not values or column not in statistics(table):
        return pl.lit(bool(values))
    return _overlap(column, pl.lit(min(values)), pl.lit(max(values)))


def _within(column: str, period: Period) -> pl.Expr:
    return _overlap(column, moment(period.start), moment(period.end - timedelta(microseconds=1)))


def _overlap(column: str, least: pl.Expr, most: pl.Expr) -> pl.Expr:
    """Files whose values of a column may lie between two bounds."""
    return ((pl.col(f"min.{column}") <= most) & (pl.col(f"max.{column}") >= least)).fill_null(value=True)


def selected(
    table: Table, folder: Path, files: pl.DataFrame, wanted: Sequence[Selection], *, columns: Sequence[str]
) -> pl.DataFrame:
    """
    Read the newest row of each key where that row is wanted, sorted by key.

    A condition may be tested before the newest row is known only where it has one answer for all rows of a key: on key
    columns, or in a table whose rows never change. Otherwise the keys that ever met it are looked up again.

    Args:
        files: the files of a snapshot.
        wanted: what the rows are chosen by.
        columns: those to read.

    Returns:
        These columns.
    """
    hit = files.filter(*(selection.files for selection in wanted))
    conditions = [selection.rows for selection in wanted]
    rows = _scan(table, folder, hit).filter(*conditions)
    unchanging = set(table.identity) == set(table.key)
    if not unchanging and any(selection.column not in table.key for selection in wanted):
        keys = rows.select(table.key).collect()
        rows = _newest(table, _holding(table, folder, _near(table, files, keys), keys)).filter(*conditions)
    elif hit.height > 1:
        rows = _newest(table, rows)
    return rows.select(columns).collect()


def unseen(table: Table, folder: Path, files: pl.DataFrame, batch: pl.DataFrame) -> pl.DataFrame:
    """
    Return the rows of a batch that are new or differ from the newest stored row of their key, and mark these.

    Args:
        files: the files of a snapshot.
        batch: columns of the table, each key once.
    """
    held = _near(table, files, batch)
    if held.is_empty():
        return batch
    rows = _holding(table, folder, held, batch.select(table.key)).select(*table.identity, VERSION)
    # one file a day, as after a merge, holds no key twice
    once = table.time in table.key and not held[DAY].is_duplicated().any()
    stored = (rows if once else _newest(table, rows)).collect()
    # by key, then column by column: a join on all columns would copy every row of both sides into one text
    other = batch.select(table.key).join(stored, on=table.key, how="left", maintain_order="left")
    same = [batch[name].eq_missing(other[name]) for name in table.identity if name not in table.key]
    known = other[VERSION].is_not_null()
    return replacing(table, batch.filter(~reduce(and_, same, known)), stored)


def days(table: Table, files: pl.DataFrame) -> list[date]:
    """Name the days between the first and the last time of each file, sorted."""
    first, last = (pl.col(f"{bound}.{table.time}").dt.date() for bound in ("min", "max"))
    spans = files.select(pl.date_ranges(first, last.fill_null(date.max)).alias("days"))
    return spans.explode("days").to_series().drop_nulls().unique().sort().to_list()


def newest(table: Table, folder: Path, files: pl.DataFrame) -> pl.DataFrame:
    """Read the newest row of each key among some files, sorted by key, with the commit that stored it."""
    return _newest(table, _scan(table, folder, files)).collect()


def _newest(table: Table, rows: pl.LazyFrame) -> pl.LazyFrame:
    key = pl.col(table.key)
    return rows.sort(*table.key, VERSION).filter(pl.any_horizontal(key.ne_missing(key.shift(-1))))


def _near(table: Table, files: pl.DataFrame, keys: pl.DataFrame) -> pl.DataFrame:
    """Return the files that may hold rows with one of these keys, as far as their statistics tell."""
    grain = day_of(table).alias(DAY) if table.time in table.key else pl.lit(0).alias(DAY)
    key = pl.col(table.key)
    bounds = keys.group_by(grain).agg(key.min().name.prefix("least."), key.max().name.prefix("most."))
    overlaps = [_overlap(name, pl.col(f"least.{name}"), pl.col(f"most.{name}")) for name in table.key]
    return files.join(bounds, how="cross").filter(*overlaps).unique("path")


def _holding(table: Table, folder: Path, files: pl.DataFrame, keys: pl.DataFrame) -> pl.LazyFrame:
    """Read all rows of some files with one of these keys."""
    key = pl.col(table.key)
    least, most = keys.select(key.min()).row(0, named=True), keys.select(key.max()).row(0, named=True)
    inside = [pl.col(name).is_between(pl.lit(least[name]), pl.lit(most[name])) for name in table.key]
    return _scan(table, folder, files).filter(*inside).join(keys.lazy(), on=table.key, how="semi")


def _scan(table: Table, folder: Path, files: pl.DataFrame) -> pl.LazyFrame:
    schema = stored_schema(table)
    if files.is_empty():
        return pl.LazyFrame(schema=schema)
    paths = [folder / path for path in files["path"]]
    return pl.scan_parquet(paths, schema=schema, glob=False, hive_partitioning=False)
