"""
A recorded table to readings: CSV and a mapping in, one frame out, or every problem of the file.

Times are local to the mapping's zone; a cell that is empty is no reading, one that is no number is a problem.
"""

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from ingest.collect.mapping import Mapping
from ingest.errors import ConfigurationError, Problem

_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_MOST_PROBLEMS = 20


def read(file: Path, mapping: Mapping) -> pl.DataFrame:
    """
    Read a table.

    Returns:
        time (UTC), meter, value [unit], unit; one row a cell that is not empty, in the order of time.

    Raises:
        ConfigurationError: with the first problems of the file and how many more there are.
    """
    cells = _cells(file, mapping)
    timed = _timed(cells, mapping)
    values = _values(timed, mapping)
    problems = [*_bad_times(timed, mapping, str(file)), *_bad_values(values, str(file))]
    if more := problems[_MOST_PROBLEMS:]:
        problems[_MOST_PROBLEMS:] = [Problem(str(file), f"{len(more)} more problems", "none")]
    if problems:
        raise ConfigurationError(problems)
    return values.drop_nulls("value").sort("time", maintain_order=True).select("time", "meter", "value", "unit")


def _cells(file: Path, mapping: Mapping) -> pl.DataFrame:
    """Line number and the mapped columns as text; null where a cell is empty."""
    try:
        # a line with a cell too many is common in recordings: a comma at the end
        table = pl.read_csv(file, infer_schema=False, truncate_ragged_lines=True)
    except (OSError, pl.exceptions.PolarsError) as error:
        found = str(error).partition("\n")[0]
        raise ConfigurationError([Problem(str(file), found, "a readable table with a header, in UTF-8")]) from None
    names = list(dict.fromkeys([mapping.time, *(column.name for column in mapping.column)]))
    if missing := [name for name in names if name not in table.columns]:
        has = ", ".join(filter(None, table.columns))
        raise ConfigurationError([Problem(str(file), f"no column {name!r}", f"one of {has}") for name in missing])
    cells = table.select(pl.col(names).str.strip_chars().replace("", None)).with_row_index("line", offset=2)
    return cells.filter(~pl.all_horizontal(pl.col(names).is_null()))


def _timed(cells: pl.DataFrame, mapping: Mapping) -> pl.DataFrame:
    """Add `local` (as written), `time` (UTC), and `first`, which differs from `time` where the clock shows it twice."""
    written = pl.coalesce(
        pl.col(mapping.time).str.to_datetime(style, time_unit="us", strict=False) for style in mapping.format
    )
    shown = pl.col("local")
    if mapping.midnight == "end_of_day":
        shown = pl.when(shown.dt.time() == pl.time(0, 0)).then(shown.dt.offset_by("1d")).otherwise(shown)
    zone = mapping.timezone
    return cells.with_columns(local=written).with_columns(
        time=shown.dt.replace_time_zone(zone, ambiguous="null", non_existent="null").dt.convert_time_zone("UTC"),
        first=shown.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null"),
    )


def _values(timed: pl.DataFrame, mapping: Mapping) -> pl.DataFrame:
    """One row a cell: line, time, column, cell, meter, unit, value (null where the cell is empty or no number)."""
    columns = pl.DataFrame(
        [(column.name, column.meter, column.unit, column.scale) for column in mapping.column],
        schema=["column", "meter", "unit", "scale"],
        orient="row",
    )
    number = pl.when(pl.col("cell").str.contains(_NUMBER)).then(pl.col("cell")).cast(pl.Float64)
    value = number * pl.col("scale")
    return (
        timed.select("line", "time", *columns["column"].unique(maintain_order=True))
        .unpivot(index=["line", "time"], variable_name="column", value_name="cell")
        .join(columns, on="column", maintain_order="left_right")
        .with_columns(value=pl.when(value == 0).then(0.0).when(value.is_finite()).then(value))  # no -0.0
    )


def _bad_times(timed: pl.DataFrame, mapping: Mapping, file: str) -> Iterator[Problem]:
    for row in timed.filter(pl.col("time").is_null()).iter_rows(named=True):
        written = row[mapping.time]
        found, wanted = "nothing" if written is None else repr(written), f"a time like {' or '.join(mapping.format)}"
        if row["local"] is not None:
            clocks = "skip" if row["first"] is None else "show twice"
            found = f"{written!r}, a time that the clocks of {mapping.timezone} {clocks}"
            wanted = "the zone of the logger: one that keeps standard time all year is e.g. Etc/GMT-8 (UTC+8)"
        yield Problem(f"{file}: line {row['line']}, column {mapping.time!r}", found, wanted)


def _bad_values(values: pl.DataFrame, file: str) -> Iterator[Problem]:
    for row in values.filter(pl.col("value").is_null() & pl.col("cell").is_not_null()).iter_rows(named=True):
        yield Problem(f"{file}: line {row['line']}, column {row['column']!r}", repr(row["cell"]), "a number or nothing")
