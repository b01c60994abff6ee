"""Text that is made to break out of a statement or a line of InfluxDB stays text: in tags, fields and statements."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest

from ingest.schema import TABLES
from ingest.settings import Settings
from ingest.store.base import Store
from ingest.store.connect import connect

pytestmark = pytest.mark.server

NOW = datetime(2026, 11, 20, 8, tzinfo=UTC)
OTHER = "mill-b"
# each would, taken as a statement, read or drop what it must not
STATEMENTS = (
    "dc-a' OR 'a' = 'a",
    'dc-a\' OR "facility" =~ /.*/ --',
    'dc-a"; DROP MEASUREMENT "readings"; SELECT "',
    "dc-a'; DROP DATABASE injected; --",
    "dc-a\\' OR \\'a\\' = \\'a",
    "/.*/",
    "dc-a\\",
    "dc-a' /* ",
)
# each would, taken as a line, write a row of another facility or meter
LINES = (
    f"g\nreadings,facility={OTHER},meter=E value=1 1",
    f"g\r\nreadings,facility={OTHER},meter=E value=1 1",
    f"g,facility={OTHER}",
    'g",value=7,unit="x',
    "g value=7i 1",
    "g\\",
    "g=h",
    " g",
)


@pytest.fixture
def store(influxd: Any) -> Iterator[Store]:
    url = influxd.url(influxd.database())
    with closing(connect(url, Settings(store_password=influxd.password))) as opened:
        yield opened


def readings(*rows: tuple[str, str, str]) -> pl.DataFrame:
    """Rows of facility, meter, gateway."""
    full = [(facility, meter, NOW, 1.0, "kWh", 0, gateway, NOW) for facility, meter, gateway in rows]
    return pl.DataFrame(full, schema=TABLES["readings"].schema, orient="row").sort("facility", "meter")


@pytest.mark.parametrize("text", STATEMENTS)
def test_no_text_breaks_out_of_a_statement(store: Store, text: str) -> None:
    both = readings((OTHER, "E", "gw"), ("dc-a", "E", "gw"))
    store.write("readings", both)
    for column in ("facility", "meter", "gateway", "unit"):
        assert store.read("readings", **{column: [text]}).is_empty(), column
    assert store.read("readings").equals(both)
    # a row that bears the text is found by it, and it alone
    mine = readings((text, text, text))
    store.write("readings", mine)
    for column in ("facility", "meter", "gateway"):
        assert store.read("readings", **{column: [text]}).equals(mine), column
    store.write("readings", mine.with_columns(value=2.0))  # a row that is replaced is deleted by its tags first
    assert store.read("readings", facility=[OTHER, "dc-a"]).equals(both)


@pytest.mark.parametrize("text", LINES)
def test_no_text_breaks_out_of_a_line(store: Store, text: str) -> None:
    rows = readings(("dc-a", "E", text), ("dc-a", text, "gw"), (text, "E", "gw"))
    store.write("readings", rows)
    assert store.read("readings").equals(rows)
    assert store.read("readings", facility=[OTHER]).is_empty()
