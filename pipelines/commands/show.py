"""Tables for the terminal: frames and catalogues -> rich. Everything people look at on the command line stands here."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
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
from ingest.collect.quarantine import Replayed
from ingest.model import Text as Bilingual
from ingest.registry import Registry
from ingest.settings import Settings
from ingest.store.copying import Copied
from ingest.store.influx.setup import Finding
from pipelines.jobs.connected import SILENT
from pipelines.notify import figures
from pipelines.reports.status import FATES, Status
from rules.catalogue import Catalogue
from rules.model import VERIFIED, Rule

_VERDICTS = {
    "pass": "[green]within[/]",
    "breach": "[bold red]over[/]",
    "not_assessable": "[yellow]not assessable[/]",
    "none": "[dim]no limit[/]",
}
_KINDS = {"opened": "[bold red]opened[/]", "closed": "[green]closed[/]", "withdrawn": "[yellow]withdrawn[/]"}
_STATES = {"found": "[dim]found[/]", "made": "[green]made[/]", "changed": "[green]changed[/]"}
_LISTED = 20  # refusals shown one by one
_MOST_BYTES = 4096  # of a payload
_DUMPED = 16  # bytes a line


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


def refusals(out: Console, rows: pl.DataFrame, zone: ZoneInfo) -> None:
    """Count refusals by facility and reason, and list the newest open ones."""
    states = ("open", "replayed", "discarded")
    table = _table("Quarantine", "facility", "reason", *states, right=states)
    counts = rows.group_by("facility", "reason").agg((pl.col("state") == state).sum().alias(state) for state in states)
    for facility, reason, *numbers in counts.sort("facility", "reason").iter_rows():
        table.add_row(_printed(facility) or "–", reason, *map(str, numbers))
    out.print(table)
    waiting = rows.filter(state="open")
    listed = _table("Open, the newest last", "id", "received", "what")
    for row in waiting.tail(_LISTED).iter_rows(named=True):
        received = row["received"].astimezone(zone)
        listed.add_row(
            _short(row["id"]), f"{received:%Y-%m-%d %H:%M}", f"{_printed(row['topic'])}\n{_printed(row['sentence'])}"
        )
    out.print(listed)
    if waiting.height > _LISTED:
        out.print(
            f"and {waiting.height - _LISTED:,} older ones; --reason, --facility, --from and --to choose",
            highlight=False,
        )


def _short(refusal: str) -> str:
    digest, _, rest = refusal.partition(":")
    return f"{digest[:8]}:{rest.partition(':')[0]}" if rest else refusal


def _printed(text: str) -> str:
    """Foreign text as it may stand on a terminal: no control characters, no markup."""
    return escape("".join(one if one.isprintable() else "�" for one in text))


def refusal(out: Console, row: Mapping[str, Any], payload: bytes | None) -> None:
    """Show one refusal and its bytes: as text where they are text, else as a hex dump."""
    item = "the whole payload" if row["item"] < 0 else f"entry {row['item']} of the payload, counted from 0"
    stands = {"item": item, "topic": _printed(row["topic"]), "sentence": _printed(row["sentence"])}
    record(out, f"refusal {row['id']}", dict(row) | {"facility": _printed(row["facility"])} | stands)
    if payload is None:
        out.print("its bytes were not kept")
        return
    head = payload[:_MOST_BYTES]
    out.print(Text(_text(head) or "\n".join(_hex_dump(head))), highlight=False, soft_wrap=True)
    if len(payload) > _MOST_BYTES:
        out.print(f"and {len(payload) - _MOST_BYTES:,} bytes more: `peakwatch export quarantine` has them all")


def _text(content: bytes) -> str:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return ""
    return text if all(one.isprintable() or one in "\n\t" for one in text) else ""


def _hex_dump(content: bytes) -> Iterator[str]:
    for start in range(0, len(content), _DUMPED):
        line = content[start : start + _DUMPED]
        shown = "".join(chr(byte) if chr(byte).isascii() and chr(byte).isprintable() else "." for byte in line)
        yield f"{start:08x}  {line.hex(' '):<{3 * _DUMPED}} {shown}"


def replayed(out: Console, done: Replayed, *, without: int) -> None:
    """Say how a replay ended."""
    out.print(
        f"{done.refusals:,} refusals replayed: {done.stored:,} entries stored, {done.duplicate:,} duplicate, "
        f"{done.refused:,} still refused",
        highlight=False,
    )
    if without:
        out.print(f"{without:,} more have no bytes that could be replayed", highlight=False)


def status(out: Console, now: Status, zone: ZoneInfo) -> None:
    """Show how the line stands."""
    _collectors(out, now, zone)
    table = _table("Facilities", "facility", "newest reading", "lag", "complete yesterday", right=("lag",))
    for facility, newest, lag, coverage in now.facilities.iter_rows():
        said = f"[yellow]none in {SILENT.days} days[/]" if newest is None else _moment(newest, zone)
        table.add_row(facility, said, "–" if lag is None else _lag(lag), _share(coverage))
    out.print(table)
    _gateways(out, now.gateways, zone)
    table = _table("Jobs", "job", "last good run", "last failure")
    for job, good, failed, error in now.jobs.iter_rows():
        failure = "" if failed is None else f"{_moment(failed, zone)}\n{_printed(error)}"
        table.add_row(job, "never" if good is None else _moment(good, zone), failure)
    out.print(table)
    states = ("open", "replayed", "discarded")
    table = _table("Quarantine", "facility", *states, right=states)
    for facility, *counts in now.quarantine.iter_rows():
        table.add_row(facility or "not registered", *(f"{count:,}" for count in counts))
    out.print(table)


def _collectors(out: Console, now: Status, zone: ZoneInfo) -> None:
    table = _table("Collectors", "since", "collector and its loss equation")
    for row in now.collectors.iter_rows(named=True):
        table.add_row(_moment(row["started"], zone), f"{row['collector']}\n{_equation(row)}")
    if now.collectors.height > 1:
        table.add_row("", f"all of them\n{_equation(now.total.row(0, named=True))}")
    out.print(table)
    if now.collectors.is_empty():
        out.print("[yellow]no collector has counted anything yet[/]")


def _equation(row: Mapping[str, Any]) -> str:
    mark = "[green]closes[/]" if row["closes"] else "[bold red]does not close[/]"
    overflow = f"; {row['overflow']:,} quarantined without bytes" if row["overflow"] else ""
    return f"{row['items']:,} received = {' + '.join(f'{row[fate]:,} {fate}' for fate in FATES)}: {mark}{overflow}"


def _gateways(out: Console, rows: pl.DataFrame, zone: ZoneInfo) -> None:
    """Show the gateways that are offline or lost something; the others are only counted."""
    table = _table("Gateways", "facility", "gateway", "state", "lost upstream", "since", right=("lost upstream",))
    wrong = rows.filter((pl.col("state") != "online") & (pl.col("state") != "") | (pl.col("lost_upstream") > 0))
    for facility, gateway, state, lost, at in wrong.iter_rows():
        said = f"[red]{state}[/]" if state == "offline" else state or "–"
        table.add_row(facility, _printed(gateway), said, "–" if lost is None else f"{lost:,}", _moment(at, zone))
    out.print(table)
    out.print(f"{rows.height} gateways noted, {wrong.height} of them with something to look at\n", highlight=False)


def _moment(time: datetime, zone: ZoneInfo) -> str:
    return f"{time.astimezone(zone):%Y-%m-%d %H:%M}"


def _lag(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds))) if seconds >= 0 else "0:00:00"


def _share(coverage: float | None) -> str:
    return "–" if coverage is None else figures.percent_at_least(coverage)


def findings(out: Console, found: Sequence[Finding]) -> None:
    """Show what a store has to have, and how it stands."""
    table = _table("Store", "what", "state", "")
    for one in found:
        table.add_row(escape(one.what), _STATES.get(one.state, "[bold red]differs[/]"), escape(one.told))
    out.print(table)


def copied(out: Console, days: Sequence[Copied]) -> None:
    """Show each day that was copied or found, with its proof, and what is wrong with the others."""
    numbers = ("rows", "written")
    table = _table("Copied", "table", "day (UTC)", *numbers, "SHA-256", "verified", right=numbers)
    for day in days:
        wrong = "; ".join(filter(None, [f"{day.differing} rows differ" if day.differing else "", day.refusal]))
        verdict = "[green]yes[/]" if day.verified else f"[bold red]no[/]: {escape(wrong)}"
        table.add_row(day.table, f"{day.day}", f"{day.rows}", f"{day.written}", day.checksum[:16], verdict)
    out.print(table)
    told = f"{len(days)} days, {sum(day.rows for day in days)} rows, {sum(day.written for day in days)} written"
    out.print(f"{told}, {sum(day.verified for day in days)} days verified", highlight=False)


def corrections(out: Console, rows: pl.DataFrame, zone: ZoneInfo) -> None:
    """Show what would change in frozen months: the figures of whole months and years; the others are counted."""
    figure, main = pl.col("figure"), pl.col("row").str.contains(r" (1mo|12mo) ")
    told = rows.filter((main & figure.is_in(["quantity", "value"])) | (pl.col("of") == "unattributed"))
    table = _table("Corrections", "facility", "month", "what", "old", "new", "state", right=("old", "new"))
    for row in told.sort("start", "facility", "of", "row", "since").iter_rows(named=True):
        old, new = ("–" if row[name] is None else f"{row[name]:,.6g}" for name in ("old", "new"))
        decided = f"\n{_printed(row['by'])}: {_printed(row['why'])}" if row["by"] else ""
        what = f"{_printed(row['row'])}\n{row['figure']} [{row['unit']}]"
        table.add_row(
            row["facility"], f"{row['start'].astimezone(zone):%Y-%m}", escape(what), old, new, row["state"] + decided
        )
    out.print(table)
    more = rows.height - told.height
    out.print(f"{more:,} further figures: `peakwatch export corrections` has them all", highlight=False)
