"""Tables for the terminal: frames and catalogues -> rich. Everything people look at on the command line stands here."""

from collections.abc import Mapping
from datetime import timedelta
from email.message import EmailMessage
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
from pydantic import BaseModel
from rich import box
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
    "breach": "[bold red]over[/]",
    "not_assessable": "[yellow]not assessable[/]",
    "none": "[dim]no limit[/]",
}
_KINDS = {"opened": "[bold red]opened[/]", "closed": "[green]closed[/]", "withdrawn": "[yellow]withdrawn[/]"}


def _table(title: str, *columns: str, right: tuple[str, ...] = ()) -> Table:
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        header_style="bold",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for number, column in enumerate(columns):
        # the first column names the row: it is never broken
        table.add_column(column, justify="right" if column in right else "left", overflow="fold", no_wrap=not number)
    return table


def check(out: Console, settings: Settings, registry: Registry, catalogue: Catalogue) -> None:
    """Say that everything is right, and what there is."""
    table = _table("Registry", "facility", "kind", "meters", "products", "notices go to", right=("meters",))
    for facility in registry.facilities.values():
        table.add_row(
            facility.id,
            facility.kind,
            str(len(facility.meter)),
            ", ".join(f"{product.id} ({product.unit})" for product in facility.product),
            "\n".join(contact.email for contact in facility.contact if contact.role == "operator") or "[red]nobody[/]",
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
    numbers = ("value", "limit", "coverage")
    table = _table("The last twelve months", "facility", "indicator", *numbers, "verdict", right=numbers)
    for row in rows.iter_rows(named=True):
        table.add_row(
            row["facility"],
            figures.with_unit(row["indicator"], row["unit"]),
            "–" if row["value"] is None else f"{row['value']:,.3f}",
            "" if row["limit"] is None else f"{row['comparison']} {row['limit']:g}",
            figures.percent_at_least(row["coverage"]),
            _VERDICTS[row["verdict"]],
        )
    out.print(table)


def rules(out: Console, catalogue: Catalogue) -> None:
    """List every rule."""
    table = _table("Rules", "rule", "requirement", "judged", "from", "source")
    for rule in catalogue.rules.values():
        bound = f"level {rule.level}" if rule.limit is None else figures.with_unit(f"{rule.limit:g}", rule.unit)
        judged = ", ".join(f"{interval} {severity}" for interval, severity in rule.severities.items())
        since = str(rule.valid_from or "as its rows")
        table.add_row(rule.id, f"{rule.indicator} {rule.comparison} {bound}", judged, since, _confidence(rule))
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
    return {name: _said(getattr(model, name)) for name in type(model).model_fields}


def _said(value: Any) -> Any:
    if isinstance(value, Bilingual):
        return f"{value.zh}\n{value.en}"
    if isinstance(value, BaseModel):
        return ", ".join(
            f"{name} {said}" for name, said in value.model_dump(mode="json", exclude_defaults=True).items()
        )
    return value


def record(out: Console, title: str, fields: Mapping[str, Any]) -> None:
    """Show one record, a line a field; what is empty is left out."""
    table = _table(title, "field", "value")
    for name, value in fields.items():
        if value not in (None, "", (), {}):
            table.add_row(name, escape(str(value)))
    out.print(table)


def breaches(out: Console, events: pl.DataFrame, zone: ZoneInfo) -> None:
    """List breach events, the newest last."""
    table = _table("Breach events", "breach", "facility and rule", "value", "period", right=("value",))
    for row in events.sort("at", "start").iter_rows(named=True):
        last_day = row["end"].astimezone(zone) - timedelta(microseconds=1)
        value = figures.with_unit(f"{row['value']:,.3f}", row["unit"])
        kind = _KINDS[row["kind"]] if row["severity"] == "breach" else f"{row['kind']} (warning)"
        table.add_row(
            row["breach_id"],
            f"{row['facility']} {row['scope']}\n{row['rule']}",
            f"{value}\nlimit {row['comparison']} {row['limit']:g}",
            f"{kind}\n{row['start'].astimezone(zone):%Y-%m-%d} – {last_day:%Y-%m-%d}",
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
