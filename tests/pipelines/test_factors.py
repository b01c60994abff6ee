"""The factor catalogue: whole, consistent, dated, and strict."""

from datetime import date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from ingest.carriers import CARRIERS
from ingest.errors import ConfigurationError
from pipelines.factors import catalogue as factors

FACTORS = factors.load()
WITHOUT_CO2 = {"methanol", "water", "compressed_air", "oxygen", "nitrogen"}
MEDIA = {"water", "compressed_air", "oxygen", "nitrogen"}


def of(meters: dict[str, object], day: date, own: factors.Factors = FACTORS) -> pl.DataFrame:
    """The factors that hold for carriers and divisions in the last minute of a day in Shanghai."""
    moment = datetime.combine(day, time(23, 59), ZoneInfo("Asia/Shanghai"))
    return own.of_meters(pl.DataFrame(meters).with_columns(timezone=pl.lit("Asia/Shanghai")), moment)


def at(carrier: str, division: str, day: date) -> dict[str, float | None]:
    return of({"carrier": [carrier], "division": [division]}, day).drop("factor_version").row(0, named=True)


def test_every_carrier_has_the_factors_it_can_have() -> None:
    rows = of({"carrier": list(CARRIERS), "division": "440781"}, date(2026, 3, 1))
    rows = rows.with_columns(carrier=pl.Series(list(CARRIERS)))
    assert rows.height == len(CARRIERS)
    assert rows["kgce_per_unit"].null_count() == 0
    assert set(rows.filter(pl.col("kwh_per_unit").is_null())["carrier"]) == MEDIA
    assert set(rows.filter(pl.col("kg_co2_per_unit").is_null())["carrier"]) == WITHOUT_CO2


def test_units_are_the_canonical_ones() -> None:
    assert all(row.unit == CARRIERS[row.carrier].unit for row in (*FACTORS.coal_equivalents, *FACTORS.emissions))


def test_coal_equivalents_agree_with_the_heat() -> None:
    """k = NCV / 29307.6 kJ; the tables are rounded, and from another calorie: within half a per cent."""
    for row in FACTORS.coal_equivalents:
        if row.ncv_kj is not None:
            assert row.kgce == pytest.approx(row.ncv_kj / 29307.6, rel=5e-3), row.carrier


@pytest.mark.parametrize(
    ("carrier", "kg_co2"),
    # the derived figures that stand beside the factors in their source, kg CO2 a m3 or kg
    [("natural_gas", 2.16), ("lpg", 3.10), ("diesel", 3.10), ("petrol", 2.93), ("fuel_oil", 3.18), ("raw_coal", 1.86)],
)
def test_carbon_dioxide_of_fuels(carrier: str, kg_co2: float) -> None:
    assert at(carrier, "440781", date(2026, 3, 1))["kg_co2_per_unit"] == pytest.approx(kg_co2, abs=0.0101)


def test_carbon_dioxide_by_carbon_content() -> None:
    # coke: 28.435 GJ/t x 0.02942 t C/GJ x 0.93 x 44/12 = 2.8527 t CO2/t
    assert at("coke", "440781", date(2026, 3, 1))["kg_co2_per_unit"] == pytest.approx(2.852662, rel=1e-6)


@pytest.mark.parametrize(
    ("division", "day", "kg_co2"),
    [
        ("440781", date(2024, 4, 11), None),
        ("440781", date(2024, 4, 12), 0.5568),  # no verified factor of Guangdong yet: the national one
        ("440781", date(2024, 12, 26), 0.4403),
        ("440781", date(2025, 12, 30), 0.4403),
        ("440781", date(2025, 12, 31), 0.4419),
        ("110000", date(2024, 12, 25), 0.5568),
        ("110000", date(2025, 1, 1), 0.5366),
        ("110000", date(2026, 1, 1), 0.5306),
    ],
)
def test_the_newest_published_grid_factor_of_the_region_holds(division: str, day: date, kg_co2: float | None) -> None:
    assert at("electricity", division, day) == {
        "kwh_per_unit": 1.0,
        "kgce_per_unit": 0.1229,
        "kg_co2_per_unit": kg_co2,
    }


def test_the_factor_of_the_region_goes_before_a_newer_one_of_the_country(tmp_path: Path) -> None:
    row = (
        '[[co2_published]]\ncarrier = "electricity"\nunit = "kWh"\nregion = "{}"\nkg_co2 = {}\nvalid_from = {}\n'
        'document = "d"\nsource = "s"\nconfidence = "V"\n'
    )
    rows = [("", 0.5, "2020-01-01"), ("44", 0.4, "2020-01-01"), ("4407", 0.3, "2020-01-01"), ("", 0.6, "2021-01-01")]
    (tmp_path / "a.toml").write_text("".join(row.format(*values) for values in rows), "utf-8")
    places = {"carrier": "electricity", "division": ["440781", "440100", "450000"]}
    held = of(places, date(2022, 1, 1), factors.load(folder=tmp_path))
    assert held["kg_co2_per_unit"].to_list() == [0.3, 0.4, 0.6]


def test_fresh_water_changed_with_the_edition() -> None:
    assert at("water", "440781", date(2021, 3, 31))["kgce_per_unit"] == 0.0857
    assert at("water", "440781", date(2021, 4, 1))["kgce_per_unit"] == 0.2571
    assert {date(2021, 4, 1), date(2024, 12, 26)} <= set(FACTORS.changes)


def test_unverified_factors_are_named() -> None:
    kgce, kg_co2 = FACTORS.unverified("kgce"), FACTORS.unverified("kg_co2")
    assert not {"electricity", "natural_gas", "diesel", "raw_coal", "heat"} & {*kgce, *kg_co2}
    assert (kgce["water"], kg_co2["coke"]) == ("RECALLED", "S")
    assert FACTORS.unverified("kwh") == {}


def test_the_operator_confirms_a_factor() -> None:
    assert "water" not in factors.load(["water"]).unverified("kgce")
    with pytest.raises(ConfigurationError, match="found 'factor:watr'; wanted factor: and one of electricity"):
        factors.load(["watr"])


def test_the_version_follows_the_content(tmp_path: Path) -> None:
    row = """
[[co2_published]]
carrier = "electricity"
unit = "kWh"
kg_co2 = 0.5
valid_from = 2020-01-01
document = "d"
source = "s"
confidence = "V"
"""
    (tmp_path / "a.toml").write_text(row, "utf-8")
    first = factors.load(folder=tmp_path).version
    assert first.startswith("2020-01-01-")
    assert factors.load(folder=tmp_path).version == first
    (tmp_path / "a.toml").write_text(row.replace("0.5", "0.6"), "utf-8")
    assert factors.load(folder=tmp_path).version != first


BAD = """
[[coal_equivalent]]
carrier = "electricity"
unit = "MWh"
kgce = 0.1229
valid_from = 2020-01-01
document = "d"
source = "s"
confidence = "V"

[[coal_equivalent]]
carrier = "coffee"
unit = "kg"
kgce = -1
valid_from = 2020-01-01
document = "d"
source = ""
confidence = "sure"
colour = "red"
"""


def test_all_problems_of_all_files_are_reported(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(BAD, "utf-8")
    (tmp_path / "b.toml").write_text("[[", "utf-8")
    (tmp_path / "c.toml").write_bytes(b"\xff")
    with pytest.raises(ConfigurationError) as refused:
        factors.load(folder=tmp_path)
    sentences = str(refused.value)
    assert len(refused.value.problems) == 7
    assert "unit kWh for electricity" in sentences
    for where in (
        "a.toml: coal_equivalent.1.kgce",
        "coal_equivalent.1.source",
        "coal_equivalent.1.confidence",
        "colour",
    ):
        assert where in sentences
    assert "b.toml" in sentences
    assert "c.toml" in sentences


def test_two_source_equivalents_of_one_limit_are_refused(tmp_path: Path) -> None:
    row = (
        '[[source_equivalent]]\ncarrier = "electricity"\nunit = "kWh"\nkgce = 0.3\nlimits = ["ETH-1"]\n'
        'valid_from = 2025-05-01\ndocument = "d"\nsource = "s"\nconfidence = "V"\n'
    )
    (tmp_path / "a.toml").write_text(row + row, "utf-8")
    with pytest.raises(ConfigurationError, match="source equivalent for ETH-1 from 2025-05-01: found 2 rows"):
        factors.load(folder=tmp_path)


def test_two_factors_from_one_day_are_refused(tmp_path: Path) -> None:
    row = (
        '[[co2_of_heat]]\ncarrier = "diesel"\nunit = "kg"\nncv_kj = 42652\nt_co2_per_tj = 72.59\n'
        'valid_from = 2020-01-01\ndocument = "d"\nsource = "s"\nconfidence = "V"\n'
    )
    (tmp_path / "a.toml").write_text(row + row, "utf-8")
    with pytest.raises(ConfigurationError, match="CO2 of diesel in region '' from 2020-01-01: found 2 rows"):
        factors.load(folder=tmp_path)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no file"):
        factors.load(folder=tmp_path)


def test_every_factor_says_until_when_it_holds() -> None:
    """On no day do two rows of a kind hold: each but the newest ends the day before the next begins."""
    grid = [row for row in FACTORS.emissions if (row.carrier, row.region) == ("electricity", "44")]
    assert [(row.valid_from, row.valid_to) for row in grid] == [
        (date(2024, 12, 26), date(2025, 12, 30)),
        (date(2025, 12, 31), None),
    ]
    water = [row for row in FACTORS.coal_equivalents if row.carrier == "water"]
    assert [row.valid_to for row in water] == [date(2021, 3, 31), None]


def test_a_factor_that_reaches_into_the_time_of_the_next_is_refused(tmp_path: Path) -> None:
    row = (
        '[[co2_remaining]]\ncarrier = "electricity"\nunit = "kWh"\nkg_co2 = 0.5\nvalid_from = {}\n{}'
        'document = "d"\nsource = "s"\nconfidence = "V"\n'
    )
    next_one = row.format("2025-01-01", "")
    (tmp_path / "a.toml").write_text(row.format("2024-01-01", "valid_to = 2024-12-30\n") + next_one, "utf-8")
    assert [found.valid_to for found in factors.load(folder=tmp_path).remaining] == [date(2024, 12, 30), None]
    (tmp_path / "a.toml").write_text(row.format("2024-01-01", "valid_to = 2025-01-01\n") + next_one, "utf-8")
    with pytest.raises(ConfigurationError, match=r"2024-01-01: valid_to: found 2025-01-01; wanted a day before 2025"):
        factors.load(folder=tmp_path)


@pytest.mark.parametrize(
    ("day", "kg_co2"),
    [
        (date(2024, 4, 11), None),
        (date(2024, 4, 12), 0.5942),
        (date(2024, 12, 26), 0.5856),
        (date(2025, 12, 30), 0.5856),
        (date(2025, 12, 31), 0.6096),
    ],
)
def test_the_remaining_grid_has_one_factor_for_the_country(day: date, kg_co2: float | None) -> None:
    places = pl.DataFrame({"division": ["440781", "110000"], "day": day})
    assert FACTORS.remaining_of_places(places)["remaining_kg_co2"].to_list() == [kg_co2] * 2


def test_days_asked_together_get_what_each_gets_alone() -> None:
    rows = (*FACTORS.source_equivalents, *FACTORS.remaining)
    edges = {day for row in rows for day in (row.valid_from, row.valid_to) if day is not None and day < date.max}
    days = {edge + timedelta(days=beside) for edge in edges for beside in (-1, 0, 1)}
    places = pl.DataFrame({"division": ["440781", "110000"], "limit": ["", ""]})
    places = places.join(pl.DataFrame({"day": sorted(days)}), how="cross")
    for ask in (FACTORS.source_of_places, FACTORS.remaining_of_places):
        together = ask(places)
        alone = pl.concat([ask(places[n]) for n in range(places.height)])
        assert together.equals(alone)
        assert together.height == places.height
