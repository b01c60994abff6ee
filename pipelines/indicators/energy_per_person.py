"""Energy by person (人均综合能耗) of the facilities that register persons: kgce of the boundary / person."""

import polars as pl

from pipelines.indicators.energy_consumption import at_boundary
from pipelines.indicators.parts import EQUIVALENT, Basis, World, rows
from pipelines.runs import quotient


def energy_per_person(world: World, basis: Basis = EQUIVALENT) -> pl.DataFrame:
    """
    Compute the comprehensive energy consumption by energy-using person (用能人数, not staff alone). [kgce/person]

    Args:
        world: what there is.
        basis: electricity at its calorific equivalent (当量值) or its source equivalent (等价值).

    Returns:
        INDICATORS rows; numerator: energy of the period [kgce], denominator: persons. A year's figure is that of
        interval 12mo; shorter ones are not scaled up.

    References:
        Statistics of energy consumption of public institutions (公共机构能源资源消费统计制度).
    """
    persons = world.facts.select("facility", "persons").drop_nulls()
    folded = at_boundary(world, basis.column).join(persons, on="facility").with_columns(denominator="persons")
    value = quotient(pl.col("numerator"), pl.col("denominator"))
    return rows(world, folded, indicator=basis.code("energy_per_person"), unit=pl.lit("kgce/person"), value=value)
