"""What every store promises: one suite over the `Store` protocol, run against each adapter."""

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from influxdb_client import DBRPCreate, DBRPsService, InfluxDBClient
from polars.testing import assert_frame_equal

from ingest.errors import ConfigurationError, RowsRefused, StoreError, StoreUnavailable
from ingest.model import Period
from ingest.schema import (
    BREACH_EVENTS,
    ENERGY,
    INDICATORS,
    NOTICES,
    QUARANTINE,
    READINGS,
    REPLACED,
    TABLES,
    TIME,
    Table,
)
from ingest.settings import Settings
from ingest.store.archived import Archived
from ingest.store.base import Store
from ingest.store.connect import connect, parse

EXAMPLE = count()
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
QUARTER = timedelta(minutes=15)
Opener = Callable[[str], Store]


class FromLake:
    """Lakes in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, name: str) -> Store:
        return connect(f"lake:{self._folder / name}")


class FromInflux:
    """Databases of a live InfluxDB 1, one for each name."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self._databases: dict[str, str] = {}

    def __call__(self, name: str) -> Store:
        if name not in self._databases:
            self._databases[name] = self._server.database()
        settings = Settings(store_password=self._server.password)
        return connect(self._server.url(self._databases[name]), settings)


class FromBuckets:
    """Pairs of buckets of the InfluxDB that PEAKWATCH_TEST_INFLUX_URL names, deleted afterwards."""

    def __init__(self) -> None:
        self.url = os.environ["PEAKWATCH_TEST_INFLUX_URL"]
        self.token = os.environ.get("PEAKWATCH_TEST_INFLUX_TOKEN", "")
        self._target = parse(self.url)
        self._databases: dict[str, str] = {}

    def __call__(self, name: str) -> Store:
        if name not in self._databases:
            self._databases[name] = f"{self._target.database}-{uuid4().hex[:12]}"
            self._make(self._databases[name])
        url = self.url.replace(f"/{self._target.database}", f"/{self._databases[name]}", 1)
        return connect(url, Settings(store_token=self.token, store_password=self.token))

    def close(self) -> None:
        with self._client() as client:
            for bucket in client.buckets_api().find_buckets_iter():
                if bucket.name.rpartition("/")[0] in self._databases.values():
                    client.buckets_api().delete_bucket(bucket)

    def _client(self) -> InfluxDBClient:
        return InfluxDBClient(self._target.url, self.token, org=self._target.org)

    def _make(self, database: str) -> None:
        with self._client() as client:
            for policy in ("raw", "autogen"):
                bucket = client.buckets_api().create_bucket(bucket_name=f"{database}/{policy}", org=self._target.org)
                mapping = DBRPCreate(
                    org=self._target.org,
                    database=database,
                    retention_policy=policy,
                    default=policy == "autogen",
                    bucket_id=bucket.id,
                )
                DBRPsService(client.api_client).post_dbrp(dbrp_create=mapping)


class Forgetful(Archived):
    """A store that forgets its rows after every second write; they are then in an archive, as they were."""

    def __init__(self, folder: Path, writes: list[int]) -> None:
        self._folder, self._writes = folder, writes
        self._lakes: dict[str, Store] = {}

    def _lake(self, name: str) -> Store:
        name = f"{name}-{self._writes[0] // 2}"
        if name not in self._lakes:
            self._lakes[name] = connect(f"lake:{self._folder}/{name}")
        return self._lakes[name]

    @property
    def _store(self) -> Store:
        return self._lake("store")

    @property
    def _archive(self) -> Store:
        return self._lake("archive")

    def write(self, table: str, rows: pl.DataFrame) -> int:
        changed = super().write(table, rows)
        held = {name: self.read(name) for name in TABLES} if self._writes[0] % 2 else {}
        self._writes[0] += 1
        for name, whole in held.items():
            self._archive.write(name, whole)
        return changed


class FromArchived:
    """Lakes whose rows are in an archive sooner or later, and then nowhere else."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writes: dict[str, list[int]] = {}

    def __call__(self, name: str) -> Store:
        return Forgetful(self._folder / name, self._writes.setdefault(name, [0]))


KINDS = ["lake", "archived", pytest.param("influxdb", marks=pytest.mark.server)]
LAKES = ("lake", "archived")
if os.environ.get("PEAKWATCH_TEST_INFLUX_URL"):
    KINDS.append(pytest.param("buckets", marks=pytest.mark.server))


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def opener(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    """Open the store of a name as often as one likes; the first time it is empty."""
    opened: list[Store] = []
    source: Opener
    if kind in LAKES:
        source = FromLake(tmp_path) if kind == "lake" else FromArchived(tmp_path)
    else:
        source = FromBuckets() if kind == "buckets" else FromInflux(request.getfixturevalue("influxd"))

    def open_store(name: str) -> Store:
        opened.append(source(name))
        return opened[-1]

    yield open_store
    for store in opened:
        store.close()
    if isinstance(source, FromBuckets):
        source.close()


@pytest.fixture
def store(opener: Opener) -> Store:
    return opener("data")


def filler(name: str, dtype: pl.DataType) -> object:
    if dtype == pl.String:
        return name[0]
    if dtype == pl.Binary:
        return b"\x00\xff"
    return NOON if dtype == pl.Datetime else 1


def rows(table: Table, *changes: dict[str, object]) -> pl.DataFrame:
    """Rows of a table, alike but for the changes."""
    plain = {name: filler(name, dtype) for name, dtype in table.schema.items()}
    return pl.DataFrame([plain | change for change in changes], schema=table.schema, orient="row")


def reading(value: float | None, *, facility: str = "f", time: datetime = NOON, **more: object) -> dict[str, object]:
    return {"facility": facility, "time": time, "value": value} | more


# ----- write and read back


@pytest.mark.parametrize("table", TABLES.values(), ids=list(TABLES))
def test_a_row_of_every_table_comes_back_as_it_was(store: Store, table: Table) -> None:
    row = rows(table, {})
    assert store.write(table.name, row) == 1
    assert_frame_equal(store.read(table.name), row)


def test_a_table_never_written_has_its_columns_and_no_rows(store: Store) -> None:
    assert_frame_equal(store.read("energy"), pl.DataFrame(schema=ENERGY.schema))


def test_nothing_is_stored_of_no_rows(store: Store) -> None:
    assert store.write("readings", rows(READINGS)) == 0
    assert store.read("readings").is_empty()


def test_columns_may_come_in_any_order(store: Store) -> None:
    row = rows(READINGS, reading(1.0))
    assert store.write("readings", row.select(reversed(row.columns))) == 1
    assert_frame_equal(store.read("readings"), row)


def test_rows_are_sorted_by_key_whatever_the_order_of_writing(store: Store) -> None:
    later, first, other = reading(2.0, time=NOON + QUARTER), reading(1.0), reading(3.0, facility="a")
    for one in (later, other, first):
        store.write("readings", rows(READINGS, one))
    assert_frame_equal(store.read("readings"), rows(READINGS, other, first, later))


def test_text_bytes_nulls_and_numbers_survive(store: Store) -> None:
    row = rows(
        QUARANTINE,
        {"id": "é\"\\'\n中文😀\x00", "facility": "", "payload": b"", "item": -1, "sentence": None},
        {"id": "x" * 5000, "payload": bytes(range(256)) * 300, "item": 2**31 - 1},
    )
    assert store.write("quarantine", row) == 2
    assert_frame_equal(store.read("quarantine"), row.sort("id"))


@pytest.mark.parametrize("value", [0.1 + 0.2, -0.0, 1e308, 5e-324, float("inf"), float("nan"), None])
def test_a_value_comes_back_to_the_last_bit_and_equals_itself(store: Store, value: float | None) -> None:
    row = rows(READINGS, reading(value))
    assert store.write("readings", row) == 1
    assert store.write("readings", row) == 0
    assert repr(store.read("readings")["value"][0]) == repr(value)


@pytest.mark.parametrize(
    "time",
    [
        datetime(1677, 9, 22, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(2026, 11, 20, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(2262, 4, 11, 23, 47, 16, 854_773, tzinfo=UTC),
    ],
)
def test_any_moment_is_found_again_and_known_again(store: Store, time: datetime) -> None:
    row = rows(READINGS, reading(1.0, time=time))
    assert store.write("readings", row) == 1
    assert store.write("readings", row) == 0
    assert_frame_equal(store.read("readings", facility=["f"]), row)


@pytest.mark.parametrize(
    "time", [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)]
)
def test_a_moment_is_stored_or_refused_never_another_one(store: Store, kind: str, time: datetime) -> None:
    row = rows(READINGS, reading(1.0, time=time))
    if kind in LAKES:
        assert [store.write("readings", row), store.write("readings", row)] == [1, 0]
        assert_frame_equal(store.read("readings"), row)
    else:
        with pytest.raises(RowsRefused, match="`time` lies outside of 1677-09-21 to 2262-04-11 in 1 of them"):
            store.write("readings", row)
    other = rows(READINGS, reading(2.0, received=time))
    assert store.write("readings", other) == 1
    assert_frame_equal(store.read("readings", Period(NOON, NOON + QUARTER)), other)


# ----- the same row again, and corrections


def test_the_same_row_again_changes_nothing(store: Store) -> None:
    both = rows(READINGS, reading(1.0), reading(2.0, facility="g"))
    assert store.write("readings", both) == 2
    again = rows(READINGS, reading(1.0, received=NOON + QUARTER), reading(3.0, facility="h"))
    assert store.write("readings", again) == 1  # only the third is new: `received` does not make another row
    assert store.read("readings", facility=["f"])["received"].to_list() == [NOON]


def test_another_value_under_a_known_key_replaces_the_row(store: Store) -> None:
    store.write("readings", rows(READINGS, reading(1.0)))
    assert store.write("readings", rows(READINGS, reading(2.0))) == 1
    assert store.read("readings")["value"].to_list() == [2.0]


def test_a_value_that_comes_back_is_a_correction_again(store: Store) -> None:
    counted = [store.write("readings", rows(READINGS, reading(value))) for value in (1.0, 2.0, 1.0, 1.0)]
    assert counted == [1, 1, 1, 0]
    assert store.read("readings")["value"].to_list() == [1.0]


@pytest.mark.parametrize("pair", [(None, 1.0), (1.0, None), (float("nan"), 1.0), (None, float("nan"))])
def test_null_and_nan_are_values_of_their_own(store: Store, pair: tuple[float | None, float | None]) -> None:
    assert [store.write("readings", rows(READINGS, reading(value))) for value in pair] == [1, 1]
    assert repr(store.read("readings")["value"][0]) == repr(pair[1])


def test_inside_a_batch_the_last_row_of_a_key_counts(store: Store) -> None:
    assert store.write("readings", rows(READINGS, reading(1.0), reading(2.0), reading(3.0))) == 1
    assert store.read("readings")["value"].to_list() == [3.0]


def test_a_reading_says_when_it_replaced_another_value(store: Store) -> None:
    def flags(*values: float | None) -> int:
        store.write("readings", rows(READINGS, *(reading(value, flags=1) for value in values)))
        return store.read("readings")["flags"].item()

    assert flags(1.0) == 1
    assert flags(1.0) == 1  # the same again is no other value
    assert flags(None) == 1 | REPLACED
    assert flags(2.0) == 1 | REPLACED
    assert flags(2.0) == 1 | REPLACED  # the same again changes nothing
    store.write("readings", rows(READINGS, reading(5.0, facility="g"), reading(5.0, facility="g")))
    assert store.read("readings", facility=["g"])["flags"].item() == 1


def test_a_reading_says_so_inside_one_batch_too(store: Store) -> None:
    batch = [
        reading(1.0, flags=2),
        reading(2.0, flags=4),
        reading(1.0, flags=None),
        reading(7.0, facility="g", flags=0),
    ]
    assert store.write("readings", rows(READINGS, *batch)) == 2
    assert store.read("readings")["flags"].to_list() == [REPLACED, 0]
    assert store.write("readings", rows(READINGS, *batch)) == 0


def test_a_row_replaces_the_whole_row_of_its_key(store: Store) -> None:
    empty = {name: None for name in READINGS.schema if name not in READINGS.key}
    steps = [
        {"value": 1.0},
        {"value": 2.0, "unit": None, "gateway": None},
        empty,
        {"value": float("inf")},
        {"value": 3.0},
    ]
    for step in steps:
        row = rows(READINGS, reading(None) | step)
        assert store.write("readings", row) == 1
        assert_frame_equal(store.read("readings").drop("flags"), row.drop("flags"))
        assert store.write("readings", row) == 0
    changed = [{"kwh": 1.0, "carrier": "coal"}, {"kwh": None, "carrier": "coal"}, {"kwh": None, "carrier": None}]
    for step in [*changed, {"carrier": ""}, {"carrier": "-", "coverage": float("nan")}]:
        row = rows(ENERGY, step)
        assert [store.write("energy", row), store.write("energy", row)] == [1, 0]
        assert_frame_equal(store.read("energy"), row)


TEXT = st.text(st.characters(codec="utf-8"), max_size=8) | st.text(
    st.sampled_from("\\,= \"'-%\n\r\0\x7f2D电"), max_size=6
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.tuples(TEXT, TEXT, TEXT), min_size=1, max_size=8))
def test_any_text_comes_back_as_it_was_and_is_found_by_itself(
    opener: Opener, texts: list[tuple[str, str, str]]
) -> None:
    store = opener(f"texts-{next(EXAMPLE)}")
    changes = {(f, m): {"facility": f, "meter": m, "unit": u, "time": NOON, "value": 1.0} for f, m, u in texts}
    batch = rows(READINGS, *changes.values()).sort(READINGS.key)
    assert store.write("readings", batch) == batch.height
    assert_frame_equal(store.read("readings"), batch)
    for column in ("facility", "meter", "unit"):
        text = texts[0][["facility", "meter", "unit"].index(column)]
        assert_frame_equal(store.read("readings", **{column: [text]}), batch.filter(pl.col(column) == text))
    assert store.write("readings", batch) == 0


NUMBER = st.sampled_from([None, float("nan"), float("inf"), -float("inf"), -0.0, 0.0, 1.5])
SLOT = st.fixed_dictionaries(
    {
        "kwh": NUMBER,
        "kgce": NUMBER,
        "role": st.none() | TEXT,
        "unit": st.none() | TEXT,
        "end": st.none() | st.just(NOON),
    }
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(slots=st.lists(SLOT, min_size=1, max_size=6), others=st.sampled_from(["null", "filled"]))
def test_any_mixture_of_nulls_odd_numbers_and_texts_comes_back(
    opener: Opener, slots: list[dict[str, object]], others: str
) -> None:
    store = opener(f"slots-{next(EXAMPLE)}")
    nothing = {name: None for name in ENERGY.schema if others == "null" and name not in ENERGY.key}
    batch = rows(ENERGY, *({**nothing, **slot, "start": NOON + n * QUARTER} for n, slot in enumerate(slots)))
    assert [store.write("energy", batch), store.write("energy", batch)] == [batch.height, 0]
    assert repr(store.read("energy").rows()) == repr(batch.rows())


def test_any_other_column_makes_another_row_where_the_table_names_none(store: Store) -> None:
    assert store.write("energy", rows(ENERGY, {"factor_version": "1"})) == 1
    assert store.write("energy", rows(ENERGY, {"factor_version": "2"})) == 1
    assert store.write("energy", rows(ENERGY, {"factor_version": "2"})) == 0
    assert store.read("energy")["factor_version"].to_list() == ["2"]


@pytest.mark.parametrize("table", [QUARANTINE, BREACH_EVENTS], ids=lambda table: table.name)
def test_a_key_without_time_is_known_again_on_another_day(store: Store, table: Table) -> None:
    assert store.write(table.name, rows(table, {table.time: NOON})) == 1
    assert store.write(table.name, rows(table, {table.time: NOON + timedelta(days=40)})) == 0
    assert store.read(table.name)[table.time].to_list() == [NOON]


def test_a_row_may_move_to_another_day(store: Store) -> None:
    store.write("notices", rows(NOTICES, {"at": NOON, "status": "sending"}))
    assert store.write("notices", rows(NOTICES, {"at": NOON + timedelta(days=1), "status": "sent"})) == 1
    assert store.read("notices")["status"].to_list() == ["sent"]
    assert store.read("notices", Period(NOON, NOON + QUARTER)).is_empty()
    assert store.write("notices", rows(NOTICES, {"at": NOON + timedelta(days=1), "status": "sent"})) == 0


# ----- what is read


def test_a_period_is_half_open_to_the_microsecond(store: Store) -> None:
    tick = timedelta(microseconds=1)
    store.write("readings", rows(READINGS, *(reading(1.0, time=NOON + n * tick) for n in (-1, 0, 1, 2))))
    assert store.read("readings", Period(NOON, NOON + 2 * tick))["time"].to_list() == [NOON, NOON + tick]


def test_a_period_may_be_given_in_any_zone(store: Store) -> None:
    store.write("readings", rows(READINGS, reading(1.0)))
    start = datetime.fromisoformat("2026-11-20T20:00:00+08:00")  # noon in UTC
    assert store.read("readings", Period(start, start + QUARTER)).height == 1
    assert store.read("readings", Period(start - QUARTER, start)).is_empty()


def test_a_period_may_be_about_another_time(store: Store) -> None:
    late = reading(2.0, facility="late", received=NOON + timedelta(days=3))
    store.write("readings", rows(READINGS, reading(1.0), late))
    found = store.read("readings", Period(NOON + QUARTER, NOON + timedelta(days=4)), on="received")
    assert found["facility"].to_list() == ["late"]


def test_a_replaced_row_never_shows_through_a_filter(store: Store) -> None:
    store.write("indicators", rows(INDICATORS, {"status": "ok"}, {"facility": "g", "status": "ok"}))
    store.write("indicators", rows(INDICATORS, {"status": "not_assessable"}))
    assert store.read("indicators", status=["ok"])["facility"].to_list() == ["g"]
    assert store.read("indicators", status=["not_assessable"])["facility"].to_list() == ["f"]
    store.write("readings", rows(READINGS, reading(1.0)))
    store.write("readings", rows(READINGS, reading(2.0, received=NOON + QUARTER)))
    assert store.read("readings", Period(NOON, NOON + QUARTER), on="received").is_empty()


def test_filters_are_joined_by_and_their_values_by_or(store: Store) -> None:
    grid = [{"facility": f, "interval": i} for f in "fgh" for i in ("15m", "1h", "1d")]
    store.write("energy", rows(ENERGY, *grid))
    found = store.read("energy", Period(NOON, NOON + QUARTER), facility=["f", "h", "none"], interval={"1h", "1d"})
    assert found.select("facility", "interval").rows() == [("f", "1d"), ("f", "1h"), ("h", "1d"), ("h", "1h")]
    assert store.read("energy", facility=["fg"]).is_empty()
    assert store.read("energy", facility=[]).is_empty()
    assert store.read("energy", Period(NOON + QUARTER, NOON + 2 * QUARTER), facility=["f"]).is_empty()


def test_the_days_of_a_table_are_those_of_its_rows_in_utc(store: Store) -> None:
    assert store.days("readings") == store.days("quarantine") == []
    midnight, tick = datetime(2026, 11, 20, tzinfo=UTC), timedelta(microseconds=1)
    times = [datetime(1970, 1, 1, tzinfo=UTC), midnight - tick, midnight, midnight + timedelta(days=400)]
    store.write("readings", rows(READINGS, *(reading(None, time=time) for time in times)))
    # a bound that is known to the millisecond may add the day after
    assert {time.date() for time in times} <= set(store.days("readings"))
    assert len(store.days("readings")) == 4
    store.write("energy", rows(ENERGY, {"interval": "1d"}, {"interval": "1d", "start": NOON + timedelta(days=2)}))
    assert {NOON.date(), (NOON + timedelta(days=2)).date()} <= set(store.days("energy"))


# ----- refusals


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda rows: rows.drop("unit"), "column `unit` is missing"),
        (lambda rows: rows.with_columns(colour=pl.lit("red")), "column `colour` is not known"),
        (lambda rows: rows.with_columns(pl.lit("1").alias("value")), "column `value` is String, wanted Float64"),
        (lambda rows: rows.with_columns(pl.col("time").dt.replace_time_zone(None)), "column `time` is Datetime"),
        (lambda rows: rows.with_columns(pl.lit(None, pl.String).alias("meter")), "`meter` is null in 1 of them"),
        (lambda rows: rows.with_columns(pl.lit(None, TIME).alias("time")), "`time` is null in 1 of them"),
        (lambda rows: rows.with_columns(pl.lit(2**62).cast(TIME).alias("received")), "`received` lies outside"),
        (lambda rows: rows.clear().drop("unit"), "column `unit` is missing"),
    ],
)
def test_rows_that_do_not_fit_are_refused(
    store: Store, change: Callable[[pl.DataFrame], pl.DataFrame], sentence: str
) -> None:
    store.write("readings", rows(READINGS, reading(1.0)))
    with pytest.raises(StoreError, match=sentence) as refusal:
        store.write("readings", change(rows(READINGS, reading(2.0))))
    assert not refusal.value.retryable
    assert store.read("readings")["value"].to_list() == [1.0]


def test_the_time_a_row_is_filed_under_is_needed_although_it_is_not_part_of_the_key(store: Store) -> None:
    with pytest.raises(StoreError, match="`received` is null in 1 of them"):
        store.write("quarantine", rows(QUARANTINE, {"received": None}))


@pytest.mark.parametrize("table", ["", "reading", "../readings", "readings\x00"])
def test_an_unknown_table_is_refused(store: Store, table: str) -> None:
    with pytest.raises(StoreError, match="is not known; wanted one of readings, activity"):
        store.write(table, rows(READINGS, reading(1.0)))
    with pytest.raises(StoreError, match="is not known; wanted one of readings, activity"):
        store.read(table)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"colour": ["red"]}, "no text column `colour`"),
        ({"value": ["1"]}, "no text column `value`"),
        ({"facility": "f"}, "wanted a collection of texts"),
        ({"facility": [1]}, "wanted a collection of texts"),
        ({"on": "end"}, "no time column `end`"),
        ({"on": "value"}, "no time column `value`"),
    ],
)
def test_a_read_that_makes_no_sense_is_refused(store: Store, arguments: dict[str, str], sentence: str) -> None:
    for stored in (0, 1):
        with pytest.raises(StoreError, match=sentence):
            store.read("readings", **arguments)
        assert store.write("readings", rows(READINGS, reading(1.0))) == 1 - stored


@pytest.mark.parametrize("url", ["", "lake", "lake:", "data", "./data", "LAKE:data", "sqlite:data", "lake//data"])
def test_a_url_that_names_no_store_is_a_problem_of_the_settings(url: str) -> None:
    with pytest.raises(ConfigurationError, match="setting store: found "):
        connect(url)


def test_a_store_that_cannot_be_opened_says_where_and_why(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnavailable, match=r"lake .*/file/data: Not a directory"):
        connect(f"lake:{tmp_path}/file/data")
    with pytest.raises(StoreUnavailable, match=r"lake .*/file: File exists"):
        connect(f"lake:{tmp_path}/file")


# ----- several at once, and maintenance


def test_what_one_stored_the_other_reads(opener: Opener) -> None:
    one, other = opener("data"), opener("data")
    assert other.read("readings").is_empty()
    one.write("readings", rows(READINGS, reading(1.0)))
    assert other.write("readings", rows(READINGS, reading(1.0))) == 0
    assert other.write("readings", rows(READINGS, reading(2.0))) == 1
    assert one.read("readings")["value"].to_list() == [2.0]
    one.maintain(NOON)
    assert other.write("readings", rows(READINGS, reading(2.0))) == 0
    assert other.write("readings", rows(READINGS, reading(3.0))) == 1
    assert one.read("readings")["value"].to_list() == [3.0]


def test_a_closed_store_has_kept_its_rows(opener: Opener) -> None:
    store = opener("data")
    store.write("readings", rows(READINGS, reading(1.0)))
    store.close()
    assert opener("data").read("readings").height == 1


def test_maintaining_a_store_with_nothing_to_do_says_so(store: Store) -> None:
    assert store.maintain(NOON) == {}
    store.write("readings", rows(READINGS, reading(1.0)))
    assert store.maintain(NOON) == {}


DAYS = st.sampled_from(
    [NOON - timedelta(days=1), NOON, NOON + timedelta(hours=11, minutes=59), NOON + timedelta(days=2)]
)
VALUES = st.sampled_from([None, float("nan"), 0.0, 1.0, 2.0])
ONE_READING = st.fixed_dictionaries(
    {"facility": st.sampled_from("fg"), "time": DAYS, "value": VALUES, "received": DAYS}
)
ONE_NOTICE = st.fixed_dictionaries(
    {"recipient": st.sampled_from("ab"), "at": DAYS, "status": st.sampled_from(["sent", "failed"])}
)
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("write"), st.just(READINGS), st.lists(ONE_READING, min_size=1, max_size=6), st.integers(0, 1)
        ),
        st.tuples(st.just("write"), st.just(NOTICES), st.lists(ONE_NOTICE, min_size=1, max_size=4), st.integers(0, 1)),
        st.tuples(st.just("maintain"), st.none(), st.none(), st.integers(0, 1)),
    ),
    max_size=8,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_a_store_is_a_dictionary_by_key_whoever_writes_and_whenever_it_is_maintained(
    steps: list[tuple[str, Table, list[dict[str, object]], int]], opener: Opener, kind: str
) -> None:
    name = f"example-{next(EXAMPLE)}"
    stores = [opener(name), opener(name)]
    expected: dict[Table, dict[tuple[object, ...], dict[str, object]]] = {READINGS: {}, NOTICES: {}}
    for action, table, changes, who in steps:
        if action == "maintain":
            stores[who].maintain(NOON)
            stores[0] = opener(name)  # a restart
            continue
        batch = rows(table, *changes)
        # on a server, what a write returns is exact where each meter has one writer: decision 10
        writer = stores[who if kind in LAKES or table is not READINGS else 0]
        assert writer.write(table.name, batch) == remembered(table, expected[table], batch)
    for table, column in ((READINGS, "received"), (NOTICES, "at")):
        wanted = pl.DataFrame(list(expected[table].values()), schema=table.schema, orient="row").sort(table.key)
        assert_frame_equal(stores[0].read(table.name), wanted)
        at = Period(NOON, NOON + timedelta(days=1))
        inside = wanted.filter(pl.col(column).is_between(at.start, at.end, closed="left"))
        assert_frame_equal(stores[1].read(table.name, at, on=column), inside)
    sent = stores[0].read("notices", status=["sent"])
    assert_frame_equal(sent, stores[1].read("notices").filter(pl.col("status") == "sent"))


def remembered(table: Table, known: dict[tuple[object, ...], dict[str, object]], batch: pl.DataFrame) -> int:
    """Do to a dictionary what a store does with a batch; return how many keys are new or changed."""
    last: dict[tuple[object, ...], dict[str, Any]] = {}
    for row in batch.iter_rows(named=True):
        key = tuple(row[name] for name in table.key)
        last.setdefault(key, {"others": []})["others"].append(repr(row.get("value")))
        last[key] = row | {"others": last[key]["others"]}
    for key, row in last.items():
        others = set(row.pop("others")) | ({repr(known[key].get("value"))} if key in known else set())
        if table is READINGS and others != {repr(row["value"])}:
            row["flags"] |= REPLACED
    changed = {
        key: row
        for key, row in last.items()
        if key not in known or any(repr(row[name]) != repr(known[key][name]) for name in table.identity)
    }
    known.update(changed)
    return len(changed)
