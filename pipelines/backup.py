"""
A back-up: every table of a store, day by day, as Parquet, with a manifest of counts and hashes. Works on any store.

    store -> back_up() -> FOLDER -> verify() -> restore() -> store
    FOLDER: manifest.json  settings.json  registry/*.toml  tables/TABLE/DAY.parquet

The tables are read against the flow of data: runs first, readings last. So whatever a run in the back-up claims to have
written is in it too, also while collectors and jobs go on; what came meanwhile is computed anew after the restore. The
manifest is written last: a folder without one is a back-up that was not finished.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from io import BytesIO
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import polars as pl
from pydantic import SecretStr, ValidationError

from ingest.errors import ConfigurationError, Problem, StoreError
from ingest.model import Period, Strict
from ingest.registry import problems_of
from ingest.schema import TABLES
from ingest.settings import Settings
from ingest.store.base import Store

_FORMAT = 1
_MANIFEST, _SETTINGS, _REGISTRY, _TABLES = "manifest.json", "settings.json", "registry", "tables"
_NAME = re.compile(r"registry/[^/\\\0]+\.toml|settings\.json")
_DAY = timedelta(days=1)
_BATCH = 50_000  # rows of one write, at least: a write costs the same for one row

Advance = Callable[[int], None]


class Kept(Strict):
    """One file of a back-up: rows (0 where it is no table) and SHA-256."""

    rows: int
    sha256: str


class Manifest(Strict):
    """What a back-up holds: table to day (UTC) to file, and the files beside the tables by name."""

    format: int
    made: datetime
    tables: dict[str, dict[date, Kept]]
    files: dict[str, Kept]

    @property
    def rows(self) -> int:
        """All rows of all tables."""
        return sum(kept.rows for days in self.tables.values() for kept in days.values())


class Part(NamedTuple):
    """One day of one table in a folder."""

    table: str
    day: date
    path: Path
    kept: Kept


def back_up(store: Store, settings: Settings, folder: Path, at: datetime, advance: Advance) -> Manifest:
    """
    Copy a store, the registry and the settings without their secrets into a folder, and read all of it again.

    Args:
        store: what to copy.
        settings: which registry, and what is written to settings.json.
        folder: is made, or empty.
        at: now.
        advance: is told of each row written.

    Raises:
        ConfigurationError: the folder holds something or cannot be written.
        StoreError: the store cannot be read.
    """
    _fresh(folder)
    try:
        tables = {name: _copied(store, name, folder, advance) for name in reversed(TABLES)}
        files = {_SETTINGS: _settings(folder, settings)} | _registry(folder, settings.registry)
        manifest = Manifest(format=_FORMAT, made=at, tables=tables, files=files)
        (folder / _MANIFEST).write_text(manifest.model_dump_json(indent=1), "utf-8")
    except OSError as error:
        raise ConfigurationError([Problem(str(folder), error.strerror or str(error), "a folder with room")]) from None
    verify(folder)
    return manifest


def verify(folder: Path) -> Manifest:
    """
    Check every file of a back-up against its manifest.

    Raises:
        ConfigurationError: with everything that is missing or is not what was written.
    """
    manifest = _manifest(folder)
    checked = [(folder / name, kept) for name, kept in manifest.files.items()]
    problems = [
        problem
        for path, kept in (*checked, *((part.path, part.kept) for part in _parts(folder, manifest)))
        for problem in _problems(path, kept)
    ]
    if problems:
        raise ConfigurationError(problems)
    return manifest


def restore(store: Store, folder: Path, advance: Advance) -> Manifest:
    """
    Write a back-up into an empty store, and read every day of it again.

    Args:
        store: where to; nothing is written unless every table of it is empty and the back-up is whole.
        folder: the back-up.
        advance: is told of each row written.

    Raises:
        ConfigurationError: the back-up is not whole, or the store holds something.
        StoreError: the store refused rows, or gives others than were written.
    """
    manifest = verify(folder)
    full = {name: table.time for name, table in TABLES.items() if not store.read(name, columns=[table.time]).is_empty()}
    if full:
        wanted = "an empty store: a restore writes over nothing"
        raise ConfigurationError([Problem("setting store", f"rows in {', '.join(full)}", wanted)])
    # with the flow of data: a restore that was cut off holds no run without its rows
    parts = sorted(_parts(folder, manifest), key=lambda part: (list(TABLES).index(part.table), part.day))
    for batch in _batches(parts):
        rows = pl.concat([pl.read_parquet(part.path) for part in batch]).sort(TABLES[batch[0].table].key)
        store.write(batch[0].table, rows)
        _same(store, batch, rows)
        advance(rows.height)
    return manifest


def _batches(parts: Sequence[Part]) -> Iterator[list[Part]]:
    """Group the days of one table that follow each other until there are enough rows for one write."""
    for _, days in groupby(parts, lambda part: part.table):
        batch: list[Part] = []
        for part in days:
            batch.append(part)
            if sum(one.kept.rows for one in batch) >= _BATCH:
                yield batch
                batch = []
        if batch:
            yield batch


def _same(store: Store, batch: Sequence[Part], rows: pl.DataFrame) -> None:
    first, last = batch[0], batch[-1]
    found = store.read(first.table, Period(_period(first.day).start, _period(last.day).end))
    if not found.equals(rows):
        sentence = f"restore: {first.table} of {first.day} to {last.day}: found {found.height} rows, or other ones"
        raise StoreError(f"{sentence}; wanted the {rows.height} of the back-up: empty the store and try again")


def _fresh(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        used = any(folder.iterdir())
    except OSError as error:
        raise ConfigurationError([Problem(str(folder), error.strerror or str(error), "a folder to write to")]) from None
    if used:
        raise ConfigurationError([Problem(str(folder), "a folder with things in it", "a new one, or an empty one")])


def _copied(store: Store, name: str, folder: Path, advance: Advance) -> dict[date, Kept]:
    """Write the days of a table; returns what each file holds."""
    column = TABLES[name].time
    days = store.read(name, columns=[column])[column].dt.date().unique().sort().to_list()
    kept: dict[date, Kept] = {}
    for day in days:
        rows = store.read(name, _period(day))
        path = _path(folder, name, day)
        path.parent.mkdir(parents=True, exist_ok=True)
        rows.write_parquet(packed := BytesIO())
        kept[day] = _write(path, packed.getvalue(), rows.height)
        advance(rows.height)
    return kept


def _settings(folder: Path, settings: Settings) -> Kept:
    """Write the settings; their secrets are left out."""
    secret = {name for name in type(settings).model_fields if isinstance(getattr(settings, name), SecretStr)}
    shown = settings.model_dump(mode="json", exclude=secret, exclude_none=True)
    return _write(folder / _SETTINGS, json.dumps(shown, ensure_ascii=False, indent=1).encode(), 0)


def _registry(folder: Path, registry: Path) -> dict[str, Kept]:
    (folder / _REGISTRY).mkdir()
    names = {file: f"{_REGISTRY}/{file.name}" for file in sorted(registry.glob("*.toml"))}
    return {name: _write(folder / name, file.read_bytes(), 0) for file, name in names.items()}


def _write(path: Path, content: bytes, rows: int) -> Kept:
    path.write_bytes(content)
    return Kept(rows=rows, sha256=hashlib.sha256(content).hexdigest())


def _manifest(folder: Path) -> Manifest:
    path = folder / _MANIFEST
    try:
        manifest = Manifest.model_validate_json(path.read_bytes(), strict=False)
    except OSError as error:
        wanted = "the manifest of a finished back-up"
        raise ConfigurationError([Problem(str(path), error.strerror or str(error), wanted)]) from None
    except ValidationError as error:
        raise ConfigurationError(list(problems_of(error, str(path), model=Manifest))) from None
    foreign = manifest.tables.keys() - TABLES.keys()
    problems = [Problem(f"{path}: table", repr(name), f"one of {', '.join(TABLES)}") for name in sorted(foreign)]
    # no name leads out of the folder
    outside = [name for name in manifest.files if not _NAME.fullmatch(name)]
    problems += [Problem(f"{path}: file", repr(name), "registry/NAME.toml or settings.json") for name in outside]
    if manifest.format != _FORMAT:
        problems.append(Problem(f"{path}: format", str(manifest.format), f"{_FORMAT}"))
    if problems:
        raise ConfigurationError(problems)
    return manifest


def _parts(folder: Path, manifest: Manifest) -> Iterator[Part]:
    for table, days in manifest.tables.items():
        for day, kept in days.items():
            yield Part(table, day, _path(folder, table, day), kept)


def _problems(path: Path, kept: Kept) -> Iterator[Problem]:
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        yield Problem(str(path), error.strerror or str(error), "the file the manifest names")
        return
    if digest != kept.sha256:
        yield Problem(str(path), f"SHA-256 {digest[:16]}...", f"{kept.sha256[:16]}..., as in the manifest")


def _path(folder: Path, table: str, day: date) -> Path:
    return folder / _TABLES / table / f"{day}.parquet"


def _period(day: date) -> Period:
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return Period(start, start + _DAY)
