"""
What one registry file may hold: a facility with its meters, products, budgets and contacts.

Every table is checked key by key and its keys against each other, and every list of tables row by row and the rows
against each other; a fault of one never hides those of another, so a person mends the whole file in one go.
"""

import re
from datetime import date, timedelta
from itertools import chain, pairwise
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BeforeValidator,
    Field,
    ModelWrapValidatorHandler,
    ValidationInfo,
    field_validator,
    model_validator,
)

from ingest.carriers import CARRIERS, to_canonical
from ingest.model import Strict
from ingest.registry.fits import fits, tree
from ingest.registry.rows import rows, together, wanted
from ingest.registry.sums import overlapping, sums
from ingest.registry.types import (
    Count,
    Email,
    Identifier,
    Line,
    MeterId,
    Name,
    Positive,
    Tag,
    UnitName,
    credit_code,
    duration,
    one_of,
    text,
    zone_name,
)
from ingest.registry.valued import Calorific, GreenPower, Role, SourceEquivalent, Virtual
from ingest.steam import FEED_WATER_C, saturation
from ingest.units import UNITS


class DataCentre(Strict):
    """What decides which limits bind a data centre (数据中心)."""

    scale: Literal["small", "medium", "large", "super_large"]
    hub_node: bool
    approved: date
    pue_category: Annotated[int, Field(ge=1, le=3)]


class Contact(Strict):
    """A person or desk that is told."""

    role: Literal["operator", "regulator"]
    name: Line
    email: Email


class Product(Strict):
    """A product with its unit and, where a limit standard covers it, its row of the limit catalogue."""

    id: Identifier
    unit: UnitName
    limit: Tag = ""


class Budget(Strict):
    """Energy budget (用能预算) of one year. [tce]"""

    year: Annotated[int, Field(ge=2000, le=2100)]
    tce: Positive


class Exchange(Strict):
    """A meter was swapped: the last value of the old one, the first of the new one, in the shown unit."""

    at: AwareDatetime
    removed_value: Count
    installed_value: Count


class Meter(Strict):
    """A meter (计量器具): what it measures, how its values are to be read, what one step can be."""

    id: MeterId
    carrier: Annotated[str, one_of(list(CARRIERS))]
    role: Role
    unit: UnitName
    kind: Literal["register", "interval", "power"]
    period: Annotated[timedelta, BeforeValidator(duration)]
    stamp: Literal["start", "end"] = "end"
    multiplier: Positive = 1.0
    digits: Annotated[int, Field(ge=1, le=12)] | None = None
    rated_kw: Positive | None = None
    parent: Annotated[str, text(r"[A-Za-z0-9._-]{0,64}", "the id of a meter, or nothing")] = ""
    scope: Tag = ""
    accuracy: Annotated[str, text(r"(0\.[1-9]\d?|[1-5](\.\d)?)S?", 'an accuracy class like "0.5S", "1" or "2.5"')] = (
        Field("", alias="class", validate_default=False)
    )
    renewable: bool = False
    pressure_mpa: Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)] | None = None
    temperature_c: Annotated[float, Field(gt=0, le=800, allow_inf_nan=False)] | None = None
    feed_water_c: Annotated[float, Field(ge=0, le=350, allow_inf_nan=False)] = FEED_WATER_C
    code: Annotated[str, text("[0-9]{16}", "the 16 digits of a data item (采集数据项编码)")] | None = None
    valid_from: date
    exchange: Annotated[tuple[Exchange, ...], Field(strict=False), rows("at")] = ()

    # a field validator sees the keys above it that passed: one wrong key does not silence the checks of the others
    @field_validator("unit")
    @classmethod
    def _measures_the_carrier(cls, unit: str, info: ValidationInfo) -> str:
        carrier = info.data.get("carrier")
        if carrier and to_canonical(carrier, unit) is None:
            units = [name for name in UNITS if to_canonical(carrier, name) is not None]
            raise wanted(f"a unit that measures {carrier}: {', '.join(units)}")
        return unit

    @field_validator("kind")
    @classmethod
    def _matches_the_unit(cls, kind: str, info: ValidationInfo) -> str:
        unit = info.data.get("unit")
        if unit and (kind == "power") != (UNITS[unit].dimension == "power"):
            raise wanted(f"{'register or interval' if kind == 'power' else 'power'}, because the unit is {unit}")
        return kind

    @field_validator("renewable")
    @classmethod
    def _generates(cls, renewable: bool, info: ValidationInfo) -> bool:  # noqa: FBT001 - pydantic calls it so
        if renewable and info.data.get("role", "generation") != "generation":
            raise wanted("this key on a meter of role generation only")
        return renewable

    @field_validator("pressure_mpa", "temperature_c", "feed_water_c")
    @classmethod
    def _is_of_steam(cls, value: float | None, info: ValidationInfo) -> float | None:
        given = value not in (None, FEED_WATER_C)
        if given and info.data.get("carrier", "steam") != "steam":
            raise wanted("this key on a meter of steam only")
        if given and info.field_name != "pressure_mpa" and info.data.get("pressure_mpa", 1.0) is None:
            raise wanted("this key beside pressure_mpa only")
        pressure = info.data.get("pressure_mpa")
        if info.field_name == "temperature_c" and value and pressure and value < (boiling := saturation(pressure)):
            raise wanted(f"steam: at {pressure:g} MPa water boils at {boiling:.1f} degrees C; saturated: leave it out")
        return value

    @field_validator("digits", "exchange")
    @classmethod
    def _counts(cls, value: Any, info: ValidationInfo) -> Any:
        if value and info.data.get("kind") in {"interval", "power"}:
            raise wanted("this key on a meter of kind register only")
        return value

    @field_validator("exchange")
    @classmethod
    def _in_order(cls, exchanges: tuple[Exchange, ...], info: ValidationInfo) -> tuple[Exchange, ...]:
        for earlier, later in pairwise(exchanges):
            if earlier.at >= later.at:
                raise wanted(f"the order of time; {later.at.isoformat()} comes after {earlier.at.isoformat()}")
        if exchanges and "valid_from" in info.data and exchanges[0].at.date() < info.data["valid_from"]:
            raise wanted(f"no exchange before valid_from; one is at {exchanges[0].at.isoformat()}")
        highest = max((max(each.removed_value, each.installed_value) for each in exchanges), default=0.0)
        if (digits := info.data.get("digits")) and highest >= 10.0**digits:
            raise wanted(f"values that {digits} digits can show; one is {highest:.10g}")
        return exchanges


# which keys a format has, and what a name of its values looks like
_KEYS = {
    "time": ("flat",),
    "missing_time": ("flat", "shelly"),
    "meters": ("flat", "tasmota", "shelly", "sparkplug_b"),
    "units": ("flat", "tasmota", "sparkplug_b"),
}
_NAMES = {
    "tasmota": (r"[^.]+\..+", "a name below a sensor, e.g. ENERGY.Total"),
    "shelly": (
        r"\w+/\d+/\w+|e?meters\.\d+\.\w+|\w+:\d+\.[\w.]+",
        "a name like em:0.total_act_power, emdata:0.total_act, emeter/0/total or emeters.0.total",
    ),
    "sparkplug_b": (r"[^/]+/[^/]+/.+", "GROUP/NODE/METRIC or GROUP/NODE/DEVICE/METRIC"),
}


class Gateway(Strict):
    """A gateway: the format of its messages, and which of the values it names belong to which meter."""

    id: MeterId
    format: Literal["peakwatch", "flat", "tasmota", "shelly", "sparkplug_b", "national"] = "peakwatch"
    time: Line = "timestamp"
    missing_time: Literal["refuse", "receipt"] = "refuse"
    meters: Annotated[dict[Line, MeterId], Field(default_factory=dict, validate_default=True)]
    units: dict[Line, UnitName] = Field(default_factory=dict)

    @field_validator(*_KEYS)
    @classmethod
    def _is_of_the_format(cls, value: Any, info: ValidationInfo) -> Any:
        formats = _KEYS[str(info.field_name)]
        if value and info.data.get("format", formats[0]) not in formats:
            raise wanted(f"this key on a gateway of format {' or '.join(formats)} only")
        return value

    @field_validator("meters", mode="before")
    @classmethod
    def _is_quoted(cls, meters: Any) -> Any:
        nested = [name for name, meter in meters.items() if isinstance(meter, dict)] if isinstance(meters, dict) else []
        if nested:
            raise wanted(f'each name in quotes, because of its dots: "{nested[0]}...." = "a meter"')
        return meters

    @field_validator("meters")
    @classmethod
    def _names_each_meter_once(cls, meters: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        if not meters and info.data.get("format") in _KEYS["meters"]:
            raise wanted("the names of the values it sends, each with its meter")
        if len(set(meters.values())) < len(meters):
            # two values of one meter at one time: the second would replace the first
            raise wanted("each meter once")
        pattern, like = _NAMES.get(info.data.get("format", ""), (".+", ""))
        for name in meters:
            if re.fullmatch(pattern, name) is None:
                raise wanted(f"{like}; one is {name!r}")
        return meters

    @field_validator("units")
    @classmethod
    def _names_what_is_mapped(cls, units: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        unknown = [name for name in units if name not in info.data.get("meters", units)]
        if unknown:
            raise wanted(f"names that stand in meters too; {unknown[0]!r} does not")
        return units


class Facility(Strict):
    """A facility (用能单位): the accountable site, its meters, gateways, products and contacts."""

    id: Identifier
    name: Name
    kind: Literal["industrial", "data_centre", "public_building", "public_institution", "power_plant"]
    division: Annotated[str, text("[0-9]{6}", "the six digits of a GB/T 2260 code")]
    uscc: Annotated[str, AfterValidator(credit_code)] | None = None
    industry: Annotated[str, text("[A-T]?[0-9]{2,4}", "a GB/T 4754 code, e.g. 6450 or C30")]
    timezone: Annotated[str, AfterValidator(zone_name)] = "Asia/Shanghai"
    language: Literal["zh", "en"] = "zh"
    key_energy_user: bool
    floor_area_m2: Positive | None = None
    persons: Annotated[int, Field(gt=0, lt=10**9)] | None = None
    data_centre: Annotated[DataCentre | None, Field(validate_default=True)] = None
    contact: Annotated[tuple[Contact, ...], Field(strict=False), rows("email")] = ()
    product: Annotated[tuple[Product, ...], Field(strict=False), rows("id")] = ()
    budget: Annotated[tuple[Budget, ...], Field(strict=False), rows("year")] = ()
    meter: Annotated[tuple[Meter, ...], Field(strict=False), rows("id", tree)]
    gateway: Annotated[tuple[Gateway, ...], Field(strict=False), rows("id")] = ()
    virtual: Annotated[tuple[Virtual, ...], Field(strict=False), rows("id")] = ()
    calorific: Annotated[tuple[Calorific, ...], Field(strict=False), rows("carrier", overlapping, once=False)] = ()
    source_equivalent: Annotated[
        tuple[SourceEquivalent, ...], Field(strict=False), rows("source", overlapping, once=False)
    ] = ()
    green_power: Annotated[tuple[GreenPower, ...], Field(strict=False), rows("certificate")] = ()

    @model_validator(mode="wrap")
    @classmethod
    def _rows_fit_meters(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        return together(value, handler, chain(fits(value), sums(value)) if isinstance(value, dict) else ())

    @field_validator("data_centre")
    @classmethod
    def _only_a_data_centre(cls, section: DataCentre | None, info: ValidationInfo) -> DataCentre | None:
        if "kind" in info.data and (info.data["kind"] == "data_centre") != (section is not None):
            raise wanted("a section [data_centre] where kind is data_centre, and only there")
        return section

    @property
    def zone(self) -> ZoneInfo:
        """The facility's own time zone: its days and months."""
        return ZoneInfo(self.timezone)
