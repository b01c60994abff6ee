"""`peakwatch store init` and `peakwatch copy` as a person uses them."""

import os
import shutil
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ingest import settings
from ingest.errors import StoreError
from ingest.schema import TABLES
from ingest.store.connect import connect, opened
from pipelines import cli

SAMPLES = Path(__file__).parents[2] / "deploy" / "registry"
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def peakwatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run a command in an empty folder; gives exit code, standard output in one line, standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["peakwatch", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), " ".join(said.out.split()), said.err

    return call


def fill(store: str, *, days: int = 2, value: float = 1.0) -> None:
    table = TABLES["readings"]
    rows = [("dc-sample", "E", NOON + timedelta(days=n), value, "kWh", 0, "gw", NOON) for n in range(days)]
    with closing(connect(store)) as opened:
        opened.write("readings", pl.DataFrame(rows, schema=table.schema, orient="row"))


def test_a_lake_is_copied_with_proof_and_a_second_run_writes_nothing(peakwatch: Call) -> None:
    fill("lake:one")
    code, said, _ = peakwatch("copy", "--from", "lake:one", "--to", "lake:two")
    assert (code, said.endswith("2 days, 2 rows, 2 written, 2 days verified")) == (0, True)
    code, again, _ = peakwatch("copy", "--from", "lake:one", "--to", "lake:two", "--table", "readings")
    assert (code, again.endswith("2 days, 2 rows, 0 written, 2 days verified")) == (0, True)
    assert [word for word in said.split() if len(word) == 16] == [word for word in again.split() if len(word) == 16]


def test_days_facility_and_tables_may_be_chosen(peakwatch: Call) -> None:
    fill("lake:one", days=4)
    chosen = ("--from-time", "2026-11-21", "--to-time", "2026-11-22", "--facility", "dc-sample", "--table", "readings")
    code, said, _ = peakwatch("copy", "--from", "lake:one", "--to", "lake:two", *chosen)
    assert (code, said.endswith("1 days, 1 rows, 1 written, 1 days verified")) == (0, True)
    _, said, _ = peakwatch("copy", "--from", "lake:one", "--to", "lake:three", "--facility", "nobody")
    assert said == ""


def test_a_day_that_does_not_agree_is_an_exit_code(peakwatch: Call) -> None:
    fill("lake:one")
    fill("lake:two", days=1, value=2.0)
    code, said, wrong = peakwatch("copy", "--from", "lake:one", "--to", "lake:two")
    assert code == 1
    assert "no: 1 rows differ" in said
    assert "1 of 2 days do not agree" in wrong


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--from", "lake:none", "--to", "lake:two"), "--from: found 'lake:none'; wanted the folder of a lake"),
        (("--from", "lake:one", "--to", "lake:./one"), "wanted another store than that of --from"),
        (("--from", "sqlite:one", "--to", "lake:two"), "setting store: found 'sqlite:one'"),
        (("--from", "lake:one", "--to", "lake:two", "--table", "tables"), "--table: found 'tables'; wanted one of"),
        (("--from", "lake:one", "--to", "lake:two", "--table", "runs", "--facility", "f"), "--table: found 'runs'"),
        (("--from", "lake:one", "--to", "lake:two", "--from-time", "soon"), "--from-time: found 'soon'; wanted a date"),
        (("--from", "lake:one", "--to", "influxdb://bob@127.0.0.1:1/db"), "wanted PEAKWATCH_COPY_PASSWORD"),
    ],
)
def test_a_call_that_makes_no_sense_is_one_sentence(peakwatch: Call, arguments: tuple[str, ...], sentence: str) -> None:
    fill("lake:one")
    code, _, wrong = peakwatch("copy", *arguments)
    assert code == 2
    assert sentence in wrong
    assert wrong.count("\n") == 1


def test_a_server_that_is_not_there_is_one_sentence(peakwatch: Call) -> None:
    fill("lake:one")
    code, _, wrong = peakwatch("copy", "--from", "lake:one", "--to", "influxdb://127.0.0.1:1/db")
    assert code == 1
    assert "influxdb http://127.0.0.1:1/db" in wrong


@pytest.mark.server
def test_from_a_lake_into_a_new_influxdb_and_read_as_one(
    influxd: Any, peakwatch: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"influxdb://127.0.0.1:{influxd.port}/moved{influxd.port}"
    monkeypatch.setenv("PEAKWATCH_STORE", url)
    monkeypatch.setenv("PEAKWATCH_STORE_ADMIN_USER", "peakwatch")
    monkeypatch.setenv("PEAKWATCH_STORE_ADMIN_PASSWORD", influxd.password)
    code, said, _ = peakwatch("store", "init", "--secrets", "secrets", "--raw-days", "0")
    assert (code, said.count("made")) == (0, 5)
    secret = (tmp_path / "secrets/collector/peakwatch_store_password").read_text()
    assert secret not in said
    code, said, wrong = peakwatch("store", "init", "--secrets", "secrets", "--show")
    assert (code, secret in said) == (1, True)
    assert "1 of 6 differ" in wrong

    fill("lake:one")
    user = url.replace("//", f"//moved{influxd.port}-collector@")
    monkeypatch.setenv("PEAKWATCH_COPY_PASSWORD", secret)
    code, said, _ = peakwatch("copy", "--from", "lake:one", "--to", user)
    assert (code, said.endswith("2 days verified")) == (0, True)
    # the same user as the store of the settings: the settings' secrets, from the folder one service mounts
    monkeypatch.delenv("PEAKWATCH_COPY_PASSWORD")
    monkeypatch.setenv("PEAKWATCH_STORE", user)
    monkeypatch.setenv("PEAKWATCH_SECRETS", str(tmp_path / "secrets/collector"))
    monkeypatch.setenv("PEAKWATCH_ARCHIVE", "lake:archive")
    assert peakwatch("copy", "--from", user, "--to", "lake:archive")[0] == 0
    period = ("--from", "2026-11-01", "--to", "2026-12-01")
    shutil.copytree(SAMPLES, tmp_path / "registry")
    code, said, _ = peakwatch("export", "readings", *period)
    assert (code, said.count("kWh")) == (0, 2)


@pytest.mark.server
def test_the_database_of_a_facility_is_made_filled_and_shown_with_rights_of_its_own(
    influxd: Any, peakwatch: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = f"parted{influxd.port}"
    own = f"{whole}-dc-sample"
    shutil.copytree(SAMPLES, tmp_path / "registry")
    monkeypatch.setenv("PEAKWATCH_STORE", f"influxdb://127.0.0.1:{influxd.port}/{whole}")
    monkeypatch.setenv("PEAKWATCH_STORE_ADMIN_USER", "peakwatch")
    monkeypatch.setenv("PEAKWATCH_STORE_ADMIN_PASSWORD", influxd.password)
    for facility in ((), ("--facility", "dc-sample")):
        code, _, wrong = peakwatch("store", "init", "--secrets", "secrets", "--raw-days", "0", *facility)
        assert code == 0, wrong
    code, again, _ = peakwatch("store", "init", "--secrets", "secrets", "--raw-days", "0", "--facility", "dc-sample")
    assert (code, "made" in again, again.count("found")) == (0, False, 5)
    folder = tmp_path / "secrets/facilities/dc-sample"
    assert sorted(str(file.relative_to(folder)) for file in folder.rglob("peakwatch*")) == [
        "copy/peakwatch_copy_password",
        "grafana/peakwatch_store_password",
    ]

    secrets = (tmp_path / "secrets/collector", folder / "copy")
    monkeypatch.setenv("PEAKWATCH_SECRETS", os.pathsep.join(map(str, secrets)))
    monkeypatch.setenv("PEAKWATCH_STORE", user := f"influxdb://{whole}-collector@127.0.0.1:{influxd.port}/{whole}")
    fill("lake:one")
    with closing(opened(settings.load(None))) as store, closing(connect("lake:one")) as lake:
        rows = lake.read("readings")
        store.write("readings", pl.concat([rows, rows.with_columns(facility=pl.lit("copper-sample"))]))
    target = f"influxdb://{own}-copy@127.0.0.1:{influxd.port}/{own}"
    code, said, wrong = peakwatch("copy", "--from", user, "--to", target, "--facility", "dc-sample")
    assert (code, said.endswith("2 days, 2 rows, 2 written, 2 days verified")) == (0, True), wrong
    monkeypatch.setenv("PEAKWATCH_STORE_PASSWORD", (folder / "grafana/peakwatch_store_password").read_text())
    shown = f"influxdb://{own}-grafana@127.0.0.1:{influxd.port}"
    with closing(connect(f"{shown}/{own}", settings.load(None))) as store:
        assert store.read("readings")["facility"].unique().to_list() == ["dc-sample"]
    with closing(connect(f"{shown}/{whole}", settings.load(None))) as store, pytest.raises(StoreError, match="403"):
        store.read("readings")


def test_the_database_of_a_facility_that_is_none_is_told(peakwatch: Call, tmp_path: Path) -> None:
    shutil.copytree(SAMPLES, tmp_path / "registry")
    code, _, wrong = peakwatch("store", "init", "--secrets", "secrets", "--facility", "../dc-sample")
    assert (code, "--facility: found '../dc-sample'; wanted one of" in wrong) == (2, True)
    assert not (tmp_path / "secrets").exists()


def test_an_archive_that_is_no_lake_is_told_offline(peakwatch: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEAKWATCH_ARCHIVE", "influxdb://host/db")
    code, _, wrong = peakwatch("check")
    assert code == 2
    assert "archive" in wrong


def test_a_lake_needs_no_init(peakwatch: Call) -> None:
    code, _, wrong = peakwatch("store", "init", "--secrets", "secrets")
    assert (code, "a lake needs nothing made" in wrong) == (2, True)
