"""The balance of main and sub-meters and virtual meters, worked by hand on slots of one day."""

import math
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.registry import Registry
from ingest.schema import BALANCE, ENERGY
from pipelines import periods
from pipelines.accounting import balance

Plant = Callable[..., Registry]

ZONE = ZoneInfo("Asia/Shanghai")
DAY = periods.between(date(2026, 3, 1), date(2026, 3, 1), ZONE)
QUARTER = timedelta(minutes=15)


def slot(meter: str, number: int, quantity: float | None, **other: Any) -> dict[str, Any]:
    return {
        "facility": "plant",
        "meter": meter,
        "carrier": "electricity",
        "role": "total",
        "scope": "",
        "interval": "15m",
        "start": DAY.start + number * QUARTER,
        "end": DAY.start + (number + 1) * QUARTER,
        "quantity": quantity,
        "unit": "kWh",
        "kwh": quantity,
        "kgce": None if quantity is None else quantity * 0.1229,
        "kg_co2": None if quantity is None else quantity * 0.4419,
        "coverage": 1.0,
        "estimated": 0.0,
        "factor_version": "v1",
    } | other


def energy(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=ENERGY.schema)


def balanced(registry: Registry, *rows: dict[str, Any]) -> pl.DataFrame:
    found = balance.balances(energy(*rows), registry.tree, DAY)
    assert found.schema == BALANCE.schema
    assert found.select(BALANCE.key).is_unique().all()
    return found


def one(rows: pl.DataFrame, interval: str = "15m", number: int = 0) -> dict[str, Any]:
    start = DAY.start + number * QUARTER if interval == "15m" else DAY.start
    return rows.filter(pl.col("interval") == interval, pl.col("start") == start).row(0, named=True)


@pytest.fixture
def two(plant: Plant) -> Registry:
    return plant(
        {"id": "M", "class": "0.5S"},
        {"id": "A", "parent": "M", "role": "process", "class": "1"},
        {"id": "B", "parent": "M", "role": "process", "class": "2"},
    )


class TestBalance:
    def test_difference_and_tolerance_of_a_slot(self, two: Registry) -> None:
        # sqrt((0.5 % of 100)^2 + (1 % of 60)^2 + (2 % of 38)^2) = sqrt(0.25 + 0.36 + 0.5776) = 1.0898
        found = one(balanced(two, slot("M", 0, 100.0), slot("A", 0, 60.0), slot("B", 0, 38.0)))
        assert (found["quantity"], found["subs"], found["difference"]) == (100, 98, 2)
        assert found["tolerance"] == pytest.approx(math.sqrt(1.1876))
        assert (found["status"], found["reason"], found["unit"]) == ("beyond_tolerance", "", "kWh")
        assert (found["meters"], found["coverage"]) == ("M / A, B", 1.0)

    def test_within_the_tolerance_it_is_ok_and_too_much_below_is_beyond_too(self, two: Registry) -> None:
        rows = [slot("M", n, 100.0) for n in range(2)] + [slot("A", n, 60.0) for n in range(2)]
        found = balanced(two, *rows, slot("B", 0, 39.0), slot("B", 1, 42.0))
        assert (one(found)["status"], one(found)["difference"]) == ("ok", 1)
        assert (one(found, number=1)["status"], one(found, number=1)["difference"]) == ("beyond_tolerance", -2)

    def test_a_slot_without_one_meter_is_not_assessable_and_leaves_the_day(self, two: Registry) -> None:
        rows = [slot("M", n, 100.0) for n in range(3)] + [slot("A", n, 60.0) for n in range(3)]
        found = balanced(two, *rows, slot("B", 0, 40.0), slot("B", 2, 40.0, coverage=0.5))
        assert (one(found, number=1)["status"], one(found, number=1)["reason"]) == ("not_assessable", "not covered: B")
        assert (one(found, number=2)["quantity"], one(found, number=2)["coverage"]) == (None, 0.5)
        day = one(found, "1d")
        # of three slots only the first has all three meters
        assert (day["quantity"], day["subs"], day["difference"], day["status"]) == (100, 100, 0, "ok")
        assert day["coverage"] == pytest.approx(1 / 96)
        assert (day["start"], day["end"]) == (DAY.start, DAY.end)

    def test_a_day_without_a_common_slot_names_what_is_missing(self, two: Registry) -> None:
        day = one(balanced(two, slot("M", 0, 100.0), slot("A", 0, 60.0)), "1d")
        assert (day["status"], day["reason"], day["coverage"]) == ("not_assessable", "not covered: B", 0.0)
        nothing = one(balanced(two), "1d")
        assert (nothing["status"], nothing["reason"]) == ("not_assessable", "not covered: A, B, M")

    def test_generation_counts_against_the_main_and_export_with_it(self, plant: Plant) -> None:
        registry = plant(
            {"id": "M", "class": "1"},
            {"id": "U", "parent": "M", "role": "process", "class": "1"},
            {"id": "PV", "parent": "M", "role": "generation", "class": "1"},
            {"id": "X", "parent": "M", "role": "export", "class": "1"},
        )
        # 100 from the grid + 50 generated = 130 used + 20 exported
        rows = [slot(name, 0, kwh) for name, kwh in (("M", 100.0), ("U", 130.0), ("PV", 50.0), ("X", 20.0))]
        found = one(balanced(registry, *rows))
        assert (found["difference"], found["status"], found["meters"]) == (0, "ok", "M / U, X - PV")

    def test_strings_of_one_generator_add_up(self, plant: Plant) -> None:
        registry = plant(
            {"id": "PV", "role": "generation", "class": "1"},
            {"id": "S1", "parent": "PV", "role": "generation", "class": "1"},
            {"id": "S2", "parent": "PV", "role": "generation", "class": "1"},
        )
        found = one(balanced(registry, slot("PV", 0, 50.0), slot("S1", 0, 30.0), slot("S2", 0, 20.0)))
        assert (found["subs"], found["difference"]) == (50, 0)

    def test_a_class_that_is_not_registered_is_assumed_and_said(self, plant: Plant) -> None:
        registry = plant({"id": "M", "rated_kw": 5000.0}, {"id": "A", "parent": "M", "class": "1"})
        found = one(balanced(registry, slot("M", 0, 100.0), slot("A", 0, 100.0)))
        # 0.5 for a large user (GB 17167), 1 as registered
        assert found["tolerance"] == pytest.approx(math.sqrt(0.25 + 1))
        assert found["reason"] == "no class registered, that of GB 17167-2006 (RECALLED) assumed: M"

    def test_meters_read_by_the_hour_are_compared_by_day_only(self, plant: Plant) -> None:
        registry = plant({"id": "M", "class": "1"}, {"id": "A", "parent": "M", "class": "1", "period": "1h"})
        rows = balanced(registry, *(slot(name, n, 1.0) for name in ("M", "A") for n in range(96)))
        assert rows["interval"].to_list() == ["1d"]
        assert (rows["quantity"].item(), rows["coverage"].item(), rows["status"].item()) == (96, 1.0, "ok")

    def test_a_sub_meter_that_is_not_valid_yet_is_not_due(self, plant: Plant) -> None:
        registry = plant(
            {"id": "M", "class": "1"},
            {"id": "A", "parent": "M", "class": "1"},
            {"id": "B", "parent": "M", "class": "1", "valid_from": date(2026, 3, 2)},
        )
        found = balanced(registry, slot("M", 0, 10.0), slot("A", 0, 10.0))
        assert one(found)["meters"] == one(found, "1d")["meters"] == "M / A"

    def test_every_level_of_the_tree_has_its_own_balance(self, plant: Plant) -> None:
        registry = plant(
            {"id": "M", "class": "1"},
            {"id": "A", "parent": "M", "class": "1"},
            {"id": "A1", "parent": "A", "class": "1"},
        )
        rows = balanced(registry, slot("M", 0, 10.0), slot("A", 0, 10.0), slot("A1", 0, 4.0))
        slots = rows.filter(pl.col("interval") == "15m")
        assert slots.select("meter", "difference").rows() == [("A", 6.0), ("M", 0.0)]

    def test_without_a_tree_there_is_no_balance(self, plant: Plant) -> None:
        assert balanced(plant({"id": "M"}), slot("M", 0, 1.0)).is_empty()


@given(values=st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1e6), st.booleans()), min_size=1, max_size=20))
def test_a_day_is_the_sum_of_its_assessable_slots(plant: Plant, values: list[tuple[float, float, bool]]) -> None:
    registry = plant({"id": "M", "class": "1"}, {"id": "A", "parent": "M", "class": "1"})
    rows = [slot("M", n, main) for n, (main, _, _) in enumerate(values)]
    rows += [slot("A", n, sub) for n, (_, sub, there) in enumerate(values) if there]
    found = balanced(registry, *rows)
    slots = found.filter(pl.col("interval") == "15m", pl.col("status") != "not_assessable")
    day = one(found, "1d")
    assert slots.height == sum(there for _, _, there in values)
    if slots.height:
        assert day["difference"] == pytest.approx(slots["difference"].sum(), abs=1e-3)
        assert day["difference"] == day["quantity"] - day["subs"]
    else:
        assert day["status"] == "not_assessable"


class TestVirtual:
    def summed(self, registry: Registry, *rows: dict[str, Any]) -> pl.DataFrame:
        return balance.virtual(energy(*rows), registry.tree, registry.virtual_parts)

    def test_a_sum_and_a_difference(self, plant: Plant) -> None:
        registry = plant(
            {"id": "U1", "role": "it"},
            {"id": "U2", "role": "it"},
            {"id": "L", "role": "lighting"},
            virtual=[sums("V", "it", ["U1", "U2"], ["L"])],
        )
        rows = [slot("U1", 0, 60.0), slot("U2", 0, 50.0, coverage=0.8, estimated=0.4), slot("L", 0, 10.0)]
        found = self.summed(registry, *rows).row(0, named=True)
        assert (found["meter"], found["role"], found["quantity"], found["kwh"]) == ("V", "it", 100, 100)
        assert found["kgce"] == pytest.approx(12.29)
        assert (found["coverage"], found["factor_version"]) == (0.8, "v1")
        # 50 of the 120 kWh behind it are estimated at 40 %
        assert found["estimated"] == pytest.approx(20 / 120)

    def test_there_is_a_row_only_where_every_part_has_one(self, plant: Plant) -> None:
        registry = plant({"id": "U1"}, {"id": "U2"}, virtual=[sums("V", "total", ["U1", "U2"])])
        rows = [slot("U1", 0, 1.0), slot("U1", 1, 1.0), slot("U2", 1, None)]
        found = self.summed(registry, *rows)
        assert found["start"].to_list() == [DAY.start + QUARTER]
        assert found["quantity"].to_list() == [None]

    def test_a_sum_of_sums_rests_on_the_meters(self, plant: Plant) -> None:
        registry = plant(
            {"id": "A"},
            {"id": "B"},
            {"id": "C"},
            virtual=[sums("V", "it", ["A", "B"]), sums("W", "cooling", ["V", "C"], ["B"])],
        )
        assert registry.virtual_parts.filter(virtual="W").sort("meter").select("meter", "times").rows() == [
            ("A", 1.0),
            ("B", 0.0),
            ("C", 1.0),
        ]
        rows = [slot("A", 0, 1.0), slot("B", 0, 10.0), slot("C", 0, 100.0)]
        found = self.summed(registry, *rows)
        assert dict(found.select("meter", "quantity").rows()) == {"V": 11.0, "W": 101.0}

    def test_two_versions_are_both_named(self, plant: Plant) -> None:
        registry = plant({"id": "A"}, {"id": "B"}, virtual=[sums("V", "total", ["A", "B"])])
        found = self.summed(registry, slot("A", 0, 1.0), slot("B", 0, 1.0, factor_version="v2"))
        assert found["factor_version"].item() == "v1 to v2"


def sums(name: str, role: str, add: list[str], subtract: list[str] | None = None) -> dict[str, Any]:
    return {
        "id": name,
        "carrier": "electricity",
        "role": role,
        "unit": "kWh",
        "add": add,
        "subtract": subtract or [],
    }
