"""What is backed up comes back row for row, into an empty store only, and nothing broken is restored."""

import json
import shutil
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as tries
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from pydantic import SecretStr

from ingest.errors import ConfigurationError, StoreError
from ingest.schema import TABLES
from ingest.settings import Settings
from ingest.store.lake.adapter import Lake
from pipelines import backup, cli

SAMPLES = Path(__file__).parents[2] / "deploy" / "registry"
NOW = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
ROWS = 4


def row(table: str, number: int, at: datetime) -> dict[str, Any]:
    """A row with something in every column: `number` tells it from the others."""
    values: dict[str, Any] = {
        str(pl.String()): f"超限 {number}",
        str(pl.Float64()): number / 3,
        str(pl.Binary()): bytes([number % 256, 0, 255]),
        str(pl.Datetime("us", "UTC")): at,
    }
    return {column.name: values.get(str(column.dtype), number) for column in TABLES[table].columns}


def fill(store: Lake, moments: dict[str, list[datetime]]) -> None:
    for table, times in moments.items():
        rows = [row(table, number, at) for number, at in enumerate(times)]
        store.write(table, pl.DataFrame(rows, schema=TABLES[table].schema))


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake with rows of two days in every table, and its back-up."""
    folder = tmp_path_factory.mktemp("filled")
    store = Lake(folder / "data")
    days = [NOW - timedelta(hours=7 * number) for number in range(ROWS)]
    fill(store, dict.fromkeys(TABLES, days))
    settings = Settings(registry=SAMPLES, broker_password=SecretStr("hunter2"), mail_password=SecretStr("hunter3"))
    backup.back_up(store, settings, folder / "copy", NOW, lambda _: None)
    store.close()
    return folder


@pytest.fixture
def lake(filled: Path, tmp_path: Path) -> Iterator[Lake]:
    store = Lake(Path(shutil.copytree(filled / "data", tmp_path / "data")))
    yield store
    store.close()


@pytest.fixture
def settings() -> Settings:
    return Settings(registry=SAMPLES)


@pytest.fixture
def made(filled: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(filled / "copy", tmp_path / "copy"))


def test_every_row_of_every_table_comes_back(lake: Lake, made: Path, tmp_path: Path) -> None:
    other, done = Lake(tmp_path / "other"), []
    manifest = backup.restore(other, made, done.append)
    assert manifest.rows == sum(done) == ROWS * len(TABLES)
    for name in TABLES:
        assert_frame_equal(other.read(name), lake.read(name))
        assert other.read(name).height == ROWS


def test_days_are_written_in_batches_of_one_table(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for rows, writes in ((1, 2 * len(TABLES)), (ROWS, len(TABLES)), (10**6, len(TABLES))):
        monkeypatch.setattr(backup, "_BATCH", rows)
        done: list[int] = []
        backup.restore(Lake(tmp_path / str(rows)), made, done.append)
        assert (len(done), sum(done)) == (writes, ROWS * len(TABLES))


def test_an_empty_store_is_backed_up_too(settings: Settings, tmp_path: Path) -> None:
    manifest = backup.back_up(Lake(tmp_path / "data"), settings, tmp_path / "copy", NOW, lambda _: None)
    assert manifest.rows == 0
    assert backup.restore(Lake(tmp_path / "other"), tmp_path / "copy", lambda _: None) == manifest


moments = st.integers(0, 9_000_000_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))


@tries(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(moments, min_size=1, max_size=5))
def test_whenever_a_row_is_it_is_in_the_back_up(
    tmp_path_factory: pytest.TempPathFactory, settings: Settings, times: list[datetime]
) -> None:
    folder = tmp_path_factory.mktemp("times")
    store = Lake(folder / "data")
    fill(store, {"readings": times})
    backup.back_up(store, settings, folder / "copy", NOW, lambda _: None)
    other = Lake(folder / "other")
    backup.restore(other, folder / "copy", lambda _: None)
    assert_frame_equal(other.read("readings"), store.read("readings"))


def test_the_registry_and_the_settings_are_in_it_and_no_secret(made: Path) -> None:
    for file in SAMPLES.glob("*.toml"):
        assert (made / "registry" / file.name).read_bytes() == file.read_bytes()
    kept = json.loads((made / "settings.json").read_text("utf-8"))
    assert kept["sender"] == "peakwatch@example.org"
    assert not [key for key in kept if "password" in key]
    everything = b"".join(path.read_bytes() for path in made.rglob("*") if path.is_file())
    assert b"hunter" not in everything


def test_what_is_written_while_it_runs_leaves_no_run_without_its_rows(
    lake: Lake, settings: Settings, tmp_path: Path
) -> None:
    """A job that ends in mid back-up: its rows may be in it without its run, never its run without its rows."""

    class Busy:
        write, maintain, close = lake.write, lake.maintain, lake.close
        seen: list[str] = []  # noqa: RUF012 - of this one test

        def read(self, table: str, *arguments: Any, **options: Any) -> pl.DataFrame:
            if table not in self.seen:
                self.seen.append(table)
                late = NOW + timedelta(days=len(self.seen))
                for name in ("indicators", "runs"):  # as a job writes them
                    rows = [row(name, 100 + len(self.seen), late)]
                    lake.write(name, pl.DataFrame(rows, schema=TABLES[name].schema))
            return lake.read(table, *arguments, **options)

    backup.back_up(Busy(), settings, tmp_path / "copy", NOW, lambda _: None)
    other = Lake(tmp_path / "other")
    backup.restore(other, tmp_path / "copy", lambda _: None)
    runs = set(other.read("runs").filter(pl.col("at") > NOW)["at"])
    indicators = set(other.read("indicators").filter(pl.col("start") > NOW)["start"])
    assert runs
    assert runs < indicators


@pytest.mark.parametrize("file", ["tables/readings/2026-11-20.parquet", "settings.json", "registry/dc-sample.toml"])
@pytest.mark.parametrize("how", ["changed", "gone"])
def test_what_is_not_as_it_was_written_is_told_and_nothing_is_restored(
    made: Path, tmp_path: Path, file: str, how: str
) -> None:
    path = made / file
    path.unlink() if how == "gone" else path.write_bytes(path.read_bytes() + b" ")
    other = Lake(tmp_path / "other")
    with pytest.raises(ConfigurationError, match=f"{path}: found (SHA-256|No such file)"):
        backup.restore(other, made, lambda _: None)
    assert all(other.read(name).is_empty() for name in TABLES)


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("format", 2, "format: found 2; wanted 1"),
        ("tables", {"secrets": {}}, "table: found 'secrets'; wanted one of readings"),
        ("tables", {"../../x": {}}, "table: found '../../x'"),
        ("tables", {"readings": {"../x": {"rows": 1, "sha256": ""}}}, "tables.readings"),
        ("files", {"../../etc/passwd": {"rows": 0, "sha256": ""}}, "file: found '../../etc/passwd'"),
        ("files", {"/etc/x.toml": {"rows": 0, "sha256": ""}}, "file: found '/etc/x.toml'"),
        ("rows", 3, "unknown key 'rows'"),
    ],
)
def test_a_hostile_manifest_is_told(made: Path, key: str, value: object, complaint: str) -> None:
    manifest = made / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {key: value}), "utf-8")
    with pytest.raises(ConfigurationError) as raised:
        backup.verify(made)
    assert complaint in str(raised.value)


def test_a_back_up_that_was_not_finished_is_none(made: Path) -> None:
    (made / "manifest.json").unlink()
    with pytest.raises(ConfigurationError, match="wanted the manifest of a finished back-up"):
        backup.verify(made)


def test_a_store_with_rows_is_not_written_over(lake: Lake, made: Path) -> None:
    before = lake.read("readings")
    with pytest.raises(ConfigurationError, match=r"found rows in readings, .*; wanted an empty store"):
        backup.restore(lake, made, lambda _: None)
    assert_frame_equal(lake.read("readings"), before)


def test_a_store_that_gives_other_rows_is_told(made: Path, tmp_path: Path) -> None:
    other = Lake(tmp_path / "other")

    class Forgetful:
        read, maintain, close = other.read, other.maintain, other.close

        def write(self, table: str, rows: pl.DataFrame) -> int:
            return other.write(table, rows.head(rows.height - 1))

    with pytest.raises(StoreError, match=r"readings of 2026-11-\d\d to 2026-11-\d\d: found \d+ rows"):
        backup.restore(Forgetful(), made, lambda _: None)


def test_a_folder_with_things_in_it_is_left_alone(lake: Lake, settings: Settings, made: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="copy: found a folder with things in it"):
        backup.back_up(lake, settings, made, NOW, lambda _: None)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="file: found"):
        backup.back_up(lake, settings, tmp_path / "file", NOW, lambda _: None)


def test_the_commands(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(SAMPLES, "registry")

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["peakwatch", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    rows = f"{ROWS * len(TABLES)} rows"
    assert call("backup", "copy")[1].startswith(f"{rows} backed up to copy")
    assert call("restore", "copy", "--verify")[1].startswith(f"{rows} verified in copy")
    code, _, complaint = call("restore", "copy")
    assert (code, complaint.count("\n")) == (2, 1)
    shutil.rmtree("data")
    assert call("restore", "copy")[1].startswith(f"{rows} restored from copy")
    assert Lake(Path("data")).read("readings").height == ROWS
