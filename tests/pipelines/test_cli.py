"""The command line as a person uses it: the good way, and one sentence with an exit code for everything else."""

import json
import os
import shutil
import socket
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import polars as pl
import pytest

from ingest import settings
from ingest.schema import QUARANTINE, READINGS
from ingest.store.lake.adapter import Lake
from pipelines import cli

SAMPLES = Path(__file__).parents[2] / "deploy" / "registry"

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def peakwatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run a command in an empty folder; gives exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["peakwatch", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return call


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SAMPLES, tmp_path / "registry"))


def reading(hour: int, value: float) -> dict[str, object]:
    return {
        "facility": "dc-sample",
        "meter": "E-main",
        "time": datetime(2026, 10, 1, hour, tzinfo=UTC),
        "value": value,
        "unit": "kWh",
        "flags": 0,
        "gateway": "g",
        "received": datetime(2026, 10, 1, hour, 0, 2, tzinfo=UTC),
    }


def store(*rows: dict[str, object]) -> None:
    Lake(Path("data")).write("readings", pl.DataFrame(rows, schema=READINGS.schema))


def test_check_says_what_there_is(peakwatch: Call, registry: Path) -> None:
    code, said, _ = peakwatch("check")
    assert code == 0
    assert "5 facilities, 32 meters" in said


def test_check_finds_all_problems_of_all_files(peakwatch: Call, registry: Path) -> None:
    for name in ("dc-sample", "copper-sample"):
        file = registry / f"{name}.toml"
        file.write_text(file.read_text("utf-8").replace('language = "', 'langauge = "'), "utf-8")
    code, _, complaints = peakwatch("check")
    assert code == 2
    assert complaints.count("unknown key 'langauge' (language?)") == 2


def test_a_limit_that_is_in_no_catalogue_is_found(peakwatch: Call, registry: Path) -> None:
    file = registry / "copper-sample.toml"
    file.write_text(file.read_text("utf-8").replace("CUP-T1", "CUP-T99"), "utf-8")
    code, _, complaints = peakwatch("check")
    assert code == 2
    assert "copper-sample: product copper-tube: limit: found 'CUP-T99'" in complaints


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ('broker_password = "hunter2"', "broker_password: found a secret"),
        ('brokr = "embedded"', "unknown key 'brokr' (broker?)"),
        ('broker = "http://example.org"', "setting broker: found 'http://example.org'; wanted mqtt://host:1883"),
        ('broker = "mqtt://user:hunter2@host"', "found a user or a password in the URL"),
        ('store = "sqlite:x"', "setting store: found 'sqlite:x'; wanted lake:PATH"),
        ('store = "influxdb://me@host/a"', "user 'me' without a password; wanted PEAKWATCH_STORE_PASSWORD"),
        ('store = "influxdbs://host/a"\nstore_ca = "registry/dc-sample.toml"', "wanted a file of certificates (PEM)"),
        ('mail = "pigeon://x"', "wanted file:"),
        ('confirmed = ["no-such-rule"]', "found 'no-such-rule'; wanted the id of a rule"),
        ("registry = [", "wanted a readable TOML file in UTF-8"),
    ],
)
def test_bad_settings_are_told_and_never_repeat_a_secret(
    peakwatch: Call, registry: Path, settings: str, complaint: str
) -> None:
    Path("peakwatch.toml").write_text(settings, "utf-8")
    code, _, complaints = peakwatch("check")
    assert code == 2
    assert complaint in complaints
    assert "hunter2" not in complaints


def test_the_environment_wins_over_the_file(peakwatch: Call, registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("peakwatch.toml").write_text('mail = "file:a"', "utf-8")
    monkeypatch.setenv("PEAKWATCH_MAIL", "file:b")
    assert "mail file:b" in " ".join(peakwatch("check")[1].split())


def test_a_secret_comes_from_a_file_of_the_secrets_folder(
    peakwatch: Call, registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("secrets").mkdir()
    Path("secrets/peakwatch_mail_password").write_text("hunter2", "utf-8")
    Path("peakwatch.toml").write_text('mail = "smtp://127.0.0.1:25"\nmail_user = "desk"', "utf-8")
    monkeypatch.setenv("PEAKWATCH_SECRETS", "secrets")
    code, _, complaints = peakwatch("check")
    # the password was found: it is refused because this connection would carry it in the open
    assert code == 2
    assert "encrypt" in complaints
    assert "hunter2" not in complaints


def test_secrets_may_lie_in_several_folders_and_the_last_one_counts(
    registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, name, secret in (
        ("one", "mail_password", "first"),
        ("one", "store_token", "first"),
        ("two", "store_token", "second"),
    ):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / f"peakwatch_{name}").write_text(secret, "utf-8")
    monkeypatch.setenv("PEAKWATCH_SECRETS", os.pathsep.join([str(tmp_path / "one"), str(tmp_path / "two")]))
    read = settings.load(None)
    assert [one and one.get_secret_value() for one in (read.mail_password, read.store_token)] == ["first", "second"]
    monkeypatch.setenv("PEAKWATCH_SECRETS", "")
    assert settings.load(None).store_token is None


def test_a_broker_nobody_answers_at_is_work_that_failed(peakwatch: Call, registry: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    Path("peakwatch.toml").write_text(f'broker = "mqtt://127.0.0.1:{port}"', "utf-8")
    code, _, complaints = peakwatch("collect")
    assert code == 1
    assert f"broker 127.0.0.1:{port} cannot be reached" in complaints


def test_a_store_that_cannot_be_written_is_work_that_failed(peakwatch: Call, registry: Path) -> None:
    Path("data").write_text("a file", "utf-8")
    code, _, complaints = peakwatch("compute", "--from", "2026-10-01", "--to", "2026-10-02")
    assert code == 1
    assert len(complaints.splitlines()) == 1
    assert "lake data" in complaints


@pytest.mark.parametrize(
    ("start", "end", "complaint"),
    [
        ("2026-13-01", "2026-10-02", "--from: found '2026-13-01'; wanted a date"),
        ("2026-10-01T00:00:00", "2026-10-02", "--from: found '2026-10-01T00:00:00'; wanted a date"),
        ("2026-10-02", "2026-10-02", "--to: found 2026-10-02; wanted a time after --from 2026-10-02"),
        ("9999-12-31", "later", "--"),
    ],
)
def test_a_period_that_is_none_is_told(peakwatch: Call, registry: Path, start: str, end: str, complaint: str) -> None:
    code, _, complaints = peakwatch("judge", "--from", start, "--to", end)
    assert code == 2
    assert complaint in complaints


def test_export_takes_the_facilitys_own_days_and_gives_utc(peakwatch: Call, registry: Path) -> None:
    # 2 October in Shanghai begins at 16:00 UTC of the 1st
    store(reading(15, 1.0), reading(16, 2.0), reading(17, 3.5))
    code, said, _ = peakwatch("export", "readings", "--from", "2026-10-02", "--to", "2026-10-03")
    assert code == 0
    assert said.splitlines()[0].startswith("facility,meter,time,value")
    assert [line.split(",")[2:4] for line in said.splitlines()[1:]] == [
        ["2026-10-01T16:00:00Z", "2.0"],
        ["2026-10-01T17:00:00Z", "3.5"],
    ]


def test_export_writes_json_and_parquet(peakwatch: Call, registry: Path) -> None:
    store(reading(3, 1.0))
    period = ("--from", "2026-10-01", "--to", "2026-10-02")
    code, said, _ = peakwatch("export", "readings", *period, "--format", "json", "--facility", "dc-sample")
    assert code == 0
    assert [row["time"] for row in json.loads(said)] == ["2026-10-01T03:00:00Z"]
    assert peakwatch("export", "readings", *period, "--format", "parquet", "-o", "out.parquet")[0] == 0
    found = pl.read_parquet(BytesIO(Path("out.parquet").read_bytes()))
    assert found.schema == READINGS.schema
    assert found["value"].to_list() == [1.0]


def test_export_of_a_facility_that_is_none_is_told(peakwatch: Call, registry: Path) -> None:
    code, _, complaints = peakwatch(
        "export", "energy", "--from", "2026-10-01", "--to", "2026-10-02", "--facility", "nobody"
    )
    assert code == 2
    assert "--facility: found 'nobody'; wanted one of ceramics-sample" in complaints


def test_quarantine_keeps_bytes_that_are_no_text(peakwatch: Call, registry: Path) -> None:
    row = {
        "id": "1",
        "facility": "",
        "topic": "t",
        "payload": b"\xff\x00",
        "bytes": 2,
        "item": -1,
        "entries": 1,
        "reason": "malformed",
        "sentence": "s",
        "received": datetime(2026, 10, 1, 3, tzinfo=UTC),
    }
    Lake(Path("data")).write("quarantine", pl.DataFrame([row], schema=QUARANTINE.schema))
    said = peakwatch("export", "quarantine", "--from", "2026-10-01", "--to", "2026-10-02", "--format", "json")[1]
    assert json.loads(said)[0]["payload"] == "/wA="
    assert "malformed" in peakwatch("quarantine", "list")[1]


def test_rules_are_shown_with_where_they_stand(peakwatch: Call) -> None:
    code, said, _ = peakwatch("rules", "show", "gd-13-pue")
    assert code == 0
    assert "广东省碳达峰实施方案" in said
    assert peakwatch("rules", "list")[0] == 0
    assert peakwatch("rules", "show", "nothing")[0] == 2


def test_replay_needs_a_readable_recording_before_it_needs_a_broker(peakwatch: Call, registry: Path) -> None:
    Path("x.csv").write_text("a,b\n1,2\n", "utf-8")
    code, _, complaints = peakwatch("replay", "x.csv")
    assert code == 2
    assert "x.csv" in complaints


def test_the_demo_leaves_other_peoples_folders_alone(peakwatch: Call, registry: Path) -> None:
    Path("mine").mkdir()
    Path("mine/thesis.txt").write_text("years of work", "utf-8")
    code, _, complaints = peakwatch("demo", "--folder", "mine", "--registry", "registry")
    assert code == 2
    assert "mine: found a folder with other things in it" in complaints
    assert Path("mine/thesis.txt").exists()
