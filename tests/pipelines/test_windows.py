"""Which days a reading makes dirty, and how days become windows."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from ingest import registry as registries
from ingest.model import Period
from ingest.schema import READINGS
from ingest.store.lake import Lake
from pipelines.jobs.windows import REACH, around, cut, days_of, dirty

SHANGHAI = ZoneInfo("Asia/Shanghai")

FACILITY = """
id = "{name}"
name = {{ zh = "示例", en = "Sample" }}
kind = "industrial"
division = "440781"
industry = "3071"
timezone = "{zone}"
key_energy_user = true
[[meter]]
id = "E"
carrier = "electricity"
role = "total"
kind = "register"
unit = "kWh"
period = "1h"
valid_from = 2025-01-01
"""


def at(day: int, hour: int = 0, month: int = 3) -> datetime:
    return datetime(2026, month, day, hour, tzinfo=SHANGHAI)


@pytest.fixture
def registry(tmp_path: Path) -> registries.Registry:
    folder = tmp_path / "registry"
    folder.mkdir()
    for name, zone in (("a", "Asia/Shanghai"), ("b", "Asia/Shanghai"), ("c", "Europe/Berlin")):
        (folder / f"{name}.toml").write_text(FACILITY.format(name=name, zone=zone), "utf-8")
    return registries.load(folder)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


def readings(*rows: tuple[str, datetime, float], received: datetime) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                "facility": facility,
                "meter": "E",
                "time": time.astimezone(UTC),
                "value": value,
                "unit": "kWh",
                "flags": 0,
                "gateway": "g",
                "received": received,
            }
            for facility, time, value in rows
        ],
        schema=READINGS.schema,
    )


def test_a_period_that_ends_at_midnight_does_not_touch_the_next_day() -> None:
    assert days_of(Period(at(1), at(3)), SHANGHAI) == {date(2026, 3, 1), date(2026, 3, 2)}
    assert days_of(Period(at(1), at(3) + timedelta(seconds=1)), SHANGHAI) >= {date(2026, 3, 3)}


def test_windows_end_at_month_edges_gaps_zones_and_where_other_facilities_are_concerned(
    registry: registries.Registry,
) -> None:
    first, last, april = date(2026, 3, 30), date(2026, 3, 31), date(2026, 4, 1)
    days = {"a": {first, last, april, date(2026, 4, 5)}, "b": {april}, "c": {last}}
    berlin = ZoneInfo("Europe/Berlin")
    assert list(cut(days, registry)) == [
        (Period(at(30), at(1, month=4)), ["a"]),
        (Period(at(1, month=4), at(2, month=4)), ["a", "b"]),
        (Period(at(5, month=4), at(6, month=4)), ["a"]),
        (Period(datetime(2026, 3, 31, tzinfo=berlin), datetime(2026, 4, 1, tzinfo=berlin)), ["c"]),
    ]


def test_a_window_brings_the_nearest_readings_on_both_sides(lake: Lake, registry: registries.Registry) -> None:
    """Two on either side: whether a value is a glitch shows in the one after it."""
    days = (1, 2, 9, 10, 15, 16, 17)
    lake.write("readings", readings(*(("a", at(day, 3), float(day)) for day in days), received=at(22)))
    found = around(lake, registry.meters, Period(at(10), at(11)), at(22))
    assert found["value"].sort().to_list() == [2.0, 9.0, 10.0, 15.0, 16.0]


def test_a_reading_out_of_reach_is_not_a_neighbour(lake: Lake, registry: registries.Registry) -> None:
    far = at(10) - 2 * REACH
    lake.write("readings", readings(("a", far, 1.0), ("a", at(10, 3), 3.0), received=at(22)))
    assert around(lake, registry.meters, Period(at(10), at(11)), at(22))["value"].to_list() == [3.0]


def test_a_late_reading_makes_every_day_between_its_neighbours_dirty(lake: Lake, registry: registries.Registry) -> None:
    lake.write("readings", readings(("a", at(2, 6), 1.0), ("a", at(12, 6), 9.0), ("b", at(7), 1.0), received=at(13)))
    lake.write("readings", readings(("a", at(7, 5), 5.0), ("unknown", at(7, 5), 5.0), received=at(14)))
    late = dirty(lake, registry, Period(at(14), at(15)), at(15))
    assert late == {"a": {date(2026, 3, day) for day in range(2, 13)}}
