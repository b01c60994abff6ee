"""Tables for the terminal: frames and catalogues -> rich. Everything people look at on the command line stands here."""

from collections.abc import Mapping
from datetime import timedelta
from email.message import EmailMessage
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
from pydantic import BaseModel
from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ingest.collect.collector import Tally
from ingest.model import Text as Bilingual
from ingest.registry import Registry
from ingest.settings import Settings
from pipelines.notify import figures
from rules.catalogue import Catalogue
from rules.model import VERIFIED, Rule

_VERDICTS = {
    "pass": "[green]within[/]",
    "breach": "[bold red]over the limit[/]",
    "not_assessable": "[yellow]not assessable[/]",
    "none": "[dim]no limit binds[/]",
}
_KINDS = {"opened": "[bold red]opened[/]", "closed": "[green]closed[/]", "withdrawn": "[yellow]withdrawn[/]"}


def _table(title: str, *columns: str, right: tuple[str, ...] = ()) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return table


def check(out: Console, settings: Settings, registry: Registry, catalogue: Catalogue) -> None:
    """Say that everything is right, and what there is."""
    table = _table("Registry", "facility", "name", "kind", "meters", "products", "contacts", right=("meters",))
    for facility in registry.facilities.values():
        table.add_row(
            facility.id,
            f"{escape(facility.name.zh)} / {escape(facility.name.en)}",
            facility.kind,
            str(len(facility.meter)),
            ", ".join(f"{product.id} ({product.unit})" for product in facility.product),
            ", ".join(contact.email for contact in facility.contact if contact.role == "operator") or "[red]nobody[/]",
        )
    out.print(table)
    unverified = sum(rule.confidence not in VERIFIED for rule in catalogue.rules.values())
    out.print(
        f"[green]✓[/] {len(registry.facilities)} facilities, {registry.meters.height} meters, "
        f"{len(catalogue.rules)} rules ({unverified} unverified), {len(catalogue.limits)} limits; "
        f"store {escape(settings.store)}, broker {escape(settings.broker)}, mail {escape(settings.mail)}"
    )


def standing(out: Console, rows: pl.DataFrame) -> None:
    """Show `overview.standing`: where each facility stands."""
    table = _table(
        "The last twelve months", "facility", "indicator", "value", "limit", "coverage", "verdict", "open",
        right=("value", "limit", "coverage", "open"),
    )  # fmt: skip
    for row in rows.iter_rows(named=True):
        limit = "" if row["limit"] is None else f"{row['comparison']} {row['limit']:g}"
        table.add_row(
            row["facility"],
            f"{row['indicator']} {row['scope']}".strip(),
            "–" if row["value"] is None else figures.with_unit(f"{row['value']:,.3f}", row["unit"]),
            limit,
            figures.percent_at_least(row["coverage"]),
            _VERDICTS[row["verdict"]],
            str(row["open"]),
        )
    out.print(table)


def rules(out: Console, catalogue: Catalogue) -> None:
    """List every rule."""
    table = _table("Rules", "rule", "document, clause", "requirement", "from", "confidence")
    for rule in catalogue.rules.values():
        bound = f"level {rule.level}" if rule.limit is None else f"{rule.limit:g} {rule.unit}"
        judged = ", ".join(f"{interval}: {severity}" for interval, severity in rule.severities.items())
        table.add_row(
            rule.id,
            f"{escape(catalogue.documents[rule.document].title.zh)} {escape(rule.clause.zh)}",
            f"{rule.indicator} {rule.comparison} {bound} ({judged})",
            str(rule.valid_from or "as its rows"),
            _confidence(rule),
        )
    out.print(table)


def _confidence(row: Rule) -> str:
    return row.confidence if row.confidence in VERIFIED else f"[yellow]{row.confidence}: unverified[/]"


def rule(out: Console, catalogue: Catalogue, one: Rule) -> None:
    """Show one rule, its document, and whether it is enforceable."""
    document = catalogue.documents[one.document]
    own = {"enforceable": "yes" if catalogue.enforceable(one) else "no: not verified, the operator has to confirm it"}
    record(out, f"rule {one.id}", {**_flat(one), **own})
    record(out, f"document {document.id}", _flat(document))


def _flat(model: BaseModel) -> dict[str, Any]:
    fields = {name: getattr(model, name) for name in type(model).model_fields}
    return {
        name: f"{value.zh}\n{value.en}" if isinstance(value, Bilingual) else value for name, value in fields.items()
    }


def record(out: Console, title: str, fields: Mapping[str, Any]) -> None:
    """Show one record, a line a field; what is empty is left out."""
    table = _table(title, "field", "value")
    for name, value in fields.items():
        if value not in (None, "", (), {}):
            table.add_row(name, escape(str(value)))
    out.print(table)


def breaches(out: Console, events: pl.DataFrame, zone: ZoneInfo) -> None:
    """List breach events, newest last."""
    table = _table("Breach events", "breach", "facility", "rule", "", "value", "period", "judged", right=("value",))
    for row in events.sort("at", "start").iter_rows(named=True):
        last_day = row["end"].astimezone(zone) - timedelta(microseconds=1)
        table.add_row(
            row["breach_id"],
            row["facility"],
            f"{row['rule']} {row['scope']}".strip(),
            _KINDS[row["kind"]] if row["severity"] == "breach" else f"{row['kind']} (warning)",
            figures.with_unit(f"{row['value']:,.3f} (limit {row['comparison']} {row['limit']:g})", row["unit"]),
            f"{row['start'].astimezone(zone):%Y-%m-%d} – {last_day:%Y-%m-%d}",
            f"{row['at'].astimezone(zone):%Y-%m-%d %H:%M}",
        )
    out.print(table)


def mail(out: Console, message: EmailMessage) -> None:
    """Show an e-mail as its reader gets it: the headers that matter and the plain text."""
    body = message.get_body(("plain",))
    head = "\n".join(f"{name}: {message[name]}" for name in ("From", "To", "Subject"))
    text = body.get_content() if body else ""
    out.print(Panel(Text(f"{head}\n\n{text.strip()}"), title="one of the e-mails", title_align="left"))


def tally(out: Console, counted: Tally) -> None:
    """Show the loss equation."""
    parts = " + ".join(
        f"{getattr(counted, part):,} {part}" for part in ("stored", "duplicate", "quarantined", "pending")
    )
    out.print(f"{counted.received:,} received = {parts}", highlight=False)


def quarantine(out: Console, rows: pl.DataFrame) -> None:
    """Count what was refused, by facility and reason, with the last sentence of each."""
    table = _table("Quarantine", "facility", "reason", "rows", "last", "for example", right=("rows",))
    counted = rows.sort("received").group_by("facility", "reason").agg(pl.len(), pl.last("received", "sentence"))
    for facility, reason, count, received, sentence in counted.sort("facility", "reason").iter_rows():
        table.add_row(facility or "–", reason, str(count), f"{received:%Y-%m-%d %H:%M}", escape(sentence))
    out.print(table)
