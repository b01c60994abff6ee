"""
The registry: which facilities there are, what they meter, make and promise. One TOML file for each facility.

    folder of *.toml -> load() -> Registry -> frames that the hot paths join with

Loading is strict: unknown keys, missing keys, duplicate ids and impossible values of all files are reported together,
each with file, key path, what was found and what is wanted. No network, no clock.
"""

import tomllib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
from pydantic import ValidationError

from ingest.carriers import CANONICAL_UNITS, to_canonical
from ingest.errors import ConfigurationError, Problem
from ingest.registry import frames
from ingest.registry.facility import Budget, Contact, DataCentre, Exchange, Facility, Gateway, Meter, Product
from ingest.registry.problems import problems_of
from ingest.registry.types import Name
from ingest.schema import TIME

__all__ = [
    "Budget",
    "Contact",
    "DataCentre",
    "Exchange",
    "Facility",
    "Gateway",
    "Meter",
    "Name",
    "Product",
    "Registry",
    "load",
    "problems_of",
]


@dataclass(frozen=True)
class Registry:
    """All facilities, and the frames the hot paths join with."""

    facilities: Mapping[str, Facility]

    @cached_property
    def meters(self) -> pl.DataFrame:
        """
        One row a meter.

        Returns:
            facility, meter, carrier, role, kind, unit, period (duration), stamp, multiplier, modulus (10^digits, null
            where unknown), rated (what it can measure at most) [canonical unit/h; null where unknown, or the carrier is
            not measured as energy], parent, scope, valid_from (UTC), timezone, division of the facility, the carrier's
            canonical_unit, and `to_canonical`: the factor from the meter's unit to the canonical one (a power unit
            counts as one hour of it).
        """
        return pl.DataFrame(
            [_meter_row(facility, meter) for facility in self.facilities.values() for meter in facility.meter],
            schema=_METERS,
            orient="row",
        ).sort("facility", "meter")

    @cached_property
    def exchanges(self) -> pl.DataFrame:
        """One row a meter exchange: facility, meter, at (UTC), removed_value, installed_value (shown unit)."""
        return pl.DataFrame(
            [
                (facility.id, meter.id, exchange.at.astimezone(UTC), exchange.removed_value, exchange.installed_value)
                for facility in self.facilities.values()
                for meter in facility.meter
                for exchange in meter.exchange
            ],
            schema=_EXCHANGES,
            orient="row",
        ).sort("facility", "meter", "at")

    @cached_property
    def products(self) -> pl.DataFrame:
        """One row a product: facility, product, unit, limit (row of the limit catalogue, empty where none)."""
        return pl.DataFrame(
            [
                (facility.id, product.id, product.unit, product.limit)
                for facility in self.facilities.values()
                for product in facility.product
            ],
            schema=dict.fromkeys(("facility", "product", "unit", "limit"), pl.String),
            orient="row",
        )

    @cached_property
    def facts(self) -> pl.DataFrame:
        """
        One row a facility, the attributes that scope rules and divide indicators.

        Returns:
            facility, kind, division, industry, timezone, key_energy_user, floor_area_m2 [m2], persons, scale,
            hub_node, approved (date), pue_category; null where the registry says nothing.
        """
        return pl.DataFrame(
            [_facts_row(facility) for facility in self.facilities.values()], schema=_FACTS, orient="row"
        )

    @cached_property
    def tree(self) -> pl.DataFrame:
        """
        One row a meter, virtual ones too: what is counted together, and what stands below what.

        Returns:
            facility, meter, carrier, role, parent, scope, valid_from (UTC; of a virtual meter that of its latest part),
            timezone, period, renewable, class [%], class_assumed (the registry names none), virtual, above (the meters
            it is counted in: its parent and the virtual meters that add it; of a virtual meter the parents of what it
            adds), subtracted (the meters a virtual meter subtracts).
        """
        return frames.tree(self.facilities.values(), self.meters, self.virtual_parts)

    @cached_property
    def virtual_parts(self) -> pl.DataFrame:
        """One row a virtual meter and meter behind it: facility, virtual, meter, times (1 added, -1 subtracted)."""
        return frames.virtual_parts(self.facilities.values())

    @cached_property
    def calorific(self) -> pl.DataFrame:
        """
        What this registry knows of the heat of a meter's carrier, measured or by enthalpy.

        Returns:
            facility, meter, ncv_kj [kJ a canonical unit], heat_from, heat_to (both included), heat (what it is, in one
            word: it stands in the factor version of every figure that rests on it).
        """
        return frames.calorific(self.facilities.values())

    @cached_property
    def source_equivalents(self) -> pl.DataFrame:
        """Source equivalents (等价值) of electricity: facility, kgce [kgce/kWh], valid_from, valid_to (included)."""
        return frames.source_equivalents(self.facilities.values())

    @cached_property
    def green_power(self) -> pl.DataFrame:
        """Green power: facility, kwh [kWh], start, end (UTC, half-open), certificate."""
        return frames.green_power(self.facilities.values())

    def by_zone(self) -> dict[ZoneInfo, list[str]]:
        """Return the time zones, and the ids of the facilities in each."""
        zones: dict[ZoneInfo, list[str]] = defaultdict(list)
        for name, facility in self.facilities.items():
            zones[facility.zone].append(name)
        return zones

    def select(self, facilities: Iterable[str]) -> "Registry":
        """Return the registry of these facilities only."""
        wanted = set(facilities)
        return Registry({name: facility for name, facility in self.facilities.items() if name in wanted})


_METERS = pl.Schema(
    {
        "facility": pl.String(),
        "meter": pl.String(),
        "carrier": pl.String(),
        "role": pl.String(),
        "kind": pl.String(),
        "unit": pl.String(),
        "period": pl.Duration("us"),
        "stamp": pl.String(),
        "multiplier": pl.Float64(),
        "modulus": pl.Float64(),
        "rated": pl.Float64(),
        "parent": pl.String(),
        "scope": pl.String(),
        "valid_from": TIME,
        "timezone": pl.String(),
        "division": pl.String(),
        "canonical_unit": pl.String(),
        "to_canonical": pl.Float64(),
    }
)
_EXCHANGES = pl.Schema(
    {
        "facility": pl.String(),
        "meter": pl.String(),
        "at": TIME,
        "removed_value": pl.Float64(),
        "installed_value": pl.Float64(),
    }
)
_FACTS = pl.Schema(
    {
        "facility": pl.String(),
        "kind": pl.String(),
        "division": pl.String(),
        "industry": pl.String(),
        "timezone": pl.String(),
        "key_energy_user": pl.Boolean(),
        "floor_area_m2": pl.Float64(),
        "persons": pl.Int64(),
        "scale": pl.String(),
        "hub_node": pl.Boolean(),
        "approved": pl.Date(),
        "pue_category": pl.Int64(),
    }
)


def _meter_row(facility: Facility, meter: Meter) -> tuple[Any, ...]:
    midnight = datetime(meter.valid_from.year, meter.valid_from.month, meter.valid_from.day, tzinfo=facility.zone)
    return (
        facility.id,
        meter.id,
        meter.carrier,
        meter.role,
        meter.kind,
        meter.unit,
        meter.period,
        meter.stamp,
        meter.multiplier,
        None if meter.digits is None else 10.0**meter.digits,
        _rated(meter),
        meter.parent,
        meter.scope,
        midnight.astimezone(UTC),
        facility.timezone,
        facility.division,
        CANONICAL_UNITS[meter.carrier],
        to_canonical(meter.carrier, meter.unit),
    )


def _rated(meter: Meter) -> float | None:
    an_hour = to_canonical(meter.carrier, "kW")
    return None if meter.rated_kw is None or an_hour is None else meter.rated_kw * an_hour


def _facts_row(facility: Facility) -> tuple[Any, ...]:
    centre = facility.data_centre
    own = (None,) * 4 if centre is None else (centre.scale, centre.hub_node, centre.approved, centre.pue_category)
    return (
        facility.id,
        facility.kind,
        facility.division,
        facility.industry,
        facility.timezone,
        facility.key_energy_user,
        facility.floor_area_m2,
        facility.persons,
        *own,
    )


def load(folder: Path) -> Registry:
    """
    Read every *.toml file of a folder.

    Raises:
        ConfigurationError: with all problems of all files.
    """
    files = sorted(folder.glob("*.toml")) if folder.is_dir() else []
    if not files:
        raise ConfigurationError([Problem(str(folder), "no registry file", "a folder with one TOML file per facility")])
    problems: list[Problem] = []
    facilities: dict[str, Facility] = {}
    owners: dict[str, Path] = {}
    for file in files:
        try:
            table = tomllib.loads(file.read_text("utf-8-sig"))
            if isinstance(name := table.get("id"), str) and owners.setdefault(name, file) != file:
                wanted = f"another id: {owners[name].name} has this one already"
                problems.append(Problem(f"{file}: id", repr(name), wanted))
            facility = Facility.model_validate(table)
        except ValidationError as error:
            problems.extend(problems_of(error, str(file), model=Facility))
        except (OSError, ValueError, RecursionError) as error:
            problems.append(Problem(str(file), str(error), "a readable TOML file in UTF-8"))
        else:
            facilities[facility.id] = facility
    if problems:
        raise ConfigurationError(problems)
    return Registry(facilities)
