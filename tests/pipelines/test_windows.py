"""Which days a reading makes dirty, and how days become windows."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from ingest import registry as registries
from ingest.model import Period
from ingest.schema import READINGS
from ingest.store.lake.adapter import Lake
from pipelines.accounting import registers
from pipelines.accounting.forensics import REACH
from pipelines.jobs.neighbours import bridged
from pipelines.jobs.windows import around, cut, days_of, dirty, passed

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


def test_shares_are_even_and_as_many_as_are_worked_on_at_once(registry: registries.Registry) -> None:
    one = registry.facilities["a"]
    many = registries.Registry({f"plant-{n:05}": one for n in range(25_001)})
    day = date(2026, 3, 1)
    days = {name: {day} for name in many.facilities}
    shares = [names for _, names in cut(days, many)]
    assert [name for share in shares for name in share] == list(many.facilities)
    assert [len(share) for share in shares] == [6251, 6250, 6250, 6250]
    few = dict(list(days.items())[:1000])
    assert len(list(cut(few, many))) == 1


def test_what_is_yet_to_come_is_asked_for_once(
    lake: Lake, registry: registries.Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.write("readings", readings(*(("a", at(10, hour), float(hour)) for hour in range(16)), received=at(10, 15)))
    asked: list[Period] = []
    read = lake.read

    def noted(table: str, period: Period, **match: list[str]) -> pl.DataFrame:
        asked.append(period)
        return read(table, period, **match)

    monkeypatch.setattr(lake, "read", noted)
    found = around(lake, registry.meters.filter(facility="a"), Period(at(10), at(11)), at(10, 15))
    assert found.height == 16
    assert [period for period in asked if period.start >= at(11)] == [Period(at(11), at(11, 15))]


def test_a_window_brings_the_nearest_readings_on_both_sides(lake: Lake, registry: registries.Registry) -> None:
    """Up to a calm value and the one beyond it: no glitch reaches over a value between a smaller and a greater one."""
    days = (1, 2, 7, 8, 9, 10, 15, 16, 17, 18)
    lake.write("readings", readings(*(("a", at(day, 3), float(day)) for day in days), received=at(22)))
    found = around(lake, registry.meters, Period(at(10), at(11)), at(22))
    assert found["value"].sort().to_list() == [7.0, 8.0, 9.0, 10.0, 15.0, 16.0, 17.0]


def test_a_chain_of_odd_values_is_read_to_its_end(lake: Lake, registry: registries.Registry) -> None:
    values = [1.0, 2.0, 3.0, 0.0, 4.0, 0.0, 5.0, 0.0, 6.0]
    rows = [("a", at(1) + n * timedelta(hours=5), value) for n, value in enumerate(values)]
    lake.write("readings", readings(*rows, received=at(22)))
    found = around(lake, registry.meters, Period(at(2), at(3)), at(22))
    # 2 is calm, 3 is not: a zero follows it
    assert found["value"].to_list() == values


def test_a_void_reading_is_no_reading_and_no_neighbour(lake: Lake, registry: registries.Registry) -> None:
    rows = readings(*(("a", at(day), float(day)) for day in (7, 8, 9, 10)), received=at(22))
    void = rows.filter(pl.col("value").is_in([8.0, 10.0])).with_columns(pl.col("flags") + pl.lit(32, pl.Int32))
    lake.write("readings", pl.concat([rows.filter(pl.col("value").is_in([7.0, 9.0])), void]))
    assert around(lake, registry.meters, Period(at(10), at(11)), at(22))["value"].to_list() == [7.0, 9.0]


@pytest.mark.parametrize(("silent", "bridges"), [(REACH, 1), (REACH + timedelta(seconds=1), 0)])
def test_a_longer_silence_is_bridged_from_no_day(
    lake: Lake, registry: registries.Registry, silent: timedelta, bridges: int
) -> None:
    lake.write("readings", readings(("a", at(10, 3) - silent, 1.0), ("a", at(10, 3), 3.0), received=at(22)))
    for day in (Period(at(10), at(11)), Period(at(10) - REACH / 2, at(11) - REACH / 2)):
        steps = registers.steps(around(lake, registry.meters, day, at(22)), registry.meters, registry.exchanges)
        assert bridged(steps).height == bridges


def test_a_late_reading_makes_every_day_between_its_neighbours_dirty(lake: Lake, registry: registries.Registry) -> None:
    lake.write("readings", readings(("a", at(2, 6), 1.0), ("a", at(12, 6), 9.0), ("b", at(7), 1.0), received=at(13)))
    lake.write("readings", readings(("a", at(7, 5), 5.0), ("unknown", at(7, 5), 5.0), received=at(14)))
    late = dirty(lake, registry, Period(at(14), at(15)), at(15))
    assert late == {"a": {date(2026, 3, day) for day in range(2, 13)}}


def test_a_reading_in_its_time_makes_its_own_day_dirty_alone(lake: Lake, registry: registries.Registry) -> None:
    """16:00 follows 15:00, 14:00, 13:00: what was before cannot change any more."""
    rows = [(name, at(14, hour), float(hour)) for name in ("a", "b") for hour in range(16)]
    lake.write("readings", readings(*rows, received=at(14, 15)))
    lake.write("readings", readings(("a", at(14, 16), 16.0), received=at(14, 16)))
    late = dirty(lake, registry, Period(at(14, 16), at(14, 17)), at(14, 17))
    assert late == {"a": {date(2026, 3, 14)}}


def test_the_days_the_clock_passes_are_those_that_begin_or_end() -> None:
    assert passed(Period(at(14, 9), at(14, 10)), SHANGHAI) == set()
    both = {date(2026, 3, 13), date(2026, 3, 14)}
    assert passed(Period(at(13, 23), at(14, 1)), SHANGHAI) == both
    # a turn at midnight itself has not seen the day that begins
    assert passed(Period(at(13, 23), at(14)), SHANGHAI) == set()
    assert passed(Period(at(14), at(14, 1)), SHANGHAI) == both
