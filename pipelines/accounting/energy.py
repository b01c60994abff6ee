"""
Steps become energy: 15-minute slots, and the hours, days and months made of them.

    STEPS -> slots (15 min, UTC) -> ENERGY 15m (kWh, kgce, kg CO2) -> 1h -> 1d -> 1mo in the facility's zone

A step that reaches over slots is spread in proportion to time and, where it is longer than allowed, marked estimated.
A slot without attributed time has no row: a gap is a gap, not a zero.
"""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Literal
from zoneinfo import ZoneInfo

import polars as pl

from ingest.carriers import CARRIERS
from ingest.model import Period
from ingest.schema import ENERGY, TIME
from pipelines import periods
from pipelines.accounting import runs
from pipelines.factors.catalogue import Factors

# every offset of every IANA zone today is a whole number of these, so that hours, days and months of all zones fit
SLOT = timedelta(minutes=15)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SLOT_US = SLOT // timedelta(microseconds=1)
_SPAN = pl.col("end") - pl.col("start")
TO = " to "  # between the oldest and the newest factor version behind a sum
_AMOUNTS = ("quantity", "kwh", "kgce", "kg_co2")
_PARTS = ("quantity", "covered_seconds", "estimated_quantity")

_CANONICAL = pl.DataFrame(
    [(code, carrier.unit) for code, carrier in CARRIERS.items()],
    schema={"carrier": pl.String, "unit": pl.String},
    orient="row",
)


def slots(steps: pl.DataFrame, period: Period) -> pl.DataFrame:
    """
    Spread steps over the 15-minute grid of UTC in proportion to time, and add up what falls into one slot.

    Args:
        steps: STEPS. Unattributed ones contribute nothing.
        period: only slots that lie inside it.

    Returns:
        One row a meter and slot with attributed time, by meter and time: row, start, end (UTC), quantity [canonical
        unit], covered_seconds [s], estimated_quantity (the part from steps that are not covered) [canonical unit].
    """
    first = _EPOCH - (_EPOCH - period.start) // SLOT * SLOT
    last = _EPOCH + (period.end - _EPOCH) // SLOT * SLOT
    inside = (pl.col("end") > first) & (pl.col("start") < last) & (pl.col("start") < pl.col("end"))
    kept = steps.select("row", "start", "end", "quantity", "covered").filter(
        pl.lit(first < last), pl.col("quantity").is_not_null(), inside
    )
    kept = kept.with_columns(slot=pl.col("start").dt.truncate(SLOT))
    # a step that reaches over three slots, or that starts in the slot of the one before
    again = (pl.col("row") == pl.col("row").shift()) & (pl.col("slot") == pl.col("slot").shift())
    odd = kept.select((pl.col("end") > pl.col("slot") + 2 * SLOT) | again.fill_null(value=False)).to_series()
    if not odd.any():
        return _beside(kept, first, last)
    apart = kept["row"].is_in(kept["row"].filter(odd).unique().implode())
    return runs.by_row([_beside(kept.filter(~apart), first, last), _spread(kept.filter(apart), first, last)])


def _beside(steps: pl.DataFrame, first: datetime, last: datetime) -> pl.DataFrame:
    """
    Slots of steps that reach over two of them at most, and of which no two of a meter start in the same one.

    So a slot holds the first part of one step and the second part of the step before; nearly every meter is read so.
    """
    middle = pl.col("slot") + SLOT
    until = pl.min_horizontal("end", middle)
    heads = _pieces(steps, pl.col("slot"), until - pl.col("start"))
    reaches = steps.select(pl.col("end") > middle).to_series()
    if not reaches.any():
        return heads
    tails = _pieces(steps, middle, pl.col("end") - until)
    beside = (pl.col("row") == pl.col("row").shift(-1)) & (pl.col("slot").shift(-1) == middle)
    meets = reaches & steps.select(beside.fill_null(value=False)).to_series()
    added = tails.select(pl.when(meets).then(pl.col(_PARTS)).otherwise(0.0).shift(1, fill_value=0.0))
    whole = heads.with_columns(heads[name] + added[name] for name in _PARTS).filter(pl.col("start") >= first)
    return runs.in_order(pl.concat([whole, tails.filter(reaches & ~meets, pl.col("start") < last)]), "row", "start")


def _spread(steps: pl.DataFrame, first: datetime, last: datetime) -> pl.DataFrame:
    """Slots of any steps: each is cut into one piece for each slot it reaches over between `first` and `last`."""
    begin, end = pl.max_horizontal("slot", pl.lit(first, TIME)), pl.min_horizontal("end", pl.lit(last, TIME))
    count = (_seconds(end - begin) / SLOT.total_seconds()).ceil().cast(pl.UInt32)
    counted = steps.with_columns(slot=begin, before=count.cum_sum() - count)
    # rows are repeated by position: an explode of lists of slots takes five times as long
    position = steps.select(pl.int_range(pl.len(), dtype=pl.UInt32).repeat_by(count).explode()).to_series()
    piece = pl.int_range(pl.len(), dtype=pl.Int64) - pl.col("before")
    cut = counted[position].with_columns(slot=pl.col("slot") + piece * SLOT)
    inside = pl.min_horizontal("end", pl.col("slot") + SLOT) - pl.max_horizontal("start", "slot")
    return runs.totals(_pieces(cut, pl.col("slot"), inside), ["row", "start", "end"], sums=_PARTS)


def _pieces(steps: pl.DataFrame, slot: pl.Expr, inside: pl.Expr) -> pl.DataFrame:
    """For each step the part of it that lies inside a slot, in proportion to time."""
    seconds, quantity = pl.col("covered_seconds"), pl.col("quantity")
    parts = steps.select(
        "row", "covered", "quantity", start=slot, covered_seconds=_seconds(inside), whole=_seconds(_SPAN)
    )
    return parts.with_columns(quantity=quantity * (seconds / pl.col("whole"))).select(
        "row",
        "start",
        end=pl.col("start") + SLOT,
        quantity=quantity,
        covered_seconds=pl.when("covered").then(seconds).otherwise(0.0),
        estimated_quantity=pl.when("covered").then(0.0).otherwise(quantity),
    )


def to_energy(slots: pl.DataFrame, meters: pl.DataFrame, facts: pl.DataFrame, factors: Factors) -> pl.DataFrame:
    """
    Value slots as energy content, coal equivalent and carbon dioxide.

    kwh, kgce and kg_co2 are the quantity times the factor of the carrier, of the facility's division and of the slot's
    local date (coal equivalent: GB/T 2589-2020 chapter 5; carbon dioxide: activity data x emission factor).

    Args:
        slots: as `slots` returns them.
        meters: `Registry.meters`.
        facts: `Registry.facts`.
        factors: the factor catalogue.

    Returns:
        ENERGY rows of interval 15m, by time of validity of the factors, then meter, then time. kwh [kWh], kgce [kgce]
        and kg_co2 [kg CO2] are null where there is no factor.
    """
    places = meters.join(_CANONICAL, on="carrier", how="left", maintain_order="left", suffix="_canonical").select(
        "facility", "meter", "carrier", "role", "scope", "timezone", unit="unit_canonical"
    )
    places = places.join(facts.select("facility", "division"), on="facility", how="left", maintain_order="left")
    moments = _changes(slots, places, factors)
    if len(moments) == 2:  # noqa: PLR2004
        return _as_energy(slots, _factors_at(places, factors, moments[0]))
    held = pl.col("start").is_between
    return pl.concat(
        _as_energy(slots.filter(held(since, until, closed="left")), _factors_at(places, factors, since))
        for since, until in pairwise(moments)
    )


def _changes(slots: pl.DataFrame, places: pl.DataFrame, factors: Factors) -> list[datetime]:
    """Return the moments between which no factor changes in any zone, from before the first slot to after the last."""
    zones = [ZoneInfo(name) for name in places["timezone"].unique().sort()]
    span = slots.select(first=pl.min("start").fill_null(_EPOCH), last=pl.max("end").fill_null(_EPOCH + SLOT)).row(0)
    moments = {periods.midnight(day, zone) for zone in zones for day in factors.changes}
    return sorted({*span, *(moment for moment in moments if span[0] < moment < span[1])})


def _factors_at(places: pl.DataFrame, factors: Factors, moment: datetime) -> pl.DataFrame:
    """Add the factors that hold at a moment: kwh_per_unit, kgce_per_unit, kg_co2_per_unit, factor_version."""
    dates = {name: moment.astimezone(ZoneInfo(name)).date() for name in places["timezone"].unique()}
    dated = places.with_columns(day=pl.col("timezone").replace_strict(dates, return_dtype=pl.Date))
    return factors.of_meters(dated).drop("timezone", "division", "day")


def _as_energy(slots: pl.DataFrame, places: pl.DataFrame) -> pl.DataFrame:
    """Value slots with what is known of each meter."""
    quantity = pl.col("quantity")
    return (
        slots.hstack(places[slots["row"]])
        .with_columns(
            interval=pl.lit("15m"),
            kwh=quantity * pl.col("kwh_per_unit"),
            kgce=quantity * pl.col("kgce_per_unit"),
            kg_co2=quantity * pl.col("kg_co2_per_unit"),
            coverage=_share(pl.col("covered_seconds"), _seconds(_SPAN)),
            estimated=_share(pl.col("estimated_quantity"), quantity),
        )
        .select(ENERGY.schema.names())
    )


def roll_up(energy: pl.DataFrame, interval: Literal["1h", "1d", "1mo"], zone: ZoneInfo) -> pl.DataFrame:
    """
    Add up slots, hours or days to the hours, days or months of a zone.

    Args:
        energy: ENERGY rows of one shorter interval, in any order, of facilities of one zone.
        interval: what to add up to.
        zone: the facilities' zone.

    Returns:
        ENERGY rows of `interval`, sorted by facility, meter and start. Amounts are null where every part is null;
        coverage is the covered time over the whole length, so that a slot without a row counts as not covered;
        estimated is weighted by the quantity. The same rows in any order give the same sums to the last bit.
    """
    if energy.is_empty():
        return ENERGY.schema.to_frame()
    labels = _labels(energy["start"], interval, zone)
    parts = _parts_of(energy, labels)
    known = [name for name in _AMOUNTS if parts[name].null_count()]
    parts = parts.with_columns(pl.col(name).is_not_null().cast(pl.UInt32).name.suffix("_known") for name in known)
    on, kept = ["row", "span"], ("facility", "meter", "carrier", "role", "scope", "unit", "factor_version")
    added = (*_AMOUNTS, "covered", "weighted", "weight", *(f"{name}_known" for name in known))
    sums = runs.totals(parts, on, sums=added, first=kept)
    if (parts["factor_version"] != parts["factor_version"][0]).any():
        sums = sums.with_columns(_versions(parts, on))
    return (
        sums.hstack(labels.unique("span", maintain_order=True).select("start", "end")[sums["span"]])
        .with_columns(
            *(pl.when(pl.col(f"{name}_known") > 0).then(name).alias(name) for name in known),
            interval=pl.lit(interval),
            coverage=_share(pl.col("covered"), _seconds(_SPAN)),
            estimated=_share(pl.col("weighted"), pl.col("weight")),
        )
        .select(ENERGY.schema.names())
    )


def _parts_of(energy: pl.DataFrame, labels: pl.DataFrame) -> pl.DataFrame:
    """Rows by meter and time: row (of the meter), span (number of the label), and what is added up of coverage."""
    place = (energy["start"] - labels["moment"][0]).to_physical() // _SLOT_US
    rows = energy.drop("interval").hstack(
        [runs.numbered(energy, ["facility", "meter"]).alias("row"), labels["span"][place.cast(pl.UInt32)]]
    )
    return (
        runs.in_order(rows, "row", "start")
        .with_columns(covered=pl.col("coverage") * _seconds(_SPAN), weight=pl.col("quantity").abs())
        .with_columns(weighted=pl.col("weight") * pl.col("estimated"))
    )


def _versions(parts: pl.DataFrame, on: list[str]) -> pl.Series:
    """Oldest to newest factor version of each run."""
    version = pl.col("factor_version")
    found = runs.aggregate(parts, on, columns={"oldest": version.min(), "newest": version.max()})
    first, last = pl.col("oldest").str.split(TO).list.first(), pl.col("newest").str.split(TO).list.last()
    alone = pl.col("oldest") == pl.col("newest")
    return found.select(factor_version=pl.when(alone).then("newest").otherwise(first + TO + last)).to_series()


def _labels(starts: pl.Series, interval: str, zone: ZoneInfo) -> pl.DataFrame:
    """For every slot from the first start to the last: moment, start and end of the hour, day or month, its number."""
    first, last = pl.col("start").min(), pl.col("start").max()
    moments = starts.to_frame("start").select(moment=pl.datetime_range(first, last, SLOT))
    local = pl.col("moment").dt.convert_time_zone(zone.key)
    if interval == "1h":
        hour = pl.col("moment") - pl.duration(minutes=local.dt.minute())
        labels = moments.with_columns(start=hour, end=hour + timedelta(hours=1))
    else:
        whole = Period(moments["moment"][0], moments["moment"][-1] + SLOT)
        spans = (periods.days if interval == "1d" else periods.months)(whole, zone)
        bounds = pl.DataFrame({"start": [span.start for span in spans], "end": [span.end for span in spans]})
        labels = moments.join_asof(bounds.cast(TIME), left_on="moment", right_on="start", coalesce=False)
    return labels.with_columns(span=pl.col("start").rle_id())


def _seconds(span: pl.Expr) -> pl.Expr:
    return span / timedelta(seconds=1)


def _share(part: pl.Expr, whole: pl.Expr) -> pl.Expr:
    """Share of a whole [0..1]; 0 of nothing. More than the whole (intervals that overlap) counts as the whole."""
    return pl.when(whole != 0).then((part / whole).clip(0, 1)).otherwise(0.0)
