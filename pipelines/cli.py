"""
The command line: the one place that reads the clock, the settings and builds the adapters.

Exit codes: 0 done, 1 the work failed, 2 the call or the configuration is wrong. What is wrong is said in one sentence.
"""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from ingest import registry as registries
from ingest import settings as all_settings
from ingest.collect.broker import EmbeddedBroker
from ingest.collect.mapping import load as load_mapping
from ingest.collect.mqtt import Broker
from ingest.collect.publish import publish
from ingest.collect.replay import publications
from ingest.collect.subscription import Subscription
from ingest.decode.topics import filters
from ingest.errors import ConfigurationError, PeakWatchError, Problem
from ingest.model import Period
from ingest.settings import Settings
from ingest.store import own as own_stores
from ingest.store.connect import check as check_store
from ingest.store.connect import connect as connect_store
from ingest.store.connect import opened as open_store
from pipelines import demo as demonstration
from pipelines.collecting import collector as collector_of
from pipelines.commands import backups, credentials, entering, freezing, grafana, logs, quarantine, show, stores, typed
from pipelines.commands.world import catalogues, copies, mailer, secret, world
from pipelines.factors import catalogue as factor_catalogue
from pipelines.jobs import announce as announcing
from pipelines.jobs import compute as computing
from pipelines.jobs import judge as judging
from pipelines.jobs.context import Context, Done
from pipelines.jobs.table import by_hand
from pipelines.notify.mail import connect as connect_mail
from pipelines.reports import export as exports
from pipelines.reports import status as standing
from pipelines.scheduler import scheduling
from rules import catalogue as rule_catalogue

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="Meter readings in, breach notices out: PeakWatch.",
)
rules_app = typer.Typer(no_args_is_help=True, help="The rules: each with document, clause, dates and confidence.")
breaches_app = typer.Typer(no_args_is_help=True, help="The breaches (超限): what is open, and the evidence.")
app.add_typer(rules_app, name="rules")
app.add_typer(breaches_app, name="breaches")
app.add_typer(quarantine.app, name="quarantine")
app.add_typer(credentials.app)
app.add_typer(backups.app)
app.add_typer(grafana.app, name="grafana")
app.add_typer(stores.app, name="store")
app.command()(stores.copy)
app.add_typer(freezing.app, name="corrections")
app.command("freeze")(freezing.freeze)
app.command("enter")(entering.enter)

# no emoji: `:-1:` in an id is no thumb
out, err = Console(emoji=False), Console(stderr=True, emoji=False)

_REPLAY_CLIENT = "peakwatch-replay"
# where `run` with the embedded broker listens, and `replay` finds it
_EMBEDDED_PORT = 1883
_EMBEDDED = Broker("127.0.0.1", _EMBEDDED_PORT, versions=("3.1.1",))

ConfigFile = Annotated[Path | None, typer.Option("--config", help="Settings file; default: peakwatch.toml, if there.")]
Group = Annotated[str, typer.Option(help="Share the messages among all collectors of this group.")]
Metrics = Annotated[str, typer.Option(help="Serve Prometheus metrics at PORT (on loopback) or HOST:PORT.")]
From = Annotated[str, typer.Option("--from", help="RFC 3339, or a date: then the facility's own midnight.")]
To = Annotated[str, typer.Option("--to", help="RFC 3339, or a date; the end is not part of the period.")]


def clock() -> datetime:
    """Now: the only reading of the clock."""
    return datetime.now(UTC)


def by_zone(context: Context) -> Iterator[tuple[ZoneInfo, Context]]:
    """Part a context by time zone: a typed date is another moment in each."""
    for zone, names in context.registry.by_zone().items():
        yield zone, replace(context, registry=context.registry.select(names))


def over(context: Context, start: str, end: str, job: Callable[[Context, Period, datetime], Done]) -> list[Done]:
    """Run a job over an explicit period in every zone, and say what it did."""
    at = clock()
    done = [job(part, typed.period(start, end, zone), at) for zone, part in by_zone(context)]
    out.print(f"{sum(one.rows for one in done)} rows new or changed")
    return done


@contextmanager
def broker(settings: Settings) -> Iterator[Broker]:
    """Give the broker of the settings: the embedded one, which lives as long as the context, or a real one."""
    if settings.broker != "embedded":
        yield _real_broker(settings)
        return
    with EmbeddedBroker(_EMBEDDED_PORT) as embedded:
        yield embedded.broker


def _real_broker(settings: Settings) -> Broker:
    return Broker.parse(
        settings.broker, user=settings.broker_user, password=secret(settings.broker_password), ca=settings.broker_ca
    )


def collecting(settings: Settings, context: Context, *, group: str, metrics: str) -> None:
    """
    Collect until the process is told to stop; what is in hand is stored and acked first.

    SIGUSR1 makes it leave its group for good. Whoever is only started again, as at an upgrade, stays in it: otherwise
    what comes meanwhile would reach nobody.
    """
    stop, leaving = threading.Event(), threading.Event()

    def end(number: int, _: object) -> None:
        if number == signal.SIGUSR1:
            leaving.set()
        stop.set()

    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(name, end)
    with (
        broker(settings) as place,
        Subscription(
            place, settings.client_id, clock=clock, filters=filters(context.registry), group=group
        ) as subscription,
        collector_of(settings, context, subscription, clock=clock, group=group, metrics=metrics) as collector,
    ):
        # where logs go to a full disk, readings are collected all the same
        with suppress(OSError):
            err.print(f"collecting from {place} into {settings.store}", soft_wrap=True)
        collector.run(stop, leaving)
    with suppress(OSError):
        show.tally(out, collector.tally)


@app.command()
def demo(
    folder: Annotated[Path, typer.Option(help="Where the demo puts its files; made anew each time.")] = Path("demo"),
    registry: Annotated[Path, typer.Option(help="Registry of the facilities to simulate.")] = Path("deploy/registry"),
    store: Annotated[str, typer.Option(help="An empty store; default: a lake in the folder.")] = "",
) -> None:
    """Play the whole line on this machine in about a minute, ending with a breach e-mail on the screen."""
    facilities = registries.load(registry)
    settings = all_settings.of_environment()
    url = store or f"lake:{folder / 'data'}"
    check_store(url, settings)
    demonstration.fresh(folder)
    with closing(connect_store(url, settings)) as opened:
        context = Context(
            opened,
            facilities,
            factor_catalogue.load(),
            rule_catalogue.load(),
            connect_mail(f"file:{folder / 'outbox'}"),
            settings.sender,
        )
        demonstration.play(context, folder, out)


@app.command()
def check(config: ConfigFile = None) -> None:
    """Check registry, rules and settings; touches no network."""
    settings = all_settings.load(config)
    registry = registries.load(settings.registry)
    catalogue, _ = catalogues(settings)
    if problems := catalogue.problems(registry.products):
        raise ConfigurationError(problems)
    if settings.broker != "embedded":
        _real_broker(settings)
    check_store(settings.store, settings)
    own_stores.facilities(settings)
    mailer(settings)
    show.check(out, settings, registry, catalogue)


@app.command()
def run(config: ConfigFile = None, group: Group = "", metrics: Metrics = "") -> None:
    """Collect and run the jobs, in one process."""
    with world(config) as (settings, context), scheduling(context, clock, copies=copies(settings, context)):
        collecting(settings, context, group=group, metrics=metrics)


@app.command()
def collect(config: ConfigFile = None, group: Group = "", metrics: Metrics = "") -> None:
    """Collect only: readings from the broker into the store."""
    with world(config) as (settings, context):
        collecting(settings, context, group=group, metrics=metrics)


@app.command()
def schedule(config: ConfigFile = None, metrics: Metrics = "") -> None:
    """Run the jobs only: compute, judge, view, announce, maintain, and the copies into facilities' own databases."""
    stop = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: stop.set())
    with (
        world(config) as (settings, context),
        scheduling(context, clock, copies=copies(settings, context), metrics=metrics),
    ):
        stop.wait()


@app.command()
def compute(start: From, end: To, config: ConfigFile = None) -> None:
    """Compute energy and indicators for a period; judge, and the copies of facilities, follow by themselves."""
    with world(config) as (_, context):
        done = over(context, start, end, computing.over)
        touched = [one.touched for one in done if one.touched]
        by_hand(context.store, touched, sum(one.rows for one in done), clock())


@app.command()
def judge(start: From, end: To, config: ConfigFile = None) -> None:
    """Judge the indicators whose period ends in a period, and store the breach events that follow."""
    with world(config) as (_, context):
        over(context, start, end, judging.over)


@app.command()
def announce(start: From, end: To, config: ConfigFile = None) -> None:
    """Send the notices that are due of the events judged in a period."""
    with world(config) as (_, context):
        over(context, start, end, announcing.over)


@app.command()
def replay(
    files: Annotated[list[Path], typer.Argument(help="Recorded data: .csv (with --map), or .jsonl.")],
    mapping: Annotated[Path | None, typer.Option("--map", help="TOML file: how a table maps to meters.")] = None,
    config: ConfigFile = None,
) -> None:
    """Publish recorded data to the broker, every message acked."""
    settings = all_settings.load(config)
    sent = list(publications(files, None if mapping is None else load_mapping(mapping)))
    place = _EMBEDDED if settings.broker == "embedded" else _real_broker(settings)
    with Progress(console=err, disable=not err.is_terminal) as progress:
        task = progress.add_task("publish", total=len(sent))
        acked = publish(place, sent, client_id=_REPLAY_CLIENT, advance=lambda count: progress.advance(task, count))
    out.print(f"{acked} messages published to {place}")


@app.command()
def export(
    what: Annotated[exports.Export, typer.Argument(help="Which table.")],
    start: From,
    end: To,
    form: Annotated[exports.Format, typer.Option("--format", help="csv, json or parquet.")] = "csv",
    facility: Annotated[str, typer.Option(help="Only this facility.")] = "",
    target: Annotated[Path | None, typer.Option("-o", "--output", help="File; default: standard output.")] = None,
    config: ConfigFile = None,
) -> None:
    """Export rows of a table whose time lies in a period; times in UTC."""
    settings = all_settings.load(config)
    registry = registries.load(settings.registry)
    if facility:
        typed.facility(facility, registry)
    with closing(open_store(settings)) as store:
        rows = exports.rows(store, what, registry, lambda zone: typed.period(start, end, zone), facility=facility)
    exports.save(exports.encoded(rows, form), target)


@rules_app.command("list")
def list_rules(config: ConfigFile = None) -> None:
    """List every rule."""
    show.rules(out, catalogues(all_settings.load(config))[0])


@rules_app.command("show")
def show_rule(rule: str, config: ConfigFile = None) -> None:
    """Show one rule with its document."""
    catalogue, _ = catalogues(all_settings.load(config))
    if rule not in catalogue.rules:
        raise ConfigurationError([Problem("rule", repr(rule), "an id of `peakwatch rules list`")])
    show.rule(out, catalogue, catalogue.rules[rule])


@breaches_app.command("list")
def list_breaches(config: ConfigFile = None) -> None:
    """List every breach event, the newest last."""
    with closing(open_store(all_settings.load(config))) as store:
        show.breaches(out, store.read("breach_events"), exports.HOME)


@breaches_app.command("show")
def show_breach(breach: str, config: ConfigFile = None) -> None:
    """Show the events of one breach with their evidence."""
    with closing(open_store(all_settings.load(config))) as store:
        events = store.read("breach_events", breach_id=[breach])
    if events.is_empty():
        raise ConfigurationError([Problem("breach", repr(breach), "an id of `peakwatch breaches list`")])
    for event in events.sort("at", "start").iter_rows(named=True):
        show.record(out, f"{event['kind']} {event['event_id']}", event)


@app.command("status")
def show_status(
    form: Annotated[Literal["table", "json"], typer.Option("--format", help="table or json.")] = "table",
    config: ConfigFile = None,
) -> None:
    """Show the loss equation, lag, coverage of yesterday, gateways, jobs and the quarantine."""
    settings = all_settings.load(config)
    registry = registries.load(settings.registry)
    with closing(open_store(settings)) as store:
        now = standing.status(store, registry, clock())
    if form == "json":
        sys.stdout.buffer.write(standing.as_json(now))
    else:
        show.status(out, now, exports.HOME)


def main() -> None:
    """Run the command line; every error of ours is one sentence and an exit code."""
    logs.configure()
    try:
        app(obj=clock)
    except PeakWatchError as error:
        for line in str(error).splitlines():
            err.print(f"[bold red]✗[/] {escape(line)}", highlight=False, soft_wrap=True)
        sys.exit(2 if isinstance(error, ConfigurationError) else 1)
