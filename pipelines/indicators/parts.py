"""
From energy rows to indicator rows: what all indicators share.

    wanted periods -> parts (a day, a month, the months of twelve) -> amount of some meters in each part
        -> fold: sums over the parts that can be assessed -> rows

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

SUBJECT = ["facility", "scope"]
PART = ["part", "part_start", "part_end"]

_PERIOD = ["interval", "start", "end"]
_LENGTH = pl.col("part_end") - pl.col("part_start")


@dataclass(frozen=True)
class World:
    """
    What the indicators of the facilities of one zone stand on.

    `energy` are ENERGY rows of 1d and 1mo, `activity` ACTIVITY rows, `wanted` one row a period and part: interval,
    start, end, part (1d or 1mo), part_start, part_end; the rest are the frames of the registry.
    """

    energy: pl.DataFrame
    meters: pl.DataFrame
    products: pl.DataFrame
    facts: pl.DataFrame
    activity: pl.DataFrame
    wanted: pl.DataFrame
    version: str

    @cached_property
    def parts(self) -> pl.DataFrame:
        """The days and months the wanted periods are made of: part, part_start, part_end."""
        return self.wanted.select(PART).unique().sort(PART)


def wanted(asked: Mapping[str, Sequence[Period]], zone: ZoneInfo) -> pl.DataFrame:
    """Periods by interval code -> one row a period and part; a 12mo period has its twelve months as parts."""
    rows = []
    for interval, spans in asked.items():
        for span in spans:
            parts = periods.months(span, zone) if interval == "12mo" else [span]
            part = "1mo" if interval == "12mo" else interval
            rows += [(interval, span.start, span.end, part, own.start, own.end) for own in parts]
    schema = {name: pl.String() if name in ("interval", "part") else TIME for name in (*_PERIOD, *PART)}
    return pl.DataFrame(rows, schema=schema, orient="row").unique(maintain_order=True)


def amount(world: World, members: pl.DataFrame, column: str) -> pl.DataFrame:
    """
    Add up what some meters measured in each part.

    Args:
        world: what there is.
        members: facility, scope, meter, sign (1 or -1).
        column: the column of ENERGY to add up.

    Returns:
        One row a facility, scope and part in which a meter was valid: amount (null where a meter has none), coverage
        (that of the weakest meter, over the time it was valid, and no more than the time any of them was), reason
        (empty, or why there is no amount) and versions (of the factors).
    """
    due = members.join(world.meters.select("facility", "meter", "valid_from"), on=["facility", "meter"])
    due = due.join(world.parts, how="cross").filter(pl.col("valid_from") < pl.col("part_end"))
    energy = world.energy.select(
        "facility",
        "meter",
        "quantity",
        "coverage",
        "factor_version",
        value=pl.col(column),
        part="interval",
        part_start="start",
    )
    valid = (pl.col("part_end") - pl.max_horizontal("valid_from", "part_start")) / _LENGTH
    silent, unvalued = pl.col("quantity").is_null(), pl.col("quantity").is_not_null() & pl.col("value").is_null()
    return (
        due.join(energy, on=["facility", "meter", "part", "part_start"], how="left")
        .sort(*SUBJECT, *PART, "meter")
        .group_by(*SUBJECT, *PART, maintain_order=True)
        .agg(
            amount=pl.when(pl.col("value").null_count() == 0).then((pl.col("sign") * pl.col("value")).sum()),
            coverage=(pl.col("coverage").fill_null(0.0) / valid).clip(0, 1).min() * valid.max(),
            reason=pl.concat_str(
                _named("no energy from ", silent), _named("no factor for the carrier of ", unvalued)
            ),
            versions=pl.col("factor_version").drop_nulls().unique(),
        )
    )
