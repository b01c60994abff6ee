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
from pipelines import periods, runs
from pipelines.factors import Factors

# every offset of every IANA zone today is a whole number of these, so that hours, days and months of all zones fit
SLOT = timedelta(minutes=15)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SPAN = pl.col("end") - pl.col("start")
TO = " to "  # between the oldest and the newest factor version behind a sum
_AMOUNTS = ("quantity", "kwh", "kgce", "kg_co2")

_CANONICAL = pl.DataFrame(
    [(code, carrier.unit) for code, carrier in CARRIERS.items()],
    schema={"carrier": pl.String, "unit": pl.String},
    orient="row",
)


def slots(steps: pl.DataFrame, period: Period) -> pl.DataFrame:
    """
    Spread steps over the 15-minute grid of UTC in proportion to time, and add up what falls into one slot.

    Args:
        steps: STEPS in the order of `registers.steps`. Unattributed ones contribute nothing.
        period: only slots that lie inside it.

    Returns:
        One row a meter and slot with attributed time: facility, meter, start, end (UTC), quantity [canonical unit],
        covered_seconds [s], estimated_quantity (the part from steps that are not covered) [canonical unit].
    """
    first = _EPOCH - (_EPOCH - period.start) // SLOT * SLOT
    last = _EPOCH + (period.end - _EPOCH) // SLOT * SLOT
    meter = ["facility", "meter"]
    inside = (pl.col("end") > first) & (pl.col("start") < last)
    kept = steps.filter(pl.lit(first < last), pl.col("quantity").is_not_null(), inside)
    owner = kept.select(owner=pl.struct(meter).rle_id()).to_series()
    pieces = kept.select(
        owner, "start", "end", "quantity", "covered", slot=pl.col("start").dt.truncate(SLOT), seconds=_seconds(_SPAN)
    )
    if not pieces.select((pl.col("end") <= pl.col("slot") + SLOT).all()).item():
        pieces = _spread(pieces, first, last)
    marked = pieces.select(
        "owner",
        "slot",
        "quantity",
        covered_seconds=pl.when("covered").then("seconds").otherwise(0.0),
        estimated_quantity=pl.when("covered").then(0.0).otherwise("quantity"),
    )
    again = (pl.col("owner") == pl.col("owner").shift()) & (pl.col("slot") == pl.col("slot").shift())
    if marked.select(again.any()).item():
        marked = runs.totals(marked, ["owner", "slot"], sums=["quantity", "covered_seconds", "estimated_quantity"])
    names = kept.select(meter).filter((owner != owner.shift()).fill_null(value=True))[marked["owner"]]
    return names.hstack(marked.select(pl.exclude("owner", "slot"), start="slot", end=pl.col("slot") + SLOT))


def _spread(steps: pl.DataFrame, first: datetime, last: datetime) -> pl.DataFrame:
    """Cut steps into one piece for each slot they reach over between `first` and `last`, in proportion to time."""
    begin, end = pl.max_horizontal("slot", pl.lit(first, TIME)), pl.min_horizontal("end", pl.lit(last, TIME))
    count = (_seconds(end - begin) / SLOT.total_seconds()).ceil().cast(pl.UInt32)
    counted = steps.with_columns(slot=begin, before=count.cum_sum() - count)
    # rows are repeated by position: an explode of lists of slots takes five times as long
    position = steps.select(pl.int_range(pl.len(), dtype=pl.UInt32).repeat_by(count).explode()).to_series()
    piece = pl.int_range(pl.len(), dtype=pl.Int64) - pl.col("before")
    inside = _seconds(pl.min_horizontal("end", pl.col("slot") + SLOT) - pl.max_horizontal("start", "slot"))
    return (
        counted[position]
        .with_columns(slot=pl.col("slot") + piece * SLOT)
        .with_columns(quantity=pl.col("quantity") * (inside / pl.col("seconds")), seconds=inside)
        .drop("before")
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
    places = meters.join(_CANONICAL, on="carrier", suffix="_canonical").select(
        "facility", "meter", "carrier", "role", "scope", "timezone", unit="unit_canonical"
    )
    places = places.join(facts.select("facility", "division"), on="facility")
    valued = [
        runs.look_up(
            slots.filter(pl.col("start").is_between(since, until, closed="left")),
            _factors_at(places, factors, since),
            on=["facility", "meter"],
        )
        for since, until in pairwise(_changes(slots, places, factors))
    ]
    return _as_energy(pl.concat(valued))


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


def _as_energy(valued: pl.DataFrame) -> pl.DataFrame:
    quantity = pl.col("quantity")
    return valued.with_columns(
        interval=pl.lit("15m"),
        kwh=quantity * pl.col("kwh_per_unit"),
        kgce=quantity * pl.col("kgce_per_unit"),
        kg_co2=quantity * pl.col("kg_co2_per_unit"),
        coverage=_share(pl.col("covered_seconds"), _seconds(_SPAN)),
        estimated=_share(pl.col("estimated_quantity"), quantity),
    ).select(ENERGY.schema.names())


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
    ordered = runs.in_order(energy.drop("interval"), ["facility", "meter", "start"])
    parts = ordered.hstack(labels.drop("start")[labels["start"].search_sorted(ordered["start"])]).with_columns(
        covered=pl.col("coverage") * _seconds(_SPAN),
        weight=pl.col("quantity").abs(),
        weighted=pl.col("quantity").abs() * pl.col("estimated"),
    )
    known = [name for name in _AMOUNTS if ordered[name].null_count()]
    parts = parts.with_columns(pl.col(name).is_not_null().cast(pl.UInt32).name.suffix("_known") for name in known)
    on, kept = ["facility", "meter", "label"], ("carrier", "role", "scope", "unit", "label_end")
    added = (*_AMOUNTS, "covered", "weighted", "weight", *(f"{name}_known" for name in known))
    return (
        runs.totals(parts, on, sums=added, first=kept)
        .hstack([_versions(parts, on)])
        .rename({"label": "start", "label_end": "end"})
        .with_columns(
            *(pl.when(pl.col(f"{name}_known") > 0).then(name).alias(name) for name in known),
            interval=pl.lit(interval),
            coverage=_share(pl.col("covered"), _seconds(_SPAN)),
            estimated=_share(pl.col("weighted"), pl.col("weight")),
        )
        .select(ENERGY.schema.names())
    )


def _versions(parts: pl.DataFrame, on: list[str]) -> pl.Series:
    """Oldest to newest factor version of each run; where there is only one, as nearly always, nothing is compared."""
    versions, version = parts["factor_version"], pl.col("factor_version")
    if (versions == versions[0]).all():
        runs_of_it = parts.select(pl.struct(on).rle_id().last() + 1).item()
        return pl.Series("factor_version", [versions[0]]).new_from_index(0, runs_of_it)
    found = runs.aggregate(parts, on, columns={"oldest": version.min(), "newest": version.max()})
    first, last = pl.col("oldest").str.split(TO).list.first(), pl.col("newest").str.split(TO).list.last()
    alone = pl.col("oldest") == pl.col("newest")
    return found.select(factor_version=pl.when(alone).then("newest").otherwise(first + TO + last)).to_series()


def _labels(starts: pl.Series, interval: str, zone: ZoneInfo) -> pl.DataFrame:
    """For each start the hour, day or month it lies in: start, label, label_end."""
    moments = starts.unique().sort().to_frame("start")
    local = pl.col("start").dt.convert_time_zone(zone.key)
    if interval == "1h":
        hour = pl.col("start") - pl.duration(minutes=local.dt.minute())
        return moments.with_columns(label=hour, label_end=hour + timedelta(hours=1))
    spans = (periods.days if interval == "1d" else periods.months)(Period(moments[0, 0], moments[-1, 0] + SLOT), zone)
    bounds = pl.DataFrame({"label": [span.start for span in spans], "label_end": [span.end for span in spans]})
    return moments.join_asof(bounds.cast(TIME), left_on="start", right_on="label", coalesce=False)


def _seconds(span: pl.Expr) -> pl.Expr:
    return span / timedelta(seconds=1)


def _share(part: pl.Expr, whole: pl.Expr) -> pl.Expr:
    """Share of a whole [0..1]; 0 of nothing. More than the whole (intervals that overlap) counts as the whole."""
    return pl.when(whole != 0).then((part / whole).clip(0, 1)).otherwise(0.0)
