"""
Carbon dioxide by what a facility bought (market based, 基于市场), beside the location-based `co2`.

    other carriers as in `co2` + (electricity bought - green power and certificates) x factor of the remaining grid

The remaining grid is that without the non-fossil power that is traded on the market: who bought of that counts it as
zero, so who did not must not count it once more. Green power is deducted up to what was bought in each part of a period
(a day, a month, each month of twelve) and carried over to no other; what was deducted is named beside the meters.
"""

from dataclasses import replace

import polars as pl

from pipelines.factors.catalogue import MARKET
from pipelines.indicators import meters
from pipelines.indicators.co2 import caused
from pipelines.indicators.energy_consumption import KG_PER_T
from pipelines.indicators.green_power import split
from pipelines.indicators.parts import PART, SUBJECT, World, amount, fold, rows, total
from pipelines.runs import quotient

_ABSENT = "no meter of role total without a parent is valid"
_METER = ["facility", "meter"]


def co2_market(world: World) -> pl.DataFrame:
    """
    Compute the market-based carbon dioxide of the energy every facility used. [t CO2]

    Returns:
        INDICATORS rows; numerator: the same in kg CO2; `meters` ends with the electricity deducted and its
        certificates, where there are any. Not assessable where a meter of the boundary is missing or a carrier has no
        factor, electricity none of the remaining grid.

    References:
        Announcements of MEE and NBS: 全国电力平均二氧化碳排放因子(不包括市场化交易的非化石能源电量).
    """
    factors = _factors(world)
    bought = world.meters.filter(pl.col("carrier") == "electricity", ~pl.col("renewable"))
    facilities = world.facts.select("facility", scope=pl.lit(""))
    members = world.boundary
    valued = replace(world, energy=_valued(world, bought, factors))
    whole = amount(valued, facilities, members=members, column=MARKET, absent=_ABSENT)
    electric = members.join(bought.select(_METER), on=_METER, how="semi")
    purchased = amount(world, facilities, members=electric, column="kwh", absent="").select(
        *SUBJECT, *PART, kwh="amount"
    )
    deducted = pl.min_horizontal(pl.col("green", "kwh").fill_null(0.0)).clip(lower_bound=0.0)
    parts = (
        total(whole)
        .join(purchased, on=[*SUBJECT, *PART], how="left")
        .join(split(world).rename({"amount": "green"}), on=["facility", *PART], how="left")
        .join(factors, on=["facility", *PART], how="left")
        # what is deducted is added up like a denominator, over the same parts
        .with_columns(denominator=deducted)
        .with_columns(numerator=pl.col("numerator") - pl.col("denominator") * pl.col("factor").fill_null(0.0))
    )
    folded = fold(world, parts).join(meters.evidence(members), on=SUBJECT, how="left")
    named = _named(world, folded).with_columns(denominator=pl.lit(None, pl.Float64))
    return rows(
        world,
        named,
        indicator="co2_market",
        unit=pl.lit("t CO2"),
        value=quotient(pl.col("numerator"), pl.lit(KG_PER_T)),
    )


def _factors(world: World) -> pl.DataFrame:
    """
    Factor of the remaining grid for each facility and part: the mean over its days, for green power knows no day.

    Returns:
        facility, part, part_start, part_end, factor [kg CO2/kWh] (null where a day has none), named (its version).
    """
    zone = world.facts["timezone"][0]
    first, end = (pl.col(name).dt.convert_time_zone(zone).dt.date() for name in ("part_start", "part_end"))
    days = world.parts.with_columns(day=pl.date_ranges(first, end, closed="left")).explode("day")
    places = world.facts.select("division").unique(maintain_order=True).join(days, how="cross")
    factor = pl.col("remaining_kg_co2")
    means = (
        world.factors.remaining_of_places(places)
        .group_by("division", *PART, maintain_order=True)
        .agg(
            factor=pl.when(factor.null_count() == 0).then(factor.mean()),
            named=pl.lit("remaining=") + factor.unique(maintain_order=True).cast(pl.String).str.join("/") + "kgCO2/kWh",
        )
    )
    return world.facts.select("facility", "division").join(means, on="division").drop("division")


def _valued(world: World, bought: pl.DataFrame, factors: pl.DataFrame) -> pl.DataFrame:
    """Energy with its market-based carbon dioxide before any deduction; electricity names its factor."""
    own = factors.select("facility", "factor", "named", interval="part", start="part_start")
    electric = pl.col("bought").is_not_null()
    return (
        caused(world)
        .join(bought.select(*_METER, bought=pl.lit(value=True)), on=_METER, how="left", maintain_order="left")
        .join(own, on=["facility", "interval", "start"], how="left", maintain_order="left")
        .with_columns(
            pl.when(electric).then(pl.col("kwh") * pl.col("factor")).otherwise("kg_co2").alias(MARKET),
            factor_version=pl.when(electric, pl.col("factor").is_not_null())
            .then(pl.col("factor_version") + "+" + pl.col("named"))
            .otherwise("factor_version"),
        )
    )


def _named(world: World, folded: pl.DataFrame) -> pl.DataFrame:
    """Add to the meters what was deducted, and the certificates whose period meets that of the figure."""
    spans = ["facility", "start", "end"]
    certificates = (
        world.green_power.rename({"start": "since", "end": "until"})
        .join(folded.select(spans).unique(), on="facility")
        .filter(pl.col("since") < pl.col("end"), pl.col("until") > pl.col("start"))
        .sort("certificate")
        .group_by(spans)
        .agg(certificates=pl.col("certificate").str.join(", "))
    )
    less = pl.format("{}; less {} kWh: {}", "meters", pl.col("denominator").round(3), "certificates")
    return folded.join(certificates, on=spans, how="left", maintain_order="left").with_columns(
        meters=pl.when(pl.col("denominator") > 0).then(less).otherwise("meters")
    )
