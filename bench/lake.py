"""
How fast is the lake, and how far from a bare append to a Delta table? `.venv/bin/python bench/lake.py`

Each line is a median in milliseconds beside the floor of the same run: a bare `write_deltalake` for commits, a bare
scan of the same files for reads. 20 meters a facility, one reading every 15 minutes. Takes about four minutes.
"""

import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

import polars as pl
from deltalake import DeltaTable, write_deltalake

from ingest.model import Period
from ingest.schema import READINGS, TIME
from ingest.store.lake.adapter import Lake

MIDNIGHT = datetime(2026, 11, 20, tzinfo=UTC)
QUARTER = timedelta(minutes=15)


def readings(at: datetime, *, facilities: int, meters: int = 20, value: float = 0.0) -> pl.DataFrame:
    """One reading of each meter at one time."""
    sites = pl.DataFrame({"facility": [f"facility-{n:04}" for n in range(facilities)]})
    return sites.join(pl.DataFrame({"meter": [f"E-{n:02}" for n in range(meters)]}), how="cross").select(
        "facility",
        "meter",
        pl.lit(at, TIME).alias("time"),
        (pl.int_range(pl.len()) * 1.37 + at.timestamp() % 86_400 / 60 + value).alias("value"),
        pl.lit("kWh").alias("unit"),
        pl.lit(0, pl.Int32).alias("flags"),
        pl.format("gateway-{}", pl.col("facility").str.slice(9)).alias("gateway"),
        pl.lit(at + timedelta(seconds=2), TIME).alias("received"),
    )


def milliseconds(work: Callable[[], object]) -> float:
    """Time one call."""
    start = perf_counter()
    work()
    return (perf_counter() - start) * 1000


def line(question: str, took: float, floor: float | None = None) -> None:
    """Print one row of the table."""
    beside = "" if floor is None else f"{floor:10.1f}{took / floor:8.1f}"
    print(f"{question:62}{took:10.1f}{beside}")


def bare(folder: Path) -> Callable[[pl.DataFrame], float]:
    """Make a Delta table without keys and return what times an append to it."""
    DeltaTable.create(folder, pl.Schema({**READINGS.schema, "day": pl.Date()}), partition_by=["day"])
    table = DeltaTable(folder)

    def append(rows: pl.DataFrame) -> float:
        dated = rows.with_columns(pl.col("time").dt.date().alias("day"))
        return milliseconds(lambda: write_deltalake(table, dated, mode="append"))

    return append


def commits(folder: Path) -> None:
    """Commits of 50,000 readings: new ones, the same again, late ones, corrections."""
    lake, append = Lake(folder / "commits"), bare(folder / "bare")
    batches = [readings(MIDNIGHT + n * QUARTER, facilities=2_500) for n in range(21)]
    floors = [append(batch) for batch in batches]
    took = [milliseconds(lambda b=batch: lake.write("readings", b)) for batch in batches]
    line("commit 50,000 readings: first of a day", took[0], floors[0])
    line("commit 50,000 readings: the next 20", median(took[1:]), median(floors[1:]))
    late = [
        pl.concat([b.head(25_000), b.tail(25_000).with_columns(pl.col("time").dt.offset_by("1m"))]) for b in batches
    ]
    wrong = [batch.with_columns(pl.col("value") + 1) for batch in batches[:5]]
    for state in ("20 files", "merged"):
        again = [milliseconds(lambda b=batch: lake.write("readings", b)) for batch in batches[:10]]
        line(f"commit 50,000 readings: all known ({state})", median(again), median(floors))
        fresh = [milliseconds(lambda b=batch: lake.write("readings", b)) for batch in late[:5]]
        line(f"commit 50,000 readings: half known, half late ({state})", median(fresh), median(floors))
        changed = [milliseconds(lambda b=batch: lake.write("readings", b)) for batch in wrong]
        line(f"commit 50,000 readings: corrections ({state})", median(changed), median(floors))
        late, wrong = late[5:], batches[:5]
        if state == "20 files":
            lake.maintain(MIDNIGHT)


def reads(folder: Path) -> None:
    """Reads of three days of 1,000 facilities: 5.8 million readings, 288 commits."""
    lake = Lake(folder / "reads")
    stamps = [MIDNIGHT + n * QUARTER for n in range(3 * 96)]
    for stamp in stamps:
        lake.write("readings", readings(stamp, facilities=1_000))
    today = Period(MIDNIGHT + timedelta(days=1), MIDNIGHT + timedelta(days=2))
    half = Period(today.start, today.start + timedelta(hours=12, minutes=30))
    for state in ("96 files a day", "merged"):
        scan = pl.scan_parquet(paths(lake, "day=2026-11-21"))
        within = scan.filter(pl.col("time").is_between(half.start, half.end, closed="left"))
        floor = median(milliseconds(lambda s=within: total(s.collect())) for _ in range(3))
        whole = median(milliseconds(lambda: total(lake.read("readings", half))) for _ in range(3))
        line(f"read 1,000,000 readings and sum by meter ({state})", whole, floor)
        one = median(milliseconds(lambda: lake.read("readings", today, facility=["facility-0500"])) for _ in range(9))
        one_floor = median(milliseconds(lambda s=scan: s.select("value").collect()) for _ in range(9))
        line(f"read one facility's day of 1,000 facilities ({state})", one, one_floor)
        recent = Period(today.start, today.start + QUARTER)
        line(
            f"read what was received in a quarter of an hour ({state})",
            median(milliseconds(lambda p=recent: lake.read("readings", p, on="received")) for _ in range(5)),
        )
        if state == "96 files a day":
            line("maintain: merge 288 files, 5.8 million readings", milliseconds(lambda: lake.maintain(MIDNIGHT)))
    size = sum(path.stat().st_size for path in paths(lake, ""))
    print(f"{'bytes a reading, merged':62}{size / (len(stamps) * 20_000):10.2f}")


def paths(lake: Lake, day: str) -> list[Path]:
    """List the data files a table names now."""
    named = DeltaTable(lake.folder / "readings").file_uris()
    return [Path(uri.removeprefix("file://")) for uri in named if day in uri]


def total(rows: pl.DataFrame) -> pl.DataFrame:
    """Sum by meter."""
    return rows.group_by("facility", "meter").agg(pl.col("value").sum())


def small_commits(folder: Path) -> None:
    """1,500 commits of 50 readings, one a second: each of one moment, then each spread over the last hour."""
    append = bare(folder / "bare small")
    floors = [append(_report(n, spread=timedelta(0))) for n in range(1500)]
    for name, spread in (("of now", timedelta(0)), ("of the last hour", timedelta(hours=1))):
        lake = Lake(folder / name)
        took = [_commit(lake, n, spread) for n in range(1500)]
        for first, last in ((0, 100), (1400, 1500)):
            label = f"commit 50 readings {name}: {first + 1:,} to {last:,}"
            line(label, median(took[first:last]), median(floors[first:last]))
        line("maintain: merge 1,500 files", milliseconds(lambda to=lake: to.maintain(MIDNIGHT)))
        line(f"commit 50 readings {name}: after that", median(_commit(lake, 1500 + n, spread) for n in range(50)))


def _commit(lake: Lake, second: int, spread: timedelta) -> float:
    batch = _report(second, spread=spread)
    return milliseconds(lambda: lake.write("readings", batch))


def _report(second: int, *, spread: timedelta) -> pl.DataFrame:
    """50 readings that arrive in one second, half of them as old as `spread`."""
    rows = readings(MIDNIGHT + timedelta(seconds=second), facilities=5, meters=10)
    old = pl.int_range(pl.len()) % 2 == 0
    return rows.with_columns(pl.col("time") - pl.when(old).then(pl.lit(spread)).otherwise(pl.lit(timedelta(0))))


def main() -> None:
    """Run all in a folder that is dropped afterwards."""
    print(f"{'':62}{'ms':>10}{'floor':>10}{'ratio':>8}")
    with TemporaryDirectory(dir=sys.argv[1] if sys.argv[1:] else None) as folder:
        for part in (commits, reads, small_commits):
            part(Path(folder))


if __name__ == "__main__":
    main()
