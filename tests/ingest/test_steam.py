"""Heat of steam against the verification tables of IAPWS and the steam tables."""

import math

import pytest

from ingest import steam


def test_the_library_gives_the_verification_values_of_the_standard() -> None:
    # IAPWS R7-97(2012): table 36, boiling at 1 MPa; table 15, region 2 at 700 K and 30 MPa, less water at 20 degrees C
    assert steam.saturation(1.0) == pytest.approx(453.035632 - 273.15, abs=1e-3)
    assert steam.heat(30.0, 700.0 - 273.15) == pytest.approx(2631.49474 - 84.01, abs=0.1)


@pytest.mark.parametrize(
    ("mpa", "celsius", "kj"),
    # enthalpy of the steam tables less 84.0 kJ/kg of water at 20 degrees C
    [(1.0, None, 2777.1 - 84.0), (1.0, 250.0, 2943.2 - 84.0), (3.0, 400.0, 3231.7 - 84.0)],
)
def test_heat_above_feed_water_at_20_degrees(mpa: float, celsius: float | None, kj: float) -> None:
    assert steam.heat(mpa, celsius) == pytest.approx(kj, abs=0.2)


def test_warmer_feed_water_leaves_less_heat_and_hot_condensate_counts_at_its_boiling_point() -> None:
    # water of 104 degrees C at its own pressure: 435.9 kJ/kg
    assert steam.heat(1.0, None, 104.0) == pytest.approx(2777.1 - 435.9, abs=0.3)


def test_at_the_boiling_point_it_is_dry_steam() -> None:
    assert steam.heat(1.0, steam.saturation(1.0)) == pytest.approx(steam.heat(1.0, None), abs=0.1)


def test_above_the_critical_pressure_nothing_boils() -> None:
    assert steam.saturation(25.0) == -math.inf
