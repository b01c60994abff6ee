"""
Completeness of the online monitoring data (在线监测数据完整率): covered time of all meters / time they were valid.

It can always be assessed: where nothing came it is zero.
"""

import polars as pl

from pipelines.indicators import meters
from pipelines.indicators.parts import LENGTH, PART, SUBJECT, World, fold, rows
from pipelines.runs import quotient

_HOUR = pl.duration(hours=1)


def coverage(world: World) -> pl.DataFrame:
    """
    Compute the mean coverage over all meters of a facility. [1]

    Returns:
        INDICATORS rows; numerator: covered time of all meters [h], denominator: time they were valid in the period
        [h]. Not assessable only where no meter was valid.
    """
    folded = fold(world, _parts(world))
    value = quotient(pl.col("numerator"), pl.col("denominator"))
    names = meters.evidence(world.meters.filter(~pl.col("virtual")).with_columns(scope=pl.lit(""), sign=1))
    folded = folded.with_columns(coverage=value.fill_null(0.0)).join(names, on=SUBJECT, how="left")
    return rows(world, folded, indicator="coverage", unit=pl.lit("1"), value=value)


def _parts(world: World) -> pl.DataFrame:
    due = (
        world.meters.filter(~pl.col("virtual")).select("facility", "meter", "valid_from").join(world.parts, how="cross")
    )
    valid = (pl.col("part_end") - pl.max_horizontal("valid_from", "part_start")) / _HOUR
    energy = world.energy.select("facility", "meter", "coverage", "factor_version", part="interval", part_start="start")
    covered = (pl.col("coverage").fill_null(0.0) * (LENGTH / _HOUR)).clip(upper_bound=pl.col("valid"))
    sums = (
        due.with_columns(valid=valid)
        .filter(pl.col("valid") > 0)
        .join(energy, on=["facility", "meter", "part", "part_start"], how="left")
        .sort(*PART, "meter")
        .group_by("facility", *PART, maintain_order=True)
        .agg(
            numerator=covered.sum(),
            denominator=pl.col("valid").sum(),
            versions=pl.col("factor_version").drop_nulls().unique(),
            doubts=pl.lit([], pl.List(pl.String)),
        )
    )
    every = world.facts.select("facility", scope=pl.lit("")).join(world.parts, how="cross")
    return every.join(sums, on=["facility", *PART], how="left").with_columns(
        coverage=pl.lit(1.0),
        reason=pl.when(pl.col("denominator").is_null()).then(pl.lit("no meter is valid")).otherwise(pl.lit("")),
    )
