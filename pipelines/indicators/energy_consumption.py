"""
Comprehensive energy consumption (综合能耗) of a facility: what it used, of every carrier, in coal equivalent.

    E = sum of quantity x k over everything that crosses the boundary, less what is exported (GB/T 2589-2020 chapter 5)

Own generation is not added to what is bought, but for renewable generation, which nothing else counts.
Energy-consuming media (耗能工质) count where the boundary meters them.
"""

import polars as pl

from pipelines.indicators import meters
from pipelines.indicators.parts import EQUIVALENT, SUBJECT, Basis, World, amount, fold, rows, total
from pipelines.runs import quotient

KG_PER_T = 1000.0


def energy_consumption(world: World, basis: Basis = EQUIVALENT) -> pl.DataFrame:
    """
    Compute the comprehensive energy consumption of every facility. [tce]

    Args:
        world: what there is.
        basis: electricity at its calorific equivalent (当量值) or its source equivalent (等价值).

    Returns:
        INDICATORS rows; numerator: the same in kgce. Not assessable where a meter of the boundary is missing or a
        carrier has no factor.

    References:
        GB/T 2589-2020, General rules for calculation of the comprehensive energy consumption, chapter 5.
    """
    value = quotient(pl.col("numerator"), pl.lit(KG_PER_T))
    folded = at_boundary(world, basis.column)
    return rows(world, folded, indicator=basis.code("energy_consumption"), unit=pl.lit("tce"), value=value)


def at_boundary(world: World, column: str) -> pl.DataFrame:
    """Fold a column of ENERGY over the boundary of every facility: numerator, coverage, reason, versions, meters."""
    if column not in world.at_boundary:
        facilities = world.facts.select("facility", scope=pl.lit(""))
        absent = "no meter of role total without a parent is valid"
        folded = fold(world, total(amount(world, facilities, members=world.boundary, column=column, absent=absent)))
        world.at_boundary[column] = folded.join(meters.evidence(world.boundary), on=SUBJECT, how="left")
    return world.at_boundary[column]
