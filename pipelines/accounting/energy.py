"""
Slots become energy: kWh, coal equivalent and carbon dioxide of 15 minutes, and the hours, days and months made of them.

    slots -> 15m (kWh, kgce, kg CO2) -> 1h -> 1d -> 1mo in the facility's zone -> ENERGY

On the way meters and factor versions are numbers; their names come last, and only once.
"""

from datetime import datetime, timedelta
from functools import lru_cache
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

import polars as pl

from ingest.model import Period
from ingest.schema import ENERGY, EPOCH, TIME
from pipelines import periods, runs
from pipelines.accounting.slots import NUMBER, SLOT, share, within
from pipelines.factors.catalogue import Factors

Longer = Literal["1h", "1d", "1mo"]

TO = " to "  # between the oldest and the newest factor version behind a sum

_HOUR = timedelta(hours=1)
# place of a factor version among all versions
_VERSION = pl.col("factor_version").rank("dense").cast(pl.UInt32).sub(1).alias("version")
_FIRST = pl.lit(0, pl.UInt32()).alias("version")
_SECONDS = (pl.col("end") - pl.col("start")) / timedelta(seconds=1)
_AMOUNTS = ("quantity", "kwh", "kgce", "kg_co2")
_FACTORS = ["kwh_per_unit", "kgce_per_unit", "kg_co2_per_unit"]
_VALUES = [(pl.col("quantity") * pl.col(f"{name}_per_unit")).alias(name) for name in _AMOUNTS[1:]]
_WEIGHT = pl.col("quantity").abs()
_ESTIMATED = share(pl.col("weighted"), pl.col("weight"))
_ROWS = ["row", "slot", "start", "end", *_AMOUNTS, "coverage", "estimated", "version"]
_METER = ["facility", "meter", "carrier", "role", "scope", "unit"]


class _Numbered(NamedTuple):
    """
    Energy of one interval with numbers in place of names.

    Attributes:
        rows: row (of `meters`), slot (the first, its number since 1970), start, end, quantity, kwh, kgce, kg_co2,
            coverage, estimated, version (of `versions`).
        meters: facility, meter, carrier, role, scope, unit.
        versions: factor versions, in the order of their text.
    """

    rows: pl.DataFrame
    meters: pl.DataFrame
    versions: pl.Series


def levels(slots: pl.DataFrame, meters: pl.DataFrame, factors: Factors, zone: ZoneInfo) -> dict[str, pl.DataFrame]:
    """
    Value slots as energy content, coal equivalent and carbon dioxide, and add them up to the hours and days of a zone.

    kwh, kgce and kg_co2 are the quantity times the factor of the carrier, of the facility's division and of the slot's
    local date (coal equivalent: GB/T 2589-2020 chapter 5; carbon dioxide: activity data x emission factor).

    Args:
        slots: as `slots.spread` returns them.
        meters: `Registry.meters`.
        factors: the factor catalogue.
        zone: the facilities' zone.

    Returns:
        ENERGY rows by interval (15m, 1h, 1d), by meter and time. kwh [kWh], kgce [kgce] and kg_co2 [kg CO2] are null
        where there is no factor; longer intervals as `roll_up` returns them.
    """
    return _levels(_valued(slots, meters, factors), zone)


def levels_of(quarters: pl.DataFrame, zone: ZoneInfo) -> dict[str, pl.DataFrame]:
    """Add ENERGY rows of interval 15m up to the hours and days of a zone; returns as `levels` does."""
    return _levels(_numbered(quarters), zone)


def _levels(quarters: _Numbered, zone: ZoneInfo) -> dict[str, pl.DataFrame]:
    hours = _added(quarters, "1h", zone)
    found = {"15m": quarters, "1h": hours, "1d": _added(hours, "1d", zone)}
    return {interval: _named(numbered, interval) for interval, numbered in found.items()}


def roll_up(energy: pl.DataFrame, interval: Longer, zone: ZoneInfo) -> pl.DataFrame:
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
    return _named(_added(_numbered(energy), interval, zone), interval)


def _valued(slots: pl.DataFrame, meters: pl.DataFrame, factors: Factors) -> _Numbered:
    """Value slots with the factors that hold when they begin."""
    first, *changes = _changes(slots, meters, factors)
    held = pl.concat([factors.of_meters(meters, since) for since in (first, *changes)])
    which = slots["row"]
    if changes:
        turn = pl.Series(changes, dtype=TIME).search_sorted(slots["start"], side="right")
        which = which + turn * meters.height
    versions = held["factor_version"].unique().sort()
    # one version is one value for all rows, which is not written out
    version = held.select(_VERSION).to_series()[which] if versions.len() > 1 else _FIRST
    rows = slots.hstack(held[_FACTORS][which]).with_columns_seq(*_VALUES, version)[_ROWS]
    return _Numbered(rows, _names(meters), versions)


def _names(meters: pl.DataFrame) -> pl.DataFrame:
    return meters[[*_METER[:-1], "canonical_unit"]].rename({"canonical_unit": "unit"})


def _changes(slots: pl.DataFrame, meters: pl.DataFrame, factors: Factors) -> list[datetime]:
    """Return the start of the first slot, and the moments after it at which a factor changes in some zone, in order."""
    if slots.is_empty():
        return [EPOCH]
    first, end = _reach(slots)
    zones = [ZoneInfo(name) for name in meters["timezone"].unique()]
    moments = {periods.midnight(day, zone) for zone in zones for day in factors.changes}
    return [first, *sorted(moment for moment in moments if first < moment < end)]


def _reach(rows: pl.DataFrame) -> tuple[datetime, datetime]:
    """Start of the first slot and end of the last."""
    first, last = rows.select_seq(first=pl.min("slot"), last=pl.max("slot")).row(0)
    return EPOCH + first * SLOT, EPOCH + (last + 1) * SLOT


def _numbered(energy: pl.DataFrame) -> _Numbered:
    """Put numbers in place of names, in the order of meter and time; what a meter is, its first row says."""
    rows = energy.with_columns(runs.numbered(energy, ["facility", "meter"]).alias("row"), NUMBER, _VERSION)
    rows = runs.in_order(rows, "row", "start")
    meters = rows.group_by("row", maintain_order=True).first()[_METER]
    return _Numbered(rows[_ROWS], meters, energy["factor_version"].unique().sort())


def _named(numbered: _Numbered, interval: str) -> pl.DataFrame:
    """Put names in place of numbers: ENERGY rows."""
    rows, meters, versions = numbered
    version = pl.lit(versions[0]) if versions.len() == 1 else versions[rows["version"]]
    named = rows.hstack(meters[rows["row"]])
    return named.with_columns_seq(interval=pl.lit(interval), factor_version=version)[ENERGY.schema.names()]


def _added(numbered: _Numbered, interval: Longer, zone: ZoneInfo) -> _Numbered:
    """Add up to a longer interval."""
    rows, meters, versions = numbered
    if rows.is_empty():
        return numbered
    first, end = _reach(rows)
    labels, spans = _labels(first, end, interval, zone)
    place = rows["slot"] - (first - EPOCH) // SLOT
    known = [name for name in _AMOUNTS if rows[name].has_nulls()]
    guessed = {} if (rows["estimated"] == 0).all() else {"weight": _WEIGHT, "weighted": _WEIGHT * pl.col("estimated")}
    parts = rows.select_seq(
        *("row", labels[place.cast(pl.UInt32, wrap_numerical=True)], "version", *_AMOUNTS),
        *(pl.col(name).is_not_null().cast(pl.UInt32).name.suffix("_known") for name in known),
        # hours are made of slots
        covered=pl.col("coverage") * (SLOT.total_seconds() if interval == "1h" else _SECONDS),
        **guessed,
    )
    on, kept = ["row", "span"], ["version"]
    sums = runs.totals(parts, on, sums=[name for name in parts.columns if name not in (*on, *kept)], first=kept)
    found = sums.hstack(spans[sums["span"]]).select_seq(
        *("row", "slot", "start", "end", "version"),
        *(pl.when(pl.col(f"{name}_known") > 0).then(name) if name in known else pl.col(name) for name in _AMOUNTS),
        coverage=within(pl.col("covered") / pl.col("seconds")),
        estimated=_ESTIMATED if guessed else pl.lit(0.0),
    )
    if versions.len() == 1 or not _changes_inside(parts):
        return _Numbered(found, meters, versions)
    version, versions = _spanned(parts, on, versions)
    return _Numbered(found.with_columns(version), meters, versions)


def _changes_inside(parts: pl.DataFrame) -> bool:
    """Whether the factor version of some meter changes."""
    version, row = parts["version"], parts["row"]
    return bool(((version != version.shift()) & (row == row.shift())).any())


def _spanned(parts: pl.DataFrame, on: list[str], versions: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Oldest to newest factor version of each run: their number, and the versions that are numbered now."""
    version = pl.col("version")
    found = runs.aggregate(parts, on, columns={"oldest": version.min(), "newest": version.max()})
    oldest, newest = versions[found["oldest"]], versions[found["newest"]]
    both = oldest.str.split(TO).list.first() + TO + newest.str.split(TO).list.last()
    text = newest.zip_with(found["oldest"] == found["newest"], both).alias("factor_version").to_frame()
    return text.select(_VERSION).to_series(), text["factor_version"].unique().sort()


@lru_cache(maxsize=64)  # the shares of a window ask for the same
def _labels(first: datetime, end: datetime, interval: Longer, zone: ZoneInfo) -> tuple[pl.Series, pl.DataFrame]:
    """
    Number the hours, days or months between the start of a slot and the end of another.

    Returns:
        For each slot the number of its hour, day or month; and of each of these the first slot, start, end and seconds.
    """
    # the clock may jump in the hour before or after
    moments = pl.select(moment=pl.datetime_range(first - _HOUR, end + _HOUR, SLOT, closed="left").cast(TIME))
    if interval == "1h":
        labels = _hours(moments, zone)
    else:
        whole = Period(first - _HOUR, end + _HOUR)
        spans = (periods.days if interval == "1d" else periods.months)(whole, zone)
        bounds = pl.DataFrame({"start": [span.start for span in spans], "end": [span.end for span in spans]})
        labels = moments.join_asof(bounds.cast(TIME), left_on="moment", right_on="start", coalesce=False)
    labels = labels.with_columns(span=pl.col("start").rle_id())
    each = labels.unique("span", maintain_order=True).select(NUMBER, "start", "end", seconds=_SECONDS)
    return labels["span"][_HOUR // SLOT :], each


def _hours(moments: pl.DataFrame, zone: ZoneInfo) -> pl.DataFrame:
    """
    Add start and end of the local hour; the clock's own jump ends one and begins the next.

    It jumps at a full hour nearly everywhere. On Lord Howe Island it jumps by half an hour: one hour of the year has 30
    minutes, and one is begun twice.
    """
    moment, local = pl.col("moment"), pl.col("moment").dt.convert_time_zone(zone.key)
    offset = local.dt.base_utc_offset() + local.dt.dst_offset()
    jump = pl.when(offset != offset.shift()).then(moment)
    hour = moment - pl.duration(minutes=local.dt.minute())
    return moments.with_columns(
        start=pl.max_horizontal(hour, jump.forward_fill()),
        end=pl.min_horizontal(hour + _HOUR, jump.shift(-1).backward_fill()),
    )
