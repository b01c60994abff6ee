"""Energy by floor area (单位建筑面积能耗) of the facilities that register one: kgce of the boundary / m2."""

import polars as pl

from pipelines.indicators.energy_consumption import at_boundary
from pipelines.indicators.parts import EQUIVALENT, Basis, World, rows
from pipelines.runs import quotient


def energy_per_area(world: World, basis: Basis = EQUIVALENT) -> pl.DataFrame:
    """
    Compute the comprehensive energy consumption by floor area. [kgce/m2]

    Args:
        world: what there is.
        basis: electricity at its calorific equivalent (当量值) or its source equivalent (等价值).

    Returns:
        INDICATORS rows; numerator: energy of the period [kgce], denominator: floor area [m2]. A year's figure is that
        of interval 12mo; shorter ones are not scaled up.

    References:
        Statistics of energy consumption of public institutions (公共机构能源资源消费统计制度).
    """
    areas = world.facts.select("facility", area="floor_area_m2").drop_nulls()
    folded = at_boundary(world, basis.column).join(areas, on="facility").with_columns(denominator="area")
    value = quotient(pl.col("numerator"), pl.col("denominator"))
    return rows(world, folded, indicator=basis.code("energy_per_area"), unit=pl.lit("kgce/m2"), value=value)
