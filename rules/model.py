"""
What a rule is: a clause of a document as dated, sourced data.

    Document -> Rule -> (evaluate) -> verdict -> (lifecycle) -> breach event
    Standard -> Limit (row of the limit catalogue: levels 1, 2, 3)

Every rule and every limit says where it stands and how sure we are of it. Only what is verified, or what the operator
has confirmed, can raise an enforceable breach.
"""

from datetime import date
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Confidence = Literal["V1", "V", "S", "RECALLED"]
Comparison = Literal["<=", "<", ">=", ">"]
Severity = Literal["breach", "warning"]

VERIFIED: frozenset[Confidence] = frozenset({"V1", "V"})


class Strict(BaseModel):
    """Base of all catalogue data: unknown keys are refused, nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Text(Strict):
    """A sentence in both languages of the product."""

    zh: Annotated[str, Field(min_length=1)]
    en: Annotated[str, Field(min_length=1)]

    def of(self, language: str) -> str:
        """Return the sentence in `zh` or `en`."""
        return self.zh if language == "zh" else self.en


class Document(Strict):
    """The document a clause stands in: its title, number, issuer and how sure we are of those."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")]
    title: Text
    number: str = ""
    issued: date | None = None
    jurisdiction: str = ""
    source: str
    confidence: Confidence


class Scope(Strict):
    """
    Which facilities a rule binds; what is left out does not matter.

    `division` holds prefixes of GB/T 2260 codes, `approved_from` and `approved_to` bound the day a project was approved
    (both included), `limit` holds rows of the limit catalogue.
    """

    kind: tuple[str, ...] = ()
    scale: tuple[str, ...] = ()
    hub_node: bool | None = None
    key_energy_user: bool | None = None
    division: tuple[str, ...] = ()
    industry: tuple[str, ...] = ()
    approved_from: date | None = None
    approved_to: date | None = None


class Limit(Strict):
    """
    One row of a limit standard (单位产品能源消耗限额): levels 1 (先进), 2 (准入) and 3 (限定), any of them open.

    Levels need not be monotone and may be negative (GB 21256, GB 21258).
    """

    code: Annotated[str, Field(min_length=1)]
    standard: str
    product: Text
    unit: str
    level1: float | None = None
    level2: float | None = None
    level3: float | None = None
    valid_from: date
    valid_to: date | None = None
    source: str
    confidence: Confidence


class Rule(Strict):
    """
    One clause that can be judged: the indicator, how its value must stand to the limit, whom it binds and when.

    `limit` is the bound itself; where it is None, `level` names the level of the product's row of the limit catalogue
    and `standard` the standard that row must belong to. `unit` is the indicator's unit. `min_coverage` [0..1] is the
    share of the period that must be metered before anything is said.
    """

    id: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")]
    document: str
    clause: Text
    title: Text
    text: Text
    action: Text
    indicator: str
    interval: str
    comparison: Comparison
    limit: float | None = None
    level: Literal[1, 2, 3] | None = None
    standard: str = ""
    unit: str = ""
    severity: Severity
    min_coverage: Annotated[float, Field(ge=0, le=1)]
    valid_from: date
    valid_to: date | None = None
    applies: Scope = Scope()
    source: str
    confidence: Confidence
    note: str = ""
