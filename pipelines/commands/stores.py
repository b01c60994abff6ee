"""The commands about stores as wholes: make an InfluxDB ready, and copy from one store to another with proof."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from ingest import registry as registries
from ingest import settings as all_settings
from ingest.errors import ConfigurationError, Problem, WorkError
from ingest.model import Period
from ingest.schema import TABLES
from ingest.settings import Settings
from ingest.store import copying
from ingest.store.base import WholeStore
from ingest.store.connect import administered, connect, of_facility, parse
from ingest.store.copying import Copied
from ingest.store.influx.setup import FACILITY_ROLES, ROLES, Finding, Vault, prepare, secrets_of
from ingest.store.influx.target import Target
from pipelines.commands import show, typed
from pipelines.reports.export import HOME

app = typer.Typer(no_args_is_help=True, help="The store as a whole: make an InfluxDB ready for PeakWatch.")
out, err = Console(emoji=False), Console(stderr=True, emoji=False)

_FIRST, _LAST = "0001-01-01T00:00:00+00:00", "9999-12-31T23:59:59.999999+00:00"

ConfigFile = Annotated[Path | None, typer.Option("--config", help="Settings file; default: peakwatch.toml, if there.")]


@app.callback()
def store() -> None:
    """Keep `init` a command of its own, although there is no other."""


@app.command()
def init(
    *,
    secrets: Annotated[Path, typer.Option(help="Folder for the secrets: one folder below it for each role.")],
    facility: Annotated[str, typer.Option(help="The database of this facility's own rows, for its operator.")] = "",
    raw_days: Annotated[int, typer.Option(min=0, max=36_500, help="How long readings are kept; 0: for ever.")] = 1100,
    apply: Annotated[bool, typer.Option("--apply", help="Change what differs, instead of telling it.")] = False,
    reveal: Annotated[bool, typer.Option("--show", help="Print the secrets too.")] = False,
    config: ConfigFile = None,
) -> None:
    """Make what is missing in the InfluxDB of the settings: where rows lie, how long, and a login for each role."""
    settings, roles = all_settings.load(config), ROLES
    if facility:
        typed.facility(facility, registries.load(settings.registry))
        settings = settings.model_copy(update={"store": of_facility(settings.store, facility)})
        secrets, roles = secrets_of(secrets, facility), FACILITY_ROLES
    findings: list[Finding] = []
    with closing(administered(settings)) as server:
        try:
            findings.extend(prepare(server, secrets, raw_days=raw_days, apply=apply, roles=roles))
        finally:
            if findings:
                show.findings(out, findings)
        vault = Vault(secrets, server.secret)
    for role in roles:
        told = f": {vault.get(role)}" if reveal else ""
        out.print(escape(f"{role.name}: {vault.path(role)}{told}"), highlight=False, soft_wrap=True)
    if differing := sum(finding.state == "differs" for finding in findings):
        raise WorkError(f"{differing} of {len(findings)} differ; --apply changes what can be changed from here")


def copy(
    source: Annotated[str, typer.Option("--from", metavar="URL", help="The store to read.")],
    target: Annotated[str, typer.Option("--to", metavar="URL", help="The store to write.")],
    tables: Annotated[list[str] | None, typer.Option("--table", help="Only this table; may be repeated.")] = None,
    start: Annotated[str, typer.Option("--from-time", help="Only rows from here on: RFC 3339, or a date.")] = "",
    end: Annotated[str, typer.Option("--to-time", help="Only rows before: RFC 3339, or a date.")] = "",
    facility: Annotated[str, typer.Option(help="Only rows of this facility, registered or not.")] = "",
    config: ConfigFile = None,
) -> None:
    """Copy rows from one store to another, each day with proof; what is there already is not written again."""
    settings = all_settings.load(config)
    names = _chosen(tables or [], facility)
    options = ("--from-time", "--to-time")
    period = typed.period(start or _FIRST, end or _LAST, HOME, options=options) if start or end else None
    _distinct(source, target)
    with closing(_opened(source, settings)) as one, closing(_opened(target, settings)) as other:
        days: list[Copied] = []
        try:
            days.extend(_copied(one, other, names, period, facility))
        finally:
            if days:
                show.copied(out, days)
    if wrong := sum(not day.verified for day in days):
        raise WorkError(f"{wrong} of {len(days)} days do not agree")


def _copied(
    source: WholeStore, target: WholeStore, tables: Sequence[str], period: Period | None, facility: str
) -> Iterator[Copied]:
    """Copy day by day and yield those that have rows."""
    work = [(table, span) for table in tables for span in copying.spans(source, table, period)]
    with Progress(console=err, disable=not err.is_terminal) as progress:
        task = progress.add_task("copy", total=len(work))
        for table, span in work:
            progress.update(task, description=f"{table} {span.start.date()}")
            day = copying.copy(source, target, table, span, facility=facility)
            progress.advance(task)
            if day.rows:
                yield day


def _chosen(tables: Sequence[str], facility: str) -> list[str]:
    """
    Return the tables to copy; all of them where none is named, those that have facilities where one is named.

    Raises:
        ConfigurationError: a table is not known, or has no facilities.
    """
    able = [name for name, table in TABLES.items() if not facility or "facility" in table.schema]
    if unknown := [name for name in tables if name not in able]:
        wanted = f"one of {', '.join(able)}"
        raise ConfigurationError([Problem("--table", repr(name), wanted) for name in unknown])
    return [name for name in able if not tables or name in tables]


def _distinct(source: str, target: str) -> None:
    places = [place.resolve() if isinstance(place, Path) else place for place in map(parse, (source, target))]
    if places[0] == places[1]:
        raise ConfigurationError([Problem("--to", repr(target), "another store than that of --from")])
    if isinstance(places[0], Path) and not places[0].is_dir():
        raise ConfigurationError([Problem("--from", repr(source), "the folder of a lake")])


def _opened(url: str, settings: Settings) -> WholeStore:
    """Open a store: that of the settings with its secrets, any other with those of the copy."""
    place = parse(url)
    if place == parse(settings.store):
        return connect(url, settings)
    if isinstance(place, Target) and place.user and settings.copy_password is None:
        wanted = "PEAKWATCH_COPY_PASSWORD, or that of the store where it is the store of the settings"
        raise ConfigurationError([Problem(f"store {place}", f"user {place.user!r} without a password", wanted)])
    secrets = {"store_token": settings.copy_token, "store_password": settings.copy_password}
    return connect(url, settings.model_copy(update=secrets))
