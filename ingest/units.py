"""
Units of measurement and the ratios between them: one base unit for each dimension.

A reading is normalised to the unit its meter is registered with; a ratio exists only inside one dimension, so a
reading in `m3` on a meter in `kWh` is refused and never converted by guess.
"""

from dataclasses import dataclass
from typing import Literal

Dimension = Literal["energy", "power", "volume", "mass", "area", "count"]


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit: its dimension and how many base units it is worth (base: kWh, kW, m3, kg, m2, 1)."""

    dimension: Dimension
    in_base: float


UNITS: dict[str, Unit] = {
    "Wh": Unit("energy", 0.001),
    "kWh": Unit("energy", 1.0),
    "MWh": Unit("energy", 1000.0),
    "GWh": Unit("energy", 1_000_000.0),
    "MJ": Unit("energy", 1 / 3.6),
    "GJ": Unit("energy", 1000 / 3.6),
    "W": Unit("power", 0.001),
    "kW": Unit("power", 1.0),
    "MW": Unit("power", 1000.0),
    "L": Unit("volume", 0.001),
    "m3": Unit("volume", 1.0),
    "kg": Unit("mass", 1.0),
    "t": Unit("mass", 1000.0),
    "m2": Unit("area", 1.0),
    "pcs": Unit("count", 1.0),
}


def ratio(found: str, wanted: str) -> float | None:
    """
    Factor that turns a value in `found` into a value in `wanted`.

    Returns:
        The factor, or None where the two units measure different things or one of them is not known.
    """
    if found == wanted and found in UNITS:
        return 1.0
    source, target = UNITS.get(found), UNITS.get(wanted)
    if source is None or target is None or source.dimension != target.dimension:
        return None
    return source.in_base / target.in_base
