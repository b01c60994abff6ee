"""
InfluxQL, the part of it that InfluxDB 1, 2 and 3 share. Every name and every text in a statement goes through `quoted`.

A statement asks for enough and may ask for more: what a text cannot say in InfluxQL is left out of it, and whoever
reads the answer filters again.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Literal

import polars as pl

from ingest.errors import StoreError
from ingest.model import Period
from ingest.schema import microseconds
from ingest.store.influx.layout import FIRST, LAST, NS, PLACES, SPECIAL, Layout
from ingest.store.influx.lines import coded, parts

_MOST_VALUES = 500  # of a field, tested for each row
NAME: Literal['"'] = '"'
VALUE: Literal["'"] = "'"
_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", '"': '\\"', "'": "\\'"})


def quoted(text: str, mark: Literal["'", '"']) -> str:
    """
    Quote a name (`"`) or a text (`'`).

    Raises:
        StoreError: it holds what InfluxQL cannot: NUL ends a statement, a carriage return is read as a newline.
    """
    if not sayable(text):
        raise StoreError(f"{text!r} cannot stand in a query: InfluxQL knows neither NUL nor carriage return")
    return mark + text.translate(_ESCAPES) + mark


def sayable(text: str) -> bool:
    """Whether InfluxQL can hold a text."""
    return not {"\0", "\r"} & set(text)


def columns_of(layout: Layout, names: Collection[str]) -> dict[str, pl.DataType]:
    """Name the fields to ask for, with their types in the answer: a time is a whole number, a payload has parts."""
    schema = layout.table.schema
    found: dict[str, pl.DataType] = {}
    for name in dict.fromkeys((layout.anchor, *(name for name in layout.fields if name in names))):
        dtype = schema[name]
        if dtype == pl.Binary:
            found |= dict.fromkeys(parts(name), pl.String())
        else:
            found[name] = pl.Int64() if dtype == pl.Datetime or dtype.is_integer() else dtype
    return found | {SPECIAL: pl.String()}


def select(layout: Layout, fields: Collection[str], conditions: Sequence[str], tail: str = "") -> str:
    """Return the statement that reads fields of a table, one series for each set of tags."""
    names = ", ".join(f"{quoted(name, NAME)}::field" for name in fields)
    groups = ", ".join(quoted(name, NAME) for name in layout.series)
    source = f"{quoted(layout.policy, NAME)}.{quoted(layout.table.name, NAME)}"
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return f"SELECT {names} FROM {source}{where} GROUP BY {groups}{tail}"  # noqa: S608 - every part is quoted


def each_day(layout: Layout) -> tuple[str, dict[str, pl.DataType]]:
    """Return the statement that counts the points of each UTC day that has some, and the fields of its answer."""
    anchors = (layout.anchor, SPECIAL)
    counts = ", ".join(f'count({quoted(name, NAME)}::field) AS "n_{name}"' for name in anchors)
    where = " AND ".join(between(FIRST, LAST))  # without a bound the days that are to come are left out
    source = f"{quoted(layout.policy, NAME)}.{quoted(layout.table.name, NAME)}"
    statement = f"SELECT {counts} FROM {source} WHERE {where} GROUP BY time(1d) fill(none)"  # noqa: S608 - quoted
    return statement, {f"n_{name}": pl.Int64() for name in anchors}


def matching(layout: Layout, match: Mapping[str, Collection[str]]) -> list[str]:
    """Return conditions on text columns; each is one of the wanted values."""
    conditions = []
    for name, values in match.items():
        texts = sorted(set(values))
        if name in layout.series:
            texts = pl.Series(texts, dtype=pl.String).to_frame(name).select(coded(pl.col(name))).to_series().to_list()
        elif len(texts) > _MOST_VALUES or not all(map(sayable, texts)):
            continue
        options = " OR ".join(f"{quoted(name, NAME)} = {quoted(text, VALUE)}" for text in texts)
        conditions.append(f"({options})")
    return conditions


def within(layout: Layout, column: str, period: Period) -> list[str]:
    """Return conditions on a time column: a period, half-open."""
    first, last = (microseconds(bound) for bound in (period.start, period.end))
    if column != layout.table.time:
        return [f"{quoted(column, NAME)} >= {first}", f"{quoted(column, NAME)} < {last}"]
    first, last = (-(-bound // layout.tick) * layout.tick for bound in (first, last))
    return between(first, last - 1)


def between(first: int, last: int) -> list[str]:
    """Return conditions on the time of the points: from one microsecond to another, both of them in."""
    first, last = (min(max(moment, FIRST), LAST) for moment in (first, last))
    return [f"time >= {first * PLACES}", f"time < {(last + 1) * PLACES}"]


def points(layout: Layout, rows: pl.DataFrame) -> list[tuple[dict[str, str], int]]:
    """
    Name single points: by tag to its value as stored, and time [ns].

    Args:
        layout: of the table.
        rows: the tags and `NS`.
    """
    tags = rows.select(*(coded(pl.col(name)).alias(name) for name in layout.series), NS)
    return [(row, row.pop(NS)) for row in tags.iter_rows(named=True)]


def deletion(layout: Layout, tags: Mapping[str, str], time: int) -> str:
    """Return the statement that deletes one point, of InfluxDB 1. It takes no retention policy: all are meant."""
    conditions = [f"{quoted(name, NAME)} = {quoted(value, VALUE)}" for name, value in tags.items()]
    return f"DELETE FROM {quoted(layout.table.name, NAME)} WHERE {' AND '.join([*conditions, f'time = {time}'])}"  # noqa: S608 - quoted


def predicate(layout: Layout, tags: Mapping[str, str]) -> str:
    """Return the predicate that means one series, for the delete route of InfluxDB 2. Its texts stand in `"` too."""
    wanted = {"_measurement": layout.table.name, **tags}
    return " AND ".join(f"{quoted(name, NAME)} = {quoted(value, NAME)}" for name, value in wanted.items())
