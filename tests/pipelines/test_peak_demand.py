"""Maximum demand (最大需量) by hand on quarters of an hour; and through the jobs, late data and frozen months."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.model import Period
from ingest.registry import Registry
from ingest.schema import ACTIVITY, ENERGY, FREEZES, INDICATORS, READINGS
from ingest.settings import Settings
from ingest.store.connect import connect as connect_store
from ingest.store.lake.adapter import Lake
from pipelines import periods
from pipelines.factors import catalogue as factors
from pipelines.indicators import table
from pipelines.jobs import compute
from pipelines.jobs.context import Context
from pipelines.jobs.draft import Draft
from pipelines.notify.mail import connect
from rules import catalogue

Plant = Callable[..., Registry]

SHANGHAI = ZoneInfo("Asia/Shanghai")
FACTORS, RULES = factors.load(), catalogue.load()
QUARTER, DAY = timedelta(minutes=15), timedelta(days=1)
MAIN = {"id": "E"}
EXPORT = {"id": "X", "role": "export"}


def slots(start: datetime, meter: str, kwh: list[float | None], **other: list[Any]) -> pl.DataFrame:
    """ENERGY rows of 15m from a moment on; None: no row."""
    rows = [
        {
            "facility": "plant",
            "meter": meter,
            "carrier": "electricity",
            "interval": "15m",
            "start": start.astimezone(UTC) + n * QUARTER,
            "end": start.astimezone(UTC) + (n + 1) * QUARTER,
            "quantity": value,
            "kwh": value,
            "coverage": 1.0,
            "estimated": 0.0,
        }
        | {name: values[n] for name, values in other.items()}
        for n, value in enumerate(kwh)
        if value is not None
    ]
    return pl.DataFrame(rows, schema=ENERGY.schema)


def local(day: int, hour: int = 0, minute: int = 0, month: int = 3) -> datetime:
    return datetime(2026, month, day, hour, minute, tzinfo=SHANGHAI)


def of_day(registry: Registry, *rows: pl.DataFrame, day: date = date(2026, 3, 1)) -> dict[str, Any]:
    (zone,) = registry.facts["timezone"]
    days = [periods.between(day, day, ZoneInfo(zone))]
    found = table.daily_peaks(pl.concat([ENERGY.empty(), *rows]), registry, days, factors=FACTORS)
    assert found.schema == INDICATORS.schema
    (row,) = found.iter_rows(named=True)
    assert (row["status"] == "ok") == (row["reason"] == "") == (row["value"] is not None)
    return row


class TestOfADay:
    def test_the_largest_quarter_by_its_quarter_of_an_hour(self, plant: Plant) -> None:
        # 30 kWh in 0.25 h are 120 kW, from 00:30 on; 3 of 96 slots were measured
        row = of_day(plant(MAIN), slots(local(1), "E", [10.0, 20.0, 30.0]))
        assert (row["value"], row["numerator"], row["denominator"], row["unit"]) == (120.0, 30.0, 0.25, "kW")
        assert row["meters"] == "E @ 2026-03-01T00:30+08:00"
        assert row["coverage"] == pytest.approx(3 / 96)
        assert (row["interval"], row["start"], row["end"]) == ("1d", local(1), local(2))

    def test_the_peak_of_a_sum_is_not_the_sum_of_the_peaks(self, plant: Plant) -> None:
        # 30 + 5, 10 + 20, 12 + 19 less an export of 1: 35 - 0, 30 - 0, 31 - 1 -> 35 kWh are 140 kW
        registry = plant(MAIN, {"id": "E2"}, EXPORT, {"id": "sub", "parent": "E", "role": "process"})
        row = of_day(
            registry,
            slots(local(1), "E", [30.0, 10.0, 12.0]),
            slots(local(1), "E2", [5.0, 20.0, 19.0]),
            slots(local(1), "X", [0.0, 0.0, 1.0]),
            slots(local(1), "sub", [99.0, 99.0, 99.0]),
        )
        assert (row["value"], row["meters"]) == (140.0, "E, E2 - X @ 2026-03-01T00:00+08:00")

    def test_an_estimate_and_a_slot_covered_in_part_make_no_peak(self, plant: Plant) -> None:
        coverage, estimated = [1.0, 0.0, 1.0, 0.99], [0.0, 1.0, 0.2, 0.0]
        rows = slots(local(1), "E", [10.0, 90.0, 80.0, 70.0], coverage=coverage, estimated=estimated)
        row = of_day(plant(MAIN), rows)
        assert (row["value"], row["coverage"]) == (40.0, pytest.approx(1 / 96))

    def test_a_slot_that_one_meter_lacks_makes_no_peak(self, plant: Plant) -> None:
        rows = [slots(local(1), "E", [90.0, 10.0]), slots(local(1), "X", [None, 4.0])]
        assert of_day(plant(MAIN, EXPORT), *rows)["value"] == 24.0

    def test_equal_peaks_are_told_by_the_first(self, plant: Plant) -> None:
        row = of_day(plant(MAIN), slots(local(1), "E", [1.0, 7.0, 7.0]))
        assert row["meters"] == "E @ 2026-03-01T00:15+08:00"

    @pytest.mark.parametrize(
        ("meters", "reason"),
        [
            ([MAIN], "no 15 minutes are measured whole by E"),
            ([MAIN | {"period": "1h"}, EXPORT], "no mean over 15 minutes is known of E (every 60 min)"),
            ([MAIN | {"role": "process"}], "no electricity meter of role total without a parent is valid"),
            (
                [MAIN | {"valid_from": date(2026, 3, 2)}],
                "no electricity meter of role total without a parent is valid",
            ),
        ],
    )
    def test_without_one_the_reason_is_told(self, plant: Plant, meters: list[Any], reason: str) -> None:
        row = of_day(plant(*meters), slots(local(1), "sub", [1.0]))
        assert (row["status"], row["reason"], row["coverage"]) == ("not_assessable", reason, 0.0)

    def test_a_meter_is_due_from_the_day_it_is_valid(self, plant: Plant) -> None:
        # the second intake is valid from 2 March: on the first the main meter alone is the boundary
        registry = plant(MAIN, {"id": "E2", "valid_from": date(2026, 3, 2)})
        rows = [slots(local(1, 23, 30), "E", [8.0, 9.0, 50.0, 5.0]), slots(local(2), "E2", [None, 2.0])]
        assert of_day(registry, *rows[:1], rows[1])["value"] == 36.0
        span = [periods.between(date(2026, 3, day), date(2026, 3, day), SHANGHAI) for day in (1, 2)]
        found = table.daily_peaks(pl.concat(rows), registry, span, factors=FACTORS)
        assert found["value"].to_list() == [36.0, 28.0]

    def test_a_virtual_meter_stands_for_what_it_adds(self, plant: Plant) -> None:
        virtual = {"id": "V", "carrier": "electricity", "role": "total", "unit": "kWh", "add": ["E"], "subtract": ["T"]}
        registry = plant(MAIN, {"id": "T", "role": "process", "parent": "E"}, virtual=[virtual])
        rows = [slots(local(1), "E", [90.0]), slots(local(1), "T", [50.0]), slots(local(1), "V", [40.0])]
        row = of_day(registry, *rows)
        assert (row["value"], row["meters"]) == (160.0, "V @ 2026-03-01T00:00+08:00")

    @pytest.mark.parametrize(("day", "slots_of_it"), [(date(2026, 3, 29), 92), (date(2026, 10, 25), 100)])
    def test_days_of_23_and_25_hours(self, plant: Plant, day: date, slots_of_it: int) -> None:
        zone = ZoneInfo("Europe/Berlin")
        whole = periods.between(day, day, zone)
        row = of_day(plant(MAIN, timezone=zone.key), slots(whole.start, "E", [1.0] * slots_of_it), day=day)
        assert (row["value"], row["coverage"]) == (4.0, pytest.approx(1.0))

    def test_an_offset_of_three_quarters_of_an_hour(self, plant: Plant) -> None:
        zone = ZoneInfo("Asia/Kathmandu")
        start = datetime(2026, 3, 1, tzinfo=zone)
        row = of_day(plant(MAIN, timezone=zone.key), slots(start, "E", [1.0, 2.0]))
        assert (row["value"], row["meters"]) == (8.0, "E @ 2026-03-01T00:15+05:45")


def day_row(day: date, kwh: float | None, coverage: float = 1.0) -> dict[str, Any]:
    whole = periods.between(day, day, SHANGHAI)
    return dict.fromkeys(INDICATORS.schema.names(), "") | {
        "facility": "plant",
        "indicator": "peak_demand",
        "interval": "1d",
        "start": whole.start,
        "end": whole.end,
        "value": None if kwh is None else kwh * 4,
        "unit": "kW",
        "numerator": kwh,
        "denominator": None if kwh is None else 0.25,
        "coverage": coverage,
        "status": "not_assessable" if kwh is None else "ok",
        "reason": "no slot" if kwh is None else "",
        "meters": f"E @ {day}",
    }


class TestOfMonths:
    def found(
        self, plant: Plant, rows: list[dict[str, Any]], meter: dict[str, Any] = MAIN, **asked: Any
    ) -> pl.DataFrame:
        peaks = pl.DataFrame(rows, schema=INDICATORS.schema)
        nothing = ENERGY.empty(), ACTIVITY.empty()
        wanted = {{"month": "1mo", "year": "12mo"}[name]: spans for name, spans in asked.items()}
        found = table.compute(nothing[0], plant(meter), nothing[1], wanted, factors=FACTORS, peaks=peaks)
        return found.filter(indicator="peak_demand")

    def test_the_largest_of_its_days(self, plant: Plant) -> None:
        march = periods.months(Period(local(1), local(2)), SHANGHAI)
        rows = [day_row(date(2026, 3, n), kwh) for n, kwh in ((1, 10.0), (2, 30.0), (3, 30.0), (5, 20.0))]
        rows += [day_row(date(2026, 3, 4), None, 0.0), day_row(date(2026, 4, 1), 90.0)]
        (row,) = self.found(plant, rows, month=march).iter_rows(named=True)
        assert (row["value"], row["numerator"], row["meters"]) == (120.0, 30.0, "E @ 2026-03-02")
        assert row["coverage"] == pytest.approx(4 / 31)

    def test_the_largest_of_its_months_stored_or_new(self, plant: Plant) -> None:
        months = periods.months(Period(local(1, month=1), local(31, month=12)), SHANGHAI)
        stored = [
            day_row(date(2026, n, 1), float(n)) | {"interval": "1mo", "start": own.start, "end": own.end}
            for n, own in enumerate(months, 1)
            if n != 7
        ]
        # March anew, from its days: 50 kWh
        rows = [*stored, day_row(date(2026, 3, 9), 50.0, 0.5)]
        year = periods.twelve_months(months[-1], SHANGHAI)
        found = self.found(plant, rows, month=[months[2]], year=[year])
        row = found.filter(interval="12mo").row(0, named=True)
        assert (row["value"], row["meters"]) == (200.0, "E @ 2026-03-09")
        assert row["coverage"] == pytest.approx((365 - 31 - 31 + 0.5) / 365)

    def test_a_year_that_began_before_the_facility_was_metered_is_no_year(self, plant: Plant) -> None:
        march = periods.months(Period(local(1), local(2)), SHANGHAI)
        year = periods.twelve_months(periods.between(date(2026, 12, 1), date(2026, 12, 1), SHANGHAI), SHANGHAI)
        meter = MAIN | {"valid_from": date(2026, 3, 1)}
        found = self.found(plant, [day_row(date(2026, 3, 1), 10.0)], meter, month=march, year=[year])
        assert found.filter(interval="1mo")["value"].to_list() == [40.0]
        (row,) = found.filter(interval="12mo").iter_rows(named=True)
        assert (row["value"], row["reason"]) == (None, "the facility is metered only since 2026-03-01")

    def test_without_any_day_it_is_not_assessable(self, plant: Plant) -> None:
        march = periods.months(Period(local(1), local(2)), SHANGHAI)
        (row,) = self.found(plant, [day_row(date(2026, 3, 4), None, 0.0)], month=march).iter_rows(named=True)
        assert (row["reason"], row["coverage"]) == ("no slot", 0.0)
        (row,) = self.found(plant, [], month=march).iter_rows(named=True)
        assert row["reason"] == "no day of it was computed"


def world(registry: Registry, folder: Path) -> Context:
    return Context(Draft(Lake(folder)), registry, FACTORS, RULES, connect(f"file:{folder}"), "peakwatch@example.org")


def readings(start: datetime, values: list[float], received: datetime) -> pl.DataFrame:
    rows = [
        ("plant", "E", (start + n * QUARTER).astimezone(UTC), value, "kWh", 0, "g", received.astimezone(UTC))
        for n, value in enumerate(values)
    ]
    return pl.DataFrame(rows, schema=READINGS.schema, orient="row")


def peaks(context: Context, interval: str) -> list[tuple[float, str]]:
    """What could be assessed."""
    rows = context.store.read("indicators", indicator=["peak_demand"], interval=[interval], status=["ok"])
    return list(rows.select("value", "meters").iter_rows())


def test_a_gap_caught_up_makes_no_peak_and_late_readings_bring_it(plant: Plant, tmp_path: Path) -> None:
    context = world(plant(MAIN), tmp_path)
    # 1 kWh a quarter, but 25 kWh from 10:00 to 10:15, in a gap from 09:00 to 11:00 that is caught up at first
    values = [float(n) + (24.0 if n > 40 else 0.0) for n in range(2 * 96 + 1)]
    rows = readings(local(10), values, local(11, 23))
    since, until = (local(10, hour).astimezone(UTC) for hour in (9, 11))
    late = rows.filter(pl.col("time").is_between(since, until, closed="none"))
    context.store.write("readings", rows.join(late, on=READINGS.key, how="anti"))
    compute.due(context, Period(local(10), local(12)), local(12))
    # the gap of 8 slots is left out of 10 March
    assert peaks(context, "1d")[0] == (4.0, "E @ 2026-03-10T00:00+08:00")
    assert peaks(context, "1mo") == [(4.0, "E @ 2026-03-10T00:00+08:00")]
    stored = context.store.read("indicators", indicator=["peak_demand"], interval=["1d"], status=["ok"])
    assert stored["coverage"][0] == pytest.approx(88 / 96)
    context.store.write("readings", late.with_columns(received=local(12, 3).astimezone(UTC)))
    compute.due(context, Period(local(12), local(12, 4)), local(12, 4))
    assert peaks(context, "1d")[0] == (100.0, "E @ 2026-03-10T10:00+08:00")
    assert peaks(context, "1mo") == [(100.0, "E @ 2026-03-10T10:00+08:00")]
    at_once = world(plant(MAIN), tmp_path / "other")
    at_once.store.write("readings", rows)
    compute.due(at_once, Period(local(10), local(12)), local(12))
    for interval in ("1d", "1mo", "12mo"):
        assert peaks(at_once, interval) == peaks(context, interval)


@pytest.mark.server
def test_both_stores_give_the_same_peaks(plant: Plant, tmp_path: Path, influxd: Any) -> None:
    found = []
    influx = connect_store(influxd.url(influxd.database()), Settings(store_password=influxd.password))
    for store in (Lake(tmp_path / "lake"), influx):
        context = replace(world(plant(MAIN), tmp_path), store=store)
        for part in ([0.0, 3.0, 4.0], [0.0, 3.0, 9.0, 10.0]):  # the second corrects the first and goes on
            store.write("readings", readings(local(10), part, local(11)))
            compute.over(context, Period(local(10), local(11)), local(12))
        found.append(store.read("indicators", indicator=["peak_demand"]))
        assert peaks(context, "1mo") == [(24.0, "E @ 2026-03-10T00:15+08:00")]
    influx.close()
    assert found[0].equals(found[1])


@settings(max_examples=3)
@given(
    advances=st.lists(st.sampled_from([0.0, 1.0, 2.5, 7.0]), min_size=40, max_size=40),
    batches=st.lists(st.integers(0, 2), min_size=40, max_size=40),
)
def test_any_arrival_order_gives_the_same_peaks(
    plant: Plant, tmp_path_factory: pytest.TempPathFactory, advances: list[float], batches: list[int]
) -> None:
    """Forty quarters over a midnight that ends a month."""
    folder = tmp_path_factory.mktemp("peaks")
    at_once, in_turn = world(plant(MAIN), folder), world(plant(MAIN), folder)
    start = local(31, 19)
    rows = readings(start, list(accumulate(advances)), start).with_columns(batch=pl.Series(batches))
    moments = [local(1, 9 + 2 * n, month=4) for n in range(4)]
    for batch, (since, until) in enumerate(pairwise(moments)):
        arrived = rows.filter(batch=batch).with_columns(received=(since + QUARTER).astimezone(UTC)).drop("batch")
        for context in (at_once, in_turn):
            context.store.write("readings", arrived)
        compute.due(in_turn, Period(local(30) if batch == 0 else since, until), until)
    compute.due(at_once, Period(local(30), moments[-1]), moments[-1])
    expected, found = (one.store.read("indicators", indicator=["peak_demand"]) for one in (at_once, in_turn))
    assert found.equals(expected)
    best = max(advances[1:])
    assert found.filter(status="ok", interval="1mo")["value"].max() == pytest.approx(best * 4)


def test_the_peak_of_a_frozen_month_stays_and_twelve_months_stand_on_it(plant: Plant, tmp_path: Path) -> None:
    context = world(plant(MAIN | {"valid_from": date(2025, 3, 1)}), tmp_path)
    now = local(2, month=4)
    context.store.write("readings", readings(local(10), [0.0, 1.0, 2.0], now))
    compute.over(context, Period(local(10), local(11)), now)
    (march,) = periods.months(Period(local(1), local(2)), SHANGHAI)
    freeze = dict.fromkeys(FREEZES.schema.names(), "") | {
        "facility": "plant",
        "start": march.start,
        "end": march.end,
        "at": now.astimezone(UTC),
    }
    context.store.write("freezes", pl.DataFrame([freeze], schema=FREEZES.schema))
    context.store.write("readings", readings(local(10), [0.0, 5.0, 6.0], now))
    compute.over(context, Period(local(10), local(11)), now)
    assert [value for value, _ in peaks(context, "1mo")] == [4.0]
    assert [value for value, _ in peaks(context, "12mo")] == [4.0]
    pending = context.store.read("corrections").filter(pl.col("row").str.starts_with("peak_demand"))
    waiting = pending.filter(figure="value").select("row", "old", "new").rows()
    assert ("peak_demand 1mo 2026-02-28T16:00:00Z", 4.0, 20.0) in waiting
    compute.correct(context, "plant", march, now, by="me", why="the meter was read wrong")
    assert [value for value, _ in peaks(context, "1mo")] == [20.0]
    assert [value for value, _ in peaks(context, "12mo")] == [20.0]
