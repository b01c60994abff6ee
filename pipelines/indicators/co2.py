"""
Carbon dioxide of the energy a facility used: activity data x emission factor, over the same boundary as the energy.

Purchased electricity and heat count with the factor of the grid or the default of heat; what is exported is deducted.
Energy-consuming media and renewable generation cause no carbon dioxide on the site and count as zero. The grid factor
is that of the place (location based); green power is never netted here: `co2_market` stands beside it.
"""

from dataclasses import replace

import polars as pl

from pipelines.indicators.energy_consumption import KG_PER_T, at_boundary
from pipelines.indicators.parts import World, rows
from pipelines.runs import quotient


def co2(world: World) -> pl.DataFrame:
    """
    Compute the carbon dioxide of the energy every facility used. [t CO2]

    Returns:
        INDICATORS rows; numerator: the same in kg CO2. Not assessable where a meter of the boundary is missing or a
        carrier has no factor.

    References:
        GB/T 32150, General guideline of the greenhouse gas emissions accounting and reporting for industrial
        enterprises.
    """
    folded = at_boundary(replace(world, energy=caused(world)), "kg_co2")
    return rows(
        world, folded, indicator="co2", unit=pl.lit("t CO2"), value=quotient(pl.col("numerator"), pl.lit(KG_PER_T))
    )


def caused(world: World) -> pl.DataFrame:
    """Return the energy with the carbon dioxide it causes on the site: media and renewable generation cause none."""
    media = pl.col("kwh").is_null() & pl.col("kgce").is_not_null()
    renewable = world.meters.filter("renewable").select("facility", "meter", free=pl.lit(value=True))
    energy = world.energy.join(renewable, on=["facility", "meter"], how="left", maintain_order="left")
    free = media | (pl.col("free") & pl.col("quantity").is_not_null())
    return energy.with_columns(kg_co2=pl.when(free).then(0.0).otherwise("kg_co2")).drop("free")
