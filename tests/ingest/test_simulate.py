"""The invented year: what the sample meters show must add up to the figures the samples stand for."""

import json
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from ingest.collect.simulate import simulate
from ingest.model import Period, Publication
from ingest.registry import Facility, Registry, load

SAMPLE = load(Path(__file__).parents[2] / "deploy" / "registry")
ZONE = ZoneInfo("Asia/Shanghai")
YEAR = Period(datetime(2025, 10, 1, tzinfo=ZONE), datetime(2026, 11, 1, tzinfo=ZONE))
DAY = Period(datetime(2026, 7, 1, tzinfo=ZONE), datetime(2026, 7, 2, tzinfo=ZONE))

# GB/T 2589: kgce per kWh, m3, kg
COAL_EQUIVALENT = {"electricity": 0.1229, "natural_gas": 1.3300, "diesel": 1.4571}


@pytest.fixture(scope="module")
def messages() -> list[Publication]:
    return list(simulate(SAMPLE, YEAR, seed=1))


@pytest.fixture(scope="module")
def readings(messages: list[Publication]) -> pl.DataFrame:
    return shown(messages)


@pytest.fixture(scope="module")
def energy(readings: pl.DataFrame) -> pl.DataFrame:
    """Energy of every step in the carrier's canonical unit, worked from what the meters show."""
    value, before = pl.col("value"), pl.col("value").shift().over("facility", "meter")
    advance = pl.when(value >= before).then(value - before).otherwise(value - before + pl.col("modulus"))
    step = pl.when(pl.col("kind") == "register").then(advance).otherwise(value)
    return (
        readings.join(SAMPLE.meters, on=["facility", "meter"], maintain_order="left")
        .with_columns(
            quantity=step * pl.col("multiplier") * pl.col("to_canonical"),
            # the step that ends at a time belongs to the hour before it; the mark of some interval meters is the start
            hour=pl.when((pl.col("kind") == "interval") & (pl.col("stamp") == "start"))
            .then("time")
            .otherwise(pl.col("time").dt.offset_by("-1h"))
            .dt.convert_time_zone("Asia/Shanghai"),
        )
        .filter(pl.col("hour") >= YEAR.start.astimezone(ZONE))
    )


def shown(messages: list[Publication]) -> pl.DataFrame:
    rows = [
        (message.topic.split("/")[2], reading["meter"], reading["time"], reading["value"])
        for message in dict.fromkeys(messages)
        if message.topic.endswith("/readings")
        for reading in json.loads(message.payload)["readings"]
    ]
    frame = pl.DataFrame(rows, schema=["facility", "meter", "time", "value"], orient="row", infer_schema_length=None)
    return frame.with_columns(pl.col("time").str.to_datetime(time_unit="us", time_zone="UTC")).sort(
        "facility", "meter", "time"
    )


def output(messages: list[Publication]) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {"facility": message.topic.split("/")[2], **entry}
            for message in messages
            if message.topic.endswith("/activity")
            for entry in json.loads(message.payload)["activity"]
        ]
    )


def pue(energy: pl.DataFrame) -> float:
    total, it = (energy.filter(role=role)["quantity"].sum() for role in ("total", "it"))
    return float(total / it)


@pytest.mark.parametrize(("facility", "expected"), [("dc-sample", 1.38), ("dc-green-sample", 1.24)])
def test_pue_of_twelve_months(energy: pl.DataFrame, facility: str, expected: float) -> None:
    twelve = energy.filter(pl.col("facility") == facility, pl.col("hour") >= datetime(2025, 11, 1, tzinfo=ZONE))
    assert pue(twelve) == pytest.approx(expected, abs=0.005)


def test_pue_rises_with_the_summer(energy: pl.DataFrame) -> None:
    months = energy.filter(facility="dc-sample").with_columns(month=pl.col("hour").dt.truncate("1mo"))
    values = {key[0].month: pue(rows) for key, rows in months.partition_by("month", as_dict=True).items()}
    assert max(values, key=values.__getitem__) == 7
    assert min(values, key=values.__getitem__) == 1
    assert all(1.30 < value < 1.45 for value in values.values())
    assert values[7] - values[1] > 0.1


@pytest.mark.parametrize(("facility", "expected"), [("ceramics-sample", 7.6), ("copper-sample", 228.0)])
def test_intensity_over_the_year(
    energy: pl.DataFrame, messages: list[Publication], facility: str, expected: float
) -> None:
    mains = energy.filter(facility=facility, role="total").group_by("carrier").agg(pl.col("quantity").sum())
    kgce = sum(COAL_EQUIVALENT[carrier] * quantity for carrier, quantity in mains.iter_rows())
    quantity = output(messages).filter(facility=facility)["quantity"].sum()
    assert kgce / quantity == pytest.approx(expected, rel=0.005)


@pytest.mark.parametrize("facility", list(SAMPLE.facilities))
def test_main_meters_hold_what_their_sub_meters_hold(energy: pl.DataFrame, facility: str) -> None:
    sums = energy.filter(facility=facility).group_by("meter", "parent").agg(pl.col("quantity").sum())
    below = sums.filter(pl.col("parent") != "").group_by("parent").agg(pl.col("quantity").sum())
    pairs = below.join(sums.select("meter", main="quantity"), left_on="parent", right_on="meter")
    assert pairs.height == len({meter.parent for meter in SAMPLE.facilities[facility].meter if meter.parent})
    if facility == "institution-sample":
        # plugs and lifts have no meter of their own
        assert all(pairs["quantity"] < pairs["main"])
    else:
        assert all((pairs["main"] / pairs["quantity"]).is_between(1.0, 1.05))


def test_one_register_rolls_over_and_no_other_runs_back(readings: pl.DataFrame) -> None:
    registers = readings.join(SAMPLE.meters.filter(kind="register"), on=["facility", "meter"], maintain_order="left")
    back = registers.filter(pl.col("value") < pl.col("value").shift().over("facility", "meter"))
    assert back.select("facility", "meter").rows() == [("dc-sample", "E-it-1")]
    assert all((registers["value"] < registers["modulus"]) | registers["modulus"].is_null())


def test_one_gateway_misses_nine_hours_and_its_registers_catch_up(readings: pl.DataFrame, energy: pl.DataFrame) -> None:
    gaps = readings.with_columns(gap=pl.col("time").diff().over("facility", "meter")).filter(
        pl.col("gap") > timedelta(hours=1)
    )
    assert set(gaps["facility"]) == {"ceramics-sample"}
    assert set(gaps["gap"]) == {timedelta(hours=9)}
    assert set(gaps["meter"]) == {meter.id for meter in SAMPLE.facilities["ceramics-sample"].meter}
    caught_up = energy.filter(facility="ceramics-sample", meter="E-main").filter(
        pl.col("time").is_in(gaps["time"].implode())
    )
    # nine hours of about 8,800 kWh
    assert caught_up["quantity"].to_list() == [pytest.approx(9 * 8800, rel=0.05)]


def test_every_meter_has_a_value_every_hour_from_end_to_end(readings: pl.DataFrame) -> None:
    hours = YEAR.length // timedelta(hours=1)
    counts = dict(readings.filter(facility="dc-green-sample").group_by("meter").len().iter_rows())
    # the interval meter has one value an hour, the others one at each end of it
    assert counts == dict.fromkeys(["E-main", "E-it-1", "E-it-2", "E-distribution", "E-lighting"], hours + 1) | {
        "E-cooling": hours
    }
    register = readings.filter(facility="dc-green-sample", meter="E-main")
    assert register["time"].min() == YEAR.start
    assert register["time"].max() == YEAR.end
    marks = readings.filter(facility="dc-green-sample", meter="E-cooling")["time"]
    assert (marks.min(), marks.max()) == (YEAR.start, YEAR.end - timedelta(hours=1))


def test_output_comes_every_day(messages: list[Publication]) -> None:
    days = (
        output(messages)
        .filter(facility="ceramics-sample")
        .with_columns(pl.col("start", "end").str.to_datetime(time_zone="UTC"))
    )
    assert days.height == 396
    assert days["start"][0] == YEAR.start
    assert days["end"][-1] == YEAR.end
    assert all(days["start"][1:] == days["end"][:-1])
    assert set(days["unit"]) == {"m2"}
    assert 9e6 < days["quantity"].sum() * 365 / 396 < 11e6


def test_messages_come_in_order_and_one_comes_twice(messages: list[Publication]) -> None:
    twice = [message for message, times in Counter(messages).items() if times > 1]
    assert len(twice) == 1
    assert messages.count(twice[0]) == 2
    gateways: dict[str, list[int]] = {}
    for message in dict.fromkeys(messages):
        if message.topic.endswith("/readings"):
            gateways.setdefault(message.topic, []).append(json.loads(message.payload)["seq"])
    assert len(gateways) == 5
    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in gateways.values())
    sent = [json.loads(message.payload)["sent"] for message in messages if message.topic.endswith("/readings")]
    assert sent == sorted(sent)


def test_the_seed_decides_everything() -> None:
    first, again, other = (list(simulate(SAMPLE, DAY, seed=seed)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_a_period_in_another_zone_is_the_same_period() -> None:
    utc = Period(DAY.start.astimezone(UTC), DAY.end.astimezone(UTC))
    assert list(simulate(SAMPLE, utc, seed=1)) == list(simulate(SAMPLE, DAY, seed=1))


def other_facility(**changes: object) -> Facility:
    meter = {"carrier": "electricity", "kind": "register", "unit": "MWh", "valid_from": date(2025, 1, 1)}
    return Facility.model_validate(
        {
            "id": "other",
            "name": {"zh": "别的", "en": "Other"},
            "kind": "data_centre",
            "division": "440781",
            "industry": "6450",
            "timezone": "Europe/Berlin",
            "key_energy_user": False,
            "data_centre": {"scale": "small", "hub_node": False, "approved": date(2020, 1, 1), "pue_category": 1},
            "product": [{"id": "racks", "unit": "pcs"}],
            "meter": [
                {"id": "T", "role": "total", "period": "15m", **meter},
                {"id": "I", "role": "it", "period": "15m", **meter},
                {"id": "C", "role": "cooling", "period": "5m", "rated_kw": 80.0, **meter},
                {"id": "P", "role": "generation", "period": "1h", **meter},
            ],
        }
        | changes
    )


def test_any_registry_will_do() -> None:
    facility = other_facility()
    messages = list(simulate(Registry({"other": facility}), DAY, seed=3))
    frame = shown(messages)
    spans = frame.group_by("meter").agg(pl.len(), advance=pl.col("value").last() - pl.col("value").first())
    found = {meter: (count, advance) for meter, count, advance in spans.iter_rows()}
    # 24 hours in steps of 15 and 5 minutes and of an hour, with both ends
    assert {meter: count for meter, (count, _) in found.items()} == {"T": 97, "I": 97, "C": 289, "P": 25}
    # 500 kW and half of 80 kW over a day in MWh; the main meter holds both although no parent is named
    assert found["I"][1] == pytest.approx(12.0, rel=0.05)
    assert found["C"][1] == pytest.approx(0.96, rel=0.3)
    assert found["T"][1] == pytest.approx(found["I"][1] + found["C"][1], rel=0.01)
    # the day of Shanghai holds no whole day of Berlin
    assert not [message for message in messages if message.topic.endswith("/activity")]


def test_days_of_output_follow_the_clock_changes_of_the_zone() -> None:
    zone = ZoneInfo("Europe/Berlin")
    period = Period(datetime(2026, 3, 28, tzinfo=zone), datetime(2026, 3, 31, tzinfo=zone))
    days = output(list(dict.fromkeys(simulate(Registry({"other": other_facility()}), period, seed=3))))
    assert days.select("start", "end").rows() == [
        ("2026-03-28T00:00:00+01:00", "2026-03-29T00:00:00+01:00"),
        ("2026-03-29T00:00:00+01:00", "2026-03-30T00:00:00+02:00"),
        ("2026-03-30T00:00:00+02:00", "2026-03-31T00:00:00+02:00"),
    ]


def test_nothing_is_shown_before_a_meter_is_valid() -> None:
    period = Period(datetime(2025, 9, 30, tzinfo=ZONE), datetime(2025, 10, 2, tzinfo=ZONE))
    frame = shown(list(simulate(SAMPLE.select(["copper-sample"]), period, seed=1)))
    assert frame["time"].min() == datetime(2025, 10, 1, tzinfo=ZONE)


def test_no_facility_no_message() -> None:
    assert list(simulate(Registry({}), DAY, seed=1)) == []


def test_values_are_finite_and_not_negative(readings: pl.DataFrame) -> None:
    assert readings["value"].is_finite().all()
    assert readings["value"].min() >= 0
