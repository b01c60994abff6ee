"""Slots, factors applied to them, and what they add up to: worked by hand, and conservation always."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from math import fsum
from random import Random
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.model import Period
from ingest.registry import Registry
from ingest.schema import ENERGY, TIME
from pipelines import periods
from pipelines.accounting import energy, registers
from pipelines.accounting.slots import spread
from pipelines.factors import catalogue as factors

Plant = Callable[..., Registry]
Taken = Callable[..., pl.DataFrame]

SHANGHAI, BERLIN = ZoneInfo("Asia/Shanghai"), ZoneInfo("Europe/Berlin")
MARCH_1 = Period(datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC))
FACTORS = factors.load()


def slotted(registry: Registry, readings: pl.DataFrame, period: Period = MARCH_1) -> pl.DataFrame:
    return spread(registers.steps(readings, registry.meters, registry.exchanges), period)


def valued(registry: Registry, readings: pl.DataFrame, period: Period = MARCH_1) -> pl.DataFrame:
    factors = FACTORS.with_measured(registry.calorific)
    rows = energy.levels(slotted(registry, readings, period), registry.meters, factors, SHANGHAI)["15m"]
    assert rows.schema == ENERGY.schema
    return rows


def constant(period: Period, *, every: timedelta, value: float = 1.0, meter: str = "E") -> pl.DataFrame:
    """Readings of an interval meter that shows the same value at every end of an interval."""
    ends = pl.datetime_range(period.start, period.end, every, closed="right", eager=True).cast(TIME)
    return ends.to_frame("time").select(
        facility=pl.lit("plant"), meter=pl.lit(meter), time="time", value=pl.lit(value), unit=pl.lit("kWh")
    )


def test_a_step_of_one_slot_stays_whole(plant: Plant, taken: Taken) -> None:
    rows = slotted(plant({"id": "E"}), taken("E", ("2026-03-01T00:00Z", 1), ("2026-03-01T00:15Z", 4)))
    # 20,513 days of 96 slots since 1970
    assert rows.rows() == [
        (0, 1_969_248, MARCH_1.start, MARCH_1.start + timedelta(minutes=15), 3.0, 1.0, 0.0),
    ]


def test_a_step_is_spread_in_proportion_to_time(plant: Plant, taken: Taken) -> None:
    # 00:10 -> 00:40 is 6 kWh over 30 min: 5, 15 and 10 min are 1, 3 and 2 kWh
    rows = slotted(plant({"id": "E"}), taken("E", ("2026-03-01T00:10Z", 0), ("2026-03-01T00:40Z", 6)))
    assert rows["quantity"].to_list() == pytest.approx([1, 3, 2])
    assert rows["coverage"].to_list() == pytest.approx([1 / 3, 1, 2 / 3])
    assert rows["estimated"].to_list() == [0, 0, 0]


def test_a_gap_of_three_hours_in_hourly_readings_is_spread_marked_and_not_covered(plant: Plant, taken: Taken) -> None:
    # hourly register: 4 kWh, then 3 h of silence with 12 kWh, then 4 kWh
    registry = plant({"id": "E", "period": "1h"})
    readings = taken(
        "E", ("2026-03-01T00:00Z", 0), ("2026-03-01T01:00Z", 4), ("2026-03-01T04:00Z", 16), ("2026-03-01T05:00Z", 20)
    )
    quarters = valued(registry, readings)
    assert quarters["quantity"].to_list() == pytest.approx([1.0] * 20)
    assert quarters["coverage"].to_list() == [1.0] * 4 + [0.0] * 12 + [1.0] * 4
    assert quarters["estimated"].to_list() == [0.0] * 4 + [1.0] * 12 + [0.0] * 4
    day = energy.roll_up(energy.roll_up(quarters, "1h", SHANGHAI), "1d", SHANGHAI)
    # 2 of 24 hours are covered, 12 of 20 kWh are estimated
    assert day.select("quantity", "coverage", "estimated").row(0) == pytest.approx((20, 2 / 24, 12 / 20))
    assert day.select("start", "end").row(0) == (
        datetime(2026, 2, 28, 16, tzinfo=UTC),
        datetime(2026, 3, 1, 16, tzinfo=UTC),
    )


def test_a_step_of_no_length_makes_no_slot(plant: Plant, taken: Taken) -> None:
    # the store keeps one value a moment; should power come twice, the second says nothing of any time
    readings = taken("P", ("2026-03-01T00:00Z", 4), ("2026-03-01T00:15Z", 4), ("2026-03-01T00:15Z", 4), unit="kW")
    rows = slotted(plant({"id": "P", "kind": "power", "unit": "kW"}), readings)
    assert rows["quantity"].to_list() == [1.0]


def test_what_is_unattributed_leaves_a_gap(plant: Plant, taken: Taken) -> None:
    rows = slotted(plant({"id": "E"}), taken("E", ("2026-03-01T00:00Z", 9), ("2026-03-01T00:15Z", 1)))
    assert rows.is_empty()


def test_only_slots_inside_the_period_count(plant: Plant, taken: Taken) -> None:
    registry = plant({"id": "E"})
    readings = taken("E", ("2026-02-28T23:50Z", 0), ("2026-03-01T00:20Z", 30))
    assert slotted(registry, readings)["quantity"].to_list() == pytest.approx([15, 5])
    inside = Period(MARCH_1.start + timedelta(minutes=1), MARCH_1.start + timedelta(minutes=29))
    assert slotted(registry, readings, inside).is_empty()


def test_irregular_steps_share_a_slot(plant: Plant, taken: Taken) -> None:
    rows = slotted(
        plant({"id": "E"}),
        taken("E", ("2026-03-01T00:01Z", 0), ("2026-03-01T00:04Z", 1), ("2026-03-01T00:06Z", 1.5)),
    )
    assert rows.select("quantity", "coverage").row(0) == (1.5, pytest.approx(1 / 3))


def test_energy_coal_equivalent_and_carbon_dioxide(plant: Plant, taken: Taken) -> None:
    registry = plant(
        {"id": "E"}, {"id": "G", "carrier": "natural_gas", "unit": "m3"}, {"id": "W", "carrier": "water", "unit": "m3"}
    )
    readings = pl.concat(
        [
            taken("E", ("2026-03-01T00:00Z", 0), ("2026-03-01T00:15Z", 100)),
            taken("G", ("2026-03-01T00:00Z", 0), ("2026-03-01T00:15Z", 10), unit="m3"),
            taken("W", ("2026-03-01T00:00Z", 0), ("2026-03-01T00:15Z", 2), unit="m3"),
        ]
    )
    rows = valued(registry, readings).select("unit", "quantity", "kwh", "kgce", "kg_co2").rows()
    # electricity 0.1229 kgce and, in Guangdong, 0.4419 kg a kWh; gas 38931 kJ, 1.33 kgce, 38931 x 55.54e-6 kg a m3
    assert rows[0] == ("kWh", 100, 100, pytest.approx(12.29), pytest.approx(44.19))
    assert rows[1] == ("m3", 10, pytest.approx(108.141667), pytest.approx(13.3), pytest.approx(21.6222774))
    assert rows[2] == ("t", 2, None, pytest.approx(0.5142), None)


def test_a_measured_calorific_value_goes_before_the_table_while_it_holds(plant: Plant, taken: Taken) -> None:
    measured = {"carrier": "natural_gas", "ncv_kj": 35000.0, "source": "laboratory"}
    span = {"valid_from": date(2026, 3, 2), "valid_to": date(2026, 3, 2)}
    registry = plant(
        {"id": "G", "carrier": "natural_gas", "unit": "m3", "period": "1d"}, calorific=[{**measured, **span}]
    )
    # one m3 an hour over three days of Shanghai
    readings = taken("G", ("2026-02-28T16:00Z", 0), ("2026-03-03T16:00Z", 72), unit="m3")
    three = Period(datetime(2026, 2, 28, 16, tzinfo=UTC), datetime(2026, 3, 3, 16, tzinfo=UTC))
    days = energy.roll_up(valued(registry, readings, three), "1d", ZoneInfo("Asia/Shanghai"))
    table = (24 * 38931 / 3600, 24 * 1.33, 24 * 38931 * 55.54e-6)
    own = (24 * 35000 / 3600, 24 * 35000 / 29307.6, 24 * 35000 * 55.54e-6)
    for row, expected in zip(days.select("kwh", "kgce", "kg_co2").rows(), (table, own, table), strict=True):
        assert row == pytest.approx(expected)
    version = FACTORS.version
    assert days["factor_version"].to_list() == [version, f"{version}+natural_gas=35000kJ@2026-03-02", version]


def test_steam_of_known_pressure_counts_by_its_heat(plant: Plant, taken: Taken) -> None:
    registry = plant(
        {"id": "S", "carrier": "steam", "unit": "t", "pressure_mpa": 1.0},
        {"id": "T", "carrier": "steam", "unit": "t"},
    )
    readings = pl.concat(
        taken(name, ("2026-03-01T00:00Z", 0), ("2026-03-01T00:15Z", 1), unit="t") for name in ("S", "T")
    )
    quarter = Period(datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 1, 0, 15, tzinfo=UTC))
    rows = valued(registry, readings, quarter)
    # dry saturated at 1 MPa: 2777.1 kJ/kg less 84.0 of water at 20 degrees C; 0.11 t CO2/GJ
    assert rows["kgce"].to_list() == pytest.approx([1000 * 2693.1 / 29307.6, 128.6], rel=1e-4)
    assert rows["kg_co2"].to_list() == pytest.approx([2693.1 * 0.11, 3763 * 0.11], rel=1e-4)
    assert rows["factor_version"][0].endswith("+steam=2693.1kJ@1MPa,saturated")
    assert rows["factor_version"][1] == FACTORS.version


def test_factors_change_at_local_midnight(plant: Plant, taken: Taken) -> None:
    # the factor announced on 2025-12-31 holds from that day in Shanghai: 2025-12-30T16:00Z
    registry = plant({"id": "E"})
    readings = taken("E", ("2025-12-30T15:45Z", 0), ("2025-12-30T16:00Z", 1), ("2025-12-30T16:15Z", 2))
    around = Period(datetime(2025, 12, 30, tzinfo=UTC), datetime(2025, 12, 31, tzinfo=UTC))
    assert valued(registry, readings, around)["kg_co2"].to_list() == [0.4403, 0.4419]


def test_days_of_23_and_25_hours(plant: Plant) -> None:
    registry = plant({"id": "E", "kind": "interval"}, timezone="Europe/Berlin")
    for first, hours in ((date(2026, 3, 29), 23), (date(2026, 10, 25), 25)):
        day = periods.between(first, first, BERLIN)
        rows = valued(registry, constant(day, every=timedelta(minutes=15)), day)
        by_hour = energy.roll_up(rows, "1h", BERLIN)
        assert by_hour["quantity"].to_list() == [4.0] * hours
        assert by_hour["start"].n_unique() == hours
        whole = energy.roll_up(by_hour, "1d", BERLIN)
        assert whole.select("start", "end", "quantity", "coverage").row(0) == (day.start, day.end, hours * 4, 1.0)


def test_days_that_begin_at_one_and_offsets_of_45_minutes(plant: Plant) -> None:
    for zone, first, hours in (("America/Santiago", date(2026, 9, 6), 23), ("Asia/Kathmandu", date(2026, 9, 6), 24)):
        day = periods.between(first, first, ZoneInfo(zone))
        registry = plant({"id": "E", "kind": "interval"}, timezone=zone)
        rows = valued(registry, constant(day, every=timedelta(minutes=15)), day)
        by_hour = energy.roll_up(rows, "1h", ZoneInfo(zone))
        assert by_hour["quantity"].to_list() == [4.0] * hours
        assert by_hour["start"][0] == day.start
        whole = energy.roll_up(by_hour, "1d", ZoneInfo(zone))
        assert whole.select("start", "end", "quantity").row(0) == (day.start, day.end, hours * 4)


@pytest.mark.parametrize(
    ("on", "third"), [(date(2026, 4, 5), "2026-04-04T15:00Z"), (date(2026, 10, 4), "2026-10-03T15:30Z")]
)
def test_a_clock_that_jumps_by_half_an_hour_makes_an_hour_of_half_one(plant: Plant, on: date, third: str) -> None:
    """Lord Howe Island: 02:00 becomes 01:30 in April and 02:30 in October; all other hours are whole."""
    zone = ZoneInfo("Australia/Lord_Howe")
    day = periods.between(on, on, zone)
    registry = plant({"id": "E", "kind": "interval"}, timezone=zone.key)
    rows = valued(registry, constant(day, every=timedelta(minutes=15)), day)
    hours = energy.roll_up(rows, "1h", zone)
    assert hours["quantity"].to_list() == [4.0, 4.0, 2.0, *[4.0] * (hours.height - 3)]
    assert hours["start"][2] == datetime.fromisoformat(third)
    assert hours["end"].to_list() == [*hours["start"][1:], day.end]
    assert hours["coverage"].to_list() == [1.0] * hours.height
    assert hours.height == {4: 25, 10: 24}[on.month]
    # the half hour alone has the same label
    alone = energy.roll_up(rows.filter(pl.col("start") >= hours["start"][2]), "1h", zone)
    assert alone.equals(hours[2:])


def test_months_count_missing_days_as_not_covered(plant: Plant) -> None:
    ten_days = periods.between(date(2026, 2, 1), date(2026, 2, 10), SHANGHAI)
    registry = plant({"id": "E", "kind": "interval", "period": "1h"})
    rows = valued(registry, constant(ten_days, every=timedelta(hours=1)), ten_days)
    days = energy.roll_up(energy.roll_up(rows, "1h", SHANGHAI), "1d", SHANGHAI)
    month = energy.roll_up(days, "1mo", SHANGHAI)
    assert days.height == 10
    assert month.select("quantity", "coverage", "interval").row(0) == (
        pytest.approx(240),
        pytest.approx(10 / 28),
        "1mo",
    )


@pytest.mark.parametrize("zone", ["Asia/Shanghai", "Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe"])
@pytest.mark.parametrize("every", ["1s", "7s", "1m", "15m", "37m", "1d"])
def test_a_month_is_the_sum_of_its_slots(plant: Plant, zone: str, every: str) -> None:
    """March 2026, where Berlin has a day of 23 hours; a register of 0.1 kWh a reading, and a reading of any period."""
    zoned = ZoneInfo(zone)
    month = periods.between(date(2026, 3, 1), date(2026, 3, 31), zoned)
    often = {"1s": timedelta(hours=6), "7s": timedelta(days=4)}
    read = Period(month.end - often.get(every, month.length), month.end)
    times = pl.datetime_range(read.start, read.end, every, eager=True).cast(TIME).to_frame("time")
    readings = times.select(
        facility=pl.lit("plant"), meter=pl.lit("E"), time="time", value=pl.int_range(pl.len()) / 10, unit=pl.lit("kWh")
    )
    slots = valued(plant({"id": "E", "period": every}, timezone=zone), readings, month)
    rows, sums = slots, []
    for interval in ("1h", "1d", "1mo"):
        rows = energy.roll_up(rows, interval, zoned)
        sums.append(rows["quantity"].sum())
    assert rows.height == 1
    assert sums == pytest.approx([fsum(slots["quantity"])] * 3, rel=1e-12)
    assert f"{sums[2]:.6f}" == f"{(times.height - 1) / 10:.6f}"


def test_amounts_are_null_only_where_every_part_is(plant: Plant) -> None:
    day = periods.between(date(2026, 2, 1), date(2026, 2, 1), SHANGHAI)
    rows = valued(plant({"id": "E", "kind": "interval"}), constant(day, every=timedelta(minutes=15)), day)
    emptied = pl.col("start") < day.start + timedelta(hours=1)
    rows = rows.with_columns(kwh=pl.when(~emptied).then("kwh"), kg_co2=pl.lit(None, pl.Float64))
    hours = energy.roll_up(rows, "1h", SHANGHAI)
    assert hours["kwh"].to_list() == [None] + [4.0] * 23
    assert energy.roll_up(hours, "1d", SHANGHAI).select("kwh", "kg_co2").row(0) == (92.0, None)


def test_a_sum_names_the_oldest_and_the_newest_factor_version(plant: Plant) -> None:
    day = periods.between(date(2026, 2, 1), date(2026, 2, 1), SHANGHAI)
    rows = valued(plant({"id": "E", "kind": "interval"}), constant(day, every=timedelta(minutes=15)), day)
    late = pl.col("start") >= day.start + timedelta(minutes=90)
    rows = rows.with_columns(factor_version=pl.when(late).then(pl.lit("b")).otherwise(pl.lit("a")))
    hours = energy.roll_up(rows, "1h", SHANGHAI)
    assert hours["factor_version"].to_list() == ["a", "a to b"] + ["b"] * 22
    assert energy.roll_up(hours, "1d", SHANGHAI)["factor_version"].to_list() == ["a to b"]


def test_nothing_adds_up_to_nothing(plant: Plant, taken: Taken) -> None:
    rows = valued(plant({"id": "E"}), taken("E"))
    assert rows.is_empty()
    assert energy.roll_up(rows, "1d", SHANGHAI).is_empty()


def test_intervals_that_overlap_cover_no_more_than_all(plant: Plant, taken: Taken) -> None:
    registry = plant({"id": "E", "kind": "interval"})
    rows = valued(registry, taken("E", ("2026-03-01T00:15Z", 3), ("2026-03-01T00:20Z", 3)))
    assert rows["start"].is_unique().all()
    assert rows["coverage"].max() == 1.0


steps_of_a_register = st.lists(st.tuples(st.integers(1, 86_400), st.floats(0, 1000)), min_size=1, max_size=60)


@settings(max_examples=60, deadline=None)
@given(steps=steps_of_a_register, offset=st.integers(0, 86_400), chance=st.randoms(use_true_random=False))
def test_energy_is_conserved_and_the_order_of_readings_does_not_matter(
    plant: Plant, steps: list[tuple[int, float]], offset: int, chance: Random
) -> None:
    """Sum over slots, hours and days = sum of attributed steps, for readings 1 s to 1 day apart."""
    registry = plant({"id": "E", "rated_kw": 4000.0}, {"id": "F", "digits": 6})
    moment, value = datetime(2026, 3, 1, tzinfo=UTC) + timedelta(seconds=offset), 0.0
    rows = []
    for gap, advance in [(0, 0.0), *steps]:
        moment, value = moment + timedelta(seconds=gap), value + advance
        rows += [("plant", "E", moment, value, "kWh"), ("plant", "F", moment, -value % 1e6, "kWh")]
    readings = pl.DataFrame(rows, schema=["facility", "meter", "time", "value", "unit"], orient="row").cast(
        {"time": TIME}
    )
    touched = periods.days(Period(datetime(2026, 2, 28, tzinfo=UTC), moment + timedelta(days=2)), SHANGHAI)
    whole = Period(touched[0].start, touched[-1].end)
    found = registers.steps(readings, registry.meters, registry.exchanges)
    slots = spread(found, whole)
    quarters = energy.levels(slots, registry.meters, FACTORS, SHANGHAI)["15m"]
    hours = energy.roll_up(quarters, "1h", SHANGHAI)
    days = energy.roll_up(hours, "1d", SHANGHAI)
    for frame in (slots, quarters, hours, days):
        assert frame["quantity"].sum() == pytest.approx(found["quantity"].sum(), rel=1e-9, abs=1e-9)
    assert quarters["coverage"].is_between(0, 1).all()
    assert quarters["estimated"].is_between(0, 1).all()
    assert slots.select("row", "start").is_unique().all()

    chance.shuffle(rows)
    shuffled = pl.DataFrame(rows, schema=["facility", "meter", "time", "value", "unit"], orient="row").cast(
        {"time": TIME}
    )
    again = spread(registers.steps(shuffled, registry.meters, registry.exchanges), whole)
    assert again.equals(slots)
    mixed = energy.roll_up(quarters.sample(fraction=1, shuffle=True, seed=chance.randrange(2**16)), "1d", SHANGHAI)
    assert mixed.equals(energy.roll_up(quarters, "1d", SHANGHAI))


# a meter: when it is read first, and the time between readings: on the grid, off it, late now and then, anyhow
read_at = st.integers(0, 1799)
pace = (
    st.lists(st.just(900), min_size=1, max_size=20)
    | st.lists(st.sampled_from([900, 900, 900, 1800, 5400]), min_size=1, max_size=20)
    | st.lists(st.integers(1, 2000), min_size=1, max_size=20)
)


@settings(max_examples=100, deadline=None)
@given(
    meters=st.lists(st.tuples(read_at | st.just(0), pace), min_size=1, max_size=4),
    start=st.integers(0, 8),
    length=st.integers(0, 20),
)
def test_slots_of_regular_and_irregular_meters_are_those_worked_step_by_step(
    plant: Plant, meters: list[tuple[int, list[int]]], start: int, length: int
) -> None:
    """Whichever road a meter takes: each step in proportion to time, slot by slot, in floats of the same order."""
    registry = plant(*({"id": f"M{n}"} for n in range(len(meters))))
    rows = []
    for n, (first, gaps) in enumerate(meters):
        times = [MARCH_1.start + timedelta(seconds=first + sum(gaps[:k])) for k in range(len(gaps) + 1)]
        rows += [("plant", f"M{n}", time, 0.1 * k * k, "kWh") for k, time in enumerate(times)]
    readings = pl.DataFrame(rows, schema=["facility", "meter", "time", "value", "unit"], orient="row")
    steps = registers.steps(readings.cast({"time": TIME}), registry.meters, registry.exchanges)
    quarter = timedelta(minutes=15)
    period = Period(MARCH_1.start + start * quarter, MARCH_1.start + (start + length + 1) * quarter)
    expected: dict[tuple[int, datetime], list[float]] = {}
    for row, begin, end, quantity, covered in steps.select("row", "start", "end", "quantity", "covered").iter_rows():
        for slot in (period.start + n * quarter for n in range(length + 1)):
            inside = (min(end, slot + quarter) - max(begin, slot)).total_seconds()
            if inside > 0:
                part = quantity * (inside / (end - begin).total_seconds())
                told = expected.setdefault((row, slot), [0.0, 0.0, 0.0])
                told[0] += part
                told[1 if covered else 2] += inside if covered else part
    found = spread(steps, period)
    assert found.select("row", "start").rows() == sorted(expected)
    for row, slot, *amounts in found.drop("slot", "end").iter_rows():
        whole, covered, guessed = expected[row, slot]
        shares = covered / quarter.total_seconds(), guessed / whole if whole else 0.0
        assert amounts == pytest.approx([whole, *shares], rel=1e-12, abs=1e-12)
