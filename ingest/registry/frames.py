"""
The frames of the registry that speak of virtual meters, of measured heat and of green power.

    facilities -> tree(), virtual_parts(), calorific(), source_equivalents(), green_power()

What each frame holds is said where `Registry` offers it.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl

from ingest import steam
from ingest.carriers import default_class
from ingest.registry.facility import Facility, Meter
from ingest.registry.sums import BESIDE
from ingest.registry.valued import Virtual
from ingest.schema import TIME

_KEY = ["facility", "meter"]
_MANY = pl.List(pl.String)


def tree(facilities: Iterable[Facility], meters: pl.DataFrame, parts: pl.DataFrame) -> pl.DataFrame:
    """Make `Registry.tree` of the facilities, `Registry.meters` and `Registry.virtual_parts`."""
    every = list(facilities)
    physical = meters.select(*_KEY, "carrier", "role", "parent", "scope", "valid_from", "timezone", "period").join(
        pl.DataFrame(
            [(own.id, meter.id, *_class(meter), meter.renewable) for own in every for meter in own.meter],
            schema={
                "facility": pl.String,
                "meter": pl.String,
                "class": pl.Float64,
                "class_assumed": pl.Boolean,
                "renewable": pl.Boolean,
            },
            orient="row",
        ),
        on=_KEY,
        maintain_order="left",
    )
    sums = pl.DataFrame(
        [(own.id, each.id, each.carrier, each.role, each.scope, own.timezone) for own in every for each in own.virtual],
        schema=dict.fromkeys((*_KEY, "carrier", "role", "scope", "timezone"), pl.String),
        orient="row",
    ).join(_spans(meters, parts), on=_KEY, maintain_order="left")
    rows = pl.concat(
        [physical.with_columns(virtual=False), sums.with_columns(parent=pl.lit(""), virtual=True)], how="diagonal"
    )
    above, subtracted = (
        _above(every, meters),
        _listed(
            [(own.id, each.id, part) for own in every for each in own.virtual for part in each.subtract], "subtracted"
        ),
    )
    return (
        rows.join(above, on=_KEY, how="left", maintain_order="left")
        .join(subtracted, on=_KEY, how="left", maintain_order="left")
        .with_columns(
            pl.col("above", "subtracted").fill_null(pl.lit([], _MANY)),
            pl.col("renewable", "class_assumed").fill_null(value=False),
        )
    )


def _class(meter: Meter) -> tuple[float, bool]:
    if meter.accuracy:
        return float(meter.accuracy.removesuffix("S")), False
    return default_class(meter.carrier, meter.rated_kw), True


def _spans(meters: pl.DataFrame, parts: pl.DataFrame) -> pl.DataFrame:
    latest = parts.join(meters, on=_KEY).group_by("facility", "virtual")
    return latest.agg(pl.max("valid_from"), pl.max("period")).rename({"virtual": "meter"})


def _above(every: Iterable[Facility], meters: pl.DataFrame) -> pl.DataFrame:
    roles = {(facility, meter): role for facility, meter, role in meters.select(*_KEY, "role").iter_rows()}
    parents = {
        (facility, meter): parent
        for facility, meter, role, parent in meters.select(*_KEY, "role", "parent").iter_rows()
        # what generates or exports stands beside its main meter: its energy is no part of it
        if role not in BESIDE or roles.get((facility, parent)) == role
    }
    edges = [(facility, meter, parent) for (facility, meter), parent in parents.items() if parent]
    for own in every:
        for each in own.virtual:
            edges += [(own.id, part, each.id) for part in each.add]
            edges += [(own.id, each.id, above) for part in each.add if (above := parents.get((own.id, part)))]
    return _listed(edges, "above")


def _listed(edges: list[tuple[str, str, str]], name: str) -> pl.DataFrame:
    frame = pl.DataFrame(edges, schema=dict.fromkeys((*_KEY, name), pl.String), orient="row")
    return frame.group_by(_KEY, maintain_order=True).agg(pl.col(name).unique(maintain_order=True))


def virtual_parts(facilities: Iterable[Facility]) -> pl.DataFrame:
    """Make `Registry.virtual_parts`."""
    rows = [
        (own.id, each.id, meter, float(times))
        for own in facilities
        for each in own.virtual
        for meter, times in _parts({one.id: one for one in own.virtual}, each).items()
    ]
    schema = {"facility": pl.String, "virtual": pl.String, "meter": pl.String, "times": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _parts(virtuals: Mapping[str, Virtual], own: Virtual) -> Counter[str]:
    """Count how often each meter stands in a sum; what is added and subtracted again stays, at zero."""
    times: Counter[str] = Counter()
    for sign, side in ((1, own.add), (-1, own.subtract)):
        for part in side:
            inner = _parts(virtuals, virtuals[part]) if part in virtuals else {part: 1}
            for meter, count in inner.items():
                times[meter] += sign * count
    return times


def calorific(facilities: Iterable[Facility]) -> pl.DataFrame:
    """Make `Registry.calorific`."""
    rows = [(own.id, *row) for own in facilities for row in (*_measured(own), *_enthalpies(own))]
    schema = {
        "facility": pl.String,
        "meter": pl.String,
        "ncv_kj": pl.Float64,
        "heat_from": pl.Date,
        "heat_to": pl.Date,
        "heat": pl.String,
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


def _measured(own: Facility) -> Iterator[tuple[str, float, date, date, str]]:
    for row in own.calorific:
        heat = f"{row.carrier}={row.ncv_kj:.10g}kJ@{row.valid_from}"
        for meter in own.meter:
            if meter.carrier == row.carrier:
                yield meter.id, row.ncv_kj, row.valid_from, row.valid_to or date.max, heat


def _enthalpies(own: Facility) -> Iterator[tuple[str, float, date, date, str]]:
    for meter in own.meter:
        if meter.pressure_mpa is not None:
            kj = steam.heat(meter.pressure_mpa, meter.temperature_c, meter.feed_water_c)
            state = "saturated" if meter.temperature_c is None else f"{meter.temperature_c:g}C"
            yield meter.id, kj, date.min, date.max, f"steam={kj:.1f}kJ@{meter.pressure_mpa:g}MPa,{state}"


def source_equivalents(facilities: Iterable[Facility]) -> pl.DataFrame:
    """Make `Registry.source_equivalents`."""
    rows = [
        (own.id, row.kgce, row.valid_from, row.valid_to or date.max)
        for own in facilities
        for row in own.source_equivalent
    ]
    schema = {"facility": pl.String, "kgce": pl.Float64, "valid_from": pl.Date, "valid_to": pl.Date}
    return pl.DataFrame(rows, schema=schema, orient="row")


def green_power(facilities: Iterable[Facility]) -> pl.DataFrame:
    """Make `Registry.green_power`."""
    rows = [
        (
            own.id,
            row.kwh,
            _midnight(row.first, own.zone),
            _midnight(row.last + timedelta(days=1), own.zone),
            row.certificate,
        )
        for own in facilities
        for row in own.green_power
    ]
    schema = pl.Schema(
        {"facility": pl.String(), "kwh": pl.Float64(), "start": TIME, "end": TIME, "certificate": pl.String()}
    )
    return pl.DataFrame(rows, schema=schema, orient="row")


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)
