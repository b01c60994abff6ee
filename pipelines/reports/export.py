"""
Export: rows of a table -> CSV, JSON or Parquet. Times are RFC 3339 in UTC; bytes are base64 in the text formats.

CSV and JSON are for people and scripts, Parquet keeps the types. A text that a spreadsheet would take for a formula
gets an apostrophe in front in CSV, and in CSV alone: JSON and Parquet hold it as it is.
"""

import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo

import polars as pl

from ingest.errors import ConfigurationError, Problem
from ingest.model import Period
from ingest.registry import Registry
from ingest.schema import QUARANTINE_STATES, TABLES
from ingest.store.base import Store

# the zone of what belongs to no facility
HOME = ZoneInfo("Asia/Shanghai")

Format = Literal["csv", "json", "parquet"]
# fmt: off
Export = Literal[
    "readings", "activity", "energy", "unattributed", "balance", "indicators", "breaches", "quarantine", "entries",
    "corrections",
]
# fmt: on

# the events are what an operator calls the breaches
_TABLES = {"breaches": "breach_events"}

# what makes a spreadsheet work a cell out instead of showing it; the wide forms are those of Chinese keyboards
_FORMULA = r"^([=+\-@\t\r\n＝＋－＠])"

_RFC3339 = "%Y-%m-%dT%H:%M:%S%.fZ"


def encoded(rows: pl.DataFrame, form: Format) -> bytes:
    """
    Encode rows of any table.

    Args:
        rows: what to export.
        form: csv (with a header), json (one array of objects) or parquet.
    """
    match form:
        case "csv":
            return _text(_harmless(rows)).write_csv().encode()
        case "json":
            return _text(rows).write_json().encode()
        case "parquet":
            rows.write_parquet(packed := BytesIO())
            return packed.getvalue()


def save(content: bytes, target: Path | None) -> None:
    """
    Write an export to a file, or to standard output where there is none.

    Raises:
        ConfigurationError: the file cannot be written.
    """
    if target is None:
        sys.stdout.buffer.write(content)
        return
    try:
        target.write_bytes(content)
    except OSError as error:
        found = f"{target}: {error.strerror}"
        raise ConfigurationError([Problem("--output", found, "a file that can be written")]) from None


def rows(
    store: Store, what: Export, registry: Registry, period: Callable[[ZoneInfo], Period], *, facility: str = ""
) -> pl.DataFrame:
    """
    Read what is to be exported.

    Args:
        store: where it lies.
        what: name of the export.
        registry: rows of its facilities; quarantine is read whole, for what was refused may name no facility of ours.
        period: the period in a facility's zone: a typed date is another moment in each.
        facility: only rows of this one; of all where it is empty.

    Returns:
        Rows of the table, by zone of the facilities; of the quarantine with state, at, by and why.
    """
    table = _TABLES.get(what, what)
    if what == "quarantine":
        found = store.read(table, period(HOME)).filter(pl.lit(not facility) | (pl.col("facility") == facility))
        states = store.read(QUARANTINE_STATES.name)
        known = found.join(states, on="id", how="left", maintain_order="left")
        return known.with_columns(pl.col("state").fill_null("open"))
    parts = [pl.DataFrame(schema=TABLES[table].schema)]
    for zone, names in registry.by_zone().items():
        own = [name for name in names if facility in ("", name)]
        parts.append(store.read(table, period(zone), facility=own))
    return pl.concat(parts)


def _harmless(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(pl.col(pl.String).str.replace(_FORMULA, "'${1}"))


def _text(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(
        pl.col(pl.Datetime).dt.strftime(_RFC3339).str.replace(r"\.0+Z$", "Z"),
        pl.col(pl.Binary).bin.encode("base64"),
    )
