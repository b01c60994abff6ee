"""
Energy carriers (能源品种) and energy-consuming media (耗能工质): the codes a meter may name, and their canonical unit.

The canonical unit is the unit of the carrier's coal-equivalent factor (GB/T 2589) and of `energy.quantity`.
The factors themselves are dated data in `pipelines/factors`.
"""

from dataclasses import dataclass

from ingest.units import ratio


@dataclass(frozen=True, slots=True)
class Carrier:
    """One carrier: canonical unit and its names in the two languages of the product."""

    unit: str
    zh: str
    en: str


CARRIERS: dict[str, Carrier] = {
    "electricity": Carrier("kWh", "电力", "electricity"),
    "heat": Carrier("MJ", "热力", "heat"),
    "steam": Carrier("kg", "蒸汽", "steam"),
    "natural_gas": Carrier("m3", "天然气", "natural gas"),
    "lng": Carrier("kg", "液化天然气", "liquefied natural gas"),
    "lpg": Carrier("kg", "液化石油气", "liquefied petroleum gas"),
    "coke_oven_gas": Carrier("m3", "焦炉煤气", "coke-oven gas"),
    "blast_furnace_gas": Carrier("m3", "高炉煤气", "blast-furnace gas"),
    "converter_gas": Carrier("m3", "转炉煤气", "converter gas"),
    "raw_coal": Carrier("kg", "原煤", "raw coal"),
    "washed_coal": Carrier("kg", "洗精煤", "cleaned coal"),
    "coke": Carrier("kg", "焦炭", "coke"),
    "petcoke": Carrier("kg", "石油焦", "petroleum coke"),
    "crude_oil": Carrier("kg", "原油", "crude oil"),
    "fuel_oil": Carrier("kg", "燃料油", "fuel oil"),
    "petrol": Carrier("kg", "汽油", "petrol"),
    "kerosene": Carrier("kg", "煤油", "kerosene"),
    "diesel": Carrier("kg", "柴油", "diesel"),
    "methanol": Carrier("kg", "甲醇", "methanol"),
    "water": Carrier("t", "新水", "fresh water"),
    "compressed_air": Carrier("m3", "压缩空气", "compressed air"),
    "oxygen": Carrier("m3", "氧气", "oxygen"),
    "nitrogen": Carrier("m3", "氮气", "nitrogen"),
}

# one cubic metre of cold water is counted as one tonne, as every water bill does
_WATER_TONNES_PER_M3 = 1.0


def to_canonical(carrier: str, unit: str) -> float | None:
    """
    Factor from a meter's unit to the carrier's canonical unit; a power unit counts as that power over one hour.

    Returns:
        The factor, or None where the unit cannot measure this carrier.
    """
    wanted = CARRIERS[carrier].unit
    if carrier == "water" and (to_m3 := ratio(unit, "m3")) is not None:
        return to_m3 * _WATER_TONNES_PER_M3
    per_hour = {"W": "Wh", "kW": "kWh", "MW": "MWh"}.get(unit, unit)
    return ratio(per_hour, wanted)
