"""`store init` on a live InfluxDB 1: what it makes, what it tells of, and what each role then may."""

from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ingest.errors import ConfigurationError, RowsRefused, StoreError, StoreUnavailable
from ingest.schema import TABLES
from ingest.settings import Settings
from ingest.store.connect import administered
from ingest.store.influx.adapter import Influx
from ingest.store.influx.http import Connection
from ingest.store.influx.setup import ROLES, Finding, prepare
from ingest.store.influx.setup_1 import Influx1
from ingest.store.influx.target import Target

pytestmark = pytest.mark.server
NAMES = count()
Init = Callable[..., list[Finding]]


@pytest.fixture
def target(influxd: Any) -> Target:
    return Target(influxd.address, f"init{influxd.port}_{next(NAMES)}", user="peakwatch")


@pytest.fixture
def init(influxd: Any, target: Target, tmp_path: Path) -> Iterator[Init]:
    with closing(Influx1(target, influxd.password)) as server:

        def run(*, raw_days: int = 1100, apply: bool = False) -> list[Finding]:
            return list(prepare(server, tmp_path / "secrets", raw_days=raw_days, apply=apply))

        yield run


def told(findings: list[Finding]) -> dict[str, str]:
    return {finding.what: finding.state for finding in findings}


def secret(folder: Path, role: str) -> Path:
    return folder / "secrets" / role / "peakwatch_store_password"


def login(target: Target, role: str) -> Target:
    return Target(target.url, target.database, user=f"{target.database}-{role}")


def opened(target: Target, folder: Path, role: str) -> Influx:
    return Influx(login(target, role), secret(folder, role).read_text())


def reading(value: float) -> pl.DataFrame:
    now = datetime.now(UTC)
    row = ("f", "E-1", now, value, "kWh", 1, "gw", now)
    return pl.DataFrame([row], schema=TABLES["readings"].schema, orient="row")


def test_the_first_run_makes_everything_and_the_second_changes_nothing(
    influxd: Any, target: Target, init: Init, tmp_path: Path
) -> None:
    first = told(init())
    assert first.pop("retention policy autogen") == "found"  # InfluxDB makes it with the database
    assert set(first.values()) == {"made"}
    assert len(first) == 5
    secrets = {role.name: secret(tmp_path, role.name).read_text() for role in ROLES}
    assert len(set(secrets.values())) == 3
    assert {secret(tmp_path, role.name).stat().st_mode & 0o777 for role in ROLES} == {0o600}
    assert set(told(init()).values()) == {"found"}
    assert {role.name: secret(tmp_path, role.name).read_text() for role in ROLES} == secrets
    rows = influxd.ask(f'SHOW RETENTION POLICIES ON "{target.database}"')["results"][0]["series"][0]["values"]
    # name, duration, shard group, replicas, default
    assert [(row[0], row[1], row[4]) for row in rows] == [("autogen", "0s", True), ("raw", "26400h0m0s", False)]


def test_collector_and_jobs_read_and_write_every_table(target: Target, init: Init, tmp_path: Path) -> None:
    init()
    for value, role in enumerate(("collector", "jobs"), 1):
        with closing(opened(target, tmp_path, role)) as store:
            assert store.write("readings", reading(value)) == 1
            assert store.read("readings").height == value
            assert [store.read(table).height for table in TABLES if table != "readings"] == [0] * (len(TABLES) - 1)


def test_grafana_reads_and_cannot_write(target: Target, init: Init, tmp_path: Path) -> None:
    init()
    with closing(opened(target, tmp_path, "collector")) as store:
        store.write("readings", reading(1.0))
    with closing(opened(target, tmp_path, "grafana")) as store:
        assert store.read("readings").height == 1
        with pytest.raises(StoreError, match="not authorized to write") as refusal:
            store.write("readings", reading(2.0))
        assert not refusal.value.retryable
        assert store.read("readings").height == 1


def answered(target: Target, folder: Path, role: str, statement: str) -> str:
    """What the server says to a statement of a role; an error may come as an answer too."""
    with closing(Connection(login(target, role), secret(folder, role).read_text())) as connection:
        try:
            return b"".join(connection.query(statement)).decode()
        except StoreError as error:
            return str(error)


def test_no_role_can_administrate(target: Target, init: Init, tmp_path: Path) -> None:
    statements = [
        f'DROP DATABASE "{target.database}"',
        "DROP MEASUREMENT readings",
        f'ALTER RETENTION POLICY "raw" ON "{target.database}" DURATION 1h',
        "CREATE USER eve WITH PASSWORD 'x'",
        f'GRANT ALL ON "other" TO "{target.database}-collector"',
    ]
    init()
    for role in ROLES:
        for statement in statements:
            said = answered(target, tmp_path, role.name, statement)
            assert "requires admin privilege" in said or "not authorized to execute" in said
    assert set(told(init()).values()) == {"found"}


def test_who_writes_on_influxdb_1_can_drop_a_policy_too_and_grafana_cannot(
    target: Target, init: Init, tmp_path: Path
) -> None:
    # no right of ours: that of writing holds it, which docs/operations/stores.md says
    statement = f'DROP RETENTION POLICY "raw" ON "{target.database}"'
    init()
    assert "not authorized to execute" in answered(target, tmp_path, "grafana", statement)
    assert told(init())["retention policy raw"] == "found"
    assert "error" not in answered(target, tmp_path, "jobs", statement)
    assert told(init())["retention policy raw"] == "made"


def test_another_retention_is_told_and_changed_only_when_it_is_to_be(init: Init) -> None:
    init(raw_days=1100)
    finding = next(finding for finding in init(raw_days=30) if finding.state == "differs")
    assert finding == Finding("retention policy raw", "differs", "keeps 1100 days; wanted: keeps 30 days")
    assert told(init(raw_days=1100))["retention policy raw"] == "found"
    assert told(init(raw_days=0, apply=True))["retention policy raw"] == "changed"
    assert set(told(init(raw_days=0)).values()) == {"found"}


def test_rights_that_somebody_changed_are_told_and_mended(influxd: Any, target: Target, init: Init) -> None:
    init()
    name = target.database
    influxd.ask(f'GRANT ALL ON "{name}" TO "{name}-grafana"')
    influxd.ask(f'GRANT READ ON "{name}" TO "{name}-jobs"')
    influxd.ask(f'GRANT ALL PRIVILEGES TO "{name}-collector"')
    differing = {finding.what: finding.told for finding in init() if finding.state == "differs"}
    assert differing == {
        f"user {name}-grafana": "has ALL PRIVILEGES; wanted: READ",
        f"user {name}-jobs": "has READ; wanted: ALL PRIVILEGES",
        f"user {name}-collector": "is an administrator",
    }
    init(apply=True)
    assert set(told(init()).values()) == {"found"}


def test_a_password_that_is_lost_or_wrong_is_told_and_renewed(target: Target, init: Init, tmp_path: Path) -> None:
    init()
    secret(tmp_path, "jobs").unlink()
    secret(tmp_path, "grafana").write_text("guess")
    differing = {finding.what.rpartition("-")[2]: finding.told for finding in init() if finding.state == "differs"}
    assert differing["jobs"].startswith("its password is in no file: ")
    assert differing["grafana"].startswith("the password of the file is refused: ")
    init(apply=True)
    assert set(told(init()).values()) == {"found"}
    with closing(opened(target, tmp_path, "jobs")) as store:
        assert store.read("runs").is_empty()


def test_a_run_that_broke_off_is_completed_with_the_password_it_left(
    influxd: Any, target: Target, init: Init, tmp_path: Path
) -> None:
    init()
    kept = secret(tmp_path, "jobs").read_text()
    influxd.ask(f'DROP USER "{target.database}-jobs"')
    assert told(init())[f"user {target.database}-jobs"] == "made"
    assert secret(tmp_path, "jobs").read_text() == kept
    assert set(told(init()).values()) == {"found"}


def test_a_server_without_logins_is_told(start_influxd: Callable[..., Any], tmp_path: Path) -> None:
    server = start_influxd()
    server.stop()
    settings = server.folder / "influxdb.conf"
    settings.write_text(settings.read_text().replace("auth-enabled = true", "auth-enabled = false"))
    server.start()
    with closing(Influx1(Target(server.address, "open"), None)) as one:
        first = next(prepare(one, tmp_path, raw_days=1, apply=True))
    assert (first.what, first.state) == ("authentication", "differs")


def test_a_secret_that_cannot_be_kept_makes_no_user(influxd: Any, target: Target, tmp_path: Path) -> None:
    (tmp_path / "secrets").touch()
    with closing(Influx1(target, influxd.password)) as server, pytest.raises(StoreError, match=r"secret .*collector"):
        list(prepare(server, tmp_path / "secrets", raw_days=1, apply=False))
    assert f"{target.database}-collector" not in str(influxd.ask("SHOW USERS"))


def test_the_administrator_is_needed(influxd: Any, target: Target, tmp_path: Path) -> None:
    with closing(Influx1(target, "wrong")) as server, pytest.raises(StoreError, match="401 authorization failed"):
        list(prepare(server, tmp_path, raw_days=1, apply=False))


@pytest.mark.parametrize(
    ("store", "sentence"),
    [("lake:data", "a lake needs nothing made"), ("influxdb://127.0.0.1:1/db", "refused")],
)
def test_what_is_no_influxdb_is_told(store: str, sentence: str) -> None:
    with pytest.raises((ConfigurationError, StoreUnavailable), match=sentence):
        administered(Settings(store=store))


def test_settings_lead_to_the_right_kind_of_server(influxd: Any, target: Target) -> None:
    url = f"influxdb://127.0.0.1:{influxd.port}/{target.database}"
    settings = Settings(store=url, store_admin_user="peakwatch", store_admin_password=influxd.password)
    with closing(administered(settings)) as server:
        assert server.secret == "password"


def test_what_is_older_than_the_retention_is_refused_by_the_server(target: Target, init: Init, tmp_path: Path) -> None:
    init(raw_days=30)
    old = reading(1.0).with_columns(pl.col("time").dt.offset_by("-40d"))
    store = opened(target, tmp_path, "collector")
    with closing(store), pytest.raises(RowsRefused, match="retention policy"):
        store.write("readings", old)
