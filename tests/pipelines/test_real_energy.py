"""Recorded data with known answers through the whole arithmetic; skipped where the data are not on the machine."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from ingest.model import Period
from ingest.registry import Registry
from ingest.schema import TIME
from pipelines import periods
from pipelines.accounting import balance, energy, registers
from pipelines.accounting.slots import spread
from pipelines.factors import catalogue as factors

DATA = Path(__file__).parents[3] / "shared/data"
FACTORS = factors.load()

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the recorded data (../shared/data) are not on this machine")

Plant = Callable[..., Registry]


def known(case: str) -> Any:
    cases = json.loads((DATA / "known_answers/known_answers.json").read_text("utf-8"))["cases"]
    return next(entry["expected"] for entry in cases if entry["id"] == case)


def through(registry: Registry, readings: pl.DataFrame, zone: ZoneInfo) -> dict[str, pl.DataFrame]:
    """Readings to ENERGY rows by interval, over the whole months they touch."""
    times = readings.select(first=pl.min("time"), last=pl.max("time")).row(0)
    steps = registers.steps(readings, registry.meters, registry.exchanges)
    months = periods.months(Period(*times), zone)
    slots = spread(steps, Period(months[0].start, months[-1].end))
    rows = energy.levels(slots, registry.meters, FACTORS, zone)
    return rows | {"1mo": energy.roll_up(rows["1d"], "1mo", zone)}


def reading(frame: pl.DataFrame, meter: str, zone: ZoneInfo, value: pl.Expr) -> pl.DataFrame:
    time = pl.col("label").dt.replace_time_zone(zone.key).dt.convert_time_zone("UTC").cast(TIME)
    return frame.select(
        facility=pl.lit("plant"), meter=pl.lit(meter), time=time, value=value.cast(pl.Float64), unit=pl.lit("kWh")
    )


def by_local(rows: pl.DataFrame, zone: ZoneInfo, form: str) -> pl.DataFrame:
    return rows.with_columns(label=pl.col("start").dt.convert_time_zone(zone.key).dt.strftime(form))


def test_steel_works_add_up_to_the_known_months_and_the_largest_day(plant: Plant) -> None:
    zone = ZoneInfo("Asia/Seoul")
    table = pl.read_csv(DATA / "industry/uci_steel_2018_H1.csv", columns=["date", "Usage_kWh"])
    label = pl.col("date").str.to_datetime("%d-%m-%Y %H:%M")
    # 00:00 stands at the end of each day's block and means 24:00 of that day
    midnight = (label.dt.hour() == 0) & (label.dt.minute() == 0)
    table = table.with_columns(label=pl.when(midnight).then(label.dt.offset_by("1d")).otherwise(label))
    registry = plant({"id": "E", "kind": "interval"}, timezone="Asia/Seoul")
    rows = through(registry, reading(table, "E", zone, pl.col("Usage_kWh")), zone)

    months = by_local(rows["1mo"], zone, "%m")
    found = {month: f"{kwh:.2f}" for month, kwh in months.select("label", "kwh").iter_rows()}
    assert found == known("steel-dev-monthly-kwh")
    assert rows["1mo"]["coverage"].to_list() == pytest.approx([1.0] * 6)
    order = known("steel-dev-row-order")
    assert (rows["15m"].height, rows["1d"].height) == (order["rows"], order["blocks"])
    assert rows["15m"].height == order["blocks"] * order["rows_per_block"]

    largest = known("steel-dev-max-day")
    day = by_local(rows["1d"], zone, "%d-%m-%Y").sort("kwh").row(-1, named=True)
    assert (day["label"], f"{day['kwh']:.2f}") == (largest["date"], largest["kWh"])


END_USES = ["Cooling", "Heating", "Mechanical", "Lighting", "Plug Loads", "Data Center"]


@pytest.fixture(scope="module")
def building(plant: Plant) -> pl.DataFrame:
    """Months of an office building with its end uses, photovoltaics (negative: generation) and net, by label."""
    zone = ZoneInfo("Etc/GMT+7")
    columns = {**{use: f"Total {use} (kW)" for use in END_USES}, "Building": "Total Building (kW)"}
    columns |= {"PV": "PV (kW)", "Net": "Building Net (kW)"}
    ids = {name: name.replace(" ", "-") for name in columns}
    table = pl.read_csv(DATA / "datacentre/nrel_rsf_2011_H1.csv", truncate_ragged_lines=True)
    table = table.with_columns(label=pl.col("Date and Time").str.to_datetime("%m/%d/%Y %H:%M"))
    # the known answers are sums by the month of the label, so the label is taken as the start of its hour
    meters = [{"id": ids[name], "kind": "interval", "stamp": "start", "period": "1h"} for name in columns]
    readings = [reading(table, ids[name], zone, pl.col(column)) for name, column in columns.items()]
    months = through(plant(*meters, timezone="Etc/GMT+7"), pl.concat(readings), zone)["1mo"]
    return (
        by_local(months, zone, "%-m")
        .pivot("meter", index="label", values="kwh")
        .with_columns(coverage=months.filter(pl.col("meter") == "Building")["coverage"])
    )


def test_building_adds_up_to_the_known_months(building: pl.DataFrame) -> None:
    expected = known("rsf-dev-monthly-kwh")
    assert building["label"].to_list() == list(expected)
    for row in building.iter_rows(named=True):
        month = expected[row["label"]]
        assert row["Data-Center"] == pytest.approx(month["data_centre_kWh"], abs=1e-6)
        assert row["Building"] == pytest.approx(month["building_kWh"], abs=1e-6)
        assert row["PV"] == pytest.approx(month["pv_kWh"], abs=1e-6)
        assert row["Net"] == pytest.approx(month["net_kWh"], abs=1e-6)
        assert row["Building"] / row["Data-Center"] == pytest.approx(month["building_over_datacentre"], abs=1e-6)
    # the first hour of the year is not in the file: 743 of 744 hours
    assert building["coverage"].to_list() == pytest.approx([743 / 744, 1, 1, 1, 1, 1])


def test_sub_meters_of_the_building_balance(building: pl.DataFrame) -> None:
    """Six end uses in steps of 2 kW: within 4 kWh an hour of the main; net = building + photovoltaics exactly."""
    parts = building.select(pl.sum_horizontal(use.replace(" ", "-") for use in END_USES)).to_series()
    assert ((parts - building["Building"]).abs() <= 4 * 744).all()
    assert ((parts - building["Building"]).abs() / building["Building"]).max() < 0.01
    assert (building["Building"] + building["PV"] - building["Net"]).abs().max() < 1e-6


def test_balance_of_the_building_by_day(plant: Plant) -> None:
    """The six end uses below the main, in steps of 2 kW: within the tolerance of class 2 meters on every day."""
    zone = ZoneInfo("Etc/GMT+7")
    columns = {**{use: f"Total {use} (kW)" for use in END_USES}, "Building": "Total Building (kW)"}
    ids = {name: name.replace(" ", "-") for name in columns}
    table = pl.read_csv(DATA / "datacentre/nrel_rsf_2011_H1.csv", truncate_ragged_lines=True)
    table = table.with_columns(label=pl.col("Date and Time").str.to_datetime("%m/%d/%Y %H:%M"))
    table = table.filter(pl.col("label") < pl.datetime(2011, 2, 1))
    common = {"kind": "interval", "stamp": "start", "period": "1h", "class": "2"}
    registry = plant(
        *({"id": ids[use], "role": "building", "parent": "Building", **common} for use in END_USES),
        {"id": "Building", **common},
        timezone="Etc/GMT+7",
    )
    readings = pl.concat(reading(table, ids[name], zone, pl.col(column)) for name, column in columns.items())
    january = periods.months(Period(*readings.select(a=pl.min("time"), b=pl.max("time")).row(0)), zone)[0]
    found = balance.balances(through(registry, readings, zone)["15m"], registry.tree, january)
    assert found["status"].to_list() == ["ok"] * 31
    assert found["coverage"].to_list() == pytest.approx([23 / 24, *[1.0] * 30])
    assert found["quantity"].sum() == pytest.approx(known("rsf-dev-monthly-kwh")["1"]["building_kWh"])
    # every hour is within 4 kWh, known answer rsf-dev-submeters-sum
    assert 0 < found["difference"].abs().max() <= 4 * 24


def test_register_reads_of_the_market_give_the_published_quantities(plant: Plant) -> None:
    """Registers of five to seven digits, seven of them rolled over; one row contradicts itself and is left out."""
    table = pl.read_csv(DATA / "counters/nem13_register_reads.csv", infer_schema=False).filter(
        pl.col("direction") == "E", pl.col("agrees") == "yes"
    )
    table = table.with_row_index("row").with_columns(meter=pl.format("M{}", "row"))
    digits = table.select("meter", digits=pl.col("curr_read").str.split(".").list.first().str.len_chars())
    registry = plant(*({"id": meter, "digits": number} for meter, number in digits.iter_rows()))
    readings = pl.concat(
        table.select(
            facility=pl.lit("plant"),
            meter="meter",
            time=pl.col(f"{end}_time").str.to_datetime("%Y%m%d%H%M%S", time_zone="UTC").cast(TIME),
            value=pl.col(f"{end}_read").cast(pl.Float64),
            unit=pl.lit("kWh"),
        )
        for end in ("prev", "curr")
    )
    steps = registers.steps(readings, registry.meters, registry.exchanges)
    found = table.join(registers.named(steps, registry.meters), on="meter", how="left")
    published = found["quantity_published"].cast(pl.Float64)
    assert found.height == 61
    assert (found["quantity"] - published).abs().max() == pytest.approx(0, abs=1e-6)
    assert (found["kind"] == "rollover").sum() == 7


def test_the_factor_of_guangdong_is_the_published_one() -> None:
    published = json.loads((DATA / "known_answers/cn_provincial_electricity_factors_2023.json").read_text("utf-8"))
    ours = [row for row in FACTORS.emissions if row.carrier == "electricity" and row.region == "44"]
    newest = max(ours, key=lambda row: row.valid_from)
    assert newest.kg_co2_per_unit * 1000 == pytest.approx(published["data"]["CN-GD"]["emission_factor"])
