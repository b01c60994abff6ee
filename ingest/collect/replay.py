"""
Recorded data as messages to publish: tables (CSV, with a mapping) and JSON lines of our own payloads.

    files, mapping -> publications() -> Publication, Publication, ...

Every file is read and checked before the first message is handed out: a bad file is told with all its problems, and
nothing is published.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import msgspec
import polars as pl

from ingest.collect import table
from ingest.collect.mapping import Mapping
from ingest.decode import topics
from ingest.decode.reasons import shown
from ingest.decode.topics import Topic
from ingest.errors import ConfigurationError, Problem
from ingest.model import Publication

_READINGS_A_MESSAGE = 100


def publications(files: Sequence[Path], mapping: Mapping | None = None) -> Iterator[Publication]:
    """
    Read recordings.

    Args:
        files: `.csv`, a table with a header; `.jsonl`, one payload a line, with its `topic` or without.
        mapping: how tables map to meters; its facility and gateway are also those of lines without a `topic`.

    Returns:
        The messages, file by file; those of a table in the order of time, those of JSON lines as they stand.

    Raises:
        ConfigurationError: with the problems of all files.
    """
    problems: list[Problem] = []
    read: list[Iterator[Publication]] = []
    for file in files:
        try:
            read.append(_read(file, mapping))
        except ConfigurationError as error:
            problems.extend(error.problems)
    if problems:
        raise ConfigurationError(problems)
    return chain.from_iterable(read)


def _read(file: Path, mapping: Mapping | None) -> Iterator[Publication]:
    match file.suffix.lower():
        case ".jsonl":
            return iter(_lines(file, mapping))
        case ".csv" if mapping is not None:
            return _messages(table.read(file, mapping), Topic(mapping.facility, mapping.gateway, "readings"))
        case ".csv":
            raise ConfigurationError(
                [Problem(str(file), "a table without a mapping", "a mapping of columns to meters")]
            )
        case other:
            raise ConfigurationError([Problem(str(file), f"a file of type {other!r}", ".csv or .jsonl")])


def _messages(readings: pl.DataFrame, topic: Topic) -> Iterator[Publication]:
    """Readings as messages of about a hundred: what a gateway with many meters sends."""
    messages = (
        readings.select(
            entry=pl.struct(
                "meter", pl.col("time").dt.to_string("%Y-%m-%dT%H:%M:%S%.fZ"), "value", "unit"
            ).struct.json_encode(),
            message=pl.int_range(pl.len()) // _READINGS_A_MESSAGE,
        )
        .group_by("message", maintain_order=True)
        .agg(pl.col("entry").str.join(","))
    )
    return (Publication(str(topic), f'{{"readings":[{entries}]}}'.encode()) for entries in messages["entry"])


def _lines(file: Path, mapping: Mapping | None) -> list[Publication]:
    try:
        lines = file.read_bytes().removeprefix(b"\xef\xbb\xbf").splitlines()
    except OSError as error:
        raise ConfigurationError(
            [Problem(str(file), error.strerror or "an unreadable file", "a readable file")]
        ) from None
    messages: list[Publication] = []
    problems: list[Problem] = []
    for number, line in enumerate(lines, start=1):
        where = f"{file}: line {number}"
        if not line.strip():
            continue
        match _topic(line, mapping, where):
            case Topic() as topic:
                messages.append(Publication(str(topic), line))
            case Problem() as problem:
                problems.append(problem)
    if problems:
        raise ConfigurationError(problems)
    return messages


def _topic(line: bytes, mapping: Mapping | None, where: str) -> Topic | Problem:
    """Where one recorded payload goes, or why it cannot go anywhere."""
    try:
        payload = msgspec.json.decode(line, type=dict[str, object])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Problem(where, str(error), "a JSON object in UTF-8")
    if "topic" in payload:
        said = payload["topic"]
        topic = topics.parse(said) if isinstance(said, str) else None
        return topic or Problem(f"{where}: topic", shown(said), str(Topic("FACILITY", "GATEWAY", "readings")))
    if mapping is None:
        return Problem(where, "no topic", "a topic in the line, or a mapping with a facility")
    return Topic(mapping.facility, mapping.gateway, "activity" if "activity" in payload else "readings")
