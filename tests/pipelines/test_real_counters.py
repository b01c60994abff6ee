"""
Recorded counters with known answers; skipped where the data are not on the machine.

Where another system's expected result is not ours, the reason stands beside the case.
"""

import csv
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from math import isnan
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from ingest.model import Period
from ingest.registry import Registry
from ingest.schema import TIME
from pipelines import periods
from pipelines.accounting import doubts, energy, registers
from pipelines.accounting.slots import spread
from pipelines.factors import catalogue as factors

DATA = Path(__file__).parents[3] / "shared/data"
COUNTERS = DATA / "counters"
UTC_ZONE = ZoneInfo("UTC")

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the recorded data (../shared/data) are not on this machine")

Plant = Callable[..., Registry]


def known(case: str) -> Any:
    cases = json.loads((DATA / "known_answers/known_answers.json").read_text("utf-8"))["cases"]
    return next(entry for entry in cases if entry["id"] == case)


def taken(rows: list[tuple[datetime, float]], meter: str = "E") -> pl.DataFrame:
    table = pl.DataFrame(rows, schema={"time": TIME, "value": pl.Float64}, orient="row")
    return table.select(facility=pl.lit("plant"), meter=pl.lit(meter), time="time", value="value", unit=pl.lit("kWh"))


def stepped(registry: Registry, readings: pl.DataFrame) -> pl.DataFrame:
    return registers.steps(readings, registry.meters, registry.exchanges)


# --- Open Energy Dashboard: daily values, most of them cumulative; 5 kW allow 144 kWh a day, and one more


def uploaded(case: int, kind: str) -> list[tuple[float, datetime, datetime]]:
    """Value, start and end of each line; a line that gives no start has none of its own: its end stands there."""
    with (COUNTERS / f"oed_pipe/pipe{case}{kind}.csv").open(encoding="utf-8") as file:
        lines = [line for line in csv.reader(file) if line and line[0] != "reading"]
    moments = [[datetime.fromisoformat(cell).replace(tzinfo=UTC) for cell in line[1:]] for line in lines]
    return [(float(line[0]), ends[0], ends[-1]) for line, ends in zip(lines, moments, strict=True)]


def dashboard(plant: Plant, case: int, kind: str) -> pl.DataFrame:
    meter = {"id": "E", "kind": kind, "period": "1d", "rated_kw": 5.0}
    rows = {(end, value) for value, _, end in uploaded(case, "Input")}  # a line that is repeated is one reading
    return stepped(plant(meter), taken(sorted(rows)))


# cumulative; descending, with resets (144 to 96 counts 96), with a header, every line three times, end only
@pytest.mark.parametrize("case", [3, 4, 5, 6, 8, 10, 12, 20, 21, 25])
def test_cumulative_cases_agree(plant: Plant, case: int) -> None:
    found = dashboard(plant, case, "register").select("quantity", "start", "end").rows()
    assert sorted(found) == sorted(uploaded(case, "Expected"))


# daily values as told, also where the ends wander by a minute or two: the registered length is a day
@pytest.mark.parametrize("case", [1, 2, 14, 15, 16, 17, 18, 19])
def test_interval_cases_agree(plant: Plant, case: int) -> None:
    found = dashboard(plant, case, "interval").select("quantity", "end").rows()
    assert found == sorted((value, end) for value, _, end in uploaded(case, "Expected"))


@pytest.mark.parametrize(
    ("case", "quantities", "kinds", "reason"),
    [
        (
            7,
            [48, 72, 96, 120],
            {"reset"},
            "they refuse a reset at an hour their user did not name; energy still passed",
        ),
        (9, [48, 72, 96, 120], {"reset"}, "they refuse every reset unless told of it"),
        (11, [48, 72, 96, 120], {"reset"}, "as 9, at noon"),
        (13, [48, 72, 96, 120], {"reset"}, "as 7, at noon"),
        (22, [48, 72, None, 120], {"exchange_likely"}, "they drop the file for one negative value; we drop one step"),
        (
            31,
            [48, 72, 96, 120],
            set(),
            "they drop a difference where the lines leave out a minute; the register does not",
        ),
        (32, [48, 72, 96, 120], set(), "they drop a difference where two lines overlap by a second"),
        (33, [48, None, 120], {"glitch"}, "they drop the file for one negative value; 72 -> -1 -> 240 is a glitch"),
    ],
)
def test_cumulative_cases_that_lose_energy_do_not_agree(
    plant: Plant, case: int, quantities: list[float | None], kinds: set[str], reason: str
) -> None:
    found = dashboard(plant, case, "register")
    if case == 33:  # 168 kWh over two days, and 120
        quantities = [48, None, 168, 120]
    assert found["quantity"].to_list() == quantities, reason
    assert set(found["kind"].cast(pl.String)) - {"advance"} == kinds, reason


@pytest.mark.parametrize("case", [23, 24])
def test_end_only_cases_keep_the_first_interval(plant: Plant, case: int) -> None:
    """They drop the first value because they cannot know its start; the registry knows the period."""
    found = dashboard(plant, case, "interval")
    assert found["quantity"].to_list() == [24, *(value for value, *_ in sorted(uploaded(case, "Expected")))]


# 26, 27, 29, 30: a date or a number that cannot be read is refused on the way in and is no reading;
# 34, 35: two values at one moment are one key: the later replaces the first


# --- Home Assistant, ION 6200, Open Power System Data


def test_resets_count_from_zero_as_home_assistant_does(plant: Plant) -> None:
    """Three readings a period; its running sum at the end of each period, with the first value as zero point."""
    case = known("ha-total-increasing")
    start = datetime(2026, 3, 1, tzinfo=UTC)
    readings = taken([(start + n * timedelta(minutes=5), value) for n, value in enumerate(case["inputs"])])
    steps = stepped(plant({"id": "E", "period": "5m", "rated_kw": 250.0}), readings)
    assert steps["kind"].cast(pl.String).to_list() == ["advance"] * 2 + ["reset"] + ["advance"] * 5
    total = steps["quantity"].cum_sum()
    assert [total[1], total[4], total[7]] == case["expected"]


def test_a_logged_register_gives_the_demand_of_the_same_log(plant: Plant) -> None:
    with (COUNTERS / "ion6200_mb-001.log").open(encoding="utf-8") as file:
        lines = list(csv.reader(file, quotechar="'"))
    rows = [(datetime.fromisoformat(line[0]).replace(tzinfo=UTC), float(line[4])) for line in lines]
    registry = plant({"id": "E", "rated_kw": 200.0, "digits": 6})
    steps = stepped(registry, taken(rows))
    slots = spread(steps, Period(rows[0][0], rows[-1][0]))
    assert (slots["quantity"] * 4).to_list() == [float(line[5]) for line in lines[1:]]
    assert slots["coverage"].unique().to_list() == [1.0]


def test_a_register_of_a_business_keeps_the_energy_of_its_gaps(plant: Plant) -> None:
    expected = known("opsd-industrial1-gap")["expected"]
    table = pl.read_csv(COUNTERS / "opsd_industrial1_grid_import_register.csv").filter(upstream_interpolated=0)
    times = table["utc_timestamp"].str.to_datetime(time_zone="UTC")
    readings = taken(list(zip(times, table["DE_KN_industrial1_grid_import"], strict=True)))
    registry = plant({"id": "E", "period": "1h", "rated_kw": 100.0, "digits": 6}, timezone="Europe/Berlin")
    steps = stepped(registry, readings)
    assert steps["quantity"].sum() == pytest.approx(expected["kWh_first_to_last"], abs=0.0005)
    gaps = steps.filter(kind="catch_up")
    assert gaps["quantity"].to_list() == pytest.approx(
        [expected["kWh_across_first_gap_13h_to_20h"], expected["kWh_across_second_gap"]], abs=0.0005
    )
    # marked, not counted as covered, and all there in the sum of the slots
    days = Period(times[0], times[-1])
    slots = spread(steps, days)
    assert slots["quantity"].sum() == pytest.approx(expected["kWh_first_to_last"], abs=0.0005)
    assert (slots["quantity"] * slots["estimated"]).sum() == pytest.approx(gaps["quantity"].sum())
    hours = days.length / timedelta(hours=1) - slots["coverage"].sum() / 4
    assert hours == pytest.approx(expected["interpolated_rows"] + 2)


# --- the Australian market's files


def test_registers_of_generation_are_published_negative(plant: Plant) -> None:
    """Direction I: the register advances, the market publishes a minus; one register went back itself by 10."""
    table = pl.read_csv(COUNTERS / "nem13_register_reads.csv", infer_schema=False).filter(direction="I")
    found = []
    for row in table.iter_rows(named=True):
        ends = [(f"{row[f'{end}_time']}", float(row[f"{end}_read"])) for end in ("prev", "curr")]
        rows = [(datetime.strptime(time, "%Y%m%d%H%M%S").replace(tzinfo=UTC), value) for time, value in ends]
        step = stepped(plant({"id": "E", "role": "generation"}), taken(rows)).row(0, named=True)
        found.append((step["kind"], step["quantity"], step["unattributed"], float(row["quantity_published"])))
    assert all(quantity == -published for kind, quantity, _, published in found if kind == "catch_up")
    assert [(left, published) for kind, _, left, published in found if kind == "step_back"] == [(-10, -10)]
    assert len(found) == 4


def intervals(file: Path) -> Iterator[tuple[str, int, datetime, list[float]]]:
    """Stream, minutes, day and values of each day record of a NEM12 file."""
    with file.open(encoding="utf-8") as lines:
        for line in csv.reader(lines):
            if line[0] == "200":
                minutes = int(line[8])
                # a stream whose length of interval changes is another meter from then on
                stream = f"{line[1]}-{line[4]}-{line[3]}-{minutes}"
            elif line[0] == "300":
                day = datetime.strptime(line[1], "%Y%m%d").replace(tzinfo=ZoneInfo("Australia/Brisbane"))
                yield stream, minutes, day, [float(cell or "nan") for cell in line[2 : 2 + 1440 // minutes]]


@pytest.mark.parametrize("file", sorted(COUNTERS.glob("aemo_mdff/*NEM12*")), ids=lambda file: file.stem)
def test_intervals_of_the_market_add_up_by_day(plant: Plant, file: Path) -> None:
    """Intervals of 5, 15 and 30 minutes: each day of each stream is the sum of its values; an empty one is a gap."""
    zone = ZoneInfo("Australia/Brisbane")
    days = {(stream, day): (minutes, values) for stream, minutes, day, values in intervals(file)}
    streams = {stream: minutes for (stream, _), (minutes, _) in days.items()}
    registry = plant(
        *({"id": stream, "kind": "interval", "period": f"{minutes}m"} for stream, minutes in streams.items()),
        timezone="Australia/Brisbane",
    )
    readings = pl.concat(
        taken([(day + timedelta(minutes=minutes * (n + 1)), value) for n, value in enumerate(values)], stream)
        for (stream, day), (minutes, values) in days.items()
    )
    first, last = min(day for _, day in days), max(day for _, day in days)
    whole = periods.between(first.date(), last.date(), zone)
    slots = spread(stepped(registry, readings), whole)
    found = energy.levels(slots, registry.meters, factors.load(), zone)["1d"]
    told = {key: [value for value in values if not isnan(value)] for key, (_, values) in days.items()}
    told = {key: values for key, values in told.items() if values}
    assert found["coverage"].sum() == pytest.approx(sum(len(told[key]) / len(days[key][1]) for key in told))
    sums = {(row["meter"], row["start"].astimezone(zone)): row["quantity"] for row in found.iter_rows(named=True)}
    assert sums == pytest.approx({key: sum(values) for key, values in told.items()}, abs=1e-9)


def test_daily_sums_of_quarters_are_the_published_ones(plant: Plant) -> None:
    folder = DATA / "known_answers/oed_readings"
    table = pl.read_csv(folder / "readings_ri_15_days_75.csv")
    published = pl.read_csv(folder / "expected_bar_ri_15_mu_kWh_gu_kWh_st_-inf_et_inf_bd_1.csv")
    ends = table.select(pl.nth(2).str.to_datetime(time_zone="UTC")).to_series()
    registry = plant({"id": "E", "kind": "interval"}, timezone="UTC")
    readings = taken(list(zip(ends, table.to_series(0), strict=True)))
    slots = spread(stepped(registry, readings), periods.between(ends[0].date(), ends[-1].date(), UTC_ZONE))
    days = energy.levels(slots, registry.meters, factors.load(), UTC_ZONE)["1d"]
    assert days["kwh"].to_list() == pytest.approx(published.to_series(0).to_list(), rel=1e-9)


# --- labelled power of an inverter: which values were held, which were drawn


@pytest.mark.parametrize(
    ("label", "kind", "precision", "recall"),
    # 242 of 245 held values, none wrong; 1,254 are labelled interpolated, 68 of them a night of zeros that is none
    [("stale", "frozen", 0.99, 0.97), ("interpolated", "interpolated", 0.97, 0.92)],
)
def test_held_and_interpolated_power_is_found(
    plant: Plant, label: str, kind: str, precision: float, recall: float
) -> None:
    table = pl.read_csv(DATA / f"quality_labels/ac_power_inv_2173_{label}_data.csv").drop_nulls("value_normalized")
    times = table["timestamp"].str.to_datetime(time_zone="UTC").cast(TIME)
    readings = taken(list(zip(times, table["value_normalized"], strict=True)), "P").with_columns(unit=pl.lit("kW"))
    registry = plant({"id": "P", "kind": "power", "unit": "kW"})
    steps = registers.named(stepped(registry, readings), registry.meters)
    day = {"day": pl.lit(times[0]), "day_end": pl.lit(times[-1])}
    found = doubts.drawn(steps.with_columns(**day)).filter(kind=kind)["end"]
    hits = table.filter(times.is_in(found.implode()))[f"{label}_data_mask"].sum()
    assert hits / len(found) >= precision
    assert hits / table[f"{label}_data_mask"].sum() >= recall
