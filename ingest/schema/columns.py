"""What a table and a column are, and the columns that many tables share."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property

import polars as pl

TIME = pl.Datetime("us", "UTC")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_MICROSECOND = timedelta(microseconds=1)


def moment(at: datetime) -> pl.Expr:
    """Return a literal of TIME, made forty times as fast as `pl.lit` makes one of a moment with a zone."""
    return pl.lit(microseconds(at), pl.Int64()).cast(TIME)


def microseconds(at: datetime) -> int:
    """Count from 1970, as a TIME is stored."""
    return (at - EPOCH) // _MICROSECOND


@dataclass(frozen=True, slots=True)
class Column:
    """One column: type, what it means, unit in brackets where it has one."""

    name: str
    dtype: pl.DataType
    meaning: str
    unit: str = ""


@dataclass(frozen=True)
class Table:
    """
    One table.

    `key` names a row; `time` is the column that periods select and days partition; `same` are the columns that decide
    whether a row with a known key is the same row again (a duplicate) or a correction. Empty `same` means all columns.
    """

    name: str
    row: str
    key: tuple[str, ...]
    time: str
    columns: tuple[Column, ...]
    same: tuple[str, ...] = ()

    @cached_property
    def schema(self) -> pl.Schema:
        """Column names and types, in order."""
        return pl.Schema({column.name: column.dtype for column in self.columns})

    def empty(self) -> pl.DataFrame:
        """Return a frame without rows."""
        return self._nothing.clone()

    @cached_property
    def _nothing(self) -> pl.DataFrame:
        return self.schema.to_frame()

    @property
    def identity(self) -> tuple[str, ...]:
        """The columns that must all agree for a row to be the same row again."""
        return self.same or tuple(column.name for column in self.columns)


def text(name: str, meaning: str) -> Column:
    """A column of text."""
    return Column(name, pl.String(), meaning)


def number(name: str, meaning: str, unit: str = "") -> Column:
    """A column of floating-point numbers."""
    return Column(name, pl.Float64(), meaning, unit)


def count(name: str, meaning: str) -> Column:
    """A column of whole numbers."""
    return Column(name, pl.Int64(), meaning)


def time(name: str, meaning: str) -> Column:
    """A column of moments in UTC."""
    return Column(name, TIME, meaning, "UTC")


FACILITY = text("facility", "facility (用能单位) id of the registry")
METER = text("meter", "meter (计量器具) id, unique inside its facility")
INTERVAL = text("interval", "length of the period in the facility's zone: 15m, 1h, 1d, 1mo; indicators also 12mo")
COVERAGE = number("coverage", "share of the period that rests on readings no further apart than allowed", "0..1")
RULE = text("rule", "rule id of the catalogue")
SEVERITY = text("severity", "breach, or warning")
INDICATOR = text("indicator", "indicator (指标) code")
SCOPE = text("scope", "product id where the indicator is of one product; empty otherwise")
COMPARISON = text("comparison", "how the value must stand to the limit: <=, <, >=, >")
DOCUMENT = text("document", "title and number of the document, as issued (Chinese)")
CLAUSE = text("clause", "clause of the document, as issued (Chinese)")
