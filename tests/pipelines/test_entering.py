"""Readings entered by hand, as a person does it: screened like a message, with a ledger; and readings declared void."""

import shutil
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from ingest.model import Period
from ingest.schema import READINGS, REPLACED
from ingest.store.lake.adapter import Lake
from pipelines import cli

SAMPLES = Path(__file__).parents[2] / "deploy" / "registry"
NOW = datetime(2026, 10, 2, 12, tzinfo=UTC)
ONE = ("enter", "E-main", "--facility", "dc-sample", "--time")
EIGHT = "2026-10-01T08:00:00+08:00"
SIGNED = ("--by", "Li Wei", "--why", "read on site")
TWICE = b"""facility,meter,time,value
dc-sample,E-main,2026-10-01T08:00:00+08:00,1
dc-sample,E-main,2026-10-01t00:00:00z,2
"""

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def peakwatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run commands a second apart in a folder with a registry; gives exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(SAMPLES, tmp_path / "registry")
    moments = iter(NOW + timedelta(seconds=n) for n in range(1000))
    monkeypatch.setattr(cli, "clock", lambda: next(moments))

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["peakwatch", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return call


def metered(*hours_and_values: tuple[int, float]) -> None:
    rows = [
        ("dc-sample", "E-main", datetime(2026, 10, 1, hour, tzinfo=UTC), value, "kWh", 0, "gw", NOW - timedelta(days=1))
        for hour, value in hours_and_values
    ]
    Lake(Path("data")).write("readings", pl.DataFrame(rows, schema=READINGS.schema, orient="row"))


def read(table: str) -> pl.DataFrame:
    return Lake(Path("data")).read(table)


def test_a_value_by_hand_is_converted_marked_and_signed(peakwatch: Call) -> None:
    assert peakwatch(*ONE, EIGHT, "--value", "1.5", "--unit", "MWh", *SIGNED)[0] == 0
    reading = read("readings").row(0, named=True)
    # 1 the unit was converted + 16 by hand
    assert (reading["value"], reading["unit"], reading["flags"], reading["gateway"]) == (1500.0, "kWh", 17, "manual")
    entry = read("entries").drop("facility", "meter", "time").row(0, named=True)
    assert entry == {
        "at": NOW,
        "value": 1500.0,
        "previous": None,
        "previous_gateway": "",
        "unit": "kWh",
        "by": "Li Wei",
        "why": "read on site",
    }
    said = peakwatch("export", "entries", "--from", "2026-10-01", "--to", "2026-10-02")[1]
    assert (
        "dc-sample,E-main,2026-10-01T00:00:00Z,2026-10-02T12:00:00Z,1500.0,,,kWh,Li Wei,read on site"
        in said.replace('""', "")
    )


def test_a_metered_value_that_is_replaced_stays_visible(peakwatch: Call) -> None:
    metered((0, 100.0))
    peakwatch(*ONE, EIGHT, "--value", "120", *SIGNED)
    assert read("readings")["value"].to_list() == [120.0]
    assert read("entries").select("value", "previous", "previous_gateway").row(0) == (120.0, 100.0, "gw")


@pytest.mark.parametrize("value", [12.0, 0.0, -0.5])
def test_a_void_reading_stays_counts_as_not_taken_and_can_be_taken_back(peakwatch: Call, value: float) -> None:
    metered((0, value))
    assert peakwatch(*ONE, EIGHT, "--void", *SIGNED)[0] == 0
    assert read("readings").select("value", "flags").row(0) == (value, 48 + REPLACED)
    assert read("entries").select("value", "previous").row(0) == (None, value)
    # the message is delivered again: it is known, and revives nothing
    metered((0, value))
    assert read("readings")["flags"].to_list() == [48 + REPLACED]
    code, _, complaint = peakwatch(*ONE, EIGHT, "--void", *SIGNED)
    assert code == 2
    assert "found no valid reading; wanted a stored one" in complaint
    peakwatch(*ONE, EIGHT, "--value", str(value), *SIGNED)
    assert read("readings").select("value", "flags").row(0) == (value, 16 + REPLACED)
    assert read("entries").height == 2


def test_compute_leaves_a_void_reading_out(peakwatch: Call) -> None:
    # multiplier 24,000: the register shows 100.0 and 100.1 and 100.3, and 0.3 x 24,000 = 7,200 kWh pass in two hours
    metered((0, 100.0), (1, 100.1), (2, 100.3))
    period = ("--from", "2026-10-01", "--to", "2026-10-02")
    for void, hours in ((False, [2400.0, 4800.0]), (True, [3600.0, 3600.0])):
        if void:
            peakwatch(*ONE, "2026-10-01T09:00:00+08:00", "--void", *SIGNED)
        assert peakwatch("compute", *period)[0] == 0
        rows = Lake(Path("data")).read("energy", interval=["1h"], meter=["E-main"])
        assert rows["quantity"].to_list() == pytest.approx(hours)
    # judge and the copies of facilities follow what was computed by hand
    asked = Period(datetime(2026, 9, 30, 16, tzinfo=UTC), datetime(2026, 10, 1, 16, tzinfo=UTC))
    for run in read("runs").iter_rows(named=True):
        assert (run["job"], run["outcome"]) == ("compute-by-hand", "done")
        assert run["touched_from"] <= asked.start < asked.end <= run["touched_until"]
    assert read("runs").height == 2


def test_all_problems_of_a_file_are_told_and_nothing_is_stored(peakwatch: Call) -> None:
    Path("cards.csv").write_text(
        "facility,meter,time,value,unit\n"
        f"dc-sample,E-main,{EIGHT},5,kWh\n"
        f"dc-sample,E-mian,{EIGHT},5,\n"
        f"nobody,E-main,{EIGHT},5,\n"
        "dc-sample,E-main,2026-10-02T20:01:00+08:00,5,kWh\n"
        f"dc-sample,E-main,{EIGHT},nan,kWh\n"
        f"dc-sample,E-main,{EIGHT},5,m3\n"
        f"dc-sample,E-main,{EIGHT},five,kWh\n"
        "dc-sample,E-main,2025-01-01T08:00:00+08:00,5,kWh\n"
        "dc-sample,E-main,yesterday,5,kWh\n"
        "dc-sample,E-main\n",
        "utf-8",
    )
    code, _, complaints = peakwatch("enter", "--file", "cards.csv", *SIGNED)
    assert code == 2
    assert [f"line {n}:" in complaints for n in range(1, 12)] == [n > 2 for n in range(1, 12)]
    assert read("readings").is_empty()
    assert read("entries").is_empty()


def test_a_good_file_is_stored_whole(peakwatch: Call) -> None:
    """With the mark that spreadsheets put first, and more lines than go into one message."""
    times = [datetime(2026, 9, 1, tzinfo=UTC) + n * timedelta(hours=1) for n in range(250)]
    lines = [f"dc-sample,E-main,{time.isoformat()},{n}" for n, time in enumerate(times)]
    Path("cards.csv").write_text("\n".join(["facility,meter,time,value", *lines]), "utf-8-sig")
    assert peakwatch("enter", "--file", "cards.csv", *SIGNED)[1] == "250 readings entered; compute follows\n"
    assert read("readings")["value"].to_list() == [float(n) for n in range(250)]


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (b"facility,meter,time,value\n", "found no line"),
        (b"facility,meter,when,value\n", "line 1: found the columns facility, meter, when, value"),
        (b"\xd3\xc3", "a CSV file in UTF-8"),
        (b"", "found the columns none"),
        (TWICE, "more than once"),
    ],
)
def test_a_file_that_cannot_be_used(peakwatch: Call, content: bytes, wanted: str) -> None:
    Path("cards.csv").write_bytes(content)
    code, _, complaint = peakwatch("enter", "--file", "cards.csv", *SIGNED)
    assert code == 2
    assert wanted in complaint


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ((), ["METER", "--facility", "--time", "--value"]),
        (("E-main", "--facility", "dc-sample", "--time", EIGHT, "--void", "--value", "5"), ["--void"]),
        (("E-main", "--file", "cards.csv"), ["--file"]),
        (("--file", "nowhere.csv"), ["nowhere.csv: found No such file or directory"]),
    ],
)
def test_half_a_call_is_refused(peakwatch: Call, arguments: tuple[str, ...], wanted: list[str]) -> None:
    code, _, complaint = peakwatch("enter", *arguments, *SIGNED)
    assert code == 2
    assert all(word in complaint for word in wanted)
