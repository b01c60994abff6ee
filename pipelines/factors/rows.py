"""
The rows of the factor catalogue: what each says of itself, and what one unit of its carrier is worth by it.

Every row is dated and sourced, and says how sure we are of it.
"""

from datetime import date
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from ingest.carriers import CARRIERS
from ingest.model import Strict
from rules.model import Confidence

KJ_PER_KWH = 3600.0
_CO2_PER_C = 44 / 12

_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Text = Annotated[str, Field(min_length=1)]


class Row(Strict):
    """What every factor says of itself. `valid_to` is the last day it holds; open where it is left out."""

    carrier: str
    unit: str
    valid_from: date
    valid_to: date | None = None
    document: _Text
    clause: str = ""
    source: _Text
    confidence: Confidence
    note: str = ""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        carrier = CARRIERS.get(self.carrier)
        if carrier is None:
            raise PydanticCustomError("wanted", "{wanted}", {"wanted": f"a carrier of {', '.join(CARRIERS)}"})
        if self.unit != carrier.unit:
            raise PydanticCustomError("wanted", "{wanted}", {"wanted": f"unit {carrier.unit} for {self.carrier}"})
        if self.valid_to is not None and self.valid_to < self.valid_from:
            raise PydanticCustomError("wanted", "{wanted}", {"wanted": "a valid_to that is not before valid_from"})
        return self


class CoalEquivalent(Row):
    """Coal equivalent of one unit [kgce] and its net calorific value [kJ]; media (耗能工质) have no calorific value."""

    kgce: _Positive
    ncv_kj: _Positive | None = None

    @property
    def kwh_per_unit(self) -> float | None:
        """Energy content of one unit. [kWh]"""
        return None if self.ncv_kj is None else self.ncv_kj / KJ_PER_KWH


class _Regional(Row):
    """`region` is a prefix of GB/T 2260 division codes, empty for the whole country."""

    region: Annotated[str, Field(pattern=r"^\d{0,6}$")] = ""


class PublishedEmission(_Regional):
    """Carbon dioxide as published for the unit itself [kg CO2], from the statistics of one year where it has one."""

    kg_co2: _Positive
    data_year: int | None = None
    kg_co2_per_kj: ClassVar[None] = None

    @property
    def kg_co2_per_unit(self) -> float:
        """Carbon dioxide of one unit. [kg CO2]"""
        return self.kg_co2


class HeatEmission(_Regional):
    """Net calorific value [kJ] x carbon dioxide of heat [t CO2/TJ] (GB/T 51366-2019 table A.0.1)."""

    ncv_kj: _Positive
    t_co2_per_tj: _Positive

    @property
    def kg_co2_per_unit(self) -> float:
        """Carbon dioxide of one unit. [kg CO2]"""
        return self.ncv_kj * self.kg_co2_per_kj

    @property
    def kg_co2_per_kj(self) -> float:
        """Carbon dioxide of heat. [kg CO2/kJ]"""
        return self.t_co2_per_tj / 1e6


class CarbonEmission(_Regional):
    """Net calorific value [kJ] x carbon content [t C/GJ] x oxidation [0..1] x 44/12 (GB/T 32150)."""

    ncv_kj: _Positive
    t_c_per_gj: _Positive
    oxidation: Annotated[float, Field(gt=0, le=1)]

    @property
    def kg_co2_per_unit(self) -> float:
        """Carbon dioxide of one unit. [kg CO2]"""
        return self.ncv_kj * self.kg_co2_per_kj

    @property
    def kg_co2_per_kj(self) -> float:
        """Carbon dioxide of heat. [kg CO2/kJ]"""
        return self.t_c_per_gj * self.oxidation * _CO2_PER_C / 1e3


Emission = PublishedEmission | HeatEmission | CarbonEmission


class SourceEquivalent(_Regional):
    """
    Source equivalent (等价值) of electricity [kgce/kWh]: the energy spent to make it, not what it holds.

    `limits` are the rows of the limit catalogue whose standard sets it for their products; without them it is that of
    the region for whatever is asked.
    """

    kgce: _Positive
    limits: Annotated[tuple[str, ...], Field(strict=False)] = ()
