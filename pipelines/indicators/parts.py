"""
From energy rows to indicator rows: what all indicators share.

    wanted periods -> parts (a day, a month, each of twelve months) -> amount of some meters in each part
        -> total or ratio -> fold: sums over the parts that can be assessed -> INDICATORS rows

A part that lacks a meter or an output is left out of both sides of a ratio and counts as not covered, so that numerator
and denominator always speak of the same time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from zoneinfo import ZoneInfo

import polars as pl

from ingest.model import Period
from ingest.schema import INDICATORS, TIME
from pipelines import periods
from pipelines.factors.catalogue import MARKET, SOURCE, Factors
from pipelines.runs import quotient

_UNVALUED = {
    SOURCE: "no source equivalent (等价值) is known for the carrier of ",
    MARKET: "no factor, of electricity none of the remaining grid, holds for the carrier of ",
}

SUBJECT = ["facility", "scope"]
PART = ["part", "part_start", "part_end"]
LENGTH = pl.col("part_end") - pl.col("part_start")

_PERIOD = ["interval", "start", "end"]


@dataclass(frozen=True, slots=True)
class Basis:
    """How electricity counts in coal equivalent: the column to add up, and what is added to an indicator's code."""

    column: str
    suffix: str

    def code(self, indicator: str) -> str:
        """Code of an indicator on this basis."""
        return indicator + self.suffix


EQUIVALENT = Basis("kgce", "")
SOURCE_ELECTRICITY = Basis(SOURCE, "_source_electricity")


@dataclass(frozen=True)
class World:
    """
    What the indicators of the facilities of one zone stand on.

    `energy` are ENERGY rows of 1d and 1mo, `activity` ACTIVITY rows, `peaks` INDICATORS rows of peak demand by day and
    month, `wanted` is as `wanted_parts` returns it, `factors` is the factor catalogue, `meters` is `Registry.tree`,
    `boundary` its meters on the boundary; the rest are the frames of the registry.
    """

    energy: pl.DataFrame
    meters: pl.DataFrame
    boundary: pl.DataFrame
    products: pl.DataFrame
    facts: pl.DataFrame
    activity: pl.DataFrame
    wanted: pl.DataFrame
    factors: Factors
    source_equivalents: pl.DataFrame
    green_power: pl.DataFrame
    peaks: pl.DataFrame

    @cached_property
    def parts(self) -> pl.DataFrame:
        """The days and months the wanted periods are made of: part (1d or 1mo), part_start, part_end."""
        return self.wanted.select(PART).unique().sort(PART)

    @cached_property
    def metered_since(self) -> pl.DataFrame:
        """Facility, since (UTC) and since_day (local date) of the first valid meter."""
        zone = self.facts["timezone"][0]
        since = self.meters.group_by("facility").agg(since=pl.min("valid_from"))
        return since.with_columns(since_day=pl.col("since").dt.convert_time_zone(zone).dt.date())

    @cached_property
    def at_boundary(self) -> dict[str, pl.DataFrame]:
        """What was folded over the boundary already, by column."""
        return {}


def wanted_parts(asked: Mapping[str, Sequence[Period]], zone: ZoneInfo) -> pl.DataFrame:
    """Return interval, start, end, part, part_start, part_end: a 12mo period has its months as parts."""
    rows = []
    for interval, spans in asked.items():
        part = "1mo" if interval == "12mo" else interval
        for span in spans:
            parts = periods.months(span, zone) if interval == "12mo" else [span]
            rows += [(interval, span.start, span.end, part, own.start, own.end) for own in parts]
    schema = {name: pl.String() if name in ("interval", "part") else TIME for name in (*_PERIOD, *PART)}
    return pl.DataFrame(rows, schema=schema, orient="row").unique(maintain_order=True)


def amount(world: World, subjects: pl.DataFrame, *, members: pl.DataFrame, column: str, absent: str) -> pl.DataFrame:
    """
    Add up what some meters measured in each part.

    Args:
        world: what there is.
        subjects: facility, scope; limit too where the column is SOURCE and the subject a product.
        members: facility, scope, meter, sign (1 or -1).
        column: the column of ENERGY to add up, or SOURCE: kgce with electricity at its source equivalent (等价值).
        absent: what to say of a subject without a meter that is valid in the part.

    Returns:
        One row a subject and part: amount (null where a meter has none), coverage (that of the weakest meter over the
        time it was valid, times the share of the part in which any was), reason (empty, or why there is no amount),
        versions (list, of the factors), doubts (list, of the carriers whose factor is not verified).
    """
    energy = world.energy.select(
        *("facility", "meter", "quantity", "coverage", "factor_version"),
        "kwh",
        value=pl.col("kgce" if column == SOURCE else column),
        part="interval",
        part_start="start",
    )
    doubts = {carrier: f"{carrier} ({sure})" for carrier, sure in world.factors.unverified(column).items()}
    known = world.meters.select(
        *("facility", "meter", "carrier", "valid_from"),
        doubt=pl.col("carrier").replace_strict(doubts, default=None, return_dtype=pl.String),
    )
    due = members.join(known, on=["facility", "meter"])
    due = due.join(world.parts, how="cross").filter(pl.col("valid_from") < pl.col("part_end"))
    found = due.join(energy, on=["facility", "meter", "part", "part_start"], how="left").sort(*PART, "meter")
    if column == SOURCE:
        found = _at_source(world, found, subjects)
    valid = quotient(
        (pl.col("part_end") - pl.max_horizontal("valid_from", "part_start")).to_physical(), LENGTH.to_physical()
    )
    silent = pl.col("quantity").is_null()
    unvalued = pl.col("value").is_null()
    amounts = found.group_by(*SUBJECT, *PART, maintain_order=True).agg(
        amount=pl.when(~unvalued.any()).then((pl.col("sign") * pl.col("value")).sum()),
        coverage=(pl.col("coverage").fill_null(0.0) / valid).clip(0, 1).min() * valid.max(),
        reason=pl.when(silent.any())
        .then(pl.lit("no energy from ") + pl.col("meter").filter(silent).str.join(", "))
        .when(unvalued.any())
        .then(
            pl.lit(_UNVALUED.get(column, "no factor for the carrier of "))
            + pl.col("meter").filter(unvalued).str.join(", ")
        )
        .otherwise(pl.lit("")),
        versions=pl.col("factor_version").drop_nulls().unique(),
        doubts=pl.col("doubt").drop_nulls().unique(),
    )
    every = subjects.select(SUBJECT).join(world.parts, how="cross")
    return every.join(amounts, on=[*SUBJECT, *PART], how="left").with_columns(
        pl.col("reason").fill_null(absent), pl.col("coverage").fill_null(0.0)
    )


def _at_source(world: World, found: pl.DataFrame, subjects: pl.DataFrame) -> pl.DataFrame:
    """
    Value electricity at the source equivalent of the subject, and name it in the version and its doubt.

    A limit standard's own goes for its products, else that of the registry, else that of the division. Heat and steam
    have none in any source that is verified.
    """
    limit = pl.col("limit") if "limit" in subjects.columns else pl.lit("")
    zone = world.facts["timezone"][0]
    places = (
        subjects.select(*SUBJECT, limit=limit)
        .join(world.facts.select("facility", "division"), on="facility")
        .join(world.parts.select("part", "part_start"), how="cross")
        .with_columns(day=pl.col("part_start").dt.convert_time_zone(zone).dt.date())
    )
    key = ["facility", "day"]
    own = places.filter(pl.col("limit") == "").select(key).unique().join(world.source_equivalents, on="facility")
    own = own.filter(pl.col("day").is_between("valid_from", "valid_to")).select(*key, own_kgce="kgce", limit=pl.lit(""))
    factor = pl.coalesce("own_kgce", "source_kgce")
    valued = (
        world.factors.source_of_places(places)
        .join(own, on=[*key, "limit"], how="left")
        .select(
            *(*SUBJECT, "part", "part_start"),
            factor=factor,
            source=pl.format("electricity={}kgce/kWh", factor),
            doubted=pl.when(pl.col("own_kgce").is_null()).then(pl.format("electricity ({})", "source_doubt")),
        )
    )
    electric = pl.col("carrier") == "electricity"
    return found.join(valued, on=[*SUBJECT, "part", "part_start"], how="left", maintain_order="left").with_columns(
        value=pl.when(electric)
        .then(pl.col("kwh") * pl.col("factor"))
        .when(~pl.col("carrier").is_in(["heat", "steam"]))
        .then("value"),
        doubt=pl.when(electric).then("doubted").otherwise("doubt"),
        factor_version=pl.when(electric)
        .then(pl.col("factor_version") + "+" + pl.col("source"))
        .otherwise("factor_version"),
    )


def total(amounts: pl.DataFrame) -> pl.DataFrame:
    """Amounts as the numerator of parts that are divided by nothing."""
    return amounts.rename({"amount": "numerator"}).with_columns(denominator=pl.lit(None, pl.Float64))


def ratio(above: pl.DataFrame, below: pl.DataFrame) -> pl.DataFrame:
    """Put amounts above and below the line: numerator, denominator, coverage of the weaker side, both reasons."""
    both = above.join(below, on=[*SUBJECT, *PART], suffix="_below")
    reasons = pl.concat_list("reason", "reason_below").list.eval(pl.element().filter(pl.element() != ""))
    return both.select(
        *SUBJECT,
        *PART,
        numerator="amount",
        denominator="amount_below",
        coverage=pl.min_horizontal("coverage", "coverage_below"),
        reason=reasons.list.join("; "),
        versions=pl.concat_list(pl.col("versions", "versions_below").fill_null([])),
        doubts=pl.concat_list(pl.col("doubts", "doubts_below").fill_null([])),
    )


def fold(world: World, parts: pl.DataFrame) -> pl.DataFrame:
    """
    Add up the parts of each wanted period that can be assessed.

    Returns:
        One row a subject and wanted period: numerator, denominator (null where no part can be assessed), coverage
        (parts that cannot be assessed are not covered), reason (that of the first part, where none can; or that a part
        lies before the facility was metered: eleven months are no year, however well covered), versions, doubts.
    """
    usable = pl.col("reason") == ""
    covered = (pl.col("coverage") * (LENGTH / pl.duration(seconds=1))).filter(usable).sum()
    sums = {
        name: pl.when(usable.any() & (pl.col(name).filter(usable).null_count() == 0)).then(
            pl.col(name).filter(usable).sum()
        )
        for name in ("numerator", "denominator")
    }
    return (
        world.wanted.join(parts, on=PART)
        .sort(*SUBJECT, *_PERIOD, *PART)
        .group_by(*SUBJECT, *_PERIOD, maintain_order=True)
        .agg(
            **sums,
            coverage=covered / (LENGTH / pl.duration(seconds=1)).sum(),
            reason=pl.when(usable.any()).then(pl.lit("")).otherwise(pl.col("reason").first()),
            **{
                name: pl.col(name).explode().drop_nulls().unique().sort().str.join(", ")
                for name in ("versions", "doubts")
            },
            first_end=pl.col("part_end").first(),
        )
        .join(world.metered_since, on="facility")
        .with_columns(
            reason=pl.when((pl.col("reason") == "") & (pl.col("first_end") <= pl.col("since")))
            .then(pl.format("the facility is metered only since {}", "since_day"))
            .otherwise("reason")
        )
        .drop("first_end", "since", "since_day")
    )


def rows(
    world: World,
    folded: pl.DataFrame,
    *,
    indicator: str,
    unit: pl.Expr,
    value: pl.Expr,
    refusals: Sequence[tuple[pl.Expr, pl.Expr]] = (),
) -> pl.DataFrame:
    """
    Make INDICATORS rows.

    Args:
        world: what there is.
        folded: as `fold` returns it, with the column meters.
        indicator: code of the indicator.
        unit: unit of the value.
        value: the value, where nothing speaks against it.
        refusals: when a value is not assessable although both sides are there, and the reason to give; the first holds.
    """
    reason = pl.coalesce(
        pl.when(pl.col("reason") != "").then("reason"),
        *(pl.when(refused).then(sentence) for refused, sentence in refusals),
        pl.lit(""),
    )
    assessable = pl.col("reason") == ""
    return (
        folded.with_columns(reason=reason, indicator=pl.lit(indicator), unit=unit)
        .with_columns(
            value=pl.when(assessable).then(value),
            status=pl.when(assessable).then(pl.lit("ok")).otherwise(pl.lit("not_assessable")),
            catalogue_version=pl.when(pl.col("versions") == "")
            .then(pl.lit(world.factors.version))
            .otherwise("versions"),
            unverified=pl.col("doubts"),
        )
        .select(pl.col(name).cast(dtype) for name, dtype in INDICATORS.schema.items())
    )
