"""What only the lake promises: many processes at once, merging, cleaning up, reading no more than is needed, faults."""

import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable
from polars.testing import assert_frame_equal

from ingest.errors import StoreError, StoreUnavailable
from ingest.model import Period
from ingest.schema import QUARANTINE, READINGS, TIME
from ingest.store.lake import maintenance as lake_maintenance
from ingest.store.lake import table as lake_table
from ingest.store.lake.adapter import Lake
from ingest.store.lake.query import selected
from ingest.store.lake.table import LakeTable

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def readings(
    *values: float, facility: str = "f", start: datetime = NOON, step: timedelta = timedelta(seconds=1)
) -> pl.DataFrame:
    """Readings of one meter, one a step."""
    times = pl.Series("time", [start + n * step for n in range(len(values))], TIME)
    return pl.DataFrame({"time": times, "value": list(values)}).select(
        pl.lit(facility).alias("facility"),
        pl.lit("m").alias("meter"),
        "time",
        pl.col("value").cast(pl.Float64),
        pl.lit("kWh").alias("unit"),
        pl.lit(0, pl.Int32).alias("flags"),
        pl.lit("g").alias("gateway"),
        pl.col("time").alias("received"),
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def lake(folder: Path) -> Lake:
    return Lake(folder)


def files(folder: Path) -> pl.DataFrame:
    snapshot = LakeTable(folder, READINGS).snapshot()
    assert snapshot is not None
    return snapshot.files


def on_disk(folder: Path) -> set[str]:
    return {
        path.relative_to(folder / "readings").as_posix()
        for path in folder.rglob("*.parquet")
        if path.parent.name[0] != "_"
    }


def version(folder: Path) -> int:
    return DeltaTable(folder / "readings").version()


def spoil(folder: Path, path: str) -> None:
    (folder / "readings" / path).write_bytes(b"no parquet")


# ----- many at once

WRITER = """
import sys
from datetime import timedelta
from pathlib import Path
import polars as pl
from ingest.schema import READINGS
from ingest.store.lake.adapter import Lake

lake, batches = Lake(Path(sys.argv[1])), pl.read_parquet(sys.argv[2]).partition_by("batch", include_key=False)
print("ready", flush=True)
sys.stdin.readline()
for batch in batches:
    print(lake.write("readings", batch), flush=True)
"""


@contextmanager
def writers(folder: Path, *plans: pl.DataFrame) -> Iterator[list[subprocess.Popen[str]]]:
    """Start a process for each plan (readings with a column `batch`); all begin to write at the same moment."""
    started = []
    for number, plan in enumerate(plans):
        plan.write_parquet(folder.parent / f"plan-{number}.parquet")
        command = [sys.executable, "-c", WRITER, str(folder), str(folder.parent / f"plan-{number}.parquet")]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
    try:
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in started:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


def test_processes_write_read_and_maintain_one_new_lake_and_no_reading_is_lost_or_doubled(folder: Path) -> None:
    shared = readings(*range(120)).with_columns(batch=pl.int_range(pl.len()) // 4)
    own = [readings(*range(120), facility=f"own-{n}").with_columns(batch=pl.int_range(pl.len()) // 4) for n in (1, 2)]
    plans = [pl.concat([shared, mine]).sort("batch") for mine in own]
    lake, merged = Lake(folder), 0
    with writers(folder, *plans) as processes:
        while any(process.poll() is None for process in processes):
            merged += lake.maintain(NOON).get("readings", 0)
            seen = lake.read("readings")
            assert seen.select(READINGS.key).is_unique().all()
            # a commit is seen as a whole: four readings of each facility at a time
            assert (seen.group_by("facility").len()["len"] % 4 == 0).all()
        stored = [int(count) for process in processes for count in process.communicate()[0].split()]
    assert [process.returncode for process in processes] == [0, 0]
    assert merged > 0
    wanted = pl.concat([shared, *own]).drop("batch").sort(READINGS.key)
    assert_frame_equal(Lake(folder).read("readings"), wanted)
    assert sum(stored) == wanted.height  # each was counted by one writer only


def test_what_a_killed_writer_had_acknowledged_is_stored_and_nothing_is_half_written(folder: Path) -> None:
    plan = readings(*range(2_000)).with_columns(batch=pl.int_range(pl.len()) // 10)
    with writers(folder, plan) as (process,):
        assert process.stdout is not None
        acknowledged = [process.stdout.readline() for _ in range(5)]
        process.kill()
        acknowledged += process.communicate()[0].splitlines()
    stored = Lake(folder).read("readings").height
    # one batch more may be stored whose acknowledgement was still to come
    assert stored in (10 * len(acknowledged), 10 * (len(acknowledged) + 1))
    assert stored < plan.height
    assert Lake(folder).write("readings", plan.drop("batch")) == plan.height - stored
    assert_frame_equal(Lake(folder).read("readings"), plan.drop("batch"))


def test_many_make_the_table_at_the_same_moment(folder: Path) -> None:
    start = threading.Barrier(8)

    def first_write(number: int) -> int:
        lake = Lake(folder)
        start.wait()
        return lake.write("readings", readings(1.0, facility=f"f{number % 4}"))

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(first_write, range(8))) == 4
    assert Lake(folder).read("readings")["facility"].to_list() == ["f0", "f1", "f2", "f3"]


def test_threads_share_a_lake(lake: Lake) -> None:
    with ThreadPoolExecutor(4) as pool:
        stored = pool.map(lambda n: lake.write("readings", readings(*range(10), facility=f"f{n % 5}")), range(20))
    assert sum(stored) == 50
    assert lake.read("readings").height == 50


def test_a_commit_after_another_one_is_refused_and_leaves_nothing(folder: Path, lake: Lake) -> None:
    lake.write("readings", readings(1.0))
    slow = LakeTable(folder, READINGS)
    seen = slow.snapshot()
    assert seen is not None
    lake.write("readings", readings(2.0))
    before = on_disk(folder)
    assert not slow.append(readings(3.0), seen.version)
    slow.snapshot()  # as another thread of the same process would, between the look and the commit
    assert not slow.append(readings(3.0), seen.version)
    assert on_disk(folder) == before
    assert lake.read("readings")["value"].to_list() == [2.0]


def test_a_row_that_is_known_makes_no_commit(folder: Path, lake: Lake) -> None:
    lake.write("readings", readings(1.0, 2.0))
    before = version(folder)
    assert lake.write("readings", readings(1.0, 2.0)) == 0
    assert version(folder) == before


# ----- merging


def test_merging_leaves_one_sorted_file_a_day_that_holds_the_newest_rows_only(folder: Path, lake: Lake) -> None:
    for facility in ("b", "a"):
        for value in (1.0, 2.0):
            lake.write("readings", pl.concat(readings(value, facility=facility, start=NOON + n * DAY) for n in (0, 1)))
    assert files(folder).height == 8
    before = lake.read("readings")
    assert lake.maintain(NOON) == {"readings": 8}
    merged = files(folder)
    assert merged["rows"].to_list() == [2, 2]
    assert sorted(merged["day"]) == [date(2026, 11, 20), date(2026, 11, 21)]
    raw = pl.read_parquet(folder / "readings" / merged["path"][0], hive_partitioning=False)
    assert raw.select("facility", "value", "_version").rows() == [("a", 2.0, 4), ("b", 2.0, 2)]
    assert_frame_equal(lake.read("readings"), before)
    assert lake.maintain(NOON) == {}


@pytest.mark.parametrize(
    ("sizes", "merged"),
    [
        ([10], []),
        ([10, 90_000], [10, 90_000]),
        ([50_000, 60_000, 900_000], [50_000, 60_000]),  # 900,000 > 4 x 110,000
        ([100_000, 150_000, 900_000], [100_000, 150_000, 900_000]),  # 900,000 <= 4 x 250,000
        ([10, 2_000_000], []),
        ([200_000, 200_000], [200_000, 200_000]),
        ([10, 10, 150_000], [10, 10]),
        ([10, 10, 150_000, 150_000], [10, 10, 150_000, 150_000]),  # small files do not keep large ones apart
        ([10, 2_000_000, 9_000_000], []),
    ],
)
def test_a_large_file_is_rewritten_only_for_enough_new_rows(sizes: list[int], merged: list[int]) -> None:
    day = pl.DataFrame({"day": [date(2026, 11, 20)] * len(sizes), "rows": sizes, "path": list(map(str, sizes))})
    other = pl.DataFrame({"day": [date(2026, 11, 21)], "rows": [1], "path": ["other"]})
    groups = list(lake_maintenance.mergeable(pl.concat([day, other])))
    assert [group["rows"].to_list() for group in groups] == ([merged] if merged else [])


def test_rows_that_arrive_during_a_merge_stay_newer_than_it(folder: Path, lake: Lake) -> None:
    for value in (1.0, 2.0):
        lake.write("readings", readings(value))
    table, seen = LakeTable(folder, READINGS), files(folder)
    lake.write("readings", readings(3.0))
    assert lake_maintenance.swap(table, seen, NOON)
    assert lake.read("readings")["value"].to_list() == [3.0]
    assert lake.maintain(NOON) == {"readings": 2}
    assert lake.read("readings")["value"].to_list() == [3.0]


def test_of_two_that_merge_the_same_files_one_gives_way(folder: Path, lake: Lake) -> None:
    for value in (1.0, 2.0):
        lake.write("readings", readings(value))
    seen = files(folder)
    assert lake_maintenance.swap(LakeTable(folder, READINGS), seen, NOON)
    before = on_disk(folder)
    assert not lake_maintenance.swap(LakeTable(folder, READINGS), seen, NOON)
    assert on_disk(folder) == before
    assert files(folder)["rows"].to_list() == [1]


# ----- cleaning up


def test_merged_files_stay_for_readers_whatever_time_it_is_said_to_be(folder: Path, lake: Lake) -> None:
    for value in (1.0, 2.0):
        lake.write("readings", readings(value))
    known = files(folder)
    lake.maintain(datetime(2000, 1, 1, tzinfo=UTC))
    lake.maintain(NOON)
    slow_reader = selected(READINGS, folder / "readings", known, [], columns=READINGS.schema.names())
    assert slow_reader["value"].to_list() == [2.0]


def test_merged_files_go_when_their_time_is_over(folder: Path, lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(lake_table._PROPERTIES, "delta.deletedFileRetentionDuration", "interval 0 hours")
    for value in (1.0, 2.0):
        lake.write("readings", readings(value))
    old = on_disk(folder)
    time.sleep(0.01)  # Delta counts in milliseconds
    lake.maintain(datetime(2000, 1, 1, tzinfo=UTC))
    time.sleep(0.01)
    lake.maintain(datetime(2000, 1, 1, tzinfo=UTC))
    assert on_disk(folder) == set(files(folder)["path"])
    assert not on_disk(folder) & old
    assert lake.read("readings")["value"].to_list() == [2.0]


def test_the_file_of_a_writer_that_died_is_dropped_after_an_hour(folder: Path, lake: Lake) -> None:
    lake.write("readings", readings(1.0))
    known = on_disk(folder)
    for name, age in (("dead", 7_200), ("alive", 60)):
        path = folder / "readings" / "day=2026-11-20" / f"{name}.parquet"
        path.write_bytes(b"half a file")
        os.utime(path, (path.stat().st_mtime - age,) * 2)
    lake.maintain(NOON)
    assert on_disk(folder) == known | {"day=2026-11-20/alive.parquet"}
    assert lake.read("readings")["value"].to_list() == [1.0]


def test_the_old_log_is_dropped_and_a_handle_from_before_finds_its_way(folder: Path, lake: Lake) -> None:
    slow = Lake(folder)
    lake.write("readings", readings(1.0))
    assert slow.read("readings").height == 1
    for value in (2.0, 3.0):
        lake.write("readings", readings(value))
    log = folder / "readings" / "_delta_log"
    lake.maintain(NOON)
    for entry in log.iterdir():
        os.utime(entry, (entry.stat().st_mtime - 7_200,) * 2)
    for value in (4.0, 5.0):
        lake.write("readings", readings(value))
    lake.maintain(NOON)
    assert not (log / f"{1:020}.json").exists()
    assert slow.read("readings")["value"].to_list() == [5.0]
    assert slow.write("readings", readings(5.0)) == 0
    assert slow.write("readings", readings(6.0)) == 1
    assert Lake(folder).read("readings")["value"].to_list() == [6.0]


# ----- no more is read than is needed


def test_other_days_are_not_read(folder: Path, lake: Lake) -> None:
    lake.write("readings", pl.concat(readings(1.0, 2.0, start=NOON + n * DAY) for n in range(3)))
    for file in files(folder).filter(pl.col("day") != date(2026, 11, 21)).iter_rows(named=True):
        spoil(folder, file["path"])
    assert lake.read("readings", Period(NOON + DAY, NOON + DAY + timedelta(seconds=1)))["value"].to_list() == [1.0]
    assert lake.read("readings", Period(NOON + DAY, NOON + 1.5 * DAY), on="received").height == 2
    assert lake.write("readings", readings(1.0, 5.0, start=NOON + DAY)) == 1
    with pytest.raises(StoreError, match="is damaged"):
        lake.read("readings", Period(NOON, NOON + DAY))


def test_files_of_other_facilities_and_other_hours_are_not_read(folder: Path, lake: Lake) -> None:
    lake.write("readings", readings(1.0, facility="b"))
    good = set(files(folder)["path"])
    lake.write("readings", readings(1.0, facility="c"))
    lake.write("readings", readings(1.0, facility="b", start=NOON + timedelta(hours=1)))
    for path in set(files(folder)["path"]) - good:
        spoil(folder, path)
    period = Period(NOON, NOON + timedelta(hours=1))
    assert lake.read("readings", period, facility=["a", "b"]).height == 1
    assert lake.write("readings", readings(1.0, facility="b")) == 0
    assert lake.write("readings", readings(1.0, facility="bb")) == 1
    assert lake.read("readings", facility=["d", "e"]).is_empty()


def test_rows_that_never_change_are_read_by_time_although_it_is_not_part_of_the_key(folder: Path, lake: Lake) -> None:
    refused = pl.DataFrame(
        {"id": ["a", "b", "c"], "received": [NOON, NOON + DAY, NOON]}, schema_overrides={"received": TIME}
    ).select(
        pl.col(name) if name in ("id", "received") else pl.lit(None, dtype).alias(name)
        for name, dtype in QUARANTINE.schema.items()
    )
    lake.write("quarantine", refused)
    (other,) = (folder / "quarantine" / "day=2026-11-21").iterdir()
    other.write_bytes(b"no parquet")
    assert lake.read("quarantine", Period(NOON, NOON + DAY))["id"].to_list() == ["a", "c"]


def test_one_facility_of_a_merged_day_is_read_alone(folder: Path, lake: Lake) -> None:
    for facility in "cab":
        lake.write("readings", readings(*range(80_000), facility=facility, step=timedelta(milliseconds=1)))
    assert lake.maintain(NOON) == {"readings": 3}
    (path,) = files(folder)["path"]
    with (folder / "readings" / path).open("r+b") as file:  # rows of facility a come first
        file.seek(4)
        file.write(bytes(1_000))
    assert lake.read("readings", facility=["c"]).height == 80_000
    assert lake.write("readings", readings(0.0, 7.0, facility="c", step=timedelta(milliseconds=1))) == 1
    with pytest.raises(StoreError, match="is damaged"):
        lake.read("readings", facility=["a"])


# ----- faults


@pytest.mark.parametrize("name", ["data #1 ?a=b+c&d [x] {y}*", "数据 湖", "data'\"", " ", "a" * 200])
def test_any_name_of_a_folder_will_do(tmp_path: Path, name: str) -> None:
    lake = Lake(tmp_path / name)
    assert lake.write("readings", readings(1.0, 2.0)) == 2
    assert lake.write("readings", readings(1.0, 3.0)) == 1
    assert lake.maintain(NOON) == {"readings": 2}
    assert lake.read("readings")["value"].to_list() == [1.0, 3.0]
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["a%20b", "a\\b"])
def test_a_path_that_delta_would_take_for_another_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(StoreError, match="the path holds a `%` or a backslash"):
        Lake(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_lake_behind_a_link_and_two_dots_is_the_same_lake(tmp_path: Path, lake: Lake, folder: Path) -> None:
    lake.write("readings", readings(1.0))
    (tmp_path / "link").symlink_to(folder)
    for path in (tmp_path / "link", tmp_path / "nowhere" / ".." / "data"):
        assert Lake(path).write("readings", readings(1.0)) == 0


def test_a_relative_lake_stays_where_it_was_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lake = Lake(Path("data"))
    monkeypatch.chdir("/")
    lake.write("readings", readings(1.0))
    assert on_disk(tmp_path / "data")


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """Let every write fail that makes a file larger, as a full disk does."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_disk_that_takes_no_more_is_unavailable_and_nothing_is_half_written(folder: Path, lake: Lake) -> None:
    lake.write("readings", readings(1.0))
    before, at = on_disk(folder), version(folder)
    with files_no_larger_than(500), pytest.raises(StoreUnavailable, match=f"^lake {folder}: File too large$") as fault:
        lake.write("readings", pl.concat([readings(2.0), readings(2.0, start=NOON + DAY)]))
    assert fault.value.retryable
    assert (on_disk(folder), version(folder)) == (before, at)
    assert lake.read("readings")["value"].to_list() == [1.0]
    assert lake.write("readings", readings(2.0)) == 1


def test_a_table_that_could_not_be_made_can_be_made_later(folder: Path, lake: Lake) -> None:
    with files_no_larger_than(500), pytest.raises(StoreUnavailable, match="File too large"):
        lake.write("readings", readings(1.0))
    assert lake.read("readings").is_empty()
    assert lake.write("readings", readings(1.0)) == 1


def test_a_lake_that_went_away_is_unavailable_not_empty(folder: Path, lake: Lake) -> None:
    lake.write("readings", readings(1.0))
    reopened = Lake(folder)
    folder.rename(folder.with_name("elsewhere"))
    for opened in (lake, reopened):
        with pytest.raises(StoreUnavailable, match="No such file or directory"):
            opened.read("readings")
        with pytest.raises(StoreUnavailable, match="No such file or directory"):
            opened.write("readings", readings(1.0, 2.0, start=NOON + DAY))
    assert not folder.exists()
    folder.with_name("elsewhere").rename(folder)
    assert [opened.read("readings").height for opened in (lake, reopened)] == [1, 1]


def test_a_table_below_a_file_is_unavailable(folder: Path, lake: Lake) -> None:
    (folder / "readings").touch()
    with pytest.raises(StoreUnavailable, match="Not a directory"):
        lake.write("readings", readings(1.0))


def test_a_missing_file_is_a_fault_not_a_gap(folder: Path, lake: Lake) -> None:
    lake.write("readings", pl.concat([readings(1.0), readings(2.0, start=NOON + DAY)]))
    (folder / "readings" / files(folder)["path"][0]).unlink()
    with pytest.raises(StoreUnavailable, match="No such file or directory"):
        lake.read("readings")


def test_a_spoiled_log_is_said_in_one_line(folder: Path, lake: Lake) -> None:
    lake.write("readings", readings(1.0))
    (folder / "readings" / "_delta_log" / f"{1:020}.json").write_text('{"add": {"path": "x')
    with pytest.raises(StoreError, match=r"^lake .* is damaged: [^\n\x1b]+$"):
        Lake(folder).read("readings")


def test_a_table_with_other_columns_is_refused(folder: Path, lake: Lake) -> None:
    readings(1.0).write_delta(folder / "readings")
    with pytest.raises(StoreError, match="its columns are not those of this version of PeakWatch"):
        lake.read("readings")
