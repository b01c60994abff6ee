"""What every store promises: one suite over the `Store` protocol, run against each adapter."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from ingest.errors import ConfigurationError, StoreError, StoreUnavailable
from ingest.model import Period
from ingest.schema import (
    BREACH_EVENTS,
    ENERGY,
    INDICATORS,
    NOTICES,
    QUARANTINE,
    READINGS,
    TABLES,
    TIME,
    Table,
)
from ingest.store.base import Store
from ingest.store.connect import connect

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
QUARTER = timedelta(minutes=15)
Opener = Callable[[str], Store]


@pytest.fixture(params=["lake"])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    """Open the store of a name as often as one likes; the first time it is empty."""
    opened: list[Store] = []

    def open_store(name: str) -> Store:
        opened.append(connect(f"{request.param}:{tmp_path / name}"))
        return opened[-1]

    yield open_store
    for store in opened:
        store.close()


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
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(2026, 11, 20, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    ],
)
def test_any_moment_is_found_again_and_known_again(store: Store, time: datetime) -> None:
    row = rows(READINGS, reading(1.0, time=time))
    assert store.write("readings", row) == 1
    assert store.write("readings", row) == 0
    assert_frame_equal(store.read("readings", facility=["f"]), row)


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
EXAMPLE = count()
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
    steps: list[tuple[str, Table, list[dict[str, object]], int]], opener: Opener
) -> None:
    name = f"example-{next(EXAMPLE)}"
    stores = [opener(name), opener(name)]
    expected: dict[Table, dict[tuple[object, ...], dict[str, object]]] = {READINGS: {}, NOTICES: {}}
    for action, table, changes, who in steps:
        if action == "maintain":
            stores[who].maintain(NOON)
            continue
        batch = rows(table, *changes)
        assert stores[who].write(table.name, batch) == remembered(table, expected[table], batch)
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
    last = {tuple(row[name] for name in table.key): row for row in batch.iter_rows(named=True)}
    changed = {
        key: row
        for key, row in last.items()
        if key not in known or any(repr(row[name]) != repr(known[key][name]) for name in table.identity)
    }
    known.update(changed)
    return len(changed)
