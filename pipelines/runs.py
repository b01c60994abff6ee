"""
Joins and sums over frames ordered by meter: work is done once for each run of equal keys, not once for each row.

On ten million rows ordered by facility and meter this is several times as fast as hashing the names of every row, and
the rows of a run are always added in the same order, so that the same rows give the same sum to the last bit.
"""

from collections.abc import Mapping, Sequence

import polars as pl


def look_up(frame: pl.DataFrame, table: pl.DataFrame, on: Sequence[str]) -> pl.DataFrame:
    """
    Left join with a table whose key is `on`, each run of equal keys looked up once.

    Returns:
        The rows of `frame` in their order, with the further columns of `table`; null where the table has no such key.
    """
    key = pl.struct(on)
    runs = frame.select(key.rle().struct.field("value")).unnest("value")
    found = runs.join(table, on=on, how="left", maintain_order="left").drop(on)
    return frame.hstack(found[frame.select(key.rle_id()).to_series()])


def aggregate(frame: pl.DataFrame, on: Sequence[str], *, columns: Mapping[str, pl.Expr]) -> pl.DataFrame:
    """
    Aggregate the rows of each run of equal keys.

    Returns:
        One row a run, in order: the columns `on`, then those of `columns`.
    """
    run = frame.select(pl.struct(on).rle_id().alias("run")).to_series().set_sorted()
    return (
        frame.with_columns(run)
        .group_by("run", maintain_order=True)
        .agg(*(pl.col(name).first() for name in on), **columns)
        .drop("run")
    )
