"""
The ledger of what was odd: for each meter and day, what happened to its register and what was attributed to no slot.

    STEPS that are no plain advance -> by meter, day and kind -> UNATTRIBUTED, each row with its evidence and a sentence
"""

from collections.abc import Iterator, Sequence

import polars as pl

from ingest.model import Period
from ingest.schema import TIME, UNATTRIBUTED
from pipelines import runs
from pipelines.accounting import doubts
from pipelines.accounting.registers import named

SAYS = {
    "rollover": "the register rolled over and is counted on",
    "exchange": "the meter was exchanged as registered; both meters are counted",
    "reset": "the register began anew, or another meter was put in; only what it counted since is attributed, and "
    "nothing where no rated power is registered",
    "glitch": "a value off the line of its neighbours was set aside",
    "step_back": "the register stepped back; the step is attributed to no slot",
    "jump": "the advance is more than rated power allows; it is attributed to no slot",
    "exchange_likely": "the register goes on from another value, as after an exchange that is not registered; the step "
    "is attributed to no slot",
    "ambiguous": "the register can have rolled over once more in that time; the step is attributed to no slot",
    "overlap": "intervals overlap; what was told twice is counted once",
    "frozen": "the value was held; its energy is attributed as told",
    "interpolated": "the values lie on a straight line; their energy is attributed as told",
}
_STOOD = "the register stood still while its sub-meters counted {} {}"
_PLAIN = pl.col("kind").is_in(["advance", "catch_up"])
_WITHDRAWN = "withdrawn: the readings that are stored now show nothing odd"


def ledger(steps: pl.DataFrame, slots: pl.DataFrame, meters: pl.DataFrame, days: Sequence[Period]) -> pl.DataFrame:
    """
    Book the steps that are no plain advance, and registers that stood still, on the day in which they end.

    Args:
        steps: STEPS.
        slots: as `slots.spread` makes them of these steps.
        meters: `Registry.meters`.
        days: local days in order, without a gap; steps that end outside are left to other runs.

    Returns:
        UNATTRIBUTED rows, sorted by facility, meter, kind and start.
    """
    odd, doubtful = runs.where(steps, ~_PLAIN), list(_doubts(steps, slots, meters, days))
    if odd.is_empty() and all(found.is_empty() for found in doubtful):
        return UNATTRIBUTED.empty()
    odd = _dated(named(odd, meters), days).with_columns(
        pl.col("kind").cast(pl.String), below=pl.lit(None, pl.Float64())
    )
    events = pl.concat([odd.drop("start", "covered"), *doubtful], how="diagonal")
    units = meters.select("facility", "meter", unit="canonical_unit")
    booked = (
        events.sort("facility", "meter", "kind", "end")
        .group_by("facility", "meter", "kind", "day", maintain_order=True)
        .agg(
            pl.col("day_end", "before", "after", "bound", "below").first(),
            attributed=pl.col("quantity").sum(),
            quantity=pl.col("unattributed").sum(),
            steps=pl.len().cast(pl.Int64),
            at=pl.col("end").first(),
        )
        .join(units, on=["facility", "meter"], maintain_order="left")
    )
    return (
        booked.rename({"day": "start", "day_end": "end"})
        .with_columns(sentence=_sentence())
        .select(UNATTRIBUTED.schema.names())
    )


def settled(rows: pl.DataFrame, stored: pl.DataFrame) -> pl.DataFrame:
    """
    Add the stored rows that no reading supports any more, emptied: nothing is left standing, and nothing vanishes.

    Args:
        rows: UNATTRIBUTED rows of some facilities and days, as they are now.
        stored: the same as they were.
    """
    gone = stored.filter(pl.col("steps") > 0).join(rows, on=UNATTRIBUTED.key, how="anti")
    emptied = gone.with_columns(
        quantity=pl.lit(0.0), attributed=pl.lit(0.0), steps=pl.lit(0, pl.Int64), sentence=pl.lit(_WITHDRAWN)
    )
    return pl.concat([rows, emptied])


def _dated(steps: pl.DataFrame, days: Sequence[Period]) -> pl.DataFrame:
    """Add day and day_end: the day in which a step ends, its end included; others are left out."""
    inside = steps.filter(pl.col("end") > days[0].start, pl.col("end") <= days[-1].end)
    bounds = pl.DataFrame(
        {"day": [day.start for day in days], "day_end": [day.end for day in days]},
        schema={"day": TIME, "day_end": TIME},
    )
    return inside.hstack(bounds[bounds["day_end"].search_sorted(inside["end"], side="left")])


def _doubts(
    steps: pl.DataFrame, slots: pl.DataFrame, meters: pl.DataFrame, days: Sequence[Period]
) -> Iterator[pl.DataFrame]:
    """What stands still or is drawn, where the registry has meters that could."""
    if (meters["parent"] != "").any() and not (links := doubts.sub_meters(meters)).is_empty():
        rows = meters.with_row_index("row")
        above, below = (
            rows.join(links, left_on=["facility", "meter"], right_on=["facility", name], how="semi")
            for name in ("meter", "sub")
        )
        registers = above.filter(kind="register")["row"]
        plain = _dated(named(_of(steps, registers).filter(_PLAIN), meters), days)
        yield doubts.frozen_registers(plain, named(_of(slots, below["row"]), meters), links)
    if not (told := (meters["kind"] != "register").arg_true()).is_empty():
        yield doubts.drawn(_dated(named(_of(steps, told).filter(_PLAIN), meters), days))


def _of(frame: pl.DataFrame, rows: pl.Series) -> pl.DataFrame:
    return frame.filter(pl.col("row").is_in(rows.implode()))


def _sentence() -> pl.Expr:
    """What happened, the values of the first step, and the bound it was judged by."""
    says = pl.col("kind").replace_strict(SAYS, return_dtype=pl.String)
    values = pl.format(": {} to {}", pl.col("before").round(6), pl.col("after").round(6))
    overlap = pl.when(pl.col("kind") == "overlap").then(pl.format(": {} {}", pl.col("quantity").round(6), "unit"))
    bound = pl.format(", at most {} {} in that time", pl.col("bound").round(6), "unit")
    first = pl.when(pl.col("steps") > 1).then(pl.format(" (the first of {})", "steps"))
    stood = pl.format(_STOOD, pl.col("below").round(6), "unit")
    told = says + overlap.otherwise(values).fill_null("") + bound.fill_null("") + first.fill_null("")
    return pl.coalesce(stood, told)
