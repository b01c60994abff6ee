"""
Green power (绿电) and certificates (绿证) a facility registered, period by period: shown beside its carbon dioxide.

It is never netted against energy or location-based carbon dioxide. `co2_market` deducts it from what was bought.
"""

import polars as pl

from pipelines.indicators.parts import PART, World, fold, rows, total
from pipelines.runs import quotient


def green_power(world: World) -> pl.DataFrame:
    """
    Compute the green power of the facilities that register any. [kWh]

    Returns:
        INDICATORS rows; numerator: the same. What was bought for a longer period is split in proportion to time; the
        certificates stand in place of the meters. It rests on the registry alone, so it is covered whole.
    """
    sums = split(world).with_columns(
        scope=pl.lit(""),
        coverage=pl.lit(1.0),
        reason=pl.lit(""),
        versions=pl.lit([], pl.List(pl.String)),
        doubts=pl.lit([], pl.List(pl.String)),
    )
    names = world.green_power.sort("certificate").group_by("facility")
    folded = fold(world, total(sums)).join(names.agg(meters=pl.col("certificate").str.join(", ")), on="facility")
    return rows(world, folded, indicator="green_power", unit=pl.lit("kWh"), value=pl.col("numerator"))


def split(world: World) -> pl.DataFrame:
    """
    Split what was registered over the parts, in proportion to time; what overlaps in time adds up.

    Returns:
        facility, part, part_start, part_end, amount [kWh]: all parts of every facility that registers any.
    """
    inside = (pl.min_horizontal("end", "part_end") - pl.max_horizontal("start", "part_start")).clip(
        lower_bound=pl.duration()
    )
    share = quotient(inside.to_physical(), (pl.col("end") - pl.col("start")).to_physical())
    return (
        world.green_power.join(world.parts, how="cross")
        .group_by("facility", *PART, maintain_order=True)
        .agg(amount=(pl.col("kwh") * share).sum())
    )
