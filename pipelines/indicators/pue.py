"""
Power usage effectiveness (电能利用效率) of data centres: PUE = E_DC / E_IT over the same time, electricity only.

A year is the ratio of its sums, never the mean of shorter ratios (ISO/IEC 30134-2: the reporting period is twelve
continuous months; a shorter one is an interim value, iPUE).
"""

import polars as pl

from pipelines.indicators import meters
from pipelines.indicators.parts import World, amount, fold, ratio, rows
from pipelines.runs import quotient

# below 1 by less than this is the rounding of sums, not a metering error
_NOISE = 1e-9


def pue(world: World) -> pl.DataFrame:
    """
    Compute PUE of every data centre.

    Returns:
        INDICATORS rows; numerator: electricity of the boundary meters less exports [kWh], denominator: electricity of
        the IT meters [kWh]. Not assessable where a meter of either side is missing, where the IT energy is zero, and
        where the ratio is below 1, which the definition rules out.

    References:
        ISO/IEC 30134-2, Key performance indicators, Power usage effectiveness; GB 40879-2021.
    """
    centres = world.facts.filter(pl.col("kind") == "data_centre").select("facility", scope=pl.lit(""))
    electric = world.meters.filter(pl.col("carrier") == "electricity")
    whole, computing = meters.boundary(electric), meters.of_role(electric, "it")
    above = amount(world, centres, members=whole, column="kwh", absent="no electricity meter of role total is valid")
    below = amount(world, centres, members=computing, column="kwh", absent="no electricity meter of role it is valid")
    names = meters.over(centres, whole, computing)
    folded = fold(world, ratio(above, below)).join(names, on=["facility", "scope"], how="left")
    value = quotient(pl.col("numerator"), pl.col("denominator"))
    return rows(
        world,
        folded,
        indicator="pue",
        unit=pl.lit("1"),
        value=value,
        refusals=[
            (
                pl.col("denominator") <= 0,
                pl.format("IT energy is {} kWh, wanted above 0: check {}", "denominator", "meters"),
            ),
            (
                value < 1 - _NOISE,
                pl.format("PUE {} is below 1, which its definition rules out: check {}", value.round(4), "meters"),
            ),
        ],
    )
