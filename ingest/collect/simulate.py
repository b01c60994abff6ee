"""
Invented meters: what the gateways of a registry would have published over a period.

    registry, period, seed -> rates of energy -> meter values -> one message a gateway and six hours

The sample facilities have figures of their own (`PLANTS`); every other facility gets plausible ones from the roles of
its meters. A main meter shows the sum of its sub-meters and of what none of them sees. The same seed gives the same
bytes. Meter exchanges of the registry are not acted out.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from random import Random
from typing import NamedTuple

import polars as pl

from ingest.carriers import to_canonical
from ingest.decode.topics import Topic
from ingest.model import Period, Publication
from ingest.registry import Facility, Meter, Registry

BLOCK = timedelta(hours=6)
DELAY = timedelta(seconds=2)
GATEWAY = "gw-1"

_SILENT_AFTER = timedelta(days=40, hours=4)
_SILENT_FOR = timedelta(hours=9)
_ROLLS_OVER_AFTER_HOURS = 100 * 24
_TENTH = 9
_FRIDAY = 5


@dataclass(frozen=True, slots=True)
class Plant:
    """
    The figures of one facility.

    `rate` is what a meter sees beside its sub-meters, as hourly average in the carrier's canonical unit; `output` the
    quantity of a product a day. `rolls_over` names a register that passes its last digit in the hundredth day; `silent`
    a facility whose gateway misses nine hours.
    """

    rate: Mapping[str, float]
    output: Mapping[str, float] = field(default_factory=dict)
    rolls_over: str = ""
    silent: bool = False


class Shape(NamedTuple):
    """How far a rate swings around its average [0..1]: over the year (summer high), day, week, and by chance."""

    year: float = 0.0
    day: float = 0.0
    week: float = 0.0
    chance: float = 0.02


class Part(NamedTuple):
    """What one meter sees alone: its average rate, its place in the noise [0..1], its swings."""

    rate: float
    phase: float
    shape: Shape


PLANTS = {
    # IT 8,000 kW; beside it 27 % cooling, 8 % distribution, 1 % lighting, 2 % other: PUE 1.38
    "dc-sample": Plant(
        {"E-main": 160, "E-it-1": 4150, "E-it-2": 3850, "E-cooling": 2160, "E-distribution": 640, "E-lighting": 80},
        rolls_over="E-it-1",
    ),
    # IT 6,000 kW; beside it 16 % cooling, 5.5 % distribution, 0.8 % lighting, 1.7 % other: PUE 1.24
    "dc-green-sample": Plant(
        {"E-main": 102, "E-it-1": 3000, "E-it-2": 3000, "E-cooling": 960, "E-distribution": 330, "E-lighting": 48},
    ),
    # a day: 211,200 kWh, 136,000 m3 gas, 960 kg diesel for 27,400 m2 tiles: 7.6 kgce/m2
    "ceramics-sample": Plant(
        {"E-main": 300, "E-mills": 3300, "E-presses": 1500, "E-kilns": 1700, "E-polishing": 2000}
        | {"G-main": 66.7, "G-kilns": 3900, "G-dryers": 1700, "D-main": 40},
        output={"tiles": 27_400},
        silent=True,
    ),
    # a day: 230,160 kWh, 6,912 m3 gas for 164.4 t tube: 228 kgce/t
    "copper-sample": Plant(
        {"E-main": 290, "E-casting": 3600, "E-rolling": 2300, "E-drawing": 1600, "E-annealing": 1800, "G-main": 288},
        output={"copper-tube": 164.4},
    ),
    "institution-sample": Plant(
        {"E-main": 230, "E-cooling": 160, "E-lighting": 90, "G-main": 17, "W-main": 3.4},
    ),
}

# hourly average by role where neither PLANTS nor rated_kw says more, in the carrier's canonical unit
_RATES = {"it": 500.0, "cooling": 130.0, "power_distribution": 40.0, "lighting": 5.0}
_RATE = 100.0
_OUTPUT = 100.0
_OUTPUT_CHANCE = 0.03

_SHAPES = {
    ("data_centre", "it"): Shape(day=0.02),
    ("data_centre", "cooling"): Shape(year=0.22, day=0.05, chance=0.03),
    ("industrial", "process"): Shape(day=0.04, week=0.03, chance=0.05),
    ("public_institution", "total"): Shape(day=0.4, week=0.3, chance=0.1),
    ("public_institution", "cooling"): Shape(year=0.5, day=0.3, week=0.3, chance=0.1),
    ("public_institution", "lighting"): Shape(year=-0.1, day=0.5, week=0.3, chance=0.1),
}
_HOTTEST_DAY = 205
_HOTTEST_HOUR = 15


def simulate(registry: Registry, period: Period, *, seed: int) -> Iterator[Publication]:
    """
    Publish what the gateways of all facilities would have, in the order of sending.

    Readings are taken at both ends of the period, so that its energy is whole. One gateway misses nine hours, which its
    registers catch up; the tenth message comes twice.

    Args:
        registry: the facilities.
        period: readings from start to end (both included), output of the facility's whole days.
        seed: the same seed gives the same messages.
    """
    frames = [frame for facility in registry.facilities.values() for frame in _of_facility(facility, period, seed)]
    if not frames:
        return
    messages = pl.concat(frames).sort("sent", "topic")
    again = messages.slice(_TENTH, 1)
    for topic, payload in pl.concat([messages, again]).sort("sent", "topic").select("topic", "payload").iter_rows():
        yield Publication(topic, payload.encode())


def _of_facility(facility: Facility, period: Period, seed: int) -> Iterator[pl.DataFrame]:
    plant = PLANTS.get(facility.id) or _plausible(facility)
    values = []
    for meter in facility.meter:
        parts = _parts(facility, plant, meter, seed)
        values.append(_values(facility, meter, parts, period, start=_first_value(plant, meter, parts)))
    yield _readings(facility, plant, pl.concat(values), period)
    if facility.product:
        yield _activity(facility, plant, period, seed)


def _plausible(facility: Facility) -> Plant:
    def rate(meter: Meter) -> float:
        if _below(facility, meter):
            return 0.0
        return meter.rated_kw / 2 if meter.rated_kw else _RATES.get(meter.role, _RATE)

    return Plant(
        {meter.id: rate(meter) for meter in facility.meter},
        {product.id: _OUTPUT for product in facility.product},
    )


def _below(facility: Facility, meter: Meter) -> list[Meter]:
    """
    Return the meters just below one.

    A main meter has all the loose ones of its carrier below it where the registry names no parents.
    """
    named = [other for other in facility.meter if other.parent == meter.id]
    if named or meter.role != "total":
        return named
    return [
        other
        for other in facility.meter
        if other.carrier == meter.carrier
        and not other.parent
        and other.role not in {"total", "generation", "export"}
        and not any(above.parent for above in facility.meter if above.carrier == meter.carrier)
    ]


def _tree(facility: Facility, meter: Meter) -> list[Meter]:
    return [meter, *(deep for below in _below(facility, meter) for deep in _tree(facility, below))]


def _parts(facility: Facility, plant: Plant, meter: Meter, seed: int) -> list[Part]:
    """Split a meter into what it and each meter below it see alone."""
    return [
        Part(
            plant.rate.get(part.id, 0.0),
            _phase(seed, facility, part.id),
            _SHAPES.get((facility.kind, part.role), Shape()),
        )
        for part in _tree(facility, meter)
    ]


def _phase(seed: int, facility: Facility, part: str) -> float:
    return Random(f"{seed}/{facility.id}/{part}").random()  # noqa: S311 - invented data, no secret


def _values(facility: Facility, meter: Meter, parts: list[Part], period: Period, *, start: float) -> pl.DataFrame:
    """Return the values one meter shows: meter, time (UTC), value; a register starts at `start`."""
    first, last = period.start.astimezone(UTC), period.end.astimezone(UTC)
    valid_from = datetime.combine(meter.valid_from, time(), facility.zone).astimezone(UTC)
    middle = (pl.col("end") - meter.period / 2).dt.convert_time_zone(facility.timezone)
    rate = pl.sum_horizontal(_rate(part, middle, meter.period) for part in parts) / _canonical_per_shown(meter)
    return (
        pl.LazyFrame({"end": pl.datetime_range(first, last, meter.period, time_unit="us", eager=True)})
        .with_columns(rate=rate)
        .select(pl.lit(meter.id).alias("meter"), *_shown(meter, start=start))
        .filter(pl.col("time") >= valid_from, pl.col("value").is_not_null())
        .collect()
    )


def _canonical_per_shown(meter: Meter) -> float:
    return (to_canonical(meter.carrier, meter.unit) or 1.0) * meter.multiplier


def _rate(part: Part, middle: pl.Expr, period: timedelta) -> pl.Expr:
    """Average rate of one part over a step of the given length around its middle (local time)."""
    shape = part.shape
    year = (2 * math.pi * (middle.dt.ordinal_day() - _HOTTEST_DAY) / 365.25).cos()
    day = (2 * math.pi * (middle.dt.hour() + middle.dt.minute() / 60 - _HOTTEST_HOUR) / 24).cos()
    week = pl.when(middle.dt.weekday() <= _FRIDAY).then(2 / 7).otherwise(-5 / 7)
    chance = _chance(middle.dt.epoch("s") // int(period.total_seconds()), part.phase)
    swing = (1 + shape.year * year + shape.day * day) * (1 + shape.week * week)
    return part.rate * swing * (1 + shape.chance * chance)


def _chance(place: pl.Expr, phase: float) -> pl.Expr:
    """Repeatable noise in [-1, 1): the fraction of a large sine, the same on every machine and in every process."""
    large = (place * 12.9898 + phase * 78_233).sin() * 43_758.5453
    return 2 * (large - large.floor()) - 1


def _shown(meter: Meter, *, start: float) -> tuple[pl.Expr, pl.Expr]:
    """Time and value as the meter shows them: a register runs on from `start`, an interval meter starts anew."""
    end, rate = pl.col("end"), pl.col("rate")
    energy = rate * (meter.period / timedelta(hours=1))
    match meter.kind:
        case "power":
            mark, value = end, rate
        case "interval":
            # the interval that ends where the period starts is not of this period
            mark, value = end - meter.period * (meter.stamp == "start"), pl.when(end > end.first()).then(energy)
        case "register":
            mark, value = end, start + energy.cum_sum() - energy.first()
    value = value.round(3)
    if meter.digits:
        value = (value % 10.0**meter.digits).round(3)
    return mark.alias("time"), value.alias("value")


def _first_value(plant: Plant, meter: Meter, parts: list[Part]) -> float:
    modulus = 10.0 ** (meter.digits or 9)
    if meter.id == plant.rolls_over:
        return modulus - _ROLLS_OVER_AFTER_HOURS * sum(part.rate for part in parts) / _canonical_per_shown(meter)
    return round(modulus / 10 * parts[0].phase, 3)


def _readings(facility: Facility, plant: Plant, values: pl.DataFrame, period: Period) -> pl.DataFrame:
    """Pack readings into messages: sent (UTC), topic, payload."""
    start = period.start.astimezone(UTC)
    silent = pl.lit(plant.silent) & pl.col("time").is_between(
        start + _SILENT_AFTER, start + _SILENT_AFTER + _SILENT_FOR, closed="none"
    )
    block = ((pl.col("time") - start).dt.total_microseconds() - 1) // (BLOCK // timedelta(microseconds=1))
    return (
        values.filter(~silent)
        .sort("time", "meter")
        .group_by(block.alias("block"), maintain_order=True)
        .agg(
            sent=pl.col("time").max() + DELAY,
            readings=pl.struct("meter", _text("time", facility), "value"),
        )
        .select(
            "sent",
            topic=pl.lit(str(Topic(facility.id, GATEWAY, "readings"))),
            payload=pl.struct(
                pl.int_range(1, pl.len() + 1).alias("seq"), _text("sent", facility), "readings"
            ).struct.json_encode(),
        )
    )


def _activity(facility: Facility, plant: Plant, period: Period, seed: int) -> pl.DataFrame:
    """Pack the output of every whole day into a message: sent (UTC), topic, payload."""
    first, last = period.start.astimezone(facility.zone), period.end.astimezone(facility.zone)
    midnight = datetime.combine(first, time(), facility.zone)
    days = pl.datetime_range(midnight, last, "1d", time_unit="us", time_zone=facility.timezone, eager=True)
    columns = [
        pl.struct(
            pl.lit(product.id).alias("product"),
            _text("start", facility),
            _text("end", facility),
            _output(plant, product.id, _phase(seed, facility, product.id)).alias("quantity"),
            pl.lit(product.unit).alias("unit"),
        )
        for product in facility.product
    ]
    return (
        pl.DataFrame({"start": days, "end": days.shift(-1)})
        .filter(pl.col("start") >= first, pl.col("end").is_not_null())
        .select(
            sent=pl.col("end").dt.convert_time_zone("UTC") + DELAY,
            topic=pl.lit(str(Topic(facility.id, GATEWAY, "activity"))),
            payload=pl.struct(pl.concat_list(columns).alias("activity")).struct.json_encode(),
        )
    )


def _output(plant: Plant, product: str, phase: float) -> pl.Expr:
    average = plant.output.get(product, _OUTPUT)
    return (average * (1 + _OUTPUT_CHANCE * _chance(pl.col("start").dt.epoch("d"), phase))).round(2)


def _text(moment: str, facility: Facility) -> pl.Expr:
    """RFC 3339 with the offset of the facility's zone."""
    return pl.col(moment).dt.convert_time_zone(facility.timezone).dt.strftime("%Y-%m-%dT%H:%M:%S%:z")
