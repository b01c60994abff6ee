"""
Energy carriers (能源品种) and energy-consuming media (耗能工质): the codes a meter may name, and their canonical unit.

The canonical unit is the unit of the carrier's coal-equivalent factor (GB/T 2589) and of `energy.quantity`.
The factors themselves are dated data in `pipelines/factors`. Accuracy classes are those GB 17167-2006 table 4 wants
(RECALLED, unverified); they stand in where the registry names no class, and what rests on them says so.
"""

from dataclasses import dataclass

from ingest.units import ratio


@dataclass(frozen=True, slots=True)
class Carrier:
    """
    One carrier: canonical unit and its names in the two languages of the product.

    `accuracy` is the class its meters should have [%], `fuel` says whether a calorific value can be measured.
    """

    unit: str
    zh: str
    en: str
    accuracy: float
    fuel: bool = True


CARRIERS: dict[str, Carrier] = {
    "electricity": Carrier("kWh", "电力", "electricity", 2.0, fuel=False),
    "heat": Carrier("MJ", "热力", "heat", 2.5, fuel=False),
    "steam": Carrier("kg", "蒸汽", "steam", 2.5, fuel=False),
    "natural_gas": Carrier("m3", "天然气", "natural gas", 2.0),
    "lng": Carrier("kg", "液化天然气", "liquefied natural gas", 0.5),
    "lpg": Carrier("kg", "液化石油气", "liquefied petroleum gas", 0.5),
    "coke_oven_gas": Carrier("m3", "焦炉煤气", "coke-oven gas", 2.0),
    "blast_furnace_gas": Carrier("m3", "高炉煤气", "blast-furnace gas", 2.0),
    "converter_gas": Carrier("m3", "转炉煤气", "converter gas", 2.0),
    "raw_coal": Carrier("kg", "原煤", "raw coal", 0.5),
    "washed_coal": Carrier("kg", "洗精煤", "cleaned coal", 0.5),
    "coke": Carrier("kg", "焦炭", "coke", 0.5),
    "petcoke": Carrier("kg", "石油焦", "petroleum coke", 0.5),
    "crude_oil": Carrier("kg", "原油", "crude oil", 1.0),
    "fuel_oil": Carrier("kg", "燃料油", "fuel oil", 1.0),
    "petrol": Carrier("kg", "汽油", "petrol", 0.5),
    "kerosene": Carrier("kg", "煤油", "kerosene", 0.5),
    "diesel": Carrier("kg", "柴油", "diesel", 0.5),
    "methanol": Carrier("kg", "甲醇", "methanol", 0.5),
    "water": Carrier("t", "新水", "fresh water", 2.5, fuel=False),
    "compressed_air": Carrier("m3", "压缩空气", "compressed air", 2.0, fuel=False),
    "oxygen": Carrier("m3", "氧气", "oxygen", 2.0, fuel=False),
    "nitrogen": Carrier("m3", "氮气", "nitrogen", 2.0, fuel=False),
}

CANONICAL_UNITS = {code: carrier.unit for code, carrier in CARRIERS.items()}

# electricity by size of the user (types I to IV); the power a meter is rated for [kW] stands in for the transformer's
_CLASS_FROM_KW = ((2_000.0, 0.5), (315.0, 1.0))

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


def default_class(carrier: str, rated_kw: float | None) -> float:
    """Accuracy class that a meter of this carrier and size should have by GB 17167-2006 table 4 (RECALLED). [%]"""
    sizes = _CLASS_FROM_KW if carrier == "electricity" else ()
    return next((percent for least, percent in sizes if (rated_kw or 0.0) >= least), CARRIERS[carrier].accuracy)
