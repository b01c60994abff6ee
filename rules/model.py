"""
What a rule is: a clause of a document as dated, sourced data, and what judging by it yields.

    Document -> Rule -> (evaluate) -> verdict -> (lifecycle) -> breach event
             -> Limit (row of the limit catalogue: levels 1, 2, 3)

Every rule and every limit says where it stands and how sure we are of it. Only what is verified, or what the operator
has confirmed, can raise an enforceable breach.
"""

from datetime import date
from typing import Annotated, Literal

import polars as pl
from pydantic import Field

from ingest.model import Strict, Text
from ingest.schema import TIME

Confidence = Literal["V1", "V", "S", "RECALLED"]
Comparison = Literal["<=", "<", ">=", ">"]
Severity = Literal["breach", "warning"]
Interval = Literal["1d", "1mo", "12mo"]

VERIFIED: frozenset[Confidence] = frozenset({"V1", "V"})

Identifier = Annotated[str, Field(pattern=r"^[a-z0-9-]+$", max_length=64)]
Filled = Annotated[str, Field(min_length=1)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
# lists are tuples here, so they alone are not strict
Texts = Annotated[tuple[Filled, ...], Field(strict=False)]


class Document(Strict):
    """
    The document a clause stands in: its title, number, issuer and how sure we are of those.

    `jurisdiction` is a prefix of GB/T 2260 codes, empty for the whole country. `number_confidence` is apart because a
    title may be read where its number is only recalled. `revised` is the day this entry was last changed.
    """

    id: Identifier
    title: Text
    number: str = ""
    number_confidence: Confidence = "V"
    issued: date | None = None
    jurisdiction: Annotated[str, Field(pattern=r"^\d{0,6}$")] = ""
    source: Filled
    confidence: Confidence
    revised: date
    note: str = ""

    @property
    def cited(self) -> str:
        """Title and number as issued (Chinese); the number only where it is verified."""
        return f"{self.title.zh} {self.number if self.number_confidence in VERIFIED else ''}".strip()


class Scope(Strict):
    """
    Which facilities a rule binds; what is left out does not matter.

    `division` holds prefixes of GB/T 2260 codes, `approved_from` and `approved_to` bound the day a project was approved
    (both included).
    """

    kind: Texts = ()
    scale: Texts = ()
    hub_node: bool | None = None
    key_energy_user: bool | None = None
    division: Texts = ()
    approved_from: date | None = None
    approved_to: date | None = None


class Limit(Strict):
    """
    One row of a limit standard (单位产品能源消耗限额): levels 1 (先进), 2 (准入) and 3 (限定), any of them open.

    Levels need not be monotone and may be negative (GB 21256, GB 21258). `standard` is the id of its document and
    `indicator` what the row limits: only a row of the rule's own indicator can be judged. `valid_from` is None where
    the day it came into force is not known; such a row is not judged before the operator has confirmed it.
    `correction` says what the standard corrects the levels for. `at_reference` marks rows that hold as they stand only
    at a reference condition; they never raise an enforceable breach before the operator has confirmed them.
    """

    code: Annotated[str, Field(pattern=r"^[A-Z0-9-]+$")]
    standard: str
    product: Text
    indicator: Filled = "intensity"
    unit: Filled
    level1: Finite | None = None
    level2: Finite | None = None
    level3: Finite | None = None
    correction: str = ""
    at_reference: bool = False
    valid_from: date | None = None
    valid_to: date | None = None
    source: Filled
    confidence: Confidence


class Rule(Strict):
    """
    One clause that can be judged: the indicator, how its value must stand to the limit, whom it binds and when.

    Either `limit` is the bound itself, with `unit` and `valid_from`; or `level` names the level of the product's row of
    the limit catalogue and `standard` the document that row must belong to: unit and dates are then the row's.
    `early_warning` is a shorter interval over which the same bound is judged too, as a warning. `min_coverage` [0..1]
    is the share of the period that must be metered before anything is said. Both dates are included.
    """

    id: Identifier
    document: str
    clause: Text
    title: Text
    text: Text
    action: Text
    indicator: Filled
    interval: Interval
    early_warning: Interval | None = None
    comparison: Comparison
    limit: Finite | None = None
    level: Literal[1, 2, 3] | None = None
    standard: str = ""
    unit: str = ""
    severity: Severity
    min_coverage: Annotated[float, Field(ge=0, le=1)]
    valid_from: date | None = None
    valid_to: date | None = None
    applies: Scope = Scope()
    source: Filled
    confidence: Confidence
    note: str = ""

    @property
    def severities(self) -> dict[Interval, Severity]:
        """Every interval the rule is judged over, with its severity."""
        early: dict[Interval, Severity] = {self.early_warning: "warning"} if self.early_warning else {}
        return {self.interval: self.severity, **early}


# one row is what one rule says of one indicator row; the time columns are UTC, coverage is 0..1
VERDICTS = pl.Schema(
    {
        "rule": pl.String(),
        "facility": pl.String(),
        "scope": pl.String(),
        "indicator": pl.String(),
        "interval": pl.String(),
        "start": TIME,
        "end": TIME,
        "value": pl.Float64(),
        "comparison": pl.String(),
        "limit": pl.Float64(),
        "unit": pl.String(),
        "numerator": pl.Float64(),
        "denominator": pl.Float64(),
        "coverage": pl.Float64(),
        "meters": pl.String(),
        "status": pl.String(),
        "reason": pl.String(),
        "severity": pl.String(),
        "enforceable": pl.Boolean(),
        "document": pl.String(),
        "clause": pl.String(),
        "catalogue_version": pl.String(),
        "factor_version": pl.String(),
    }
)
