"""
The factor catalogue: what one unit of a carrier is worth in energy, coal equivalent and carbon dioxide, and since when.

    factors/*.toml (dated, sourced rows) -> load() -> Factors -> add_to(frame of carrier, division, day)

Coal equivalent: kgce = quantity x k; energy content: kWh = quantity x net calorific value / 3600 kJ (GB/T 2589-2020).
Carbon dioxide: kg = quantity x factor; of a fuel the factor is net calorific value x t CO2/TJ (GB/T 51366-2019), of
electricity the newest published grid average of the region (MEE and NBS announcements). Every row says how sure we are.
"""

import hashlib
import tomllib
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Annotated, Self

import polars as pl
from pydantic import Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from ingest.carriers import CARRIERS
from ingest.errors import ConfigurationError, Problem
from ingest.model import Strict
from ingest.registry import problems_of
from rules.model import VERIFIED, Confidence

_FOLDER = files("pipelines") / "factors"
_SUREST_FIRST: tuple[Confidence, ...] = ("V1", "V", "S", "RECALLED")
_KJ_PER_KWH = 3600.0
_CO2_PER_C = 44 / 12

_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Text = Annotated[str, Field(min_length=1)]


class _Row(Strict):
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


class CoalEquivalent(_Row):
    """Coal equivalent of one unit [kgce] and its net calorific value [kJ]; media (耗能工质) have no calorific value."""

    kgce: _Positive
    ncv_kj: _Positive | None = None

    @property
    def kwh_per_unit(self) -> float | None:
        """Energy content of one unit. [kWh]"""
        return None if self.ncv_kj is None else self.ncv_kj / _KJ_PER_KWH


class _Regional(_Row):
    """`region` is a prefix of GB/T 2260 division codes, empty for the whole country."""

    region: Annotated[str, Field(pattern=r"^\d{0,6}$")] = ""


class PublishedEmission(_Regional):
    """Carbon dioxide as published for the unit itself [kg CO2], from the statistics of one year where it has one."""

    kg_co2: _Positive
    data_year: int | None = None

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
        return self.ncv_kj * self.t_co2_per_tj / 1e6


class CarbonEmission(_Regional):
    """Net calorific value [kJ] x carbon content [t C/GJ] x oxidation [0..1] x 44/12 (GB/T 32150)."""

    ncv_kj: _Positive
    t_c_per_gj: _Positive
    oxidation: Annotated[float, Field(gt=0, le=1)]

    @property
    def kg_co2_per_unit(self) -> float:
        """Carbon dioxide of one unit. [kg CO2]"""
        return self.ncv_kj * self.t_c_per_gj * self.oxidation * _CO2_PER_C / 1e3


Emission = PublishedEmission | HeatEmission | CarbonEmission


class _File(Strict):
    coal_equivalent: tuple[CoalEquivalent, ...] = Field((), strict=False)
    co2_published: tuple[PublishedEmission, ...] = Field((), strict=False)
    co2_of_heat: tuple[HeatEmission, ...] = Field((), strict=False)
    co2_of_carbon: tuple[CarbonEmission, ...] = Field((), strict=False)

    @property
    def emissions(self) -> tuple[Emission, ...]:
        return (*self.co2_published, *self.co2_of_heat, *self.co2_of_carbon)


@dataclass(frozen=True)
class Factors:
    """
    The factors, and the carriers whose factors the operator has confirmed.

    The version is the newest day a factor came into force and a short hash of all files.
    """

    coal_equivalents: tuple[CoalEquivalent, ...]
    emissions: tuple[Emission, ...]
    version: str
    confirmed: frozenset[str] = frozenset()

    @cached_property
    def changes(self) -> list[date]:
        """Days on which some factor begins to hold or no longer holds, in order."""
        rows = (*self.coal_equivalents, *self.emissions)
        ended = {row.valid_to + timedelta(days=1) for row in rows if row.valid_to is not None}
        return sorted(ended | {row.valid_from for row in rows})

    def add_to(self, places: pl.DataFrame) -> pl.DataFrame:
        """
        Add the factors that hold for a carrier in a division on a day.

        A factor of the longest matching region goes before one of a wider region, the newest goes before older ones.

        Args:
            places: at least carrier, division (GB/T 2260) and day.

        Returns:
            The rows of `places` in their order, with kwh_per_unit [kWh], kgce_per_unit [kgce] and kg_co2_per_unit
            [kg CO2] of the carrier's canonical unit; null where no factor holds.
        """
        key = ["carrier", "division", "day"]
        wanted = places.select(key).unique(maintain_order=True)
        for table in (self._coal_equivalents, self._emissions):
            holding = (
                wanted.select(key)
                .join(table, on="carrier")
                .filter(
                    pl.col("division").str.starts_with(pl.col("region")),
                    pl.col("day") >= pl.col("valid_from"),
                    pl.col("day") <= pl.col("valid_to"),
                )
                .sort(pl.col("region").str.len_chars(), "valid_from")
                .unique(key, keep="last")
                .drop("region", "valid_from", "valid_to")
            )
            wanted = wanted.join(holding, on=key, how="left")
        return places.join(wanted, on=key, how="left", maintain_order="left")

    def unverified(self, amount: str) -> dict[str, Confidence]:
        """
        Return the carriers with a factor that is neither verified nor confirmed, each with its weakest confidence.

        Args:
            amount: the column of ENERGY in question, kgce or kg_co2; no other rests on a factor of law.
        """
        rows: dict[str, Sequence[_Row]] = {"kgce": self.coal_equivalents, "kg_co2": self.emissions}
        return {
            row.carrier: row.confidence
            for row in sorted(rows.get(amount, ()), key=lambda row: _SUREST_FIRST.index(row.confidence))
            if row.confidence not in VERIFIED and row.carrier not in self.confirmed
        }

    @cached_property
    def _coal_equivalents(self) -> pl.DataFrame:
        rows = [(row, "", row.kwh_per_unit, row.kgce) for row in self.coal_equivalents]
        return _frame(rows, "kwh_per_unit", "kgce_per_unit")

    @cached_property
    def _emissions(self) -> pl.DataFrame:
        return _frame([(row, row.region, row.kg_co2_per_unit) for row in self.emissions], "kg_co2_per_unit")


def load(confirmed: Collection[str] = (), *, folder: Traversable = _FOLDER) -> Factors:
    """
    Read the factor catalogue.

    Args:
        confirmed: carriers whose factors the operator has checked and confirmed.
        folder: the folder with the TOML files; the packaged one unless a test says otherwise.

    Raises:
        ConfigurationError: with all problems of all files.
    """
    problems: list[Problem] = []
    read: list[_File] = []
    digest = hashlib.sha256()
    for file in sorted((item for item in folder.iterdir() if item.name.endswith(".toml")), key=lambda item: item.name):
        content = file.read_bytes()
        digest.update(file.name.encode() + b"\0" + content + b"\0")
        try:
            read.append(_File.model_validate(tomllib.loads(content.decode("utf-8"))))
        except ValidationError as error:
            problems += problems_of(error, file.name, model=_File)
        except ValueError as error:
            problems.append(Problem(file.name, str(error), "a readable TOML file in UTF-8"))
    coal_equivalents = tuple(row for file in read for row in file.coal_equivalent)
    emissions = tuple(row for file in read for row in file.emissions)
    problems += _twice(coal_equivalents, emissions)
    problems += [
        Problem("settings: confirmed", repr(f"factor:{name}"), f"factor: and one of {', '.join(CARRIERS)}")
        for name in sorted(set(confirmed) - set(CARRIERS))
    ]
    if problems or not read:
        raise ConfigurationError(problems or [Problem(str(folder), "no file", "the TOML files of the factors")])
    newest = max(row.valid_from for row in (*coal_equivalents, *emissions))
    version = f"{newest}-{digest.hexdigest()[:12]}"
    return Factors(coal_equivalents, emissions, version, frozenset(confirmed))


def _twice(coal_equivalents: Collection[CoalEquivalent], emissions: Collection[Emission]) -> list[Problem]:
    """Find factors that begin on the same day for the same carrier and region: which one holds would be a guess."""
    names = Counter([f"coal equivalent of {row.carrier} from {row.valid_from}" for row in coal_equivalents])
    names.update(f"CO2 of {row.carrier} in region {row.region!r} from {row.valid_from}" for row in emissions)
    return [Problem(name, f"{times} rows", "one row") for name, times in names.items() if times > 1]


def _frame(rows: Iterable[tuple[_Row, str, *tuple[float | None, ...]]], *figures: str) -> pl.DataFrame:
    """Frame to join with: carrier, valid_from, valid_to (open: the last day there is), region, then the figures."""
    return pl.DataFrame(
        [(row.carrier, row.valid_from, row.valid_to or date.max, *values) for row, *values in rows],
        schema={
            "carrier": pl.String,
            "valid_from": pl.Date,
            "valid_to": pl.Date,
            "region": pl.String,
            **dict.fromkeys(figures, pl.Float64),
        },
        orient="row",
    )
