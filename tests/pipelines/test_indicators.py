"""Indicators worked by hand on energy rows of days and months."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from ingest.model import Period
from ingest.registry import Registry
from ingest.schema import ACTIVITY, ENERGY, INDICATORS
from pipelines import periods
from pipelines.factors import catalogue as factors
from pipelines.indicators import meters, table
from rules import catalogue

Plant = Callable[..., Registry]

ZONE = ZoneInfo("Asia/Shanghai")
FACTORS = factors.load()
DAY = periods.between(date(2026, 3, 1), date(2026, 3, 1), ZONE)
CENTRE = {
    "kind": "data_centre",
    "data_centre": {"scale": "large", "hub_node": False, "approved": date(2024, 5, 1), "pue_category": 2},
}


def month(number: int, year: int = 2026) -> Period:
    first = date(year, number, 1)
    return periods.months(periods.between(first, first, ZONE), ZONE)[0]


def row(meter: str, kwh: float | None, period: Period = DAY, **other: Any) -> dict[str, Any]:
    """One ENERGY row of electricity; a gas meter says its own kgce and kg_co2."""
    return {
        "facility": "plant",
        "meter": meter,
        "interval": "1d" if period.length < timedelta(days=2) else "1mo",
        "start": period.start,
        "end": period.end,
        "quantity": kwh,
        "kwh": kwh,
        "kgce": None if kwh is None else kwh * 0.1229,
        "kg_co2": None if kwh is None else kwh * 0.4419,
        "coverage": 1.0,
        "factor_version": "v1",
    } | other


def computed(
    registry: Registry,
    *energy: dict[str, Any],
    output: list[tuple[str, datetime, datetime, float]] | None = None,
    unit: str = "t",
    **asked: list[Period],
) -> pl.DataFrame:
    wanted = {{"day": "1d", "month": "1mo", "year": "12mo"}[name]: spans for name, spans in asked.items()}
    activity = [
        {"facility": "plant", "product": product, "start": start, "end": end, "quantity": quantity, "unit": unit}
        for product, start, end, quantity in output or []
    ]
    rows = table.compute(
        pl.DataFrame(list(energy), schema=ENERGY.schema),
        registry,
        pl.DataFrame(activity, schema=ACTIVITY.schema),
        wanted or {"1d": [DAY]},
        factors=FACTORS,
        peaks=INDICATORS.empty(),
    )
    assert rows.schema == INDICATORS.schema
    assert rows.select(INDICATORS.key).is_unique().all()
    assert rows.filter(pl.col("status") == "ok").select((pl.col("reason") == "").all()).item()
    assert (
        rows.filter(pl.col("status") != "ok")
        .select((pl.col("value").is_null() & (pl.col("reason") != "") & (pl.col("status") == "not_assessable")).all())
        .item()
    )
    return rows


def one(rows: pl.DataFrame, indicator: str, **match: Any) -> dict[str, Any]:
    chosen = rows.filter(pl.col("indicator") == indicator, *(pl.col(name) == value for name, value in match.items()))
    assert chosen.height == 1
    return chosen.row(0, named=True)


@pytest.fixture
def centre(plant: Plant) -> Registry:
    return plant(
        {"id": "E-main"},
        {"id": "E-it1", "role": "it", "parent": "E-main"},
        {"id": "E-it2", "role": "it", "parent": "E-main"},
        {"id": "E-rack", "role": "it", "parent": "E-it2"},
        **CENTRE,
    )


class TestPue:
    def test_electricity_of_the_whole_by_that_of_it(self, centre: Registry) -> None:
        # (1300) / (600 + 400); the rack stands below it2 and is not counted twice
        rows = computed(
            centre, row("E-main", 1300.0), row("E-it1", 600.0), row("E-it2", 400.0, coverage=0.75), row("E-rack", 50.0)
        )
        found = one(rows, "pue")
        assert (found["value"], found["numerator"], found["denominator"]) == (1.3, 1300, 1000)
        assert (found["coverage"], found["unit"], found["status"]) == (0.75, "1", "ok")
        assert found["meters"] == "E-main / E-it1, E-it2"
        assert found["catalogue_version"] == "v1"
        assert (found["start"], found["end"], found["interval"]) == (DAY.start, DAY.end, "1d")

    def test_exports_are_deducted(self, plant: Plant) -> None:
        registry = plant({"id": "M"}, {"id": "X", "role": "export"}, {"id": "IT", "role": "it"}, **CENTRE)
        found = one(computed(registry, row("M", 1500.0), row("X", 200.0), row("IT", 1000.0)), "pue")
        assert (found["value"], found["meters"]) == (1.3, "M - X / IT")

    def test_a_missing_meter_is_named(self, centre: Registry) -> None:
        found = one(computed(centre, row("E-main", 1300.0), row("E-it1", 600.0)), "pue")
        assert found["reason"] == "no energy from E-it2"
        assert (found["value"], found["coverage"]) == (None, 0.0)
        both = one(computed(centre, row("E-it1", 600.0), row("E-it2", None)), "pue")
        assert both["reason"] == "no energy from E-main; no energy from E-it2"

    def test_a_centre_without_it_meter_is_not_assessable(self, plant: Plant) -> None:
        found = one(computed(plant({"id": "M"}, **CENTRE), row("M", 5.0)), "pue")
        assert found["reason"] == "no electricity meter of role it is valid"
        assert found["meters"] == "M / none"

    def test_zero_it_is_neither_zero_nor_infinity(self, centre: Registry) -> None:
        found = one(computed(centre, row("E-main", 100.0), row("E-it1", 0.0), row("E-it2", 0.0)), "pue")
        assert found["reason"] == "IT energy is 0.0 kWh, wanted above 0: check E-main / E-it1, E-it2"

    def test_below_one_is_a_metering_error(self, centre: Registry) -> None:
        found = one(computed(centre, row("E-main", 900.0), row("E-it1", 600.0), row("E-it2", 400.0)), "pue")
        assert found["reason"] == "PUE 0.9 is below 1, which its definition rules out: check E-main / E-it1, E-it2"

    def test_exactly_one_is_a_value_even_when_sums_are_rounded(self, centre: Registry) -> None:
        found = one(computed(centre, row("E-main", 0.3), row("E-it1", 0.1), row("E-it2", 0.2)), "pue")
        assert found["value"] == pytest.approx(1.0)

    def test_a_year_is_the_ratio_of_sums_over_the_months_that_have_both(self, plant: Plant) -> None:
        registry = plant({"id": "M"}, {"id": "IT", "role": "it"}, **CENTRE)
        year = periods.twelve_months(month(12), ZONE)
        months = [month(number) for number in range(1, 13)]
        energy = [row("M", 200.0, months[0]), row("IT", 100.0, months[0])]
        energy += [row("M", 1200.0, own) for own in months[1:]]
        energy += [row("IT", 1000.0, own) for own in months[1:11]]
        rows = computed(registry, *energy, month=months, year=[year])
        found = one(rows, "pue", interval="12mo")
        # January 200 / 100, ten months 1200 / 1000, December lacks its IT: (200 + 12000) / (100 + 10000)
        assert found["value"] == pytest.approx(12200 / 10100)
        assert found["coverage"] == pytest.approx((365 - 31) / 365)
        assert (found["start"], found["end"]) == (year.start, year.end)
        assert one(rows, "pue", start=months[11].start)["reason"] == "no energy from IT"

    def test_a_year_without_any_month_is_not_assessable(self, centre: Registry) -> None:
        found = one(computed(centre, year=[periods.twelve_months(month(12), ZONE)]), "pue")
        assert found["reason"].startswith("no energy from E-main")
        assert found["coverage"] == 0.0
        assert found["catalogue_version"] == FACTORS.version

    def test_other_facilities_have_none(self, plant: Plant) -> None:
        rows = computed(plant({"id": "M"}, {"id": "IT", "role": "it"}), row("M", 2.0), row("IT", 1.0))
        assert rows.filter(pl.col("indicator") == "pue").is_empty()

    def test_a_meter_that_became_valid_within_the_period_is_due_from_then(self, plant: Plant) -> None:
        # IT2 is valid from 2026-03-16: 16 of 31 days, all of them covered
        registry = plant(
            {"id": "M"},
            {"id": "IT1", "role": "it"},
            {"id": "IT2", "role": "it", "valid_from": date(2026, 3, 16)},
            **CENTRE,
        )
        march = month(3)
        energy = [row("M", 1300.0, march), row("IT1", 900.0, march), row("IT2", 100.0, march, coverage=16 / 31)]
        rows = computed(registry, *energy, month=[march])
        assert one(rows, "pue")["coverage"] == pytest.approx(1.0)
        assert one(rows, "coverage")["value"] == pytest.approx(1.0)
        # in February it is not missing
        before = [row("M", 1300.0, month(2)), row("IT1", 1000.0, month(2))]
        assert one(computed(registry, *before, month=[month(2)]), "pue")["value"] == 1.3
        # the only IT meter cannot speak for the days before it
        late = plant({"id": "M"}, {"id": "IT", "role": "it", "valid_from": date(2026, 3, 16)}, **CENTRE)
        only = [row("M", 1300.0, march), row("IT", 900.0, march, coverage=16 / 31)]
        assert one(computed(late, *only, month=[march]), "pue")["coverage"] == pytest.approx(16 / 31)


class TestIntensity:
    TILES: ClassVar = {"product": [{"id": "tiles", "unit": "m2"}]}

    def test_energy_of_the_boundary_by_the_output_of_the_only_product(self, plant: Plant) -> None:
        registry = plant(
            {"id": "E"},
            {"id": "E-kiln", "parent": "E", "role": "process"},
            {"id": "G", "carrier": "natural_gas", "unit": "m3"},
            {"id": "X", "role": "export"},
            **self.TILES,
        )
        rows = computed(
            registry,
            row("E", 10_000.0),
            row("E-kiln", 9_000.0),
            row("G", 5407.0, quantity=500.0, kgce=665.0, kg_co2=1081.0),
            row("X", 1_000.0),
            output=[("tiles", DAY.start, DAY.end, 250.0)],
            unit="m2",
        )
        found = one(rows, "intensity")
        # 1229 kgce of electricity and 665 of gas, less 122.9, over 250 m2
        assert found["value"] == pytest.approx(7.0844)
        assert (found["unit"], found["scope"], found["meters"]) == ("kgce/m2", "tiles", "E, G - X / tiles")

    def test_meters_of_the_product_go_before_the_boundary(self, plant: Plant) -> None:
        registry = plant(
            {"id": "E"},
            {"id": "A", "role": "process", "parent": "E", "scope": "pipe"},
            {"id": "A1", "role": "process", "parent": "A", "scope": "pipe"},
            {"id": "B", "role": "process", "parent": "E", "scope": "rod"},
            product=[{"id": "pipe", "unit": "t"}, {"id": "rod", "unit": "t"}, {"id": "wire", "unit": "t"}],
        )
        output = [(name, DAY.start, DAY.end, 2.0) for name in ("pipe", "rod", "wire")]
        rows = computed(registry, row("E", 5000.0), row("A", 1000.0), row("A1", 900.0), row("B", 3000.0), output=output)
        assert one(rows, "intensity", scope="pipe")["value"] == pytest.approx(122.9 / 2)
        assert one(rows, "intensity", scope="rod")["value"] == pytest.approx(368.7 / 2)
        assert "no meter serves the product alone" in one(rows, "intensity", scope="wire")["reason"]

    def test_output_that_reaches_over_the_period_is_split_in_proportion_to_time(self, plant: Plant) -> None:
        # 30 m2 over the 36 hours from noon of the day before: two thirds lie in the day, and cover all of it
        registry = plant({"id": "E"}, **self.TILES)
        output = [("tiles", DAY.start - timedelta(hours=12), DAY.end, 30.0)]
        found = one(computed(registry, row("E", 1000.0), output=output, unit="m2"), "intensity")
        assert found["denominator"] == pytest.approx(20)
        assert found["coverage"] == 1.0

    def test_coverage_is_the_weaker_of_energy_and_output(self, plant: Plant) -> None:
        registry = plant({"id": "E"}, **self.TILES)
        output = [("tiles", DAY.start, DAY.start + timedelta(hours=6), 10.0)]
        assert (
            one(computed(registry, row("E", 1.0, coverage=0.9), output=output, unit="m2"), "intensity")["coverage"]
            == 0.25
        )
        assert (
            one(computed(registry, row("E", 1.0, coverage=0.1), output=output, unit="m2"), "intensity")["coverage"]
            == 0.1
        )

    @pytest.mark.parametrize(
        ("output", "reason"),
        [
            ([], "no output of tiles was reported"),
            ([("tiles", DAY.start, DAY.end, 0.0)], "the output of tiles is 0.0"),
            (
                [("tiles", DAY.start, DAY.end, 1.0), ("tiles", DAY.start, DAY.start + timedelta(hours=1), 1.0)],
                "overlap",
            ),
            ([("tiles", DAY.start, DAY.start, 1.0)], "no output of tiles was reported"),
            ([("tiles", DAY.start, DAY.end, float("nan"))], "no output of tiles was reported"),
            ([("bricks", DAY.start, DAY.end, 1.0)], "no output of tiles was reported"),
            ([("tiles", DAY.end, DAY.end + timedelta(hours=1), 1.0)], "no output of tiles was reported"),
        ],
    )
    def test_without_a_sound_output_it_is_not_assessable(self, plant: Plant, output: Any, reason: str) -> None:
        found = one(computed(plant({"id": "E"}, **self.TILES), row("E", 1.0), output=output, unit="m2"), "intensity")
        assert reason in found["reason"]

    def test_an_output_inside_an_earlier_longer_one_overlaps_on_every_day(self, plant: Plant) -> None:
        second = Period(DAY.end, DAY.end + timedelta(days=1))
        output = [("tiles", DAY.start, second.end, 9.0)]
        output += [("tiles", day.start, day.start + timedelta(hours=1), 1.0) for day in (DAY, second)]
        energy = [row("E", 1.0), row("E", 1.0, second)]
        rows = computed(plant({"id": "E"}, **self.TILES), *energy, output=output, unit="m2", day=[DAY, second])
        for day in (DAY, second):
            assert "overlap" in one(rows, "intensity", start=day.start)["reason"]

    def test_output_in_another_unit_is_converted_or_not_used(self, plant: Plant) -> None:
        registry = plant({"id": "E"}, product=[{"id": "pipe", "unit": "t"}])
        output = [("pipe", DAY.start, DAY.end, 500.0)]
        assert one(computed(registry, row("E", 1000.0), output=output, unit="kg"), "intensity")[
            "value"
        ] == pytest.approx(245.8)
        assert "no output" in one(computed(registry, row("E", 1000.0), output=output, unit="m2"), "intensity")["reason"]

    def test_a_day_without_output_counts_in_the_year(self, plant: Plant) -> None:
        registry = plant({"id": "E"}, **self.TILES)
        year, months = periods.twelve_months(month(12), ZONE), [month(number) for number in range(1, 13)]
        output = [("tiles", own.start, own.end, 0.0 if own == months[0] else 100.0) for own in months]
        rows = computed(
            registry, *(row("E", 1000.0, own) for own in months), output=output, unit="m2", month=months, year=[year]
        )
        assert one(rows, "intensity", start=months[0].start, interval="1mo")["status"] == "not_assessable"
        assert one(rows, "intensity", interval="12mo")["value"] == pytest.approx(12 * 122.9 / 1100)


class TestCoverage:
    def test_mean_over_all_meters(self, plant: Plant) -> None:
        registry = plant({"id": "A"}, {"id": "B", "parent": "A", "role": "lighting"}, {"id": "C", "role": "generation"})
        found = one(computed(registry, row("A", 1.0), row("B", 1.0, coverage=0.5)), "coverage")
        assert (found["value"], found["coverage"], found["status"]) == (0.5, 0.5, "ok")
        assert (found["numerator"], found["denominator"], found["meters"]) == (36, 72, "A, B, C")

    def test_nothing_at_all_is_zero_and_assessable(self, plant: Plant) -> None:
        rows = computed(plant({"id": "A"}), day=[DAY], year=[periods.twelve_months(month(3), ZONE)])
        assert one(rows, "coverage", interval="1d")["value"] == 0.0
        assert one(rows, "coverage", interval="12mo")["value"] == 0.0

    def test_a_year_counts_the_time_the_meters_were_valid(self, plant: Plant) -> None:
        registry = plant({"id": "A"}, {"id": "B", "valid_from": date(2026, 3, 1)})
        year = periods.twelve_months(month(12), ZONE)
        # A is due for 365 days, B for 306; March of both is covered whole
        rows = computed(registry, row("A", 1.0, month(3)), row("B", 1.0, month(3)), year=[year])
        assert one(rows, "coverage")["value"] == pytest.approx(2 * 31 / (365 + 306))

    def test_a_year_that_began_before_the_facility_was_metered_is_no_year(self, plant: Plant) -> None:
        registry = plant({"id": "A", "valid_from": date(2026, 3, 1)})
        months = [month(number) for number in range(3, 13)]
        year = periods.twelve_months(month(12), ZONE)
        rows = computed(registry, *(row("A", 1.0, own) for own in months), month=months, year=[year])
        for indicator in ("coverage", "energy_consumption"):
            found = one(rows, indicator, interval="12mo")
            assert found["reason"] == "the facility is metered only since 2026-03-01"
        # no source equivalent and no day of peak demand is known
        rows = rows.filter(~pl.col("indicator").str.contains("_source_electricity|peak_demand"))
        assert rows.filter(pl.col("interval") == "1mo")["status"].unique().to_list() == ["ok"]

    def test_before_any_meter_was_valid(self, plant: Plant) -> None:
        found = one(computed(plant({"id": "A", "valid_from": date(2026, 4, 1)})), "coverage")
        assert (found["status"], found["reason"]) == ("not_assessable", "no meter is valid")


class TestConsumption:
    def test_the_boundary_less_exports_with_media_but_without_sub_meters_and_generation(self, plant: Plant) -> None:
        registry = plant(
            {"id": "E"},
            {"id": "E-sub", "parent": "E"},
            {"id": "PV", "role": "generation"},
            {"id": "X", "role": "export"},
            {"id": "W", "carrier": "water", "unit": "t"},
            floor_area_m2=2000.0,
            persons=50,
        )
        rows = computed(
            registry,
            row("E", 10_000.0),
            row("E-sub", 9_000.0),
            row("PV", 700.0),
            row("X", 500.0),
            row("W", None, quantity=100.0, kgce=25.71),
        )
        kgce = 1229 - 61.45 + 25.71
        assert one(rows, "energy_consumption")["value"] == pytest.approx(kgce / 1000)
        assert one(rows, "energy_consumption")["meters"] == "E, W - X"
        assert one(rows, "co2")["value"] == pytest.approx((4419 - 220.95) / 1000)
        assert (one(rows, "co2")["unit"], one(rows, "energy_consumption")["unit"]) == ("t CO2", "tce")
        assert one(rows, "energy_per_area")["value"] == pytest.approx(kgce / 2000)
        assert one(rows, "energy_per_person")["value"] == pytest.approx(kgce / 50)
        assert one(rows, "energy_per_person")["denominator"] == 50

    def test_a_year_divides_by_the_area_once(self, plant: Plant) -> None:
        months = [month(number) for number in range(1, 13)]
        registry = plant({"id": "E"}, floor_area_m2=100.0)
        year = periods.twelve_months(month(12), ZONE)
        rows = computed(registry, *(row("E", 1000.0, own) for own in months), year=[year])
        assert one(rows, "energy_per_area")["value"] == pytest.approx(12 * 122.9 / 100)
        assert rows.filter(pl.col("indicator") == "energy_per_person").is_empty()

    def test_a_carrier_without_factor_is_named(self, plant: Plant) -> None:
        registry = plant({"id": "M", "carrier": "methanol", "unit": "t"})
        rows = computed(registry, row("M", 5531.0, quantity=1000.0, kgce=679.4, kg_co2=None))
        assert one(rows, "energy_consumption")["value"] == pytest.approx(0.6794)
        assert one(rows, "co2")["reason"] == "no factor for the carrier of M"

    def test_without_a_meter_at_the_boundary(self, plant: Plant) -> None:
        rows = computed(plant({"id": "E", "role": "process"}), row("E", 1.0))
        assert one(rows, "energy_consumption")["reason"] == "no meter of role total without a parent is valid"


class TestOwnConversion:
    """What a facility makes itself counts once: as what it is made of, or at its meter where nothing else counts it."""

    def test_steam_of_the_own_boiler_counts_as_its_gas(self, plant: Plant) -> None:
        registry = plant(
            {"id": "E"},
            {"id": "G", "carrier": "natural_gas", "unit": "m3"},
            {"id": "G-boiler", "carrier": "natural_gas", "unit": "m3", "role": "process", "parent": "G"},
            {"id": "S-boiler", "carrier": "steam", "unit": "t", "role": "generation"},
            {"id": "S-use", "carrier": "steam", "unit": "t", "role": "process", "parent": "S-boiler"},
            {"id": "S-sold", "carrier": "steam", "unit": "t", "role": "export"},
        )
        gas = {"kgce": 1330.0, "kg_co2": 2162.2}
        rows = computed(
            registry,
            row("E", 1000.0),
            row("G", 10814.0, quantity=1000.0, **gas),
            row("G-boiler", 9000.0, quantity=900.0, kgce=1197.0, kg_co2=1946.0),
            row("S-boiler", 9000.0, quantity=10_000.0, kgce=1286.0, kg_co2=4139.0),
            row("S-use", 7000.0, quantity=8_000.0, kgce=1028.8, kg_co2=3311.0),
            row("S-sold", 2000.0, quantity=2_000.0, kgce=257.2, kg_co2=827.9),
        )
        # 122.9 of electricity and 1330 of gas, less 257.2 of steam sold; the steam made and used adds nothing
        found = one(rows, "energy_consumption")
        assert (found["value"], found["meters"]) == (pytest.approx(1.1957), "E, G - S-sold")
        assert one(rows, "co2")["numerator"] == pytest.approx(441.9 + 2162.2 - 827.9)

    def test_photovoltaics_count_at_their_meter_and_their_export_is_deducted(self, plant: Plant) -> None:
        registry = plant(
            {"id": "E"},
            {"id": "PV", "role": "generation", "renewable": True, "parent": "E"},
            {"id": "PV-roof", "role": "generation", "renewable": True, "parent": "PV"},
            {"id": "X", "role": "export", "parent": "E"},
        )
        rows = computed(registry, row("E", 1000.0), row("PV", 500.0), row("PV-roof", 300.0), row("X", 200.0))
        # used: 1000 bought + 500 of the sun - 200 sold = 1300 kWh
        found = one(rows, "energy_consumption")
        assert (found["numerator"], found["meters"]) == (pytest.approx(1300 * 0.1229), "E, PV - X")
        # the sun causes none; net bought is 1000 - 200 (GB/T 32150)
        assert one(rows, "co2")["numerator"] == pytest.approx(800 * 0.4419)

    def test_power_of_waste_heat_counts_as_the_fuel_it_comes_from(self, plant: Plant) -> None:
        registry = plant(
            {"id": "E"},
            {"id": "C", "carrier": "raw_coal", "unit": "t"},
            {"id": "WHR", "role": "generation", "parent": "E"},
            {"id": "X", "role": "export"},
        )
        rows = computed(
            registry,
            row("E", 1000.0),
            row("C", 5.0, quantity=1000.0, kgce=714.3, kg_co2=1860.8),
            row("WHR", 400.0),
            row("X", 100.0),
        )
        # 714.3 + 122.9 - 12.29; the 400 kWh are made of the coal
        assert one(rows, "energy_consumption")["numerator"] == pytest.approx(824.91)


def sums(name: str, role: str, add: list[str], subtract: tuple[str, ...] = (), scope: str = "") -> dict[str, Any]:
    return {
        "id": name,
        "carrier": "electricity",
        "role": role,
        "unit": "kWh",
        "add": add,
        "subtract": list(subtract),
        "scope": scope,
    }


class TestVirtualMeters:
    def test_a_virtual_meter_stands_in_for_what_it_adds_and_all_below(self, plant: Plant) -> None:
        registry = plant(
            {"id": "E"},
            {"id": "U", "role": "it", "parent": "E"},
            {"id": "U-rack", "role": "it", "parent": "U"},
            {"id": "L", "role": "lighting", "parent": "U"},
            {"id": "W", "role": "it", "parent": "E"},
            virtual=[sums("V", "it", ["U"], ("L",))],
            **CENTRE,
        )
        # IT: U less its lighting, and W
        rows = computed(
            registry, row("E", 1300.0), row("U", 700.0), row("U-rack", 50.0), row("V", 600.0), row("W", 400.0)
        )
        found = one(rows, "pue")
        assert (found["value"], found["meters"]) == (1.3, "E / V, W")

    def test_it_is_left_out_where_a_part_stands_below_another_meter_of_the_set(self, plant: Plant) -> None:
        registry = plant(
            {"id": "E"},
            {"id": "E1", "parent": "E"},
            {"id": "E2", "parent": "E"},
            virtual=[sums("V", "total", ["E1", "E2"])],
        )
        found = one(computed(registry, row("E", 1000.0), row("V", 990.0)), "energy_consumption")
        assert (found["numerator"], found["meters"]) == (pytest.approx(122.9), "E")

    def test_two_intakes_are_one_main(self, plant: Plant) -> None:
        registry = plant(
            {"id": "E1"},
            {"id": "E2"},
            {"id": "X", "role": "export"},
            virtual=[sums("V", "total", ["E1", "E2"], ("X",))],
        )
        rows = computed(registry, row("E1", 600.0), row("E2", 500.0), row("X", 100.0), row("V", 1000.0))
        # the export is subtracted already
        found = one(rows, "energy_consumption")
        assert (found["numerator"], found["meters"]) == (pytest.approx(122.9), "V")

    def test_a_main_that_adds_the_sun_counts_it_once(self, plant: Plant) -> None:
        registry = plant(
            {"id": "E"},
            {"id": "PV", "role": "generation", "renewable": True, "parent": "E"},
            virtual=[sums("V", "total", ["E", "PV"])],
        )
        found = one(computed(registry, row("E", 600.0), row("PV", 400.0), row("V", 1000.0)), "energy_consumption")
        assert (found["numerator"], found["meters"]) == (pytest.approx(122.9), "V")

    def test_it_takes_no_part_in_the_completeness_of_the_data(self, plant: Plant) -> None:
        registry = plant({"id": "A"}, {"id": "B"}, virtual=[sums("V", "total", ["A", "B"])])
        found = one(computed(registry, row("A", 1.0), row("B", 1.0), row("V", 2.0)), "coverage")
        assert (found["denominator"], found["meters"]) == (48, "A, B")


class TestSourceEquivalent:
    """Electricity at its source equivalent (等价值)."""

    ETHYLENE: ClassVar = {"product": [{"id": "ethylene", "unit": "t", "limit": "ETH-1"}]}
    GAS: ClassVar = {"id": "G", "carrier": "natural_gas", "unit": "m3"}

    def test_the_limit_standard_sets_it_for_its_products(self, plant: Plant) -> None:
        registry = plant({"id": "E"}, self.GAS, **self.ETHYLENE)
        output = [("ethylene", DAY.start, DAY.end, 2.0)]
        rows = computed(registry, row("E", 1000.0), row("G", 5.0, quantity=500.0, kgce=665.0), output=output)
        found = one(rows, "intensity_source_electricity")
        # (1000 x 0.3000 + 665) / 2
        assert (found["value"], found["unit"]) == (pytest.approx(482.5), "kgce/t")
        assert found["catalogue_version"] == "v1, v1+electricity=0.3kgce/kWh"
        assert found["unverified"] == ""
        assert one(rows, "intensity")["value"] == pytest.approx((122.9 + 665) / 2)

    def test_other_products_have_none(self, plant: Plant) -> None:
        registry = plant({"id": "E"}, product=[{"id": "pipe", "unit": "t", "limit": "CUP-T1"}])
        rows = computed(registry, row("E", 1.0))
        assert rows.filter(pl.col("indicator") == "intensity_source_electricity").is_empty()

    def test_heat_and_steam_have_no_verified_one(self, plant: Plant) -> None:
        registry = plant({"id": "E"}, {"id": "S", "carrier": "steam", "unit": "t"}, **self.ETHYLENE)
        output = [("ethylene", DAY.start, DAY.end, 2.0)]
        rows = computed(registry, row("E", 1000.0), row("S", 5.0, quantity=9.0), output=output)
        found = one(rows, "intensity_source_electricity")
        assert found["reason"] == "no source equivalent (等价值) is known for the carrier of S"

    def test_before_it_was_in_force_there_is_none(self, plant: Plant) -> None:
        registry = plant({"id": "E"}, **self.ETHYLENE)
        day = periods.between(date(2025, 4, 30), date(2025, 4, 30), ZONE)
        output = [("ethylene", day.start, day.end, 2.0)]
        found = one(computed(registry, row("E", 1000.0, day), output=output, day=[day]), "intensity_source_electricity")
        assert found["status"] == "not_assessable"

    def test_guangdong_has_none_until_the_registry_says_one(self, plant: Plant) -> None:
        known = {"kgce": 0.29, "valid_from": date(2026, 1, 1), "valid_to": date(2026, 12, 31), "source": "test"}
        facts = {"floor_area_m2": 100.0, "persons": 10}
        unknown = one(computed(plant({"id": "E"}), row("E", 1000.0)), "energy_consumption_source_electricity")
        assert unknown["reason"] == "no source equivalent (等价值) is known for the carrier of E"
        rows = computed(plant({"id": "E"}, source_equivalent=[known], **facts), row("E", 1000.0))
        assert one(rows, "energy_consumption_source_electricity")["value"] == pytest.approx(0.29)
        assert one(rows, "energy_per_area_source_electricity")["value"] == pytest.approx(2.9)
        assert one(rows, "energy_per_person_source_electricity")["value"] == pytest.approx(29)
        assert one(rows, "energy_consumption_source_electricity")["unverified"] == ""

    def test_one_weak_source_says_so(self, plant: Plant) -> None:
        found = one(
            computed(plant({"id": "E"}, division="310115"), row("E", 1000.0)), "energy_consumption_source_electricity"
        )
        assert (found["numerator"], found["unverified"]) == (pytest.approx(280.78), "electricity (S)")

    def test_every_limit_that_wants_it_has_one_and_no_other(self) -> None:
        limits = catalogue.load().limits.values()
        wanting = {limit.code for limit in limits if limit.indicator == "intensity_source_electricity"}
        assert wanting == set(FACTORS.source_limits)


class TestGreenPower:
    BOUGHT: ClassVar = {
        "kwh": 31_000.0,
        "from": date(2026, 3, 1),
        "to": date(2026, 3, 31),
        "certificate": "GEC-1",
        "source": "invented",
    }

    def test_it_stands_beside_the_carbon_dioxide_and_is_not_netted(self, plant: Plant) -> None:
        march, april = month(3), month(4)
        registry = plant({"id": "E"}, green_power=[self.BOUGHT])
        energy = [row("E", 1000.0), row("E", 31_000.0, march), row("E", 30_000.0, april)]
        rows = computed(registry, *energy, day=[DAY], month=[march, april])
        assert one(rows, "green_power", start=DAY.start, interval="1d")["value"] == pytest.approx(1000)
        found = one(rows, "green_power", start=march.start, interval="1mo")
        assert (found["value"], found["unit"], found["meters"]) == (pytest.approx(31_000), "kWh", "GEC-1")
        assert one(rows, "green_power", start=april.start)["value"] == 0
        assert one(rows, "co2", start=march.start, interval="1mo")["numerator"] == pytest.approx(31_000 * 0.4419)

    def test_a_facility_without_has_no_row(self, plant: Plant) -> None:
        rows = computed(plant({"id": "E"}), row("E", 1.0))
        assert rows.filter(pl.col("indicator") == "green_power").is_empty()


class TestMarketBased:
    """Factor of the remaining grid: 0.5856 kg CO2/kWh of 2025-12-30 and before, 0.6096 since."""

    GAS: ClassVar = {"id": "G", "carrier": "natural_gas", "unit": "m3"}

    def bought(self, kwh: float, first: date, last: date, certificate: str = "GEC-1") -> dict[str, Any]:
        return {"kwh": kwh, "from": first, "to": last, "certificate": certificate, "source": "invented"}

    def of_march(self, kwh: float, certificate: str = "GEC-1") -> dict[str, Any]:
        return self.bought(kwh, date(2026, 3, 1), date(2026, 3, 31), certificate)

    def test_both_figures_stand_beside_each_other(self, plant: Plant) -> None:
        march = month(3)
        registry = plant({"id": "E"}, self.GAS, {"id": "X", "role": "export"}, green_power=[self.of_march(31_000.0)])
        energy = [row("E", 100_000.0, march), row("X", 9_000.0, march)]
        energy.append(row("G", 5000.0, march, quantity=500.0, kgce=665.0, kg_co2=1081.0))
        rows = computed(registry, *energy, month=[march])
        # 91,000 kWh bought, 31,000 of them green: 60,000 x 0.6096 + 1081
        found = one(rows, "co2_market")
        assert (found["numerator"], found["denominator"]) == (pytest.approx(37_657.0), None)
        assert (found["value"], found["unit"]) == (pytest.approx(37.657), "t CO2")
        assert found["meters"] == "E, G - X; less 31000.0 kWh: GEC-1"
        assert found["catalogue_version"] == "v1, v1+remaining=0.6096kgCO2/kWh"
        assert (found["unverified"], found["coverage"]) == ("", 1.0)
        # 91,000 x 0.4419 + 1081
        assert one(rows, "co2")["numerator"] == pytest.approx(41_293.9)

    def test_without_green_power_all_of_it_is_of_the_remaining_grid(self, plant: Plant) -> None:
        found = one(computed(plant({"id": "E"}), row("E", 1000.0)), "co2_market")
        assert (found["numerator"], found["meters"]) == (pytest.approx(609.6), "E")

    def test_more_certificates_than_was_bought_make_it_zero_and_are_not_carried_over(self, plant: Plant) -> None:
        march, april = month(3), month(4)
        registry = plant({"id": "E"}, self.GAS, green_power=[self.of_march(31_000.0)])
        gas = {"quantity": 500.0, "kgce": 665.0, "kg_co2": 1081.0}
        energy = [row("E", 20_000.0, march), row("G", 1.0, march, **gas), row("E", 10_000.0, april)]
        energy.append(row("G", 1.0, april, **gas))
        rows = computed(registry, *energy, month=[march, april])
        found = one(rows, "co2_market", start=march.start)
        assert (found["numerator"], found["meters"]) == (pytest.approx(1081.0), "E, G; less 20000.0 kWh: GEC-1")
        assert one(rows, "co2_market", start=april.start)["numerator"] == pytest.approx(6096 + 1081)
        assert one(rows, "green_power", start=march.start)["value"] == pytest.approx(31_000)

    def test_twelve_months_are_the_sum_of_their_months(self, plant: Plant) -> None:
        year, months = periods.twelve_months(month(12), ZONE), [month(number) for number in range(1, 13)]
        # 36,500 kWh of the year are 100 a day; in February, with 2,000 bought, 2,800 are split to it
        registry = plant({"id": "E"}, green_power=[self.bought(36_500.0, date(2026, 1, 1), date(2026, 12, 31))])
        energy = [row("E", 2_000.0 if own == months[1] else 10_000.0, own) for own in months]
        rows = computed(registry, *energy, month=months, year=[year])
        found = one(rows, "co2_market", interval="12mo")
        # 112,000 bought less 36,500 - 800
        assert found["numerator"] == pytest.approx((112_000 - 35_700) * 0.6096)
        assert found["meters"] == "E; less 35700.0 kWh: GEC-1"
        parts = rows.filter(pl.col("indicator") == "co2_market", pl.col("interval") == "1mo")
        assert parts["numerator"].sum() == pytest.approx(found["numerator"])

    def test_what_overlaps_in_time_adds_up(self, plant: Plant) -> None:
        both = [self.of_march(3_100.0), self.bought(50.0, date(2026, 3, 1), date(2026, 3, 1), "GEC-2")]
        found = one(computed(plant({"id": "E"}, green_power=both), row("E", 1000.0)), "co2_market")
        # of the day: 3,100 / 31 and 50
        assert found["numerator"] == pytest.approx(850 * 0.6096)
        assert found["meters"] == "E; less 150.0 kWh: GEC-1, GEC-2"

    def test_own_sun_is_zero_and_green_power_is_deducted_from_what_was_bought_alone(self, plant: Plant) -> None:
        registry = plant(
            {"id": "E"},
            {"id": "PV", "role": "generation", "renewable": True},
            green_power=[self.of_march(31_000.0)],
        )
        found = one(computed(registry, row("E", 600.0), row("PV", 5_000.0)), "co2_market")
        # 1,000 kWh of the day against 600 bought
        assert (found["numerator"], found["meters"]) == (0.0, "E, PV; less 600.0 kWh: GEC-1")

    def test_a_net_export_has_nothing_to_deduct_from(self, plant: Plant) -> None:
        registry = plant({"id": "E"}, {"id": "X", "role": "export"}, green_power=[self.of_march(31_000.0)])
        rows = computed(registry, row("E", 100.0), row("X", 300.0))
        assert one(rows, "co2_market")["numerator"] == pytest.approx(-200 * 0.6096)
        assert one(rows, "co2")["numerator"] == pytest.approx(-200 * 0.4419)

    def test_a_month_in_which_the_factor_changes_has_the_mean_of_its_days(self, plant: Plant) -> None:
        december = month(12, 2025)
        found = one(computed(plant({"id": "E"}), row("E", 31_000.0, december), month=[december]), "co2_market")
        assert found["numerator"] == pytest.approx(30_000 * 0.5856 + 1_000 * 0.6096)
        assert found["catalogue_version"] == "v1+remaining=0.5856/0.6096kgCO2/kWh"

    def test_before_the_first_factor_it_is_not_assessable(self, plant: Plant) -> None:
        april = month(4, 2024)
        registry = plant({"id": "E"}, green_power=[self.bought(1.0, date(2024, 4, 1), date(2024, 4, 30))])
        found = one(computed(registry, row("E", 1.0, april), month=[april]), "co2_market")
        assert found["reason"] == "no factor, of electricity none of the remaining grid, holds for the carrier of E"

    def test_a_meter_without_energy_is_named(self, plant: Plant) -> None:
        registry = plant({"id": "E"}, self.GAS, green_power=[self.of_march(31_000.0)])
        assert one(computed(registry, row("E", 1.0)), "co2_market")["reason"] == "no energy from G"
        gas = row("G", 1.0, quantity=500.0, kgce=665.0, kg_co2=1081.0)
        assert one(computed(registry, gas), "co2_market")["reason"] == "no energy from E"

    def test_a_facility_that_buys_no_electricity(self, plant: Plant) -> None:
        registry = plant(self.GAS, green_power=[self.of_march(31_000.0)])
        found = one(computed(registry, row("G", 1.0, quantity=500.0, kgce=665.0, kg_co2=1081.0)), "co2_market")
        assert (found["numerator"], found["meters"]) == (1081.0, "G")

    def test_an_unverified_factor_is_named(self) -> None:
        weak = [own.model_copy(update={"confidence": "RECALLED"}) for own in FACTORS.remaining]
        doubted = replace(FACTORS, remaining=tuple(weak))
        assert doubted.unverified("kg_co2_market")["electricity"] == "RECALLED"
        assert "electricity" not in FACTORS.unverified("kg_co2_market")
        assert "coke" in FACTORS.unverified("kg_co2_market")


def test_topmost_climbs_over_meters_in_between(plant: Plant) -> None:
    registry = plant(
        {"id": "A", "role": "it"},
        {"id": "B", "role": "cooling", "parent": "A"},
        {"id": "C", "role": "it", "parent": "B"},
        {"id": "D", "role": "it", "parent": "C"},
        {"id": "E", "role": "it"},
    )
    assert meters.of_role(registry.tree, "it")["meter"].to_list() == ["A", "E"]


def test_every_indicator_has_its_code_and_both_titles() -> None:
    assert list(table.INDICATORS) == [
        "pue",
        "intensity",
        "coverage",
        "energy_consumption",
        "co2",
        "co2_market",
        "energy_per_area",
        "energy_per_person",
        "intensity_source_electricity",
        "energy_consumption_source_electricity",
        "energy_per_area_source_electricity",
        "energy_per_person_source_electricity",
        "peak_demand",
        "green_power",
    ]
    assert all(
        code == indicator.code and indicator.title.zh != indicator.title.en
        for code, indicator in table.INDICATORS.items()
    )


def test_computed_twice_is_the_same(centre: Registry) -> None:
    energy = [row("E-main", 1.3), row("E-it1", 0.6), row("E-it2", 0.4)]
    assert computed(centre, *energy).equals(computed(centre, *reversed(energy)))


def test_no_period_is_no_row(centre: Registry) -> None:
    nothing = [known.empty() for known in (ENERGY, ACTIVITY, INDICATORS)]
    assert table.compute(nothing[0], centre, nothing[1], {}, factors=FACTORS, peaks=nothing[2]).is_empty()


class TestUnverified:
    def test_an_indicator_names_the_unverified_factors_it_rests_on(self, plant: Plant) -> None:
        registry = plant(
            {"id": "E"}, {"id": "W", "carrier": "water", "unit": "m3"}, {"id": "C", "carrier": "coke", "unit": "kg"}
        )
        rows = computed(registry, row("E", 100.0), row("W", 10.0), row("C", 5.0))
        assert one(rows, "energy_consumption")["unverified"] == "water (RECALLED)"
        assert "coke (S)" in one(rows, "co2")["unverified"]
        assert one(rows, "coverage")["unverified"] == ""

    def test_pue_is_electric_and_rests_on_no_factor(self, centre: Registry) -> None:
        rows = computed(centre, row("E-main", 1300.0), row("E-it1", 600.0), row("E-it2", 400.0))
        assert one(rows, "pue")["unverified"] == ""
