"""
Readings that a person enters: one, or a file of them; and readings that a person declares void.

    command line or CSV -> screened like a message -> entries (who, why, what stood there before) -> readings

The ledger is written first: no reading entered by hand stands without its entry. Nothing is stored when one line is
bad. The clock comes with the call (`ctx.obj`): only cli.py reads it.
"""

import csv
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, NamedTuple

import polars as pl
import typer
from rich.console import Console

from ingest import registry as registries
from ingest import settings as all_settings
from ingest.decode import times
from ingest.decode.entries import WHOLE
from ingest.decode.payload import decode
from ingest.errors import ConfigurationError, Problem
from ingest.model import Message, Period
from ingest.registry import Registry
from ingest.schema import ENTERED, ENTRIES, READINGS, VOID
from ingest.screen import screen
from ingest.store.base import Store
from ingest.store.connect import connect
from pipelines.commands.typed import named

out = Console(emoji=False)

_GATEWAY = "manual"
_COLUMNS = ("facility", "meter", "time", "value", "unit")
_OPTIONAL = ("unit",)
_AT_ONCE = 100  # lines in one message: a refusal is kept with its message
_TICK = timedelta(microseconds=1)


class Line(NamedTuple):
    """One reading as it was typed, and where: the reading's own words, nothing checked yet."""

    where: str
    facility: str
    meter: str
    time: str
    value: str
    unit: str


def enter(  # noqa: PLR0917 - the options of a command
    ctx: typer.Context,
    by: Annotated[str, typer.Option(help="Who enters it.")],
    why: Annotated[str, typer.Option(help="The reason.")],
    meter: Annotated[str, typer.Argument(help="The meter; not with --file.")] = "",
    facility: Annotated[str, typer.Option(help="The facility of the meter.")] = "",
    time: Annotated[str, typer.Option(help="When the value was taken: RFC 3339 with an offset.")] = "",
    value: Annotated[str, typer.Option(help="The value, as shown by the meter.")] = "",
    unit: Annotated[str, typer.Option(help="Its unit; default: the meter's.")] = "",
    void: Annotated[bool, typer.Option("--void", help="Declare the stored reading void instead.")] = False,  # noqa: FBT002
    file: Annotated[Path | None, typer.Option(help="CSV: facility, meter, time, value, unit.")] = None,
    config: Annotated[Path | None, typer.Option("--config", help="Settings file.")] = None,
) -> None:
    """Enter readings by hand, with a name and a reason, or declare a reading void."""
    named(by, why)
    single = Line("reading", facility, meter, time, value, unit)
    lines = [_single(single, void=void)] if file is None else _of_file(file, single, void=void)
    settings = all_settings.load(config)
    rows = screened(lines, registries.load(settings.registry), ctx.obj())
    with closing(connect(settings.store)) as store:
        held = standing(store, rows)
        if void:
            rows = voided(rows, held)
        keep(store, rows, held, by=by.strip(), why=why.strip())
    out.print(f"{rows.height} readings {'declared void' if void else 'entered'}; compute follows", highlight=False)


def _single(line: Line, *, void: bool) -> Line:
    """Check that one reading was named in full; a void one has no value of its own."""
    wanted = {"METER": line.meter, "--facility": line.facility, "--time": line.time}
    problems = [Problem(name, "nothing", "a text, or a file with --file") for name, text in wanted.items() if not text]
    if void and (line.value or line.unit):
        problems.append(Problem("--void", "a value or a unit beside it", "neither: the reading is taken away"))
    if not void and not line.value:
        problems.append(Problem("--value", "nothing", "a number, or --void"))
    if problems:
        raise ConfigurationError(problems)
    return line._replace(value="0") if void else line


def _of_file(file: Path, beside: Line, *, void: bool) -> list[Line]:
    if void or any(beside[1:]):
        raise ConfigurationError([Problem("--file", "a reading or --void beside it", "the file alone")])
    return list(read(file))


def read(file: Path) -> Iterator[Line]:
    """
    Read a CSV of readings.

    Raises:
        ConfigurationError: it cannot be read, is empty, or has other columns.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            rows = csv.DictReader(opened, restkey="", strict=True)
            header = rows.fieldnames or []
            missing = [name for name in _COLUMNS if name not in header and name not in _OPTIONAL]
            if missing or set(header) - set(_COLUMNS) or len(set(header)) < len(header):
                found = f"the columns {', '.join(header) or 'none'}"
                raise ConfigurationError([Problem(f"{file}: line 1", found, ", ".join(_COLUMNS))])
            lines = [_line(f"{file}: line {rows.line_num}", row) for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        found = error.strerror or "a fault" if isinstance(error, OSError) else str(error)
        raise ConfigurationError([Problem(str(file), found, "a CSV file in UTF-8")]) from None
    if not lines:
        raise ConfigurationError([Problem(f"{file}", "no line", "a header and at least one reading")])
    yield from lines


def _line(where: str, row: dict[str, str]) -> Line:
    if "" in row or None in row.values():
        # too many or too few fields: nothing of the line can be trusted
        return Line(where, "", "", "", "", "")
    return Line(where, *((row.get(name) or "").strip() for name in _COLUMNS))


def screened(lines: Sequence[Line], registry: Registry, at: datetime) -> pl.DataFrame:
    """
    Pass typed readings through the same screening as a message.

    Args:
        lines: what was typed.
        registry: the facilities and their meters.
        at: now; no reading is taken later.

    Returns:
        READINGS rows of gateway `manual` with flag 16, received `at`.

    Raises:
        ConfigurationError: one or more lines are refused; each with its place and a sentence.
    """
    problems = {line.where: str(problem) for line in lines for problem in _plain(line, registry)}
    groups = defaultdict(list)
    for line in lines:
        if line.where not in problems:
            groups[line.facility].append(line)
    sent = [own[first : first + _AT_ONCE] for own in groups.values() for first in range(0, len(own), _AT_ONCE)]
    result = screen(decode([_message(group, at) for group in sent]), registry, ahead=timedelta(0))
    places = {(_topic(group[0].facility), _payload(group)): group for group in sent}
    for topic, payload, item, sentence in result.quarantine.select("topic", "payload", "item", "sentence").iter_rows():
        group = places[topic, payload]
        problems |= {line.where: f"{line.where}: {sentence}" for line in (group if item == WHOLE else [group[item]])}
    problems |= _twice(lines, result.readings) if not problems else {}
    if problems:
        raise ConfigurationError("\n".join(problems[line.where] for line in lines if line.where in problems))
    return result.readings.with_columns(pl.col("flags") + pl.lit(ENTERED, pl.Int32))


def _plain(line: Line, registry: Registry) -> Iterator[Problem]:
    if not any(line[1:]):
        yield Problem(line.where, "too many or too few fields", ", ".join(_COLUMNS))
    elif line.facility not in registry.facilities:
        yield Problem(line.where, f"facility {line.facility!r}", f"one of {', '.join(registry.facilities)}")
    elif _number(line.value) is None:
        yield Problem(line.where, f"value {line.value!r}", "a number")


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _message(group: Sequence[Line], at: datetime) -> Message:
    return Message(_topic(group[0].facility), _payload(group), at)


def _topic(facility: str) -> str:
    return f"peakwatch/v1/{facility}/{_GATEWAY}/readings"


def _payload(group: Sequence[Line]) -> bytes:
    readings = [
        {"meter": line.meter, "time": line.time, "value": _number(line.value)}
        | ({"unit": line.unit} if line.unit else {})
        for line in group
    ]
    return json.dumps({"readings": readings}).encode()


def _twice(lines: Sequence[Line], rows: pl.DataFrame) -> dict[str, str]:
    """Name the lines of readings that stand in the file twice: which of them counts is not for us to say."""
    if rows.select(READINGS.key).is_unique().all():
        return {}
    keys = list(
        zip(
            (line.facility for line in lines),
            (line.meter for line in lines),
            times.parse([line.time for line in lines]),
            strict=True,
        )
    )
    seen = Counter(keys)
    return {
        line.where: str(
            Problem(line.where, f"meter {line.meter} at {line.time} more than once", "one value for a time")
        )
        for line, key in zip(lines, keys, strict=True)
        if seen[key] > 1
    }


def standing(store: Store, rows: pl.DataFrame) -> pl.DataFrame:
    """Read what the store holds under the keys of READINGS rows."""
    first, last = rows.select(first=pl.col("time").min(), last=pl.col("time").max()).row(0)
    facilities, meters = (rows[name].unique().to_list() for name in ("facility", "meter"))
    held = store.read(READINGS.name, Period(first, last + _TICK), facility=facilities, meter=meters)
    return held.join(rows, on=READINGS.key, how="semi")


def voided(rows: pl.DataFrame, held: pl.DataFrame) -> pl.DataFrame:
    """
    Turn named readings into void ones, which keep the value they had.

    Raises:
        ConfigurationError: the store has no such reading, or it is void already.
    """
    valid = held.filter(pl.col("flags") & VOID == 0)
    for meter, time in rows.join(valid, on=READINGS.key, how="anti").select("meter", "time").iter_rows():
        raise ConfigurationError([Problem(f"meter {meter} at {time.isoformat()}", "no valid reading", "a stored one")])
    kept = rows.drop("value", "unit", "flags").join(valid.select(*READINGS.key, "value", "unit"), on=READINGS.key)
    return kept.with_columns(flags=pl.lit(ENTERED + VOID, pl.Int32)).select(READINGS.schema.names())


def keep(store: Store, rows: pl.DataFrame, held: pl.DataFrame, *, by: str, why: str) -> None:
    """
    Store readings entered by hand, their entries first.

    Args:
        store: where they go.
        rows: READINGS rows, of one moment of receipt.
        held: what the store holds under their keys.
        by: who.
        why: the reason.

    Raises:
        StoreError: the store refused; the same call may be made again.
    """
    before = held.select(*READINGS.key, previous="value", previous_gateway="gateway", previous_flags="flags")
    beside = rows.join(before, on=READINGS.key, how="left")
    void = pl.col("flags") & VOID != 0
    entries = beside.with_columns(
        pl.col("previous_gateway").fill_null(""),
        at="received",
        value=pl.when(~void).then("value"),
        by=pl.lit(by),
        why=pl.lit(why),
    )
    store.write(ENTRIES.name, entries.select(ENTRIES.schema.names()))
    # the store takes the same value at the same time for the same reading: it must first be another one
    turned = beside.filter(pl.col("value") == pl.col("previous"), void != (pl.col("previous_flags") & VOID != 0))
    other = pl.when(pl.col("value") == 0).then(1.0).otherwise(-pl.col("value"))
    flags = pl.lit(ENTERED + VOID, pl.Int32)
    store.write(READINGS.name, turned.with_columns(value=other, flags=flags).select(READINGS.schema.names()))
    store.write(READINGS.name, rows)
