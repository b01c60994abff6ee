"""
The commands of frozen months: freeze a month, look at what would change in it since, apply or dismiss that.

The clock comes with the call (`ctx.obj`): only cli.py reads it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated

import polars as pl
import typer
from rich.console import Console

from ingest.errors import ConfigurationError, Problem
from ingest.model import Period
from ingest.registry import Registry
from ingest.schema import FREEZES, INDICATORS
from pipelines.commands import show, typed
from pipelines.commands.world import world
from pipelines.jobs import compute, frozen
from pipelines.jobs.context import Context
from pipelines.jobs.judge import SETTLING
from pipelines.jobs.table import by_hand
from pipelines.reports.export import HOME

app = typer.Typer(no_args_is_help=True, help="What would change in frozen months, and what became of it.")
out = Console(emoji=False)

By = Annotated[str, typer.Option(help="Who decides it.")]
Why = Annotated[str, typer.Option(help="The reason.")]
Month = Annotated[str, typer.Option(help="The facility's own calendar month, e.g. 2026-10.")]
OfFacility = Annotated[str, typer.Option("--facility", help="The facility, or all.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="Settings file; default: peakwatch.toml, if there.")]

_ALL = "all"


def freeze(ctx: typer.Context, month: Month, facility: OfFacility, by: By, why: Why, config: ConfigFile = None) -> None:
    """Freeze the figures of a month: from then on they change by a correction with a name and a reason, or never."""
    typed.named(by, why)
    at: datetime = ctx.obj()
    with world(config) as (_, context):
        months = _months(context.registry, facility, month)
        known = context.store.read(FREEZES.name, facility=list(months))
        before = {
            row["facility"]: row for row in known.iter_rows(named=True) if row["start"] == months[row["facility"]].start
        }
        fresh = {name: span for name, span in months.items() if name not in before}
        if problems := list(_not_ready(context, fresh, at)):
            raise ConfigurationError(problems)
        rows = [
            {
                "facility": name,
                "start": span.start,
                "end": span.end,
                "at": at,
                "by": by.strip(),
                "why": why.strip(),
                "factor_version": context.factors.version,
                "catalogue_version": context.catalogue.version,
            }
            for name, span in fresh.items()
        ]
        context.store.write(FREEZES.name, pl.DataFrame(rows, schema=FREEZES.schema))
    for name, row in before.items():
        out.print(
            f"{name}: {month} is frozen already, since {row['at']:%Y-%m-%d %H:%M}Z by {row['by']}", highlight=False
        )
    for name in fresh:
        out.print(f"{name}: {month} is frozen", highlight=False)


def _not_ready(context: Context, months: dict[str, Period], at: datetime) -> Iterator[Problem]:
    for name, span in months.items():
        if span.end + SETTLING > at:
            yield Problem(f"--month of {name}", f"a month that ends {span.end.isoformat()}", "one over for six hours")
            continue
        found = context.store.read(INDICATORS.name, span, facility=[name], interval=["1mo"], columns=["start"])
        if span.start not in found["start"].to_list():
            yield Problem(f"--month of {name}", "no indicators", "a month that was computed: peakwatch compute")


@app.command("list")
def list_corrections(
    facility: OfFacility = _ALL,
    state: Annotated[str, typer.Option(help="pending, applied, dismissed, withdrawn, or all.")] = "pending",
    config: ConfigFile = None,
) -> None:
    """List what would change in frozen months: the figures of months and years; the others are counted."""
    with world(config) as (_, context):
        rows = context.store.read("corrections", facility=_facilities(context.registry, facility))
    show.corrections(out, rows if state == _ALL else rows.filter(state=state), HOME)


@app.command("apply")
def apply_corrections(
    ctx: typer.Context, month: Month, facility: OfFacility, by: By, why: Why, config: ConfigFile = None
) -> None:
    """Compute a frozen month anew and store what differs; the figures it had stay in `corrections`."""
    typed.named(by, why)
    at: datetime = ctx.obj()
    with waiting(config, facility, month) as (context, found):
        changed = 0
        for name, span in found.items():
            rows = compute.correct(context, name, span, at, by=by.strip(), why=why.strip())
            out.print(f"{name}: {month}: {rows} rows changed; judge follows", highlight=False)
            changed += rows
        by_hand(context.store, found.values(), changed, ctx.obj())


@app.command("dismiss")
def dismiss_corrections(
    ctx: typer.Context, month: Month, facility: OfFacility, by: By, why: Why, config: ConfigFile = None
) -> None:
    """Leave a frozen month as it is; the same difference does not come up again."""
    typed.named(by, why)
    with waiting(config, facility, month) as (context, found):
        for name, span in found.items():
            rows = frozen.pending(context.store, [name], span)
            frozen.decide(context.store, rows, "dismissed", by=by.strip(), why=why.strip(), at=ctx.obj())
            out.print(f"{name}: {month}: {rows.height} figures stay as they are", highlight=False)


@contextmanager
def waiting(config: Path | None, facility: str, month: str) -> Iterator[tuple[Context, dict[str, Period]]]:
    """
    Give the months in which corrections wait.

    Raises:
        ConfigurationError: there are none.
    """
    with world(config) as (_, context):
        months = _months(context.registry, facility, month)
        found = {
            name: span for name, span in months.items() if not frozen.pending(context.store, [name], span).is_empty()
        }
        if not found:
            wanted = "a month of `peakwatch corrections list`"
            raise ConfigurationError([Problem("--month", f"nothing pending for {facility} in {month}", wanted)])
        yield context, found


def _facilities(registry: Registry, facility: str) -> list[str]:
    if facility != _ALL and facility not in registry.facilities:
        raise ConfigurationError([Problem("--facility", repr(facility), f"all, {', '.join(registry.facilities)}")])
    return [name for name in registry.facilities if facility in (_ALL, name)]


def _months(registry: Registry, facility: str, month: str) -> dict[str, Period]:
    names = _facilities(registry, facility)
    return {name: typed.month(month, "--month", registry.facilities[name].zone) for name in names}
