"""
What a registry file may say beside its meters: virtual meters, and what a carrier is worth at this facility.

Measured calorific values and a source equivalent of electricity go before the tables of the factor catalogue; green
power is deducted in the market-based carbon dioxide alone. Dates are the facility's own days, both included.
"""

from datetime import date
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from ingest.carriers import CARRIERS
from ingest.model import Strict
from ingest.registry.rows import wanted
from ingest.registry.types import Line, MeterId, Positive, Tag, one_of

_FUELS = [code for code, carrier in CARRIERS.items() if carrier.fuel]

Role = Literal[
    "total", "it", "cooling", "power_distribution", "lighting", "process", "building", "generation", "export"
]
Parts = Annotated[tuple[MeterId, ...], Field(strict=False)]


class Virtual(Strict):
    """A virtual meter (虚拟计量点): the sum of some meters less that of others, in the carrier's canonical unit."""

    id: MeterId
    carrier: Annotated[str, one_of(list(CARRIERS))]
    role: Role
    unit: str
    add: Annotated[Parts, Field(min_length=1)]
    subtract: Parts = ()
    scope: Tag = ""

    @field_validator("unit")
    @classmethod
    def _is_canonical(cls, unit: str, info: ValidationInfo) -> str:
        carrier = info.data.get("carrier")
        if carrier and unit != CARRIERS[carrier].unit:
            raise wanted(f"{CARRIERS[carrier].unit}, the canonical unit of {carrier}")
        return unit


class _Dated(Strict):
    valid_from: date
    valid_to: date | None = None

    @field_validator("valid_to")
    @classmethod
    def _ends_after_it_begins(cls, last: date | None, info: ValidationInfo) -> date | None:
        first = info.data.get("valid_from")
        if last and first and last < first:
            raise wanted(f"a day not before {first}")
        return last


class Calorific(_Dated):
    """A measured net calorific value (实测低位发热量) of a fuel, in kJ for one canonical unit, and who measured it."""

    carrier: Annotated[str, one_of(_FUELS, "a fuel: ")]
    ncv_kj: Annotated[float, Field(gt=100, lt=200_000, allow_inf_nan=False)]
    source: Line


class SourceEquivalent(_Dated):
    """The source equivalent (等价值) of electricity that binds here, and who set it. [kgce/kWh]"""

    kgce: Annotated[float, Field(gt=0.1229, lt=1, allow_inf_nan=False)]
    source: Line


class GreenPower(Strict):
    """Green power or certificates (绿电、绿证) bought for a period. [kWh]"""

    kwh: Positive
    first: date = Field(alias="from")
    last: date = Field(alias="to")
    certificate: Line
    source: Line

    @field_validator("last")
    @classmethod
    def _ends_after_it_begins(cls, last: date, info: ValidationInfo) -> date:
        first = info.data.get("first")
        if first and last < first:
            raise wanted(f"a day not before {first}")
        return last
