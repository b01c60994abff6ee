"""
The commands of the back-up: `backup` copies the store of the settings into a folder, `restore` does the opposite.

The clock comes with the call (`ctx.obj`): only cli.py reads it.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from ingest import settings as all_settings
from ingest.store.connect import opened
from pipelines import backup as archive
from pipelines.backup import Advance, Manifest

app = typer.Typer()
out, err = Console(emoji=False), Console(stderr=True, emoji=False)

ConfigFile = Annotated[Path | None, typer.Option("--config", help="Settings file; default: peakwatch.toml, if there.")]


@app.command()
def backup(
    ctx: typer.Context,
    folder: Annotated[Path, typer.Argument(help="A new folder, or an empty one.")],
    config: ConfigFile = None,
) -> None:
    """Copy the store, the registry and the settings without secrets into a folder, and check it."""
    settings = all_settings.load(config)
    with closing(opened(settings)) as store, _progress("back up") as advance:
        manifest = archive.back_up(store, settings, folder, ctx.obj(), advance)
    _tell("backed up to", folder, manifest)


@app.command()
def restore(
    folder: Annotated[Path, typer.Argument(help="A folder `peakwatch backup` made.")],
    config: ConfigFile = None,
    *,
    verify: Annotated[bool, typer.Option("--verify", help="Only check the folder; touch no store.")] = False,
) -> None:
    """Write a back-up into the store of the settings, which has to be empty, and check it."""
    if verify:
        _tell("verified in", folder, archive.verify(folder))
        return
    with closing(opened(all_settings.load(config))) as store, _progress("restore") as advance:
        manifest = archive.restore(store, folder, advance)
    _tell("restored from", folder, manifest)
    out.print(f"registry and settings lie in {folder}: put them where you want them", highlight=False, soft_wrap=True)


@contextmanager
def _progress(what: str) -> Iterator[Advance]:
    """Show how many rows are done on a terminal; quiet in a pipe."""
    with Progress(
        *Progress.get_default_columns()[:1], "{task.completed:,.0f} rows", console=err, disable=not err.is_terminal
    ) as progress:
        task = progress.add_task(what, total=None)
        yield lambda rows: progress.advance(task, rows)


def _tell(did: str, folder: Path, manifest: Manifest) -> None:
    days = sum(map(len, manifest.tables.values()))
    said = f"{manifest.rows:,} rows {did} {folder}, in {days:,} files checked by SHA-256"
    out.print(said, highlight=False, soft_wrap=True)
