"""The commands of the quarantine as a person uses them, on a lake that holds what a collector refused."""

import json
import shutil
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from ingest import registry as registries
from ingest.decode.payload import decode
from ingest.model import Message
from ingest.schema import QUARANTINE
from ingest.screen import screen
from ingest.store.lake.adapter import Lake
from pipelines import cli

SAMPLES = Path(__file__).parents[2] / "deploy" / "registry"
TOPIC = "peakwatch/v1/dc-sample/gw/readings"
NOON = datetime(2026, 10, 1, 12, tzinfo=UTC)
NEW = """
[[meter]]
id = "E-new"
carrier = "electricity"
role = "process"
kind = "register"
unit = "kWh"
period = "15m"
valid_from = 2025-01-01
"""

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def peakwatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run a command in a folder with a registry; gives exit code, standard output in one line, standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    shutil.copytree(SAMPLES, tmp_path / "registry")

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["peakwatch", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        if arguments[-1] in {"list", "status"}:
            assert all(len(line) <= 80 for line in said.out.splitlines())
        return int(ended.value.code or 0), " ".join(said.out.split()), said.err

    return call


def refuse(*payloads: bytes, topic: str = TOPIC, at: datetime = NOON) -> list[str]:
    """Quarantine what a collector would have; gives the ids."""
    known = registries.load(Path("registry"))
    screened = screen(decode([Message(topic, payload, at) for payload in payloads]), known)
    Lake(Path("data")).write("quarantine", screened.quarantine)
    return screened.quarantine["id"].to_list()


def reading(meter: str, value: float = 5.0) -> bytes:
    entry = {"meter": meter, "time": "2026-10-01T08:00:00+08:00", "value": value}
    return json.dumps({"readings": [entry]}).encode()


def short(refusal: str) -> str:
    return refusal[:8] + ":" + refusal.split(":")[1]


def test_list_counts_and_names_what_is_open(peakwatch: Call) -> None:
    names = refuse(reading("E-new"), b"{") + refuse(b"\xff", at=NOON.replace(month=11))
    code, said, _ = peakwatch("quarantine", "list")
    assert code == 0
    assert "dc-sample malformed 2 0 0 dc-sample unknown_meter 1 0 0" in said
    assert all(short(name) in said for name in names)
    said = peakwatch("quarantine", "list", "--reason", "malformed", "--from", "2026-10-01", "--to", "2026-10-02")[1]
    assert [short(name) in said for name in names] == [False, True, False]
    assert short(names[0]) not in peakwatch("quarantine", "list", "--facility", "copper-sample")[1]
    assert short(names[2]) in peakwatch("quarantine", "list", "--from", "2026-11-01")[1]


def test_list_shows_the_newest_and_says_how_many_more_there_are(peakwatch: Call) -> None:
    refuse(*(b"{%d" % n for n in range(25)))
    assert "and 5 older ones; --reason" in peakwatch("quarantine", "list")[1]


def test_show_text_as_text_and_bytes_as_a_hex_dump(peakwatch: Call) -> None:
    text, binary = refuse(b'{"meter": "[bold]:-1:", ') + refuse(b"\x00\xff\x1b[31mred" + bytes(range(32)))
    code, said, _ = peakwatch("quarantine", "show", short(text))
    assert code == 0
    assert '{"meter": "[bold]:-1:",' in said
    assert "the whole payload" in said
    assert text in said
    assert "wanted a JSON object in UTF-8" in said
    code, said, _ = peakwatch("quarantine", "show", binary)
    assert "00000000 00 ff 1b 5b 33 31 6d 72 65 64 00 01 02 03 04 05 ...[31mred......" in said
    assert "\x1b" not in said


def test_show_says_which_entry_and_cuts_what_is_long(peakwatch: Call) -> None:
    good = {"meter": "E-main", "time": "2026-10-01T08:00:00+08:00", "value": 1}
    (name,) = refuse(json.dumps({"readings": [good, good | {"meter": "E-x" + "y" * 6000}]}).encode())
    said = peakwatch("quarantine", "show", short(name))[1]
    assert "entry 1 of the payload, counted from 0" in said
    assert "bytes more: `peakwatch export quarantine` has them all" in said


def test_show_a_refusal_without_bytes_and_control_characters_in_its_topic(peakwatch: Call) -> None:
    row = {"id": "0" * 32 + ":-1:topic+4", "facility": "\x1b]0;x", "topic": "a\x1b[2Jb", "item": -1, "entries": 5}
    row |= {"reason": "topic", "sentence": "s", "received": NOON}
    Lake(Path("data")).write("quarantine", pl.DataFrame([row], schema=QUARANTINE.schema))
    for command in (["list"], ["show", "0000:-1"], ["show", row["id"]]):
        code, said, _ = peakwatch("quarantine", *command)
        assert code == 0
        assert "\x1b" not in said
    assert "its bytes were not kept" in said
    assert "0 refusals replayed" in (said := peakwatch("quarantine", "replay")[1])
    assert "1 more have no bytes that could be replayed" in said


def test_after_a_fix_a_replay_stores_what_was_refused_and_says_so(peakwatch: Call) -> None:
    refuse(reading("E-new"), reading("E-none"))
    assert "2 refusals replayed: 0 entries stored, 0 duplicate, 2 still refused" in peakwatch("quarantine", "replay")[1]
    file = Path("registry/dc-sample.toml")
    file.write_text(file.read_text("utf-8") + NEW, "utf-8")
    code, said, _ = peakwatch("quarantine", "replay", "--reason", "unknown_meter", "--facility", "dc-sample")
    assert code == 0
    assert "2 refusals replayed: 1 entries stored, 0 duplicate, 1 still refused" in said
    lake = Lake(Path("data"))
    assert lake.read("readings").select("meter", "value").rows() == [("E-new", 5.0)]
    assert lake.read("readings")["received"][0] > NOON
    assert "1 refusals replayed: 0 entries stored" in peakwatch("quarantine", "replay")[1]
    assert "dc-sample unknown_meter 1 1 0" in peakwatch("quarantine", "list")[1]


def test_discard_needs_a_name_and_a_reason_and_keeps_both(peakwatch: Call) -> None:
    first, second = refuse(b"{") + refuse(b"[")
    code, said, _ = peakwatch("quarantine", "discard", short(first), second, "--by", "Li", "--why", "a test rig")
    assert (code, said) == (0, "2 refusals discarded")
    said = peakwatch("quarantine", "show", first)[1]
    assert "state discarded" in said
    assert "by Li why a test rig" in said
    assert Lake(Path("data")).read("quarantine").height == 2
    assert "0 refusals replayed" in peakwatch("quarantine", "replay")[1]
    code, _, complaints = peakwatch("quarantine", "discard", short(first), "--by", "Wu", "--why", "again")
    assert code == 2
    assert f"refusal {first}: found discarded; wanted an open one" in complaints


def test_what_names_no_refusal_or_several_is_told_and_nothing_is_discarded(peakwatch: Call) -> None:
    entries = {"readings": [{"meter": f"E-{n}", "time": 0, "value": 1} for n in range(12)]}
    names = refuse(json.dumps(entries).encode())
    digest = names[0].split(":")[0]
    code, _, complaints = peakwatch(
        "quarantine", "discard", digest[:6], "zz", "ffff", f"{digest[:6]}:1", "--by", "Li", "--why", "x"
    )
    assert code == 2
    assert f"refusal {digest[:6]}: found 12 of that name; wanted one of {names[0]}" in complaints
    assert "refusal: found 'zz'; wanted an id of `peakwatch quarantine list`" in complaints
    assert "refusal: found 'ffff'" in complaints
    assert f"{digest[:6]}:1:" not in complaints.replace(names[1], "")
    assert Lake(Path("data")).read("quarantine_states").is_empty()
    assert peakwatch("quarantine", "discard", f"{digest[:6]}:1", "--by", "Li", "--why", "x")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("discard", "abcd", "--by", " ", "--why", ""), "--by: found nothing; wanted a text"),
        (("discard", "abcd", "--by", "Li"), "--why"),
        (("list", "--reason", "bad"), "malformed"),
        (("list", "--from", "yesterday"), "--from: found 'yesterday'; wanted a date"),
        (("replay", "--from", "2026-10-02", "--to", "2026-10-01"), "wanted a time after --from"),
        (("show", "../../x"), "refusal: found '../../x'"),
    ],
)
def test_a_wrong_call_is_one_sentence(peakwatch: Call, arguments: tuple[str, ...], complaint: str) -> None:
    code, _, complaints = peakwatch("quarantine", *arguments)
    assert code == 2
    assert complaint in complaints


def test_status_of_a_store_nobody_collected_into(peakwatch: Call) -> None:
    refuse(b"{")
    code, said, _ = peakwatch("status")
    assert code == 0
    assert "no collector has counted anything yet" in said
    assert "none in 32 days" in said
    code, said, _ = peakwatch("status", "--format", "json")
    assert json.loads(said)["quarantine"] == [{"facility": "dc-sample", "open": 1, "replayed": 0, "discarded": 0}]


def test_an_export_says_what_became_of_each_refusal(peakwatch: Call) -> None:
    first, second = refuse(b"{", b"\xff")
    assert peakwatch("quarantine", "discard", first, "--by", "A. Person", "--why", "a test")[0] == 0
    span = ("--from", "2026-10-01", "--to", "2026-10-02", "--format", "json")
    rows = {row["id"]: row for row in json.loads(peakwatch("export", "quarantine", *span)[1])}
    assert [rows[name]["state"] for name in (first, second)] == ["discarded", "open"]
    assert [rows[name]["by"] for name in (first, second)] == ["A. Person", None]
    assert peakwatch("export", "quarantine", *span, "--facility", "copper-sample")[1] == "[]"
