"""
The factor catalogue: what one unit of a carrier is worth in energy, coal equivalent and carbon dioxide, and since when.

    factors/*.toml (dated, sourced rows) -> load() -> Factors -> of_meters(meters, moment)

Coal equivalent: kgce = quantity x k; energy content: kWh = quantity x net calorific value / 3600 kJ (GB/T 2589-2020).
Carbon dioxide: kg = quantity x factor; of a fuel the factor is net calorific value x t CO2/TJ (GB/T 51366-2019), of
electricity the newest published grid average of the region (MEE and NBS announcements). Every row says how sure we are.
"""

import hashlib
import tomllib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from functools import cached_property
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import TypeVar
from zoneinfo import ZoneInfo

import polars as pl
from pydantic import Field, ValidationError

from ingest.carriers import CARRIERS
from ingest.errors import ConfigurationError, Problem
from ingest.model import Strict
from ingest.registry import Registry, problems_of
from pipelines import runs
from pipelines.factors.dating import closed
from pipelines.factors.rows import (
    KJ_PER_KWH,
    CarbonEmission,
    CoalEquivalent,
    Emission,
    HeatEmission,
    PublishedEmission,
    Row,
    SourceEquivalent,
)
from rules.model import VERIFIED, Confidence

_FOLDER = files("pipelines") / "factors"
_SUREST_FIRST: tuple[Confidence, ...] = ("V1", "V", "S", "RECALLED")
KJ_PER_KGCE = 29307.6
SOURCE = "kgce_source"  # coal equivalent with electricity at its source equivalent
MARKET = "kg_co2_market"  # carbon dioxide with electricity at the factor of the remaining grid

# what the factors of a meter follow from, besides its own heat
_KIND = ["carrier", "division", "timezone"]
_HELD = ["kwh_per_unit", "kgce_per_unit", "kg_co2_per_unit", "factor_version"]
_FIGURES = dict.fromkeys((*_HELD[:-1], "kg_co2_per_kj"), pl.Float64)
_Figures = tuple[float | str | None, ...]
_Dated = TypeVar("_Dated", bound=Row)


class _File(Strict):
    coal_equivalent: tuple[CoalEquivalent, ...] = Field((), strict=False)
    source_equivalent: tuple[SourceEquivalent, ...] = Field((), strict=False)
    co2_published: tuple[PublishedEmission, ...] = Field((), strict=False)
    co2_of_heat: tuple[HeatEmission, ...] = Field((), strict=False)
    co2_of_carbon: tuple[CarbonEmission, ...] = Field((), strict=False)
    co2_remaining: tuple[PublishedEmission, ...] = Field((), strict=False)

    @property
    def emissions(self) -> tuple[Emission, ...]:
        return (*self.co2_published, *self.co2_of_heat, *self.co2_of_carbon)


@dataclass(frozen=True)
class Factors:
    """
    The factors, and the carriers whose factors the operator has confirmed.

    Every row says until when it holds; only the newest of its kind is open. `remaining` are those of the electricity
    that remains in the grid without traded non-fossil power. The version is the newest day a factor came into force
    and a short hash of all files.
    """

    coal_equivalents: tuple[CoalEquivalent, ...]
    source_equivalents: tuple[SourceEquivalent, ...]
    emissions: tuple[Emission, ...]
    remaining: tuple[PublishedEmission, ...]
    version: str
    confirmed: frozenset[str] = frozenset()
    measured: pl.DataFrame = field(default_factory=lambda: Registry({}).calorific)

    def with_measured(self, calorific: pl.DataFrame) -> "Factors":
        """Return these factors with `Registry.calorific`, which goes before their calorific values (GB/T 2589-2020)."""
        return replace(self, measured=calorific)

    @cached_property
    def changes(self) -> list[date]:
        """Days on which some factor begins to hold or no longer holds, in order."""
        rows = [(row.valid_from, row.valid_to) for row in (*self.coal_equivalents, *self.emissions)]
        return _changes([*rows, *self.measured.select("heat_from", "heat_to").iter_rows()])

    @cached_property
    def _eras(self) -> pl.Series:
        """Days on which a row of `_added` begins to hold or no longer holds: between two of them all stays the same."""
        rows = (*self.source_equivalents, *self.remaining)
        return pl.Series(_changes((row.valid_from, row.valid_to) for row in rows), dtype=pl.Date)

    def of_meters(self, meters: pl.DataFrame, moment: datetime) -> pl.DataFrame:
        """
        Return the factors that hold for meters on the local date of a moment.

        A factor of the longest matching region goes before one of a wider region, the newest goes before older ones.
        The measured heat of a meter [kJ] goes before both: then kwh = heat / 3600, kgce = heat / 29307.6, and carbon
        dioxide follows the heat where the catalogue's factor is one of heat.

        Args:
            meters: at least facility, meter, carrier, division (GB/T 2260) and timezone.
            moment: with a zone.

        Returns:
            One row a meter, in their order: kwh_per_unit [kWh], kgce_per_unit [kgce] and kg_co2_per_unit [kg CO2] of
            the carrier's canonical unit, null where no factor holds; factor_version, which names the measured heat.
        """
        heads, run = runs.of(meters, _KIND)
        kinds = {kind: place for place, kind in enumerate(dict.fromkeys(heads.iter_rows()))}
        days = {zone: moment.astimezone(ZoneInfo(zone)).date() for *_, zone in kinds}
        found = [self._of(carrier, division, days[zone]) for carrier, division, zone in kinds]
        place = pl.Series([kinds[head] for head in heads.iter_rows()], dtype=pl.UInt32)
        held = pl.DataFrame(found, schema=_FIGURES, orient="row")[place[run]]
        held = held.with_columns_seq(factor_version=pl.lit(self.version))
        return (held if self.measured.is_empty() else self._by_heat(held, meters, days))[_HELD]

    def _by_heat(self, held: pl.DataFrame, meters: pl.DataFrame, days: Mapping[str, date]) -> pl.DataFrame:
        """Put the factors of their own measured heat in place of those of meters that have one."""
        key, day = ["facility", "meter"], pl.col("timezone").replace_strict(days, return_dtype=pl.Date)
        holding = self.measured.join(meters.select(*key, day=day), on=key)
        holding = holding.filter(pl.col("day").is_between("heat_from", "heat_to"))[[*key, "ncv_kj", "heat"]]
        own, measured = pl.col("ncv_kj"), pl.col("ncv_kj").is_not_null()
        by_heat = measured & pl.col("kg_co2_per_kj").is_not_null()
        return held.hstack(meters[key].join(holding, on=key, how="left", maintain_order="left")).with_columns(
            kwh_per_unit=pl.when(measured).then(own / KJ_PER_KWH).otherwise("kwh_per_unit"),
            kgce_per_unit=pl.when(measured).then(own / KJ_PER_KGCE).otherwise("kgce_per_unit"),
            kg_co2_per_unit=pl.when(by_heat).then(own * pl.col("kg_co2_per_kj")).otherwise("kg_co2_per_unit"),
            factor_version=pl.when(measured)
            .then(pl.lit(f"{self.version}+") + pl.col("heat"))
            .otherwise("factor_version"),
        )

    def _of(self, carrier: str, division: str, day: date) -> _Figures:
        """Return kWh, kgce and kg CO2 of one unit, and kg CO2 of one kJ."""
        coal = _holding((row for row in self.coal_equivalents if row.carrier == carrier), division, day)
        emission = _holding((row for row in self.emissions if row.carrier == carrier), division, day)
        return (
            *((coal.kwh_per_unit, coal.kgce) if coal else (None, None)),
            *((emission.kg_co2_per_unit, emission.kg_co2_per_kj) if emission else (None, None)),
        )

    def _added(
        self,
        places: pl.DataFrame,
        key: tuple[str, ...],
        figures: Mapping[str, type[pl.DataType]],
        of: Callable[..., _Figures],
    ) -> pl.DataFrame:
        """Add figures to places; each kind of place is asked for once in each era, for there are few of them."""
        dated = places.with_columns(era=self._eras.search_sorted(places["day"], side="right"))
        kind = ["era" if name == "day" else name for name in key]
        kinds = dated.unique(kind).drop_nulls(key)
        found = pl.DataFrame([of(*row) for row in kinds[list(key)].iter_rows()], schema=figures, orient="row")
        return dated.join(kinds[kind].hstack(found), on=kind, how="left", maintain_order="left").drop("era")

    def unverified(self, amount: str) -> dict[str, Confidence]:
        """
        Return the carriers with a factor that is neither verified nor confirmed, each with its weakest confidence.

        Args:
            amount: the column of ENERGY in question, kgce or kg_co2, or SOURCE or MARKET in their place; no other rests
                on a factor of law.
        """
        rows: dict[str, Sequence[Row]] = {
            "kgce": self.coal_equivalents,
            SOURCE: tuple(row for row in self.coal_equivalents if row.carrier != "electricity"),
            "kg_co2": self.emissions,
            MARKET: (*(row for row in self.emissions if row.carrier != "electricity"), *self.remaining),
        }
        return {
            row.carrier: row.confidence
            for row in sorted(rows.get(amount, ()), key=lambda row: _SUREST_FIRST.index(row.confidence))
            if self._doubt(row)
        }

    def _doubt(self, row: Row) -> Confidence | None:
        """Confidence of a row that is neither verified nor confirmed."""
        return None if row.confidence in VERIFIED or row.carrier in self.confirmed else row.confidence

    @property
    def source_limits(self) -> list[str]:
        """The rows of the limit catalogue whose standard values electricity at a source equivalent of its own."""
        return [limit for row in self.source_equivalents for limit in row.limits]

    def source_of_places(self, places: pl.DataFrame) -> pl.DataFrame:
        """
        Add the source equivalent (等价值) of electricity that holds in a division on a day.

        Args:
            places: at least division (GB/T 2260), day and limit (a row of the limit catalogue, empty for no product).

        Returns:
            The rows of `places` in their order, with source_kgce [kgce/kWh], null where none holds, and source_doubt,
            its confidence where it is neither verified nor confirmed.
        """
        figures = {"source_kgce": pl.Float64, "source_doubt": pl.String}
        return self._added(places, ("limit", "division", "day"), figures, self._source_of)

    def _source_of(self, limit: str, division: str, day: date) -> tuple[float | None, Confidence | None]:
        row = _holding((row for row in self.source_equivalents if limit in (row.limits or [""])), division, day)
        return (row.kgce, self._doubt(row)) if row else (None, None)

    def remaining_of_places(self, places: pl.DataFrame) -> pl.DataFrame:
        """
        Add the factor of the electricity that remains in the grid without traded non-fossil power, for a day.

        Args:
            places: at least division (GB/T 2260) and day.

        Returns:
            The rows of `places` in their order, with remaining_kg_co2 [kg CO2/kWh], null where none holds.
        """
        return self._added(places, ("division", "day"), {"remaining_kg_co2": pl.Float64}, self._remaining_of)

    def _remaining_of(self, division: str, day: date) -> tuple[float | None]:
        row = _holding(self.remaining, division, day)
        return (row.kg_co2 if row else None,)


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
    coal_equivalents, dates = closed((row for file in read for row in file.coal_equivalent), _kind)
    source_equivalents, more = closed((row for file in read for row in file.source_equivalent), _kind)
    emissions, others = closed((row for file in read for row in file.emissions), _kind)
    remaining, rest = closed((row for file in read for row in file.co2_remaining), _kind)
    problems += [*dates, *more, *others, *rest, *_twice(coal_equivalents, source_equivalents, emissions, remaining)]
    problems += [
        Problem("settings: confirmed", repr(f"factor:{name}"), f"factor: and one of {', '.join(CARRIERS)}")
        for name in sorted(set(confirmed) - set(CARRIERS))
    ]
    if problems or not read:
        raise ConfigurationError(problems or [Problem(str(folder), "no file", "the TOML files of the factors")])
    newest = max(row.valid_from for row in (*coal_equivalents, *source_equivalents, *emissions, *remaining))
    version = f"{newest}-{digest.hexdigest()[:12]}"
    return Factors(coal_equivalents, source_equivalents, emissions, remaining, version, frozenset(confirmed))


def _kind(row: Row) -> tuple[object, ...]:
    """What rows of one list have in common of which only one can hold on a day."""
    return row.carrier, _region(row), getattr(row, "limits", ())


def _twice(
    coal_equivalents: Collection[CoalEquivalent],
    source_equivalents: Collection[SourceEquivalent],
    emissions: Collection[Emission],
    remaining: Collection[PublishedEmission],
) -> list[Problem]:
    """Find factors that begin on the same day for the same carrier and region: which one holds would be a guess."""
    names = Counter([f"coal equivalent of {row.carrier} from {row.valid_from}" for row in coal_equivalents])
    for row in source_equivalents:
        what = f"from {row.valid_from}"
        names.update(f"source equivalent for {limit} {what}" for limit in row.limits or [f"region {row.region!r}"])
    names.update(f"CO2 of {row.carrier} in region {row.region!r} from {row.valid_from}" for row in emissions)
    names.update(f"CO2 of the remaining grid in region {row.region!r} from {row.valid_from}" for row in remaining)
    return [Problem(name, f"{times} rows", "one row") for name, times in names.items() if times > 1]


def _holding(rows: Iterable[_Dated], division: str, day: date) -> _Dated | None:
    """Of rows of one kind the one that holds in a division on a day: of the longest region, then the newest."""
    holding = [
        row for row in rows if row.valid_from <= day <= (row.valid_to or date.max) and division.startswith(_region(row))
    ]
    return max(holding, key=lambda row: (len(_region(row)), row.valid_from), default=None)


def _region(row: Row) -> str:
    return getattr(row, "region", "")


def _changes(spans: Iterable[tuple[date, date | None]]) -> list[date]:
    """Days on which a span begins, or is over, in order."""
    days = {(begun, date.max if last is None else last) for begun, last in spans}
    over = {last + timedelta(days=1) for _, last in days if last < date.max}
    return sorted((over | {begun for begun, _ in days}) - {date.min})
