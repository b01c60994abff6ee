"""The databases of single facilities, kept filled by the scheduler's jobs, on a real InfluxDB with its rights."""

import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ingest import registry as registries
from ingest import settings as all_settings
from ingest.errors import ConfigurationError
from ingest.model import Period
from ingest.schema import READINGS, RUNS, TABLES
from ingest.settings import Settings
from ingest.store import own as stores
from ingest.store.connect import administered, connect, of_facility
from ingest.store.influx.setup import FACILITY_ROLES, ROLES, prepare, secrets_of
from pipelines.commands.world import copies
from pipelines.factors import catalogue as factors
from pipelines.jobs import own
from pipelines.jobs.context import Context
from pipelines.jobs.table import JOBS, by_hand, run, watermark
from rules import catalogue

pytestmark = pytest.mark.server

SAMPLES = Path(__file__).parents[2] / "deploy" / "registry"
NOW = datetime(2026, 11, 20, 8, tzinfo=UTC)
TURN = timedelta(minutes=15)
BEFORE = timedelta(days=14)
OWNED = ("copper-sample", "dc-sample")


@pytest.fixture
def settings(influxd: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A database of all and two of single facilities, made by `store init`; the settings of the scheduler."""
    database = f"whole{influxd.database()}"
    monkeypatch.setenv("PEAKWATCH_STORE_ADMIN_USER", "peakwatch")
    monkeypatch.setenv("PEAKWATCH_STORE_ADMIN_PASSWORD", influxd.password)
    url = f"influxdb://127.0.0.1:{influxd.port}/{database}"
    for facility in ("", *OWNED):
        place = all_settings.of_environment().model_copy(
            update={"store": of_facility(url, facility) if facility else url}
        )
        folder = secrets_of(tmp_path, facility) if facility else tmp_path
        with closing(administered(place)) as server:
            list(prepare(server, folder, raw_days=0, apply=False, roles=FACILITY_ROLES if facility else ROLES))
    for name in ("USER", "PASSWORD"):
        monkeypatch.delenv(f"PEAKWATCH_STORE_ADMIN_{name}")
    monkeypatch.setenv("PEAKWATCH_STORE", url.replace("//", f"//{database}-jobs@"))
    monkeypatch.setenv("PEAKWATCH_SECRETS", str(tmp_path / "jobs"))
    monkeypatch.setenv("PEAKWATCH_FACILITY_SECRETS", str(tmp_path / "facilities"))
    return all_settings.load(None)


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    """Two of the samples, with meters that are new."""
    (tmp_path / "registry").mkdir()
    for name in OWNED:
        text = (
            (SAMPLES / f"{name}.toml").read_text("utf-8").replace("valid_from = 2025-10-01", "valid_from = 2026-11-07")
        )
        (tmp_path / "registry" / f"{name}.toml").write_text(text, "utf-8")
    return tmp_path / "registry"


@pytest.fixture
def context(settings: Settings, registry: Path) -> Iterator[Context]:
    """The world of the jobs, which have run until two weeks ago: no year of nothing has to be computed."""
    known = {
        "at": NOW - BEFORE,
        "since": NOW - 2 * BEFORE,
        "until": NOW - BEFORE,
        "outcome": "done",
        "error": "",
        "rows": 0,
    }
    with closing(connect(settings.store, settings)) as store:
        rows = [known | {"job": job, "seconds": 1.0} for job in ("compute", "judge")]
        store.write(RUNS.name, pl.DataFrame(rows, schema=RUNS.schema))
        yield Context(store, registries.load(registry), factors.load(), catalogue.load(), None, "p@example.org")  # type: ignore[arg-type]


def received(context: Context, at: datetime, *, day: datetime, value: float) -> None:
    """One day of readings of the main meter of each facility, an hour apart."""
    rows = [
        (name, facility.meter[0].id, day + timedelta(hours=n), value + n, facility.meter[0].unit, 0, "gw", at)
        for name, facility in context.registry.facilities.items()
        for n in range(24)
    ]
    context.store.write(READINGS.name, pl.DataFrame(rows, schema=READINGS.schema, orient="row"))


def turn(context: Context, settings: Settings, at: datetime) -> dict[str, int | None]:
    """One turn of all jobs that need no mail; rows written by each copy, None where it failed."""
    for name in ("compute", "judge", "view"):
        assert run(JOBS[name], context, at) is not None
    done = {job.name: run(job, context, at + timedelta(minutes=5)) for job in copies(settings, context)}
    return {name: None if one is None else one.rows for name, one in done.items()}


def differing(context: Context, settings: Settings, facility: str) -> list[str]:
    """The tables in which the facility's database is not what the store of all has of it."""
    with closing(stores.opened(settings, facility)) as target:
        tables = [name for name, table in TABLES.items() if "facility" in table.schema]
        pairs = {name: (context.store.read(name, facility=[facility]), target.read(name)) for name in tables}
    assert pairs["energy"][0].height > 0
    return [name for name, (wanted, found) in pairs.items() if not wanted.equals(found)]


def test_every_table_that_has_facilities_is_copied_one_way() -> None:
    named = [table.name for table in (*own.DAILY, *own.YEARLY, *own.RECENT, *own.WHOLE, own.LAST)]
    assert sorted(named) == sorted(name for name, table in TABLES.items() if "facility" in table.schema)


def test_each_facility_has_its_own_rows_and_a_turn_without_news_writes_next_to_nothing(
    settings: Settings, context: Context
) -> None:
    received(context, NOW, day=NOW - timedelta(days=11), value=1000.0)
    received(context, NOW, day=NOW - timedelta(days=1), value=2000.0)
    first = turn(context, settings, NOW + TURN)
    assert first.keys() == {f"copy-{name}" for name in OWNED}
    assert all(rows is not None and rows > 100 for rows in first.values())
    assert [differing(context, settings, name) for name in OWNED] == [[], []]
    # how it was connected is a row of each turn; nothing else is new
    assert turn(context, settings, NOW + 2 * TURN) == dict.fromkeys(first, 1)


def test_late_readings_and_what_follows_from_them_come_over(settings: Settings, context: Context) -> None:
    received(context, NOW, day=NOW - timedelta(days=1), value=2000.0)
    turn(context, settings, NOW + TURN)
    # eleven days late, and what was there is corrected
    received(context, NOW + 2 * TURN, day=NOW - timedelta(days=11), value=500.0)
    received(context, NOW + 2 * TURN, day=NOW - timedelta(days=1), value=2100.0)
    turn(context, settings, NOW + 3 * TURN)
    assert [differing(context, settings, name) for name in OWNED] == [[], []]


def test_a_database_that_is_away_stops_no_other_and_catches_up(
    settings: Settings, context: Context, influxd: Any
) -> None:
    received(context, NOW, day=NOW - timedelta(days=1), value=2000.0)
    turn(context, settings, NOW + TURN)
    away = settings.store.rpartition("/")[2] + "-copper-sample"
    influxd.ask(f'DROP DATABASE "{away}"')
    received(context, NOW + 2 * TURN, day=NOW - timedelta(days=2), value=100.0)
    done = turn(context, settings, NOW + 3 * TURN)
    assert done["copy-copper-sample"] is None
    assert differing(context, settings, "dc-sample") == []
    failed = context.store.read(RUNS.name, job=["copy-copper-sample"], outcome=["failed"])
    assert away in failed["error"].item()
    # made again it is empty, so it gets everything again
    influxd.database(away)
    influxd.ask(f'GRANT ALL ON "{away}" TO "{away}-copy"')
    assert turn(context, settings, NOW + 4 * TURN)["copy-copper-sample"] is not None
    assert differing(context, settings, "copper-sample") == []


def test_what_compute_did_not_look_at_yet_comes_with_its_next_good_run(settings: Settings, context: Context) -> None:
    received(context, NOW, day=NOW - timedelta(days=1), value=2000.0)
    turn(context, settings, NOW + TURN)
    # compute is down for a day while the copies go on
    for hours in (3, 6, 9):
        assert all(run(job, context, NOW + timedelta(hours=hours)) for job in copies(settings, context))
        received(context, NOW + timedelta(hours=hours), day=NOW - timedelta(days=3), value=700.0 + hours)
    assert "readings" in differing(context, settings, "dc-sample")
    turn(context, settings, NOW + timedelta(days=1))
    assert differing(context, settings, "dc-sample") == []


def test_what_a_person_had_computed_comes_over_once(
    settings: Settings, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    received(context, NOW, day=NOW - timedelta(days=10), value=1000.0)
    turn(context, settings, NOW + TURN)
    first, second, third = (NOW + timedelta(hours=hours) for hours in (3, 4, 6))
    for job in copies(settings, context):
        run(job, context, first)
    energy = context.store.read("energy", facility=["dc-sample"], interval=["15m"]).drop_nulls("kwh").head(1)
    context.store.write("energy", energy.with_columns(kwh=pl.lit(77.0)))
    for job in copies(settings, context):
        run(job, context, second)
    assert differing(context, settings, "dc-sample") == ["energy"]
    before = watermark(context.store, "compute", third)
    by_hand(context.store, [Period(energy["start"][0], energy["end"][0])], 1, second)
    assert watermark(context.store, "compute", third) == before
    compared: list[str] = []
    copy = own.copy
    monkeypatch.setattr(own, "copy", lambda *of, **more: compared.append(of[2]) or copy(*of, **more))
    for at in (third, third + TURN):
        compared.clear()
        for job in copies(settings, context):
            run(job, context, at)
        # its day and the first of its month, of two facilities
        assert compared.count("energy") == (4 if at == third else 0)
    assert differing(context, settings, "dc-sample") == []


def test_a_copy_has_the_rights_of_its_facility_alone_and_a_lake_has_none(
    settings: Settings, context: Context, tmp_path: Path
) -> None:
    one, other = (tmp_path / "facilities" / name / "copy" for name in OWNED)
    shutil.copy(one / "peakwatch_copy_password", other / "peakwatch_copy_password")
    done = {job.name: run(job, context, NOW) for job in copies(settings, context)}
    assert (done["copy-copper-sample"] is None, done["copy-dc-sample"]) == (False, None)
    with pytest.raises(ConfigurationError, match="a lake has no database for one facility"):
        stores.facilities(settings.model_copy(update={"store": "lake:here"}))
    assert stores.facilities(settings.model_copy(update={"facility_secrets": None})) == []
    (other / "peakwatch_copy_password").unlink()
    assert stores.facilities(settings) == ["copper-sample"]
    # a facility that left the registry is passed over
    assert copies(settings, replace(context, registry=context.registry.select(["dc-sample"]))) == []
    assert watermark(context.store, "copy-copper-sample", NOW) == NOW
