"""
Readings become steps: what a meter measured between two moments, in its carrier's canonical unit.

    READINGS -> in order, registered unit -> register: differences | interval: as told | power: trapezoid -> STEPS

Nothing is guessed silently: a step that cannot be explained is `unattributed` and carries no quantity. Where there is
no step, nothing is known.
"""

import polars as pl

from ingest.carriers import CARRIERS
from ingest.schema import TIME
from ingest.units import UNITS, ratio
from pipelines import runs

KINDS = pl.Enum(["advance", "rollover", "exchange", "unattributed"])

STEPS = pl.Schema(
    {
        "facility": pl.String(),
        "meter": pl.String(),
        "start": TIME,
        "end": TIME,
        "quantity": pl.Float64(),
        "covered": pl.Boolean(),
        "kind": KINDS,
    }
)

# a step may be this many periods long before its time counts as not covered: one late or lost reading is everyday life
LONGEST = 2

# a meter may run this much above its rated power before a step is not believed
OVERLOAD = 1.2

# a stored value may be in another unit than is registered now: unit, wanted unit, and what to multiply with
RATIOS = pl.DataFrame(
    [(found, wanted, factor) for found in UNITS for wanted in UNITS if (factor := ratio(found, wanted)) is not None],
    schema={"unit": pl.String, "wanted": pl.String, "ratio": pl.Float64},
    orient="row",
)

# canonical units in one kWh, for the carriers that are measured as energy: only there does a rated power bound a step
_PER_KWH = pl.DataFrame(
    [(code, ratio("kWh", carrier.unit)) for code, carrier in CARRIERS.items()],
    schema={"carrier": pl.String, "per_kwh": pl.Float64},
    orient="row",
)


def steps(readings: pl.DataFrame, meters: pl.DataFrame, exchanges: pl.DataFrame) -> pl.DataFrame:
    """
    Turn readings into steps.

    Args:
        readings: READINGS rows in any order; facility, meter, time, value and unit are used. Readings of meters that
            are not in `meters`, in a unit that cannot be converted, or that are no finite number count as not taken.
        meters: `Registry.meters`.
        exchanges: `Registry.exchanges`. [shown unit]

    Returns:
        STEPS, by kind of meter, then meter, then time: facility, meter, start, end (UTC), quantity [canonical unit of
        the carrier; null where the kind is `unattributed`], covered (the step is no longer than twice the meter's
        period) and kind. Steps that start before the meter's `valid_from` are left out.
    """
    ordered = readings.select("facility", "meter", "time", "value", "unit").sort("facility", "meter", "time")
    parts = [STEPS.to_frame()]
    for kind, road in (("register", _register), ("interval", _interval), ("power", _power)):
        own = _scaled(meters.filter(pl.col("kind") == kind)).with_row_index("row")
        if not own.is_empty():
            parts.append(_named(road(_series(ordered, own), own, exchanges), own))
    return pl.concat(parts)


def _scaled(meters: pl.DataFrame) -> pl.DataFrame:
    """Add `scale` (shown unit to canonical unit) and `rated` (canonical units in an hour at most; null: not known)."""
    return meters.join(_PER_KWH, on="carrier", how="left", maintain_order="left").with_columns(
        scale=pl.col("multiplier") * pl.col("to_canonical"),
        rated=pl.col("rated_kw") * pl.col("per_kwh") * OVERLOAD,
    )


def _series(ordered: pl.DataFrame, meters: pl.DataFrame) -> pl.DataFrame:
    """Usable values of some meters, in order: row of the meter in `meters`, time, value [registered unit]."""
    known = meters.select("facility", "meter", "row", wanted="unit").join(RATIOS, on="wanted")
    return (
        runs.look_up(ordered, known.drop("wanted"), on=["facility", "meter", "unit"])
        .select("row", "time", value=pl.col("value") * pl.col("ratio"))
        .filter(pl.col("value").is_finite())
    )


def _named(found: pl.DataFrame, meters: pl.DataFrame) -> pl.DataFrame:
    """Give steps the names of their meters and leave out those from before the meter was valid."""
    return (
        found.hstack(meters.select("facility", "meter", "valid_from")[found["row"]])
        .filter(pl.col("start") >= pl.col("valid_from"))
        .select(pl.col(name).cast(dtype) for name, dtype in STEPS.items())
    )


def _register(series: pl.DataFrame, meters: pl.DataFrame, exchanges: pl.DataFrame) -> pl.DataFrame:
    pairs = _pairs(_with_exchanges(series, meters, exchanges))
    facts = meters.select("period", "modulus", "scale", "rated")[pairs["row"]]
    return _explained(pairs.hstack(facts)).with_columns(covered=_elapsed() <= LONGEST * pl.col("period"))


def _explained(pairs: pl.DataFrame) -> pl.DataFrame:
    """
    Say of each register step what it is and what it is worth: the one place where a step is believed or not.

    A register that went back rolled over, if it rolls over at all and the advance is plausible. Plausible is what the
    rated power allows over the step, and one shown unit more, because a register may only show whole units; where no
    rated power is known, a rollover is plausible up to half the register.
    """
    difference = pl.col("value") - pl.col("before")
    advance = pl.when(difference >= 0).then(difference).otherwise(difference + pl.col("modulus")) * pl.col("scale")
    rated = pl.col("rated") * (_elapsed() / pl.duration(hours=1)) + pl.col("scale")
    unrated = pl.when(difference < 0).then(pl.col("modulus") * pl.col("scale") / 2).otherwise(float("inf"))
    plausible = (advance <= pl.coalesce(rated, unrated)).fill_null(value=False)
    return pairs.with_columns(
        quantity=pl.when(plausible).then(advance),
        kind=pl.when(~plausible)
        .then(pl.lit("unattributed", KINDS))
        .when(pl.col("exchange"))
        .then(pl.lit("exchange", KINDS))
        .when(difference < 0)
        .then(pl.lit("rollover", KINDS))
        .otherwise(pl.lit("advance", KINDS)),
    )


def _with_exchanges(series: pl.DataFrame, meters: pl.DataFrame, exchanges: pl.DataFrame) -> pl.DataFrame:
    """
    Add what the registry says of exchanges: two values at one moment, the last of the old meter, the first of the new.

    The step up to the exchange and the step after it then are plain differences. A reading taken at that very moment
    says nothing more and is left out; an exchange before the first or after the last reading belongs to no step.
    """
    own = exchanges.join(meters.select("facility", "meter", "row"), on=["facility", "meter"])
    reach = series.join(own, on="row", how="semi").group_by("row").agg(first=pl.min("time"), last=pl.max("time"))
    own = own.join(reach, on="row").filter(pl.col("at").is_between("first", "last")).rename({"at": "time"})
    return pl.concat(
        [
            series.join(own, on=["row", "time"], how="anti").with_columns(exchange=False),
            own.select("row", "time", value="removed_value", exchange=True),
            own.select("row", "time", value="installed_value", exchange=True),
        ]
    ).sort("row", "time", maintain_order=True)


def _interval(series: pl.DataFrame, meters: pl.DataFrame, _: pl.DataFrame) -> pl.DataFrame:
    facts = meters.select("period", "stamp", "scale")[series["row"]]
    start = pl.when(pl.col("stamp") == "end").then(pl.col("time") - pl.col("period")).otherwise("time")
    return series.hstack(facts).select(
        "row",
        start=start,
        end=start + pl.col("period"),
        quantity=pl.col("value") * pl.col("scale"),
        covered=True,
        kind=pl.lit("advance", KINDS),
    )


def _power(series: pl.DataFrame, meters: pl.DataFrame, _: pl.DataFrame) -> pl.DataFrame:
    pairs = _pairs(series.with_columns(exchange=False))
    mean = (pl.col("before") + pl.col("value")) / 2
    return (
        pairs.hstack(meters.select("period", "scale")[pairs["row"]])
        .filter(_elapsed() <= LONGEST * pl.col("period"))
        .with_columns(
            quantity=mean * (_elapsed() / pl.duration(hours=1)) * pl.col("scale"),
            covered=True,
            kind=pl.lit("advance", KINDS),
        )
    )


def _elapsed() -> pl.Expr:
    return pl.col("end") - pl.col("start")


def _pairs(series: pl.DataFrame) -> pl.DataFrame:
    """Neighbouring values of one meter: row, start, end, before, value, and whether either end is an exchange."""
    return series.select(
        row=pl.when(pl.col("row") == pl.col("row").shift()).then("row"),
        start=pl.col("time").shift(),
        end="time",
        before=pl.col("value").shift(),
        value="value",
        exchange=pl.col("exchange") | pl.col("exchange").shift(),
    ).filter(pl.col("row").is_not_null(), pl.col("start") < pl.col("end"))
