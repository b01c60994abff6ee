"""
The rule catalogue: `clauses/*.toml`, one file for each document, with its rules and its rows of the limit catalogue.

    clauses/*.toml -> load() -> Catalogue(documents, rules, limits, version)

Loading is strict: all problems of all files are reported together, each with file, key path, what was found and what
is wanted. No network, no clock.
"""

import hashlib
import tomllib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Annotated, Any

import polars as pl
from pydantic import Field, ValidationError

from ingest.errors import ConfigurationError, Problem
from ingest.model import Strict
from ingest.registry import problems_of
from rules.model import VERIFIED, Document, Interval, Limit, Rule

_CLAUSES = files("rules") / "clauses"

_LENGTH: dict[Interval, int] = {"1d": 1, "1mo": 30, "12mo": 365}


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All documents and rules by id, all limits by code, and what of them the operator has confirmed."""

    documents: Mapping[str, Document]
    rules: Mapping[str, Rule]
    limits: Mapping[str, Limit]
    version: str
    confirmed: frozenset[str] = frozenset()

    def enforceable(self, rule: Rule) -> bool:
        """Whether the rule and its document are verified, or the operator has confirmed the rule."""
        verified = {rule.confidence, self.documents[rule.document].confidence} <= VERIFIED
        return verified or rule.id in self.confirmed

    def limit_enforceable(self, limit: Limit) -> bool:
        """Whether the row is verified and holds as it stands, or the operator has confirmed it."""
        return (limit.confidence in VERIFIED and not limit.at_reference) or limit.code in self.confirmed

    def problems(self, products: pl.DataFrame) -> list[Problem]:
        """
        Find the products of the registry whose limit is no row of the catalogue: no rule would ever speak of them.

        Args:
            products: Registry.products (facility, product, unit, limit).
        """
        unknown = products.filter(pl.col("limit") != "", ~pl.col("limit").is_in(list(self.limits)))
        return [
            Problem(f"{facility}: product {product}: limit", repr(code), "a code of the limit catalogue, or none")
            for facility, product, code in unknown.select("facility", "product", "limit").iter_rows()
        ]


class _File(Strict):
    """What one file holds, the inherited keys filled in."""

    document: Document
    rule: Annotated[tuple[Rule, ...], Field(strict=False)] = ()
    limit: Annotated[tuple[Limit, ...], Field(strict=False)] = ()


def load(confirmed: Collection[str] = (), *, folder: Traversable = _CLAUSES) -> Catalogue:
    """
    Read the catalogue.

    Args:
        confirmed: rule ids and limit codes that the operator has confirmed; unverified ones become enforceable.
        folder: the folder with the TOML files; the packaged one unless a test says otherwise.

    Returns:
        The catalogue; its version is the day of the newest revision and a short hash of the content of all files.

    Raises:
        ConfigurationError: with all problems of all files, and with every confirmed id that does not exist.
    """
    problems: list[Problem] = []
    read: dict[str, _File] = {}
    digest = hashlib.sha256()
    for file in sorted((item for item in folder.iterdir() if item.name.endswith(".toml")), key=lambda item: item.name):
        content = file.read_bytes()
        digest.update(file.name.encode() + b"\0" + content + b"\0")
        try:
            read[file.name] = _File.model_validate(_inherited(tomllib.loads(content.decode("utf-8-sig"))))
        except ValidationError as error:
            problems += problems_of(error, file.name, model=_File)
        except (ValueError, RecursionError) as error:
            problems.append(Problem(file.name, str(error), "a readable TOML file in UTF-8"))
    problems += _checks(read)
    if not problems:
        problems += _unknown(confirmed, read.values())
    if problems or not read:
        raise ConfigurationError(problems or [Problem(str(folder), "no file", "a TOML file for each document")])
    revised = max(file.document.revised for file in read.values())
    return Catalogue(
        {file.document.id: file.document for file in read.values()},
        {rule.id: rule for file in read.values() for rule in file.rule},
        {limit.code: limit for file in read.values() for limit in file.limit},
        f"{revised}-{digest.hexdigest()[:12]}",
        frozenset(confirmed),
    )


def _inherited(table: dict[str, Any]) -> dict[str, Any]:
    """Give every rule its file's document, every limit row the file's `limits` as defaults and its standard."""
    document, shared = table.get("document"), table.get("limits", {})
    name = document.get("id", "") if isinstance(document, dict) else ""
    if not isinstance(shared, dict):
        return table
    table.pop("limits", None)
    for key, inherited in (("rule", {"document": name}), ("limit", {"standard": name, **shared})):
        rows = table.get(key)
        if isinstance(rows, list):
            table[key] = [{**inherited, **row} if isinstance(row, dict) else row for row in rows]
    return table


def _checks(read: Mapping[str, _File]) -> Iterator[Problem]:
    """Check what one table alone cannot show: ids, references, dates, and that a rule has exactly one bound."""
    yield from _twice(read, "document.id", lambda file: [file.document.id])
    yield from _twice(read, "rule.id", lambda file: [rule.id for rule in file.rule])
    yield from _twice(read, "limit.code", lambda file: [limit.code for limit in file.limit])
    standards = {limit.standard for file in read.values() for limit in file.limit}
    documents = {file.document.id for file in read.values()}
    for name, file in read.items():
        for number, rule in enumerate(file.rule):
            where = f"{name}: rule.{number} ({rule.id})"
            yield from _bound(rule, where, standards)
            yield from _dates(rule, where, file.document)
            yield from _reach(rule, where, file.document)
            yield from _known(rule.document, f"{where}.document", documents)
        for number, limit in enumerate(file.limit):
            where = f"{name}: limit.{number} ({limit.code})"
            yield from _levels(limit, where)
            yield from _known(limit.standard, f"{where}.standard", documents)


def _twice(read: Mapping[str, _File], key: str, ids: Callable[[_File], Iterable[str]]) -> Iterator[Problem]:
    owners: dict[str, str] = {}
    for name, file in read.items():
        for found in ids(file):
            if found in owners:
                yield Problem(f"{name}: {key}", repr(found), f"another one: {owners[found]} has this one already")
            owners[found] = name


def _known(found: str, where: str, documents: Collection[str]) -> Iterator[Problem]:
    if found not in documents:
        yield Problem(where, repr(found), "the id of a document of the catalogue")


def _bound(rule: Rule, where: str, standards: Collection[str]) -> Iterator[Problem]:
    if (rule.limit is None) == (rule.level is None):
        found = "neither limit nor level" if rule.limit is None else "limit and level"
        yield Problem(f"{where}.limit", found, "one of the two")
    elif rule.level is None:
        for key in ("unit", "valid_from"):
            if not getattr(rule, key):
                yield Problem(f"{where}.{key}", "nothing", "a value: a rule with a limit of its own needs it")
        if rule.standard:
            yield Problem(f"{where}.standard", repr(rule.standard), "no standard: the rule has a limit of its own")
    else:
        for key in ("unit", "valid_from", "valid_to"):
            if found := getattr(rule, key):
                yield Problem(f"{where}.{key}", str(found), "nothing: the row of the limit catalogue says it")
        if rule.standard not in standards:
            yield Problem(f"{where}.standard", repr(rule.standard), "a document with rows of the limit catalogue")
        if rule.comparison != "<=":
            yield Problem(f"{where}.comparison", repr(rule.comparison), "'<=': a level is the highest value allowed")


def _dates(rule: Rule, where: str, document: Document) -> Iterator[Problem]:
    for key, first, last in (
        ("valid_to", rule.valid_from, rule.valid_to),
        ("applies.approved_to", rule.applies.approved_from, rule.applies.approved_to),
        ("valid_from", document.issued, rule.valid_from),
    ):
        if first and last and last < first:
            yield Problem(f"{where}.{key}", str(last), f"a day not before {first}")
    if rule.early_warning and _LENGTH[rule.early_warning] >= _LENGTH[rule.interval]:
        yield Problem(f"{where}.early_warning", repr(rule.early_warning), f"an interval shorter than {rule.interval}")


def _reach(rule: Rule, where: str, document: Document) -> Iterator[Problem]:
    if not document.jurisdiction:
        return
    outside = [prefix for prefix in rule.applies.division if not prefix.startswith(document.jurisdiction)]
    if outside or not rule.applies.division:
        found = ", ".join(outside) or "no division"
        yield Problem(f"{where}.applies.division", found, f"divisions that begin with {document.jurisdiction}")


def _levels(limit: Limit, where: str) -> Iterator[Problem]:
    if limit.level1 is None and limit.level2 is None and limit.level3 is None:
        yield Problem(where, "no level", "level1, level2 or level3")
    if limit.valid_from and limit.valid_to and limit.valid_to < limit.valid_from:
        yield Problem(f"{where}.valid_to", str(limit.valid_to), f"a day not before {limit.valid_from}")


def _unknown(confirmed: Collection[str], read: Iterable[_File]) -> Iterator[Problem]:
    known = {row.code for file in read for row in file.limit}
    known |= {rule.id for file in read for rule in file.rule}
    for name in sorted(set(confirmed) - known):
        yield Problem("settings: confirmed", repr(name), "the id of a rule or the code of a limit")
