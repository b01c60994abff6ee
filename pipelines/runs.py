"""
Joins and sums over frames in the order of meters: work is done once for each run of equal keys, not once for each row.

On ten million rows ordered by facility and meter this is several times as fast as hashing the names of every row, and
the rows of a run are always added in the same order, so that the same rows give the same sum to the last bit. A key has
no nulls.
"""

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import and_, or_

import polars as pl


def of(frame: pl.DataFrame, on: list[str]) -> tuple[pl.DataFrame, pl.Series]:
    """Return the key of each run of equal keys, and for each row the number of its run."""
    run = _run(frame, on)
    return frame[on][_begins(run.to_frame(), ["run"])], run


def places(frame: pl.DataFrame, table: pl.DataFrame, on: list[str]) -> pl.Series:
    """
    Look each run of equal keys up in a table whose key is `on`.

    Returns:
        For each row of `frame` the row of the table; null where the table has no such key.
    """
    heads, run = of(frame, on)
    # of all meters in their order the table is what is looked for, as nearly always
    if heads.equals(table[on]):
        return run
    numbers = table[on].with_row_index("place")
    return heads.join(numbers, on=on, how="left", maintain_order="left")["place"][run]


def look_up(frame: pl.DataFrame, table: pl.DataFrame, on: list[str]) -> pl.DataFrame:
    """Left join with a table whose key is `on`: the rows of `frame` in their order, with its further columns."""
    return frame.hstack(table.drop(on)[places(frame, table, on)])


def beside(frame: pl.DataFrame, other: pl.DataFrame, on: list[str], time: str) -> pl.Series:
    """
    Find rows again in another frame, in which no names stand twice at a time.

    Returns:
        For each row of `frame` the row of `other` with the same names `on` at the same time; null where there is none.
    """
    known = of(frame, on)[0].unique(maintain_order=True)
    sides = [pl.DataFrame([each[time], places(each, known, on).alias("place")]) for each in (frame, other)]
    numbered = sides[1].with_row_index("other")
    return sides[0].join(numbered, on=["place", time], how="left", maintain_order="left")["other"]


def aggregate(frame: pl.DataFrame, on: list[str], *, columns: Mapping[str, pl.Expr]) -> pl.DataFrame:
    """
    Aggregate the rows of each run of equal keys.

    Returns:
        One row a run, in order: the columns `on`, then those of `columns`.
    """
    heads, run = of(frame, on)
    found = frame.with_columns(run).group_by("run", maintain_order=True).agg(**columns)
    return heads.hstack(found.drop("run"))


def totals(frame: pl.DataFrame, on: list[str], *, sums: list[str], first: list[str]) -> pl.DataFrame:
    """
    Add up the rows of each run of equal keys. Null counts as nothing.

    Most runs are of one length (the quarters of an hour, the hours of a day): they are added up as the rows of a table,
    which is twenty times as fast as by group and gives the same bits.

    Returns:
        One row a run, in order: the columns `on`, those of `first` as they stand in its first row, those of `sums`.
    """
    begins = _begins(frame, on)
    heads, values = frame[[*on, *first]][begins], frame[sums]
    lengths = pl.concat([begins[1:], pl.Series([frame.height], dtype=begins.dtype)]) - begins
    if lengths.min() == lengths.max():
        return heads.hstack(_rows_of(values, lengths[0] if lengths.len() else 1))
    run, common = _run(frame, on), lengths.mode().sort()[0]
    even = lengths == common
    inside = even[run]
    odd = values.with_columns(run).filter(~inside).group_by("run", maintain_order=True).agg(pl.col(sums).sum())
    regular = _rows_of(values.filter(inside), common).insert_column(0, even.arg_true().cast(pl.UInt32).alias("run"))
    return heads.hstack(pl.concat([regular, odd]).sort("run").drop("run"))


def where(frame: pl.DataFrame, *conditions: pl.Expr) -> pl.DataFrame:
    """Filter where most often all rows or none are wanted: then none is copied."""
    wanted = reduce(and_, frame.select_seq(**{str(n): each for n, each in enumerate(conditions)}))
    if wanted.all(ignore_nulls=False):
        return frame
    return frame.filter(wanted) if wanted.any() else frame.clear()


def _run(frame: pl.DataFrame, on: list[str]) -> pl.Series:
    return frame.select_seq(pl.struct(on).rle_id().alias("run")).to_series().set_sorted()


def _begins(frame: pl.DataFrame, on: list[str]) -> pl.Series:
    """Return the rows with which a run of equal keys begins."""
    if frame.is_empty():
        return pl.Series(dtype=pl.get_index_type())
    change = (pl.col(name).slice(1).ne_missing(pl.col(name).slice(0, frame.height - 1)) for name in on)
    found = frame.select_seq(pl.arg_where(reduce(or_, change))).to_series() + 1
    return pl.concat([pl.Series([0], dtype=found.dtype), found])


def _rows_of(values: pl.DataFrame, length: int) -> pl.DataFrame:
    """Sums of so many rows each."""
    return values.select_seq(pl.all().reshape((-1, length)).arr.sum())


def numbered(frame: pl.DataFrame, names: list[str]) -> pl.Series:
    """For each row the place of its names among all names, in order."""
    heads, run = of(frame, names)
    if not heads.equals(heads.unique(maintain_order=True).sort(names)):
        known = heads.unique().sort(names).with_row_index("row")
        run = heads.join(known, on=names, maintain_order="left")["row"][run]
    return run


def in_order(frame: pl.DataFrame, row: str, time: str) -> pl.DataFrame:
    """Sort by the number of a meter and by time; what is in order already, as nearly always, is only looked at."""
    rows, times = frame[row], frame[time]
    if rows.is_sorted() and not ((times[1:] < times[:-1]) & (rows[1:] == rows[:-1])).any():
        return frame
    return frame.sort(row, time, maintain_order=True)


def by_row(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Bring frames together that each are in the order of `row` and have no row in common."""
    if len(parts) == 1:
        return parts[0]
    together = pl.concat(parts)
    return together if together["row"].is_sorted() else together.sort("row", maintain_order=True)


def quotient(above: pl.Expr, below: pl.Expr) -> pl.Expr:
    """
    Divide finite numbers so that a row has the same bits whatever the other rows are.

    Polars multiplies by the reciprocal where the divisor is one value for all rows: a literal, or a column that a join
    or an explode made of a single row. So a facility would differ in the last bit when it is computed alone.
    """
    return above / (below + above * 0)
