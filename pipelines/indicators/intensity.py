"""
Unit-product comprehensive energy consumption (单位产品综合能耗): energy of a product / output of the product.

    e_j = E_j / P_j (GB/T 2589-2020 chapter 5); the limit standards of the product say what belongs to E_j

The energy is that of the meters whose scope is the product; where there is none and the facility makes one product
only, it is that of the facility's boundary.
"""

import polars as pl

from pipelines.accounting.registers import RATIOS
from pipelines.indicators import meters
from pipelines.indicators.parts import (
    EQUIVALENT,
    LENGTH,
    PART,
    SOURCE_ELECTRICITY,
    SUBJECT,
    Basis,
    World,
    amount,
    fold,
    ratio,
    rows,
)
from pipelines.runs import quotient

CODE = "intensity"

_NONE, _TWICE = "no output of {} was reported", "reported outputs of {} overlap in time"


def intensity(world: World, basis: Basis = EQUIVALENT) -> pl.DataFrame:
    """
    Compute the energy of every product by its output. [kgce/unit of the product]

    Args:
        world: what there is.
        basis: electricity at its calorific equivalent (当量值), of every product; or at its source equivalent (等价值),
            of the products whose limit standard sets one (GB 30251).

    Returns:
        INDICATORS rows with the product as scope; numerator: energy [kgce], denominator: output. An output whose
        period reaches over a part is split in proportion to time; coverage is the weaker of the energy's and the share
        of time with reported output. Not assessable without output, without reported output or without energy.

    References:
        GB/T 2589-2020, chapter 5; the unit-product limit standards (单位产品能源消耗限额).
    """
    products = world.products.select("facility", "unit", "limit", scope="product")
    if basis is SOURCE_ELECTRICITY:
        products = products.filter(pl.col("limit").is_in(world.factors.source_limits))
    members = _members(world, products)
    absent = "no meter serves the product alone, and it is not the only product of a metered boundary"
    energy = amount(world, products, members=members, column=basis.column, absent=absent)
    named = products.join(meters.evidence(members), on=SUBJECT, how="left").with_columns(
        meters=pl.col("meters").fill_null("none") + " / " + pl.col("scope")
    )
    folded = fold(world, ratio(energy, output(world.activity, products, world.parts))).join(named, on=SUBJECT)
    return rows(
        world,
        folded,
        indicator=basis.code(CODE),
        unit="kgce/" + pl.col("unit"),
        value=quotient(pl.col("numerator"), pl.col("denominator")),
        refusals=[(pl.col("denominator") <= 0, pl.format("the output of {} is {}", "scope", "denominator"))],
    )


def _members(world: World, products: pl.DataFrame) -> pl.DataFrame:
    serving = meters.of_scope(world.meters).join(products, on=SUBJECT, how="semi")
    only = products.filter(pl.len().over("facility") == 1).join(serving, on=SUBJECT, how="anti")
    whole = world.boundary.drop("scope").join(only.select(SUBJECT), on="facility")
    return pl.concat([serving, whole.select(serving.columns)])


def output(activity: pl.DataFrame, products: pl.DataFrame, parts: pl.DataFrame) -> pl.DataFrame:
    """
    Add up the output of each product in each part.

    Args:
        activity: ACTIVITY rows, all that touch the parts, and all that touch these.
        products: facility, scope (the product), unit.
        parts: part, part_start, part_end; those of one kind do not overlap.

    Returns:
        As `amount`: facility, scope, the part, amount [unit of the product], coverage, reason, versions, doubts.
    """
    reported = (
        activity.rename({"product": "scope", "unit": "found"})
        .join(products.rename({"unit": "wanted"}), on=SUBJECT)
        .join(RATIOS.rename({"unit": "found"}), on=["found", "wanted"])
        .filter(pl.col("end") > pl.col("start"), pl.col("quantity").is_finite())
        .sort(*SUBJECT, "start")
        .with_columns(twice=pl.col("end").cum_max().shift().over(SUBJECT) > pl.col("start"))
    )
    inside = pl.min_horizontal("end", "part_end") - pl.max_horizontal("start", "part_start")
    share = quotient(inside.to_physical(), (pl.col("end") - pl.col("start")).to_physical())
    sums = (
        _placed(reported, parts)
        .group_by(*SUBJECT, *PART, maintain_order=True)
        .agg(
            amount=(pl.col("quantity") * pl.col("ratio") * share).sum(),
            coverage=(inside.sum() / LENGTH.first()).clip(0, 1),
            twice=pl.col("twice").any(),
        )
    )
    every = products.select(SUBJECT).join(parts, how="cross")
    return every.join(sums, on=[*SUBJECT, *PART], how="left").with_columns(
        pl.col("coverage").fill_null(0.0),
        reason=pl.when(pl.col("amount").is_null())
        .then(pl.format(_NONE, "scope"))
        .when("twice")
        .then(pl.format(_TWICE, "scope"))
        .otherwise(pl.lit("")),
        versions=pl.lit([], pl.List(pl.String)),
        doubts=pl.lit([], pl.List(pl.String)),
    )


def _placed(reported: pl.DataFrame, parts: pl.DataFrame) -> pl.DataFrame:
    """One row for each reported output and part that overlap; parts of one kind follow each other without overlap."""
    placed = [reported.clear().hstack(parts.clear())]
    for _, own in parts.group_by("part", maintain_order=True):
        first = own["part_end"].search_sorted(reported["start"], side="right").cast(pl.Int64)
        behind = own["part_start"].search_sorted(reported["end"], side="left").cast(pl.Int64)
        rows = reported.with_columns(position=pl.int_ranges(first, behind)).explode("position").drop_nulls("position")
        placed.append(rows.drop("position").hstack(own[rows["position"]]))
    return pl.concat(placed)


def outdated(stored: pl.DataFrame, activity: pl.DataFrame, products: pl.DataFrame) -> pl.DataFrame:
    """
    Find the days whose stored intensity rests on other outputs than those reported by now.

    An output that was corrected left no trace of the time it reached over before, but for the days it was counted in.

    Args:
        stored: INDICATORS rows of intensity and 1d, of products with `products`.
        activity: ACTIVITY rows, all that touch the days of these rows, and all that touch these.
        products: facility, scope (the product), unit.

    Returns:
        facility, start, end (of the day).
    """
    days = stored.select(part="interval", part_start="start", part_end="end").unique().sort("part_start")
    now = output(activity, products, days).select(*SUBJECT, "amount", start="part_start", told="reason")
    said = [pl.col("reason").str.contains(pl.format(text, "scope"), literal=True) for text in (_NONE, _TWICE)]
    was = pl.when(said[0]).then(1).when(said[1]).then(2).otherwise(0)
    is_now = pl.when(pl.col("told") == "").then(0).when(pl.col("amount").is_null()).then(1).otherwise(2)
    # where energy is missing too, nothing of the row rests on how much was made
    other = (pl.col("denominator") != pl.col("amount")).fill_null(value=False)
    found = stored.join(now, on=[*SUBJECT, "start"]).filter((was != is_now) | other)
    return found.select("facility", "start", "end").unique().sort("facility", "start")
