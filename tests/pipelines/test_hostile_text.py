"""Foreign text on its way out: in a spreadsheet, in a log line."""

import csv
import json
import subprocess
import sys
from datetime import UTC, datetime
from io import BytesIO, StringIO

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.reports.export import encoded

NOW = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
FORMULA = tuple("=+-@\t\r\n＝＋－＠")


def cells(*texts: str | None) -> list[str]:
    frame = pl.DataFrame({"sentence": texts}, schema={"sentence": pl.String})
    rows = csv.reader(StringIO(encoded(frame, "csv").decode(), newline=""))
    return [row[0] if row else "" for row in rows][1:]


@pytest.mark.parametrize("first", FORMULA)
def test_a_formula_is_shown_and_not_worked_out(first: str) -> None:
    text = f'{first}cmd|"/C calc"!A0'
    assert cells(text) == [f"'{text}"]


def test_what_is_no_formula_stays_as_it_is() -> None:
    plain = ("dc-sample", "E-main: found 3 kW; wanted kWh", "2=3", "超限", "a\tb", "'=1")
    assert cells(*plain) == list(plain)


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=20))
def test_no_cell_begins_a_formula_and_every_text_can_be_had_back(text: str) -> None:
    (cell,) = cells(text)
    assert not cell.startswith(FORMULA)
    assert cell.removeprefix("'") == text if text.startswith(FORMULA) else cell == text


def test_numbers_times_and_bytes_are_not_touched() -> None:
    frame = pl.DataFrame({"value": [-1.5], "time": [NOW], "payload": [b"\xf8"]})
    assert encoded(frame, "csv").decode().splitlines() == ["value,time,payload", "-1.5,2026-11-20T08:00:00Z,+A=="]


def test_json_and_parquet_hold_the_text_itself() -> None:
    frame = pl.DataFrame({"sentence": ["=1+1"]})
    assert json.loads(encoded(frame, "json")) == [{"sentence": "=1+1"}]
    assert pl.read_parquet(BytesIO(encoded(frame, "parquet")))["sentence"].to_list() == ["=1+1"]


HOSTILE = ["gw\nlevel=error job failed", "\x1b[2J", "\x9b31m", "a\rb", "\u2028", "\u202egnp.exe", "\x00"]


def logged(script: str) -> str:
    """What a process says on standard error that sets up its log, and runs a script."""
    head = "import logging, structlog; from pipelines.commands.logs import configure; configure()\n"
    head += "log = structlog.get_logger()\n"
    done = subprocess.run([sys.executable, "-c", head + script], capture_output=True, timeout=30, check=True)
    assert done.stdout == b""
    return done.stderr.decode()


def test_a_log_line_is_one_line_of_what_can_be_printed() -> None:
    script = f"for hostile in {HOSTILE!r}:\n    log.warning('gateway ' + hostile, gateway=hostile, number=3)\n"
    lines = logged(script).split("\n")
    assert len(lines) == len(HOSTILE) + 1
    assert all(line.isprintable() and "number=3" in line for line in lines[:-1])
    assert not lines[-1]


def test_what_a_library_warns_of_is_escaped_too() -> None:
    assert r"peer \x1b[2J" in logged(r"logging.getLogger('paho').warning('peer %s', '\x1b[2J')")


def test_a_traceback_keeps_its_lines_and_loses_what_steers_and_tells_no_values() -> None:
    script = "secret = 'hunter2'\ntry: raise ValueError('\x1b[2J')\nexcept ValueError: log.exception('job failed')\n"
    said = logged(script)
    assert "Traceback" in said
    assert len(said.splitlines()) > 3
    assert all(line.isprintable() for line in said.split("\n"))
    assert "hunter2" not in said
