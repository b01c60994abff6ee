"""The commands of a Grafana that is running: what is pushed to it, and a place of its own for each operator."""

from contextlib import closing
from pathlib import Path
from typing import Annotated

import polars as pl
import typer

from ingest import registry as registries
from ingest import settings as all_settings
from ingest.errors import ConfigurationError, Problem
from ingest.schema import BREACH_EVENTS
from ingest.settings import Settings
from ingest.store.connect import opened
from pipelines.commands import typed
from pipelines.grafana import operators, wanted
from pipelines.grafana.operators import Server
from pipelines.grafana.session import Session, done, out
from pipelines.reports.export import HOME

app = typer.Typer(no_args_is_help=True, help="Dashboards, alert rules and logins of a running Grafana.")

FILES = Path("deploy/grafana")
_MOST = 100_000  # annotations asked for at once
_LAST = "9999-12-31"

Url = Annotated[str, typer.Option(help="Grafana's address, e.g. https://grafana.example.org.")]
Files = Annotated[Path, typer.Option(help="Folder of the generated files.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="Settings file; default: peakwatch.toml.")]


@app.command()
def push(
    *,
    url: Url,
    token: Annotated[
        Path | None, typer.Option(help="File with a service account token; default: PEAKWATCH_GRAFANA_TOKEN.")
    ] = None,
    folder: Files = FILES,
    start: Annotated[str, typer.Option("--from", help="Annotate the breach events judged from here on, too.")] = "",
    dry_run: DryRun = False,
    config: ConfigFile = None,
) -> None:
    """Bring folders, dashboards and alert rules into a running Grafana; again changes nothing."""
    settings = all_settings.load(config)
    steps = [*wanted.folders(), *wanted.dashboards(folder), *wanted.alert_rules(folder)]
    session = Session(url, _token(token, settings), settings.grafana_ca)
    if start:
        steps += wanted.annotations(_events(settings, start), _annotated(session))
    changed = sum(done(session, step, dry_run=dry_run) for step in steps)
    out.print(f"{changed} of {len(steps)} {'would change' if dry_run else 'new or changed'}")


@app.command()
def users(
    *,
    facility: Annotated[list[str], typer.Option(help="The facility whose operator gets a login; may be repeated.")],
    url: Url,
    secrets: Annotated[Path, typer.Option(help="Folder of `store init --secrets`; passwords are put there too.")],
    store: Annotated[str, typer.Option(help="The store as Grafana reaches it; default: that of the settings.")] = "",
    folder: Files = FILES,
    dry_run: DryRun = False,
    config: ConfigFile = None,
) -> None:
    """Give operators a Grafana organisation with a login that shows their own facility alone; again changes nothing."""
    settings = all_settings.load(config)
    registry = registries.load(settings.registry)
    steps = [*wanted.folders(alerts=False), *wanted.dashboards(folder, operators.BOARDS)]
    places = [
        operators.place(typed.facility(name, registry), secrets, store or settings.store, settings.store_ca)
        for name in dict.fromkeys(facility)
    ]
    server = Server(url, _admin(settings), settings.grafana_ca)
    for one in places:
        changed = operators.give(server, one, steps, dry_run=dry_run)
        out.print(f"{one.facility}: {changed} {'would change' if dry_run else 'new or changed'}", highlight=False)


def _annotated(session: Session) -> set[str]:
    found = session.read(f"/annotations?type=annotation&tags={wanted.TAG}&limit={_MOST}") or []
    return {tag.removeprefix("event:") for one in found for tag in one.get("tags", ()) if tag.startswith("event:")}


def _events(settings: Settings, start: str) -> pl.DataFrame:
    judged = typed.period(start, _LAST, HOME)
    with closing(opened(settings)) as store:
        return store.read(BREACH_EVENTS.name, judged)


def _token(file: Path | None, settings: Settings) -> str:
    if file is None and settings.grafana_token is not None:
        return settings.grafana_token.get_secret_value()
    wanted = "a service account token in PEAKWATCH_GRAFANA_TOKEN, or the file --token names"
    if file is None:
        raise ConfigurationError([Problem("--token", "none", wanted)])
    token = _read_token(file)
    if not token or not token.isascii() or not token.isprintable():
        raise ConfigurationError([Problem(f"--token {file}", "no token of one line", wanted)])
    return token


def _read_token(file: Path) -> str:
    try:
        return file.read_text("utf-8").strip()
    except (OSError, ValueError) as error:
        raise ConfigurationError([Problem(f"--token {file}", str(error), "a readable file with the token")]) from None


def _admin(settings: Settings) -> tuple[str, str]:
    password = settings.grafana_admin_password
    if password is None:
        wanted_ = "that of Grafana's administrator in PEAKWATCH_GRAFANA_ADMIN_PASSWORD, or a file of that name"
        raise ConfigurationError([Problem("setting grafana_admin_password", "none", wanted_)])
    return settings.grafana_admin_user, password.get_secret_value()
