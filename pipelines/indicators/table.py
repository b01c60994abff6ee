"""
The one list of indicators (指标), and the function that computes them all.

    ENERGY (1d, 1mo), ACTIVITY, the registry, wanted periods -> compute() -> INDICATORS rows
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from zoneinfo import ZoneInfo

import polars as pl

from ingest.model import Period, Text
from ingest.registry import Registry
from ingest.schema import ACTIVITY
from ingest.schema import INDICATORS as ROWS
from pipelines.factors.catalogue import Factors
from pipelines.indicators import meters
from pipelines.indicators.co2 import co2
from pipelines.indicators.co2_market import co2_market
from pipelines.indicators.coverage import coverage
from pipelines.indicators.energy_consumption import energy_consumption
from pipelines.indicators.energy_per_area import energy_per_area
from pipelines.indicators.energy_per_person import energy_per_person
from pipelines.indicators.green_power import green_power
from pipelines.indicators.intensity import intensity
from pipelines.indicators.parts import SOURCE_ELECTRICITY, World, wanted_parts
from pipelines.indicators.peak_demand import of_days, peak_demand
from pipelines.indicators.pue import pue


@dataclass(frozen=True, slots=True)
class Indicator:
    """One indicator: code, title, unit of its values, and the function that computes it."""

    code: str
    title: Text
    unit: str
    function: Callable[[World], pl.DataFrame]


INDICATORS: dict[str, Indicator] = {
    indicator.code: indicator
    for indicator in (
        Indicator("pue", Text(zh="电能利用效率(PUE)", en="Power usage effectiveness (PUE)"), "1", pue),
        Indicator(
            "intensity",
            Text(zh="单位产品综合能耗", en="Comprehensive energy consumption per unit of product"),
            "kgce/unit of the product",
            intensity,
        ),
        Indicator("coverage", Text(zh="在线监测数据完整率", en="Completeness of the monitoring data"), "1", coverage),
        Indicator(
            "energy_consumption",
            Text(zh="综合能耗", en="Comprehensive energy consumption"),
            "tce",
            energy_consumption,
        ),
        Indicator("co2", Text(zh="二氧化碳排放量", en="Carbon dioxide emissions"), "t CO2", co2),
        Indicator(
            "co2_market",
            Text(zh="二氧化碳排放量(基于市场)", en="Carbon dioxide emissions, market based"),
            "t CO2",
            co2_market,
        ),
        Indicator(
            "energy_per_area", Text(zh="单位建筑面积能耗", en="Energy per floor area"), "kgce/m2", energy_per_area
        ),
        Indicator(
            "energy_per_person", Text(zh="人均综合能耗", en="Energy per person"), "kgce/person", energy_per_person
        ),
        *(
            Indicator(
                SOURCE_ELECTRICITY.code(code),
                Text(zh=f"{zh}(电力等价值)", en=f"{en}, electricity at its source equivalent"),
                unit,
                partial(function, basis=SOURCE_ELECTRICITY),
            )
            for code, zh, en, unit, function in (
                ("intensity", "单位产品综合能耗", "Energy per unit of product", "kgce/unit of the product", intensity),
                ("energy_consumption", "综合能耗", "Comprehensive energy consumption", "tce", energy_consumption),
                ("energy_per_area", "单位建筑面积能耗", "Energy per floor area", "kgce/m2", energy_per_area),
                ("energy_per_person", "人均综合能耗", "Energy per person", "kgce/person", energy_per_person),
            )
        ),
        Indicator("peak_demand", Text(zh="最大需量", en="Maximum demand"), "kW", peak_demand),
        Indicator("green_power", Text(zh="绿电、绿证电量", en="Green power and certificates"), "kWh", green_power),
    )
}


def compute(
    energy: pl.DataFrame,
    registry: Registry,
    activity: pl.DataFrame,
    asked: Mapping[str, Sequence[Period]],
    *,
    factors: Factors,
    peaks: pl.DataFrame,
) -> pl.DataFrame:
    """
    Compute all indicators.

    Args:
        energy: ENERGY rows of interval 1d and 1mo over the periods asked for; 12mo is made of the 1mo rows.
        registry: the facilities, all of one zone.
        activity: ACTIVITY rows that touch the periods.
        asked: whole local periods by interval code: 1d, 1mo, 12mo.
        factors: the factor catalogue; names the version where no energy row does, and what is not verified.
        peaks: what was found of peak demand: 1d over the months asked for, 1mo over the twelve months.

    Returns:
        INDICATORS rows, sorted by key. Every facility (and product) an indicator is of has a row for every period; the
        days of peak demand are those of `daily_peaks`.
    """
    kept = energy.filter(pl.col("interval").is_in(["1d", "1mo"]))
    world = _world(kept, registry, activity, asked, factors=factors, peaks=peaks)
    return pl.concat(indicator.function(world) for indicator in INDICATORS.values()).sort(ROWS.key)


def daily_peaks(slots: pl.DataFrame, registry: Registry, days: Sequence[Period], *, factors: Factors) -> pl.DataFrame:
    """
    Compute the peak demand of days, which needs their slots.

    Args:
        slots: ENERGY rows of interval 15m over the days.
        registry: the facilities, all of one zone.
        days: whole local days.
        factors: the factor catalogue, which the rows name.

    Returns:
        INDICATORS rows, sorted by key.
    """
    nothing, peaks = ACTIVITY.empty(), ROWS.empty()
    return of_days(_world(slots, registry, nothing, {"1d": days}, factors=factors, peaks=peaks)).sort(ROWS.key)


def _world(
    energy: pl.DataFrame,
    registry: Registry,
    activity: pl.DataFrame,
    asked: Mapping[str, Sequence[Period]],
    *,
    factors: Factors,
    peaks: pl.DataFrame,
) -> World:
    (zone,) = registry.facts["timezone"].unique()
    return World(
        energy=energy,
        meters=registry.tree,
        boundary=meters.boundary(registry.tree),
        products=registry.products,
        facts=registry.facts,
        activity=activity,
        wanted=wanted_parts(asked, ZoneInfo(zone)),
        factors=factors,
        source_equivalents=registry.source_equivalents,
        green_power=registry.green_power,
        peaks=peaks,
    )
