"""
What every store does with rows before it stores them, whatever the database: check, keep the last of a key, mark.

Pure: frames of a table's columns go in and come out.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime

import polars as pl

from ingest.errors import RowsRefused, StoreError
from ingest.model import Period
from ingest.schema import READINGS, REPLACED, TABLES, Table, moment

FINE = ("15m", "1h")  # intervals with many rows
_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


def table_of(name: str) -> Table:
    """Look a table up by its name."""
    if name not in TABLES:
        raise StoreError(f"table {name!r} is not known; wanted one of {', '.join(TABLES)}")
    return TABLES[name]


def accepted(table: Table, rows: pl.DataFrame) -> pl.DataFrame:
    """
    Return columns in the order of the schema and rows in the order they came in, one for each key, the last one.

    Raises:
        StoreError: columns or types are not the table's.
        RowsRefused: a key or the table's time is null, or a time lies outside of the years 1 to 9999.
    """
    wanted = table.schema
    problems = [f"column `{name}` is missing" for name in wanted if name not in rows.columns]
    problems += [f"column `{name}` is not known" for name in rows.columns if name not in wanted]
    problems += [
        f"column `{name}` is {dtype}, wanted {wanted[name]}"
        for name, dtype in rows.schema.items()
        if name in wanted and dtype != wanted[name]
    ]
    if problems:
        raise StoreError(f"table {table.name} refused the rows: {'; '.join(problems)}")
    needed = dict.fromkeys((*table.key, table.time))
    problems = [f"`{name}` is null in {n} of them" for name in needed if (n := rows[name].null_count())]
    years = rows.select(pl.selectors.datetime().is_between(_FIRST, _LAST).not_().sum()).row(0, named=True)
    problems += [f"`{name}` lies outside of the years 1 to 9999 in {n} of them" for name, n in years.items() if n]
    if problems:
        raise RowsRefused(f"table {table.name} refused the rows: {'; '.join(problems)}")
    ordered = rows.select(wanted.names())
    if ascending(ordered, table.key) or not ordered.select(table.key).is_duplicated().any():
        return ordered
    return replacing(table, ordered.unique(table.key, keep="last", maintain_order=True), ordered)


def replacing(table: Table, rows: pl.DataFrame, others: pl.DataFrame) -> pl.DataFrame:
    """
    Set the bit `REPLACED` in `flags` of readings that another value stands under the same key of.

    Args:
        table: the table; rows of any other than readings are returned as they are.
        rows: columns of the table, each key once.
        others: key and value of what `rows` replace.
    """
    if table is not READINGS:
        return rows
    other = others.join(rows.select(*table.key, "value"), on=table.key, suffix="_now")
    told = other.filter(pl.col("value").ne_missing(pl.col("value_now"))).select(table.key).unique()
    if told.is_empty():
        return rows
    marked = pl.col("flags").fill_null(0) | pl.lit(REPLACED, pl.Int32)
    return rows.join(told.with_columns(told=True), on=table.key, how="left", maintain_order="left").select(
        *(
            pl.when(pl.col("told").fill_null(value=False)).then(marked).otherwise("flags").alias("flags")
            if name == "flags"
            else pl.col(name)
            for name in table.schema
        )
    )


def matched(table: Table, on: str | None, match: Mapping[str, Collection[str]]) -> str:
    """
    Check the arguments of `Store.read` and return the time column the period is about.

    Raises:
        StoreError: a column is not known or not of the right kind, or the wanted values are no collection of texts.
    """
    for column, values in match.items():
        if table.schema.get(column) != pl.String:
            raise StoreError(f"table {table.name} has no text column `{column}`")
        if isinstance(values, str) or not all(isinstance(value, str) for value in values):
            raise StoreError(f"table {table.name}: `{column}` is matched with {values!r}; wanted a collection of texts")
    column = on or table.time
    if table.schema.get(column) != pl.Datetime:
        raise StoreError(f"table {table.name} has no time column `{column}`")
    return column


def meeting(
    table: Table, period: Period | None, on: str | None, match: Mapping[str, Collection[str]]
) -> dict[str, pl.Expr]:
    """
    Translate the arguments of `Store.read` into conditions on rows, by the column each is about.

    Raises:
        StoreError: see `matched`.
    """
    column = matched(table, on, match)
    conditions = {name: pl.col(name).is_in(list(values)) for name, values in match.items()}
    if period is None:
        return conditions
    inside = pl.col(column).is_between(moment(period.start), moment(period.end), closed="left")
    return {column: inside, **conditions}


def chosen(table: Table, columns: Collection[str]) -> list[str]:
    """
    Return the columns to read, in the order of the schema; all of them where none is named.

    Raises:
        StoreError: a column is not known.
    """
    if unknown := sorted(set(columns) - set(table.schema)):
        raise StoreError(f"table {table.name} has no column `{unknown[0]}`")
    return [name for name in table.schema if not columns or name in columns]


def day_of(table: Table) -> pl.Expr:
    """
    The UTC date a row is filed and looked up under.

    Rows of a day and longer are few: a month of them shares one date, or a year of them would be thousands of places.
    """
    day = pl.col(table.time).dt.date()
    if "interval" in table.schema:
        day = pl.when(pl.col("interval").is_in(FINE)).then(day).otherwise(day.dt.month_start())
    return day


def ascending(rows: pl.DataFrame, key: Sequence[str]) -> bool:
    """Tell whether rows are sorted by a key that no two of them share; to look takes a tenth of what sorting does."""
    after = pl.lit(value=False)
    for name in reversed(key):
        own, before = pl.col(name), pl.col(name).shift()
        after = (own > before) | ((own == before) & after)
    return bool(rows.select(after.fill_null(value=True).all()).item())
