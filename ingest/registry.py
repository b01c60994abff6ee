"""
The registry: which facilities there are, what they meter, make and promise. One TOML file for each facility.

    folder of *.toml -> load() -> Registry -> frames that the hot paths join with

Loading is strict: unknown keys, missing keys, duplicate ids and impossible values of all files are reported together,
each with file, key path, what was found and what is wanted. No network, no clock.
"""

import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, available_timezones

import polars as pl
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from ingest.carriers import CARRIERS, to_canonical
from ingest.errors import ConfigurationError, Problem
from ingest.schema import TIME
from ingest.units import UNITS

_USCC_ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_PERIODS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def _wanted(sentence: str, *, at: str = "") -> PydanticCustomError:
    """Build the error of a check of ours: the sentence says what is wanted, `at` the key below the checked one."""
    return PydanticCustomError("wanted", "{wanted}", {"wanted": sentence, "at": at})


def _uscc(code: str) -> str:
    """GB 32100: 17 characters weighted by 3^i mod 31, the 18th makes the sum divisible by 31."""
    if re.fullmatch(rf"[{_USCC_ALPHABET}]{{18}}", code) is None:
        raise _wanted("18 characters, digits and capitals without I, O, S, V, Z")
    weighted = sum(_USCC_ALPHABET.index(character) * pow(3, i, 31) for i, character in enumerate(code[:17]))
    check = _USCC_ALPHABET[-weighted % 31]
    if check != code[17]:
        raise _wanted(f"check digit {check} at the end (GB 32100)")
    return code


def _timezone(name: str) -> str:
    if name not in available_timezones():
        raise _wanted("an IANA time zone, e.g. Asia/Shanghai")
    return name


def _duration(text: object) -> timedelta:
    match = re.fullmatch(r"([1-9]\d*)([smhd])", text) if isinstance(text, str) else None
    if match is None:
        raise _wanted("a number and s, m, h or d, e.g. 15m")
    span = timedelta(**{_PERIODS[match[2]]: int(match[1])})
    if span > timedelta(days=1):
        raise _wanted("at most 1d")
    return span


def _carrier(code: str) -> str:
    if code not in CARRIERS:
        raise _wanted(f"one of {', '.join(CARRIERS)}")
    return code


def _unit(name: str) -> str:
    if name not in UNITS:
        raise _wanted(f"one of {', '.join(UNITS)}")
    return name


Identifier = Annotated[str, Field(pattern=r"^[a-z0-9-]+$", max_length=64)]
MeterId = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$", max_length=64)]
UnitName = Annotated[str, AfterValidator(_unit)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


class Name(_Strict):
    """A name in both languages of the product."""

    zh: Annotated[str, Field(min_length=1)]
    en: Annotated[str, Field(min_length=1)]


class DataCentre(_Strict):
    """What decides which limits bind a data centre (数据中心)."""

    scale: Literal["small", "medium", "large", "super_large"]
    hub_node: bool
    approved: date
    pue_category: Literal[1, 2, 3]


class Contact(_Strict):
    """A person or desk that is told."""

    role: Literal["operator", "regulator"]
    name: Annotated[str, Field(min_length=1)]
    email: Annotated[str, Field(pattern=r"^[^@\s<>,;\"]+@[^@\s<>,;\"]+$", max_length=254)]


class Product(_Strict):
    """A product with its unit and, where a limit standard covers it, its row of the limit catalogue."""

    id: Identifier
    unit: UnitName
    limit: str = ""


class Budget(_Strict):
    """Energy budget (用能预算) of one year. [tce]"""

    year: Annotated[int, Field(ge=2000, le=2100)]
    tce: Positive


class Exchange(_Strict):
    """A meter was swapped: the last value of the old one, the first of the new one, in the shown unit."""

    at: AwareDatetime
    removed_value: Finite
    installed_value: Finite


class Meter(_Strict):
    """A meter (计量器具): what it measures, how its values are to be read, what one step can be."""

    id: MeterId
    carrier: Annotated[str, AfterValidator(_carrier)]
    role: Literal[
        "total", "it", "cooling", "power_distribution", "lighting", "process", "building", "generation", "export"
    ]
    kind: Literal["register", "interval", "power"]
    unit: UnitName
    period: Annotated[timedelta, BeforeValidator(_duration)]
    stamp: Literal["start", "end"] = "end"
    multiplier: Positive = 1.0
    digits: Annotated[int, Field(ge=1, le=12)] | None = None
    rated_kw: Positive | None = None
    parent: str = ""
    scope: str = ""
    valid_from: date
    exchange: tuple[Exchange, ...] = ()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if to_canonical(self.carrier, self.unit) is None:
            raise _wanted(f"a unit that measures {self.carrier} (canonical: {CARRIERS[self.carrier].unit})", at="unit")
        if (self.kind == "power") != (UNITS[self.unit].dimension == "power"):
            raise _wanted("kind power with W, kW or MW, and only there", at="kind")
        if self.kind != "register" and (self.digits is not None or self.exchange):
            raise _wanted("digits and exchange only on a meter of kind register", at="kind")
        if self.kind != "interval" and "stamp" in self.model_fields_set:
            raise _wanted("stamp only on a meter of kind interval", at="stamp")
        if any(a.at >= b.at for a, b in zip(self.exchange, self.exchange[1:], strict=False)):
            raise _wanted("exchanges in the order of time", at="exchange")
        return self


class Facility(_Strict):
    """A facility (用能单位): the accountable site, its meters, products and contacts."""

    id: Identifier
    name: Name
    kind: Literal["industrial", "data_centre", "public_building", "public_institution", "power_plant"]
    division: Annotated[str, Field(pattern=r"^\d{6}$")]
    uscc: Annotated[str, AfterValidator(_uscc)] | None = None
    industry: Annotated[str, Field(pattern=r"^[A-T]?\d{2,4}$")]
    timezone: Annotated[str, AfterValidator(_timezone)] = "Asia/Shanghai"
    language: Literal["zh", "en"] = "zh"
    key_energy_user: bool
    floor_area_m2: Positive | None = None
    persons: Annotated[int, Field(gt=0)] | None = None
    data_centre: DataCentre | None = None
    contact: tuple[Contact, ...] = ()
    product: tuple[Product, ...] = ()
    budget: tuple[Budget, ...] = ()
    meter: Annotated[tuple[Meter, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.kind == "data_centre") != (self.data_centre is not None):
            raise _wanted("a section [data_centre] where kind is data_centre, and only there", at="data_centre")
        for key, ids in (
            ("meter", [meter.id for meter in self.meter]),
            ("product", [product.id for product in self.product]),
            ("budget", [budget.year for budget in self.budget]),
        ):
            if twice := [name for name, times in Counter(ids).items() if times > 1]:
                raise _wanted(f"each id once; {', '.join(map(str, twice))} stands more than once", at=key)
        for position, meter in enumerate(self.meter):
            self._check_parents(meter, f"meter.{position}.parent")
        return self

    def _check_parents(self, meter: Meter, at: str) -> None:
        parents = {other.id: other.parent for other in self.meter}
        above, seen = meter.parent, {meter.id}
        while above:
            if above not in parents:
                raise _wanted(f"the id of a meter of this facility, not {above!r}", at=at)
            if above in seen:
                raise _wanted("a tree: a meter must not stand above itself", at=at)
            seen.add(above)
            above = parents[above]

    @property
    def zone(self) -> ZoneInfo:
        """The facility's own time zone: its days and months."""
        return ZoneInfo(self.timezone)


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
            where unknown), rated_kw [kW], parent, scope, valid_from (UTC), timezone, and `to_canonical`: the factor
            from the meter's unit to the carrier's canonical unit (a power unit counts as one hour of it).
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
            schema={name: pl.String for name in ("facility", "product", "unit", "limit")},
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
        return pl.DataFrame([_facts_row(facility) for facility in self.facilities.values()], schema=_FACTS, orient="row")

    def select(self, facilities: Iterable[str]) -> "Registry":
        """Return the registry of these facilities only."""
        wanted = set(facilities)
        return Registry({name: facility for name, facility in self.facilities.items() if name in wanted})


_METERS = pl.Schema({
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
    "rated_kw": pl.Float64(),
    "parent": pl.String(),
    "scope": pl.String(),
    "valid_from": TIME,
    "timezone": pl.String(),
    "to_canonical": pl.Float64(),
})
_EXCHANGES = pl.Schema({
    "facility": pl.String(),
    "meter": pl.String(),
    "at": TIME,
    "removed_value": pl.Float64(),
    "installed_value": pl.Float64(),
})
_FACTS = pl.Schema({
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
})


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
        meter.rated_kw,
        meter.parent,
        meter.scope,
        midnight.astimezone(UTC),
        facility.timezone,
        to_canonical(meter.carrier, meter.unit),
    )


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
    for file in files:
        try:
            facility = Facility.model_validate(tomllib.loads(file.read_text("utf-8")))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            problems.append(Problem(str(file), str(error), "a readable TOML file in UTF-8"))
        except ValidationError as error:
            problems.extend(problems_of(error, str(file)))
        else:
            if facility.id in facilities:
                problems.append(Problem(f"{file}: id", repr(facility.id), "an id that no other file uses"))
            facilities[facility.id] = facility
    if problems:
        raise ConfigurationError(problems)
    return Registry(facilities)


def problems_of(error: ValidationError, file: str) -> Iterator[Problem]:
    """Turn each error of a pydantic model into a problem: file and key path, what was found, what is wanted."""
    for detail in error.errors(include_url=False):
        context = detail.get("ctx", {})
        path = ".".join(map(str, (*detail["loc"], *filter(None, [context.get("at")]))))
        match detail["type"]:
            case "missing":
                yield Problem(f"{file}: {path}", "nothing", "a value: the key is required")
            case "extra_forbidden":
                yield Problem(f"{file}: {path}", "an unknown key", "a key of the registry, or none")
            case "wanted":
                yield Problem(f"{file}: {path}", _found(detail["input"], context["at"]), context["wanted"])
            case _:
                yield Problem(f"{file}: {path}", _found(detail["input"], ""), detail["msg"].lower())


def _found(value: Any, at: str) -> str:
    for key in filter(None, at.split(".")):
        value = value[int(key)] if isinstance(value, list) else value.get(key) if isinstance(value, dict) else value
    return "nothing" if value is None else repr(value) if len(repr(value)) <= 60 else repr(value)[:57] + "..."
