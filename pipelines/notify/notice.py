"""
One breach event -> what a notice says, in the facility's language: headline, figures, sections. Pure.

Every sentence stands in templates/words.toml in both languages; here is decided which of them is true. Dates are those
of the facility's zone. A person reads the headline and knows what happened; the sections below defend it.
"""

import math
import tomllib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from importlib import resources
from typing import Any, NamedTuple

from ingest.model import Text
from ingest.registry import Facility
from pipelines.notify import figures
from rules.model import VERIFIED, Document, Rule

_WORDS: dict[str, dict[str, Text]] = {
    group: {name: Text.model_validate(text) for name, text in texts.items()}
    for group, texts in tomllib.loads(
        resources.files("pipelines.notify").joinpath("templates/words.toml").read_text("utf-8")
    ).items()
}

# units above and below the line, where the indicator's own unit does not name them
_PARTS = {"pue": ("kWh", "kWh")}

# doubt grows to the right: a notice is as sure as the less sure of its rule and its document
_DOUBT = ("V1", "V", "S", "RECALLED")

# a smaller share would be written 0.0 %
_SMALLEST = 0.0005

# control, format and surrogate characters, line and paragraph separators: no part of a name
_UNPRINTABLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}


class Row(NamedTuple):
    """One labelled line."""

    label: str
    text: str


class Section(NamedTuple):
    """A heading, sentences below it and labelled lines; either may be missing."""

    title: str
    sentences: tuple[str, ...]
    rows: tuple[Row, ...]


class Figure(NamedTuple):
    """One of the large figures: what it is, the figure, what stands below it."""

    label: str
    text: str
    below: str


class Notice(NamedTuple):
    """What a notice says. `tone` is kind and severity of the event, e.g. `opened_breach`."""

    tone: str
    tag: str
    headline: str
    meaning: str
    figures: tuple[Figure, ...]
    sections: tuple[Section, ...]


@dataclass(frozen=True, slots=True)
class _Case:
    """Everything a notice speaks of, and the words to speak with. `standing` is None where nothing can be said."""

    event: Mapping[str, Any]
    facility: Facility
    rule: Rule
    document: Document
    indicator: str
    standing: figures.Standing | None

    def say(self, group: str, word: str, **values: str) -> str:
        return say(self.facility.language, group, word, **values)

    def section(self, title: str, *sentences: str, rows: Mapping[str, str] | None = None) -> Section:
        labelled = ((self.say("label", label), text) for label, text in (rows or {}).items())
        return Section(self.say("section", title), sentences, tuple(Row(*pair) for pair in labelled if pair[1]))

    def with_unit(self, figure: str) -> str:
        return figures.with_unit(figure, self.event["unit"])

    def text(self, text: Text) -> str:
        return clean(text.of(self.facility.language))


def say(language: str, group: str, word: str, **values: str) -> str:
    """One sentence of words.toml with its values filled in."""
    return _WORDS[group][word].of(language).format(**values)


def clean(text: str) -> str:
    """Put text on one line: control characters, line breaks and invisible marks become single spaces."""
    return " ".join("".join(" " if unicodedata.category(c) in _UNPRINTABLE else c for c in text).split())


def notice(event: Mapping[str, Any], *, facility: Facility, rule: Rule, document: Document, indicator: Text) -> Notice:
    """Say what a BREACH_EVENTS row means; arguments as for `pipelines.notify.message.compose`."""
    title = clean(indicator.of(facility.language))
    if event["scope"]:
        title = say(facility.language, "text", "scoped", indicator=title, scope=event["scope"])
    case = _Case(event, facility, rule, document, title, _standing(event, rule))
    tone = f"{event['kind']}_{event['severity']}"
    return Notice(
        tone,
        case.say("tag", tone),
        _headline(case),
        _meaning(case, tone),
        _figures(case),
        (_now(case), _happened(case), _clause(case), _evidence(case), _reply(case)),
    )


def _standing(event: Mapping[str, Any], rule: Rule) -> figures.Standing | None:
    """How the value stands to the limit; None where corrected data leave too little to say so."""
    value = event["value"]
    if value is None or not math.isfinite(value):
        return None
    short = (event["coverage"] or 0.0) < rule.min_coverage
    return None if short and event["kind"] == "withdrawn" else figures.beside(value, event["limit"])


def _headline(case: _Case) -> str:
    names = {"facility": _facility_name(case), "indicator": case.indicator}
    standing = case.standing
    if standing is None:
        return case.say("headline", "unknown", **names)
    strict = standing.side == "equal" and case.event["comparison"] in {"<", ">"}
    by = case.say("by", standing.side, percent=_share(case, standing)) if standing.share else ""
    stands = case.event["comparison"] if strict else standing.side
    said = case.say("standing", stands, limit=case.with_unit(standing.limit), by=by)
    return case.say("headline", case.event["kind"], **names, value=case.with_unit(standing.value), standing=said)


def _meaning(case: _Case, tone: str) -> str:
    if tone == "opened_warning" and case.rule.severity == "breach":
        return case.say("meaning", "opened_ahead", length=case.say("length", case.rule.interval))
    return case.say("meaning", tone)


def _facility_name(case: _Case) -> str:
    name = case.facility.name
    return clean(name.zh if case.facility.language == "zh" else name.en)


def _share(case: _Case, standing: figures.Standing) -> str:
    if standing.share is None:
        return ""
    return figures.percent(standing.share) if standing.share >= _SMALLEST else case.say("text", "little")


def _figures(case: _Case) -> tuple[Figure, ...]:
    standing, unit = case.standing, figures.unit(case.event["unit"])
    if standing is None:
        return ()
    return (
        Figure(case.say("label", "value"), standing.value, unit),
        Figure(case.say("label", "limit"), standing.limit, unit),
        Figure(case.say("label", "difference"), standing.difference, _share(case, standing)),
    )


def _happened(case: _Case) -> Section:
    event, standing, facility = case.event, case.standing, case.facility
    names = {"name": _facility_name(case), "id": facility.id}
    uscc = {"uscc": facility.uscc} if facility.uscc else {}
    limit = standing.limit if standing else figures.beside(event["limit"], event["limit"]).limit
    rows = {
        "facility": case.say("text", "facility_uscc" if uscc else "named", **names, **uscc),
        "indicator": case.indicator,
        "value": case.with_unit(standing.value) if standing else case.say("text", "unknown"),
        "limit": case.say("required", event["comparison"], limit=case.with_unit(limit)),
        "difference": _difference(case, standing) if standing else "",
        "period": _period(case),
    }
    return case.section("happened", rows=rows)


def _difference(case: _Case, standing: figures.Standing) -> str:
    difference, percent = case.with_unit(standing.difference), _share(case, standing)
    return case.say("text", "share", difference=difference, percent=percent) if percent else difference


def _period(case: _Case) -> str:
    """Both ends said plainly: whole days with the last day included, anything else to the minute."""
    start, end = (case.event[bound].astimezone(case.facility.zone) for bound in ("start", "end"))
    names = {"length": case.say("length", case.event["interval"]), "zone": case.facility.timezone}
    if start.time() != time() or end.time() != time():
        return case.say("text", "times", first=_minute(start), last=_minute(end), **names)
    first, last = start.date(), end.date() - timedelta(days=1)
    return case.say("text", "day" if first == last else "days", first=str(first), last=str(last), **names)


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"


def _now(case: _Case) -> Section:
    kind = case.event["kind"]
    action = case.text(case.rule.action) if kind == "opened" else case.say("now", kind)
    return case.section("now", action, case.say("next", kind))


def _clause(case: _Case) -> Section:
    rule, document, event = case.rule, case.document, case.event
    translated = case.facility.language != "zh"
    rows = {
        "document": " ".join((case.text(document.title), _number(case))).strip(),
        "clause": case.text(rule.clause),
        "issued": f"{clean(event['document'])} {clean(event['clause'])}" if translated else "",
        "requirement": case.text(rule.text),
        "original": clean(rule.text.zh) if translated else "",
        "rule": case.say("text", "named", name=case.text(rule.title), id=rule.id),
        "source": clean(rule.source),
        "sureness": case.say("sureness", max(rule.confidence, document.confidence, key=_DOUBT.index)),
    }
    return case.section("clause", rows=rows)


def _number(case: _Case) -> str:
    document, number = case.document, clean(case.document.number)
    known = document.number_confidence in VERIFIED or not number
    return number if known else case.say("text", "number", number=number)


def _evidence(case: _Case) -> Section:
    event = case.event
    rows = {
        "calculation": _calculation(case),
        "meters": clean(event["meters"] or ""),
        "coverage": _coverage(case),
        "factors": event["factor_version"],
        "rules": event["catalogue_version"],
        "judged": f"{_minute(event['at'].astimezone(case.facility.zone))} ({case.facility.timezone})",
    }
    return case.section("evidence", rows=rows)


def _coverage(case: _Case) -> str:
    coverage, least = case.event["coverage"], case.rule.min_coverage
    shown = case.say("text", "unknown") if coverage is None else figures.percent_at_least(coverage)
    return case.say("text", "coverage", coverage=shown, least=figures.percent_at_least(least)) if least else shown


def _calculation(case: _Case) -> str:
    """Numerator / denominator = value with units; empty where the value is no such quotient."""
    event = case.event
    over, under = event["numerator"], event["denominator"]
    if (
        case.standing is None
        or over is None
        or not under
        or not math.isclose(over / under, event["value"], rel_tol=1e-6)
    ):
        return ""
    units = _PARTS.get(event["indicator"]) or event["unit"].partition("/")[::2]
    above, below = (figures.with_unit(figures.number(n), u) for n, u in zip((over, under), units, strict=True))
    return f"{above} / {below} = {case.with_unit(case.standing.value)}"


def _reply(case: _Case) -> Section:
    rows = {case.event["severity"]: case.event["breach_id"], "event": case.event["event_id"]}
    return case.section("reply", case.say("text", "reply"), rows=rows)
