"""Copying between stores: proof, resumption, and what does not agree."""

from collections.abc import Callable
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from ingest.errors import StoreUnavailable
from ingest.model import Period
from ingest.schema import ENERGY, NOTICES, QUARANTINE, READINGS, TABLES, Table
from ingest.settings import Settings
from ingest.store import copying
from ingest.store.base import WholeStore
from ingest.store.connect import connect
from ingest.store.copying import Copied

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def filler(name: str, dtype: pl.DataType) -> object:
    if dtype == pl.String:
        return name[0]
    if dtype == pl.Binary:
        return b"\x00\xff"
    return NOON if dtype == pl.Datetime else 1


def rows(table: Table, *changes: dict[str, object]) -> pl.DataFrame:
    plain = {name: filler(name, dtype) for name, dtype in table.schema.items()}
    return pl.DataFrame([plain | change for change in changes], schema=table.schema, orient="row")


def days_of_readings(count: int) -> pl.DataFrame:
    """Two facilities with two meters, one reading a day; with flags and moments of receipt of their own."""
    return rows(
        READINGS,
        *(
            {
                "facility": f,
                "meter": m,
                "time": NOON + n * DAY,
                "value": n + 0.1,
                "flags": n % 8,
                "received": NOON + n * DAY,
            }
            for f in "fg"
            for m in "ab"
            for n in range(count)
        ),
    )


def copied(
    source: WholeStore, target: WholeStore, table: str, period: Period | None = None, facility: str = ""
) -> list[Copied]:
    return [
        copying.copy(source, target, table, span, facility=facility) for span in copying.spans(source, table, period)
    ]


@pytest.fixture
def lake(tmp_path: Path) -> WholeStore:
    return connect(f"lake:{tmp_path}/lake")


@pytest.fixture
def archive(tmp_path: Path) -> WholeStore:
    return connect(f"lake:{tmp_path}/archive")


@pytest.fixture
def database(influxd: Any) -> WholeStore:
    return connect(influxd.url(influxd.database()), Settings(store_password=influxd.password))


@pytest.mark.server
@pytest.mark.parametrize("table", TABLES.values(), ids=list(TABLES))
def test_a_row_of_every_table_comes_over_and_back_as_it_was(
    lake: WholeStore, database: WholeStore, archive: WholeStore, table: Table
) -> None:
    text = next(name for name in table.key if table.schema[name] == pl.String)
    batch = rows(table, {}, {text: "é\"\\'\n中文\x00 %,="}, {text: "-", table.time: NOON + 40 * DAY}, {text: ""})
    lake.write(table.name, batch)
    there = copied(lake, database, table.name)
    back = copied(database, archive, table.name)
    assert sum(day.rows for day in there) == sum(day.written for day in back) == 4
    assert all(day.verified for day in [*there, *back])
    assert {day.checksum for day in there if day.rows} == {day.checksum for day in back}
    assert_frame_equal(archive.read(table.name), lake.read(table.name))


@pytest.mark.server
def test_flags_and_receipt_come_over_unchanged_and_a_second_run_writes_nothing(
    lake: WholeStore, database: WholeStore
) -> None:
    lake.write("readings", days_of_readings(3))
    lake.write("readings", days_of_readings(1).with_columns(value=pl.lit(9.0)))  # replaced: flags have the bit for it
    first, second = copied(lake, database, "readings"), copied(lake, database, "readings")
    assert_frame_equal(database.read("readings"), lake.read("readings"))
    assert [(day.day, day.rows, day.written) for day in first] == [(date(2026, 11, 20 + n), 4, 4) for n in range(3)]
    assert [day.written for day in second] == [0, 0, 0]
    assert [day.checksum for day in second] == [day.checksum for day in first]
    assert all(day.verified for day in [*first, *second])


def test_the_proof_is_worked_by_hand() -> None:
    row = rows(QUARANTINE, {"payload": None, "bytes": None, "received": datetime(1970, 1, 1, 0, 0, 1, 5, tzinfo=UTC)})
    said = (
        '{"id":"i","facility":"f","topic":"t","payload":null,"bytes":null,"item":1,"entries":1,'
        '"reason":"r","sentence":"s","received":1000005}\n'
    )
    assert copying.text(row).decode() == said
    assert b'"value":"0.30000000000000004"' in copying.text(rows(READINGS, {"value": 0.1 + 0.2}))
    assert b'"payload":"00ff"' in copying.text(rows(QUARANTINE, {}))


@given(st.floats(), st.floats())
def test_two_numbers_make_one_text_only_where_they_are_the_same(one: float, other: float) -> None:
    texts = [copying.text(rows(READINGS, {"value": value})) for value in (one, other)]
    assert (texts[0] == texts[1]) == (repr(one) == repr(other))


def test_the_proof_is_the_same_however_the_day_is_parted(
    lake: WholeStore, archive: WholeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.write("readings", days_of_readings(1))
    whole = copied(lake, archive, "readings")
    monkeypatch.setattr(copying, "_ROWS", 1)
    parted = copied(lake, archive, "readings")
    assert [day.checksum for day in parted] == [day.checksum for day in whole]


def test_a_part_of_the_days_and_one_facility_may_be_chosen(lake: WholeStore, archive: WholeStore) -> None:
    lake.write("readings", days_of_readings(4))
    period = Period(NOON + DAY, NOON + 3 * DAY)
    assert [day.rows for day in copied(lake, archive, "readings", period, "g")] == [2, 2, 0]
    found = archive.read("readings")
    assert found["facility"].unique().to_list() == ["g"]
    assert found["time"].unique().sort().to_list() == [NOON + DAY, NOON + 2 * DAY]


def test_what_only_the_target_has_stays_and_harms_nothing(lake: WholeStore, archive: WholeStore) -> None:
    archive.write("readings", days_of_readings(1).with_columns(facility=pl.lit("other")))
    archive.write("readings", days_of_readings(1).with_columns(meter=pl.lit("other"), facility=pl.lit("f")))
    lake.write("readings", days_of_readings(1))
    (day,) = copied(lake, archive, "readings")
    assert (day.rows, day.written, day.verified) == (4, 4, True)
    assert archive.read("readings").height == 7


def test_a_row_changed_behind_the_back_is_found(lake: WholeStore, archive: WholeStore) -> None:
    lake.write("readings", days_of_readings(3))
    copied(lake, archive, "readings")
    tampered = days_of_readings(3).filter(facility="g", meter="b", time=NOON + DAY).with_columns(value=pl.lit(7.0))
    archive.write("readings", tampered)
    days = copied(lake, archive, "readings")
    # the value is put right, and the row says for ever that another stood there
    assert [(day.verified, day.differing) for day in days] == [(True, 0), (False, 1), (True, 0)]
    mended = archive.read("readings", facility=["g"], meter=["b"])
    assert mended["value"].to_list() == [0.1, 1.1, 2.1]
    assert mended["flags"].to_list() == [0, 1 | 8, 2]


def test_a_corrected_reading_comes_over_and_agrees(lake: WholeStore, archive: WholeStore) -> None:
    lake.write("readings", days_of_readings(1))
    copied(lake, archive, "readings")
    lake.write("readings", days_of_readings(1).with_columns(value=pl.lit(7.0)))
    (day,) = copied(lake, archive, "readings")
    assert (day.written, day.verified) == (4, True)
    assert_frame_equal(archive.read("readings"), lake.read("readings"))


def test_a_result_computed_anew_comes_over_and_agrees(lake: WholeStore, archive: WholeStore) -> None:
    for version, table in (("1", ENERGY), ("2", ENERGY)):
        lake.write(table.name, rows(table, {"factor_version": version}))
        (day,) = copied(lake, archive, table.name)
        assert (day.written, day.verified) == (1, True)
    assert archive.read("energy")["factor_version"].to_list() == ["2"]


def test_a_row_that_moved_to_another_day_comes_over(lake: WholeStore, archive: WholeStore) -> None:
    lake.write("notices", rows(NOTICES, {"status": "sending"}))
    copied(lake, archive, "notices")
    lake.write("notices", rows(NOTICES, {"status": "sent", "at": NOON + DAY}))
    assert all(day.verified for day in copied(lake, archive, "notices"))
    assert_frame_equal(archive.read("notices"), lake.read("notices"))


def test_a_receipt_that_differs_is_told_and_left(lake: WholeStore, archive: WholeStore) -> None:
    lake.write("readings", days_of_readings(1))
    archive.write("readings", days_of_readings(1).with_columns(received=NOON + DAY))
    (day,) = copied(lake, archive, "readings")
    assert (day.written, day.differing, day.verified) == (0, 4, False)
    assert archive.read("readings")["received"].unique().to_list() == [NOON + DAY]


@pytest.mark.server
def test_what_the_target_refuses_is_told_and_the_other_days_go_on(influxd: Any, lake: WholeStore) -> None:
    target = connect(influxd.url(influxd.database(raw="7000d")), Settings(store_password=influxd.password))
    now = datetime.now(UTC)
    lake.write("readings", rows(READINGS, *({"time": now - days * DAY, "value": 1.0} for days in (9000, 1))))
    old, new = (day for day in copied(lake, target, "readings") if day.rows)
    assert (old.verified, old.differing) == (False, 1)
    assert "retention policy" in old.refusal
    assert (new.verified, new.refusal) == (True, "")


@pytest.mark.server
def test_a_copy_whose_target_died_goes_on_where_it_was(lake: WholeStore, start_influxd: Callable[..., Any]) -> None:
    server = start_influxd()
    lake.write("readings", days_of_readings(4))
    with closing(connect(server.url(server.database()), Settings(store_password=server.password))) as target:
        spans = copying.spans(lake, "readings", None)
        done = [copying.copy(lake, target, "readings", span) for span in spans[:2]]
        server.kill()
        with pytest.raises(StoreUnavailable):
            copying.copy(lake, target, "readings", spans[2])
        server.start()
        again = copied(lake, target, "readings")
        assert [day.written for day in again] == [0, 0, 4, 4]
        assert all(day.verified for day in [*done, *again])
        assert_frame_equal(target.read("readings"), lake.read("readings"))


def test_nothing_is_copied_of_nothing(lake: WholeStore, archive: WholeStore) -> None:
    assert [copied(lake, archive, table) for table in TABLES] == [[]] * len(TABLES)
