"""
The commands of the quarantine: look at what was refused, replay it after a fix, or discard it with a name and a reason.

The clock comes with the call (`ctx.obj`): only cli.py reads it.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated, NamedTuple

import polars as pl
import typer
from rich.console import Console

from ingest import registry as registries
from ingest import settings as all_settings
from ingest.collect import quarantine
from ingest.decode.reasons import Reason
from ingest.errors import ConfigurationError, Problem
from ingest.schema import QUARANTINE
from ingest.store.base import Store
from ingest.store.connect import opened
from pipelines.commands import show, typed
from pipelines.reports.export import HOME

app = typer.Typer(no_args_is_help=True, help="What was refused, with its bytes and the reason.")
out = Console(emoji=False)  # `:-1:` in an id is no thumb

ConfigFile = Annotated[Path | None, typer.Option("--config", help="Settings file; default: peakwatch.toml, if there.")]
OfReason = Annotated[Reason | None, typer.Option("--reason", help="Only with this reason.")]
OfFacility = Annotated[str, typer.Option("--facility", help="Only of this facility, registered or not.")]
From = Annotated[str, typer.Option("--from", help="Only received from here on: RFC 3339, or a date.")]
To = Annotated[str, typer.Option("--to", help="Only received before: RFC 3339, or a date.")]

# hash of topic and payload, item, reason; any part may be cut off at its end
_ID = re.compile(r"[0-9a-f]{4,32}(:-?\d+(:[a-z_]+(\+\d+)?)?)?")
_DIGEST = 32
_FIRST, _LAST = "1970-01-01", "9999-12-31"


class Filters(NamedTuple):
    """What `list` and `replay` choose by."""

    reason: Reason | None
    facility: str
    start: str
    end: str

    def rows(self, store: Store) -> pl.DataFrame:
        """Read the refusals they choose."""
        period = typed.period(self.start or _FIRST, self.end or _LAST, HOME)
        return quarantine.refusals(store, period, facility=self.facility, reason=self.reason or "")


@contextmanager
def stored(config: Path | None) -> Iterator[Store]:
    """Open the store of the settings."""
    with closing(opened(all_settings.load(config))) as store:
        yield store


@app.command("list")
def list_refusals(
    reason: OfReason = None,
    facility: OfFacility = "",
    start: From = "",
    end: To = "",
    config: ConfigFile = None,
) -> None:
    """Count what was refused, by facility and reason, and show the newest that are open."""
    with stored(config) as store:
        show.refusals(out, Filters(reason, facility, start, end).rows(store), HOME)


@app.command("show")
def show_refusal(
    refusal: Annotated[str, typer.Argument(metavar="ID", help="As `list` shows it.")], config: ConfigFile = None
) -> None:
    """Show one refusal: the sentence, the topic, which item, and the bytes as received."""
    with stored(config) as store:
        rows = quarantine.refusals(store)
        (name,) = named(rows, [refusal])
        payload = store.read(QUARANTINE.name, columns=["payload"], id=[name])["payload"][0]
        show.refusal(out, rows.row(by_predicate=pl.col("id") == name, named=True), payload)


@app.command("replay")
def replay_refusals(
    ctx: typer.Context,
    reason: OfReason = None,
    facility: OfFacility = "",
    start: From = "",
    end: To = "",
    config: ConfigFile = None,
) -> None:
    """Pass what is open through decoding and the registry again, after a fix."""
    settings = all_settings.load(config)
    registry = registries.load(settings.registry)
    with closing(opened(settings)) as store:
        rows = Filters(reason, facility, start, end).rows(store).filter(state="open")
        done = quarantine.replay(store, registry, rows, at=ctx.obj())
    show.replayed(out, done, without=rows["bytes"].null_count())


@app.command("discard")
def discard_refusals(
    ctx: typer.Context,
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="As `list` shows them.")],
    by: Annotated[str, typer.Option(help="Who decided it.")],
    why: Annotated[str, typer.Option(help="The reason.")],
    config: ConfigFile = None,
) -> None:
    """Put refusals away for good, with a name and a reason; nothing is deleted."""
    typed.named(by, why)
    with stored(config) as store:
        rows = quarantine.refusals(store)
        names = named(rows, ids)
        closed = rows.filter(pl.col("id").is_in(names), pl.col("state") != "open")
        if not closed.is_empty():
            problems = closed.select("id", "state").iter_rows()
            raise ConfigurationError([Problem(f"refusal {name}", state, "an open one") for name, state in problems])
        quarantine.discard(store, names, by=by.strip(), why=why.strip(), at=ctx.obj())
    out.print(f"{len(names)} refusals discarded", highlight=False)


def named(rows: pl.DataFrame, texts: Sequence[str]) -> list[str]:
    """
    Find refusals by their ids, or by as much of one as names it alone.

    Raises:
        ConfigurationError: a text names none, or several.
    """
    names: list[str] = []
    problems: list[Problem] = []
    for text in dict.fromkeys(texts):
        found = rows.filter(_names(text))["id"].to_list() if _ID.fullmatch(text) else []
        names += found
        if not found:
            problems.append(Problem("refusal", repr(text), "an id of `peakwatch quarantine list`"))
        if len(found) > 1:
            problems.append(Problem(f"refusal {text}", f"{len(found)} of that name", "one of " + ", ".join(found[:5])))
    if problems:
        raise ConfigurationError(problems)
    return list(dict.fromkeys(names))


def _names(text: str) -> pl.Expr:
    digest, _, rest = text.partition(":")
    tail = pl.col("id").str.slice(_DIGEST)
    ends = (tail == f":{rest}") | tail.str.starts_with(f":{rest}:") | pl.lit(not rest)
    return pl.col("id").str.starts_with(digest) & ends
