"""Ratios of units: worked by hand, and never across dimensions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.carriers import CARRIERS, to_canonical
from ingest.units import UNITS, ratio

units = st.sampled_from(sorted(UNITS))


@pytest.mark.parametrize(
    ("found", "wanted", "expected"),
    [
        ("kWh", "kWh", 1.0),
        ("MWh", "kWh", 1000.0),
        ("Wh", "MWh", 1e-6),
        ("GWh", "kWh", 1e6),
        ("GJ", "MJ", 1000.0),
        ("kWh", "MJ", 3.6),
        ("MJ", "kWh", 0.2777777777777778),
        ("GJ", "kWh", 277.77777777777777),
        ("W", "kW", 0.001),
        ("L", "m3", 0.001),
        ("t", "kg", 1000.0),
    ],
)
def test_ratio(found: str, wanted: str, expected: float) -> None:
    assert ratio(found, wanted) == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize(
    ("found", "wanted"),
    [("kW", "kWh"), ("m3", "kWh"), ("kg", "m3"), ("m2", "m3"), ("pcs", "t"), ("kwh", "kWh"), ("", "kWh"), ("?", "?")],
)
def test_no_ratio_between_different_things_or_unknown_units(found: str, wanted: str) -> None:
    assert ratio(found, wanted) is None


@given(a=units, b=units, c=units)
def test_ratios_chain_and_turn_round(a: str, b: str, c: str) -> None:
    there, on, whole, back = ratio(a, b), ratio(b, c), ratio(a, c), ratio(b, a)
    assert (there is None) == (back is None) == (UNITS[a].dimension != UNITS[b].dimension)
    if there is not None and back is not None:
        assert there * back == pytest.approx(1.0, rel=1e-12)
    if there is not None and on is not None:
        assert whole == pytest.approx(there * on, rel=1e-12)


@pytest.mark.parametrize(
    ("carrier", "unit", "expected"),
    [
        ("electricity", "MWh", 1000.0),
        ("electricity", "kW", 1.0),
        ("electricity", "MW", 1000.0),
        ("heat", "GJ", 1000.0),
        ("heat", "kWh", 3.6),
        ("heat", "kW", 3.6),
        ("diesel", "t", 1000.0),
        ("natural_gas", "L", 0.001),
        ("water", "m3", 1.0),
        ("water", "L", 0.001),
        ("water", "kg", 0.001),
        ("natural_gas", "kWh", None),
        ("diesel", "L", None),
        ("electricity", "m3", None),
        ("electricity", "furlong", None),
    ],
)
def test_factor_to_the_canonical_unit(carrier: str, unit: str, expected: float | None) -> None:
    assert to_canonical(carrier, unit) == (None if expected is None else pytest.approx(expected, rel=1e-15))


@pytest.mark.parametrize("carrier", sorted(CARRIERS))
def test_every_carrier_is_measured_in_its_canonical_unit(carrier: str) -> None:
    assert to_canonical(carrier, CARRIERS[carrier].unit) == 1.0
