"""What must hold of every table: names once, keys and times that exist, a meaning for every column."""

import polars as pl
import pytest

from ingest.schema import READINGS, TABLES, TIME, Table

UNITS = {"", "UTC", "0..1", "kWh", "kgce", "kg CO2", "s"}


@pytest.fixture(params=TABLES.values(), ids=lambda table: table.name)
def table(request: pytest.FixtureRequest) -> Table:
    found: Table = request.param
    return found


def test_the_tables_of_the_interface_are_there() -> None:
    named = {"readings", "activity", "quarantine", "energy", "indicators", "breach_events", "notices"}
    assert named < TABLES.keys()
    assert all(name == table.name for name, table in TABLES.items())


def test_columns_stand_once_and_say_what_they_mean(table: Table) -> None:
    assert len(table.schema) == len(table.columns)
    assert all(column.meaning and column.name.islower() for column in table.columns)
    assert table.row
    assert {column.unit for column in table.columns} <= UNITS


def test_key_time_and_identity_are_columns(table: Table) -> None:
    names = set(table.schema)
    assert {*table.key, table.time, *table.identity} <= names
    assert len(set(table.key)) == len(table.key)
    # a row that is the same again must at least have the same key
    assert set(table.key) <= set(table.identity)


def test_stored_time_is_utc_in_microseconds(table: Table) -> None:
    times = [column for column in table.columns if isinstance(column.dtype, pl.Datetime)]
    assert table.schema[table.time] == TIME
    assert all(column.dtype == TIME for column in times)
    assert all((column.unit == "UTC") == (column in times) for column in table.columns)


def test_a_column_of_several_tables_has_one_type(table: Table) -> None:
    for other in TABLES.values():
        for name in table.schema.keys() & other.schema.keys():
            assert table.schema[name] == other.schema[name]


def test_identity_is_all_columns_where_nothing_is_said() -> None:
    columns = READINGS.columns[:2]
    assert Table("t", "r", ("facility",), "time", columns).identity == ("facility", "meter")
    assert READINGS.identity == ("facility", "meter", "time", "value")
