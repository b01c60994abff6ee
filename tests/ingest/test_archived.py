"""A store and its archive as one, where they differ; what every store promises is in test_store.py."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from ingest.errors import ConfigurationError, RowsRefused
from ingest.model import Period
from ingest.schema import INDICATORS, NOTICES, READINGS, REPLACED, Table
from ingest.settings import Settings, load
from ingest.store.archived import Archived
from ingest.store.base import WholeStore
from ingest.store.connect import connect, opened

pytestmark = pytest.mark.server
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
OLD = NOW - timedelta(days=400)
ANCIENT = datetime(1990, 1, 1, tzinfo=UTC)


def rows(table: Table, *changes: dict[str, object]) -> pl.DataFrame:
    plain = {
        name: name[0] if dtype == pl.String else NOW if dtype == pl.Datetime else 1
        for name, dtype in table.schema.items()
    }
    return pl.DataFrame([plain | change for change in changes], schema=table.schema, orient="row")


@pytest.fixture(params=["lake", "influxdb"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> WholeStore:
    if request.param == "lake":
        return connect(f"lake:{tmp_path}/store")
    influxd: Any = request.getfixturevalue("influxd")
    return connect(influxd.url(influxd.database()), Settings(store_password=influxd.password))


@pytest.fixture
def archive(tmp_path: Path) -> WholeStore:
    return connect(f"lake:{tmp_path}/archive")


@pytest.fixture
def both(store: WholeStore, archive: WholeStore) -> Iterator[Archived]:
    with closing(Archived(store, archive)) as one:
        yield one


def test_what_either_holds_is_read_sorted_and_the_stores_row_wins(
    store: WholeStore, archive: WholeStore, both: Archived
) -> None:
    archive.write("readings", rows(READINGS, {"time": OLD, "value": 1.0}, {"value": 2.0}, {"facility": "z"}))
    store.write("readings", rows(READINGS, {"value": 3.0}, {"facility": "a"}))
    wanted = rows(READINGS, {"facility": "a"}, {"time": OLD}, {"value": 3.0}, {"facility": "z"})
    assert_frame_equal(both.read("readings"), wanted)
    assert both.read("readings", columns=["value"])["value"].to_list() == [1.0, 1.0, 3.0, 1.0]
    assert both.read("readings", Period(OLD, NOW), facility=["f"])["value"].to_list() == [1.0]
    assert {OLD.date(), NOW.date()} <= set(both.days("readings"))


def test_what_the_store_replaced_never_shows_through_a_filter(
    store: WholeStore, archive: WholeStore, both: Archived
) -> None:
    archive.write("indicators", rows(INDICATORS, {"status": "ok"}, {"facility": "g", "status": "ok"}))
    store.write("indicators", rows(INDICATORS, {"status": "not_assessable"}))
    assert both.read("indicators", status=["ok"])["facility"].to_list() == ["g"]
    archive.write("notices", rows(NOTICES, {"at": OLD}))
    store.write("notices", rows(NOTICES, {"at": NOW}))
    assert both.read("notices", Period(OLD, OLD + timedelta(days=1))).is_empty()
    assert both.read("notices")["at"].to_list() == [NOW]


def test_only_the_store_is_written_and_the_archives_row_again_changes_nothing(
    store: WholeStore, archive: WholeStore, both: Archived
) -> None:
    archive.write("readings", rows(READINGS, {"time": OLD, "value": 1.0}))
    assert both.write("readings", rows(READINGS, {"time": OLD, "value": 1.0}, {"value": 5.0})) == 1
    assert store.read("readings")["value"].to_list() == [5.0]
    assert both.write("readings", rows(READINGS, {"time": OLD, "value": 2.0})) == 1
    assert both.read("readings").select("value", "flags").rows() == [(2.0, 1 | REPLACED), (5.0, 1)]
    assert archive.read("readings").select("value", "flags").rows() == [(1.0, 1)]
    # back to the archive's value: the store's row is another now
    assert both.write("readings", rows(READINGS, {"time": OLD, "value": 1.0})) == 1
    assert both.read("readings")["value"].to_list() == [1.0, 5.0]


def test_a_late_reading_that_the_server_keeps_no_more_is_refused_with_its_words(
    influxd: Any, archive: WholeStore
) -> None:
    short = connect(influxd.url(influxd.database(raw="7000d")), Settings(store_password=influxd.password))
    with closing(Archived(short, archive)) as both:
        archive.write("readings", rows(READINGS, {"time": ANCIENT, "value": 1.0}))
        assert both.write("readings", rows(READINGS, {"time": ANCIENT, "value": 1.0})) == 0  # a duplicate all the same
        with pytest.raises(RowsRefused, match="retention policy"):
            both.write("readings", rows(READINGS, {"time": ANCIENT, "value": 2.0}))
        assert both.read("readings")["value"].to_list() == [1.0]


def test_the_settings_open_both(tmp_path: Path) -> None:
    settings = Settings(store=f"lake:{tmp_path}/store", archive=f"lake:{tmp_path}/archive")
    with closing(connect(settings.archive)) as archive:
        archive.write("readings", rows(READINGS, {"time": OLD}))
    with closing(opened(settings)) as both:
        assert both.read("readings").height == 1


def test_an_archive_is_a_lake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEAKWATCH_ARCHIVE", "influxdb://host/db")
    with pytest.raises(ConfigurationError, match="archive"):
        load(None)
