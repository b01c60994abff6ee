"""
How long does a day of 15-minute readings take from stored readings to days of energy? Beside it, the floor.

    python bench/compute.py

The readings lie in Parquet files sorted by meter, as the lake merges a day. The floor scans the same files and sums the
values of each meter; beside it stands `write`, what it takes to fill the columns of the result and nothing else. Ours
takes shares of the meters, two at once, as the job does: readings -> steps -> slots -> `levels`: kWh, kgce and kg of
CO2 of slots, hours and days -> the ledger, and `tree`: virtual meters and balances, of which this registry has none.
The time of each part is added up over the shares; `all` is by the clock. Two shapes: read on the quarter hour, and 67
seconds after it, so that every step reaches over two slots. Each line is its own process; medians of five, floor and
ours in turn, the parts are those of the median run.
"""

import resource
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from zoneinfo import ZoneInfo

# before Polars, as in the command: it says how long memory is kept
import pipelines  # noqa: F401

# isort: split
import polars as pl

from ingest.model import Period
from ingest.schema import TIME
from pipelines.accounting import balance, energy, registers, unattributed
from pipelines.accounting.slots import spread
from pipelines.factors import catalogue as factors
from pipelines.factors.catalogue import Factors
from pipelines.jobs import engine

ZONE = ZoneInfo("Asia/Shanghai")
START = datetime(2026, 2, 28, 16, tzinfo=UTC)
DAY = Period(START, START + timedelta(days=1))
METERS_OF_A_FACILITY = 20
SHARE = 10_000  # meters at a time at most, as in the job
SHARES_A_FILE = 5
READINGS_A_METER = 99
TURNS = 5


def registry(count: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return meters and exchanges as the registry gives them."""
    meters = pl.DataFrame({"row": range(count)}).select(
        facility=pl.format("plant-{}", (pl.col("row") // METERS_OF_A_FACILITY).cast(pl.String).str.zfill(5)),
        meter=pl.format("E-{}", (pl.col("row") % METERS_OF_A_FACILITY).cast(pl.String).str.zfill(2)),
        carrier=pl.lit("electricity"),
        role=pl.lit("process"),
        kind=pl.lit("register"),
        unit=pl.lit("kWh"),
        period=pl.lit(timedelta(minutes=15), pl.Duration("us")),
        stamp=pl.lit("end"),
        multiplier=pl.lit(1.0),
        modulus=pl.lit(1e8),
        rated=pl.lit(5000.0),
        parent=pl.lit(""),
        scope=pl.lit(""),
        valid_from=pl.lit(datetime(2025, 1, 1, tzinfo=UTC), TIME),
        timezone=pl.lit(ZONE.key),
        division=pl.lit("440781"),
        canonical_unit=pl.lit("kWh"),
        to_canonical=pl.lit(1.0),
    )
    exchanges = pl.DataFrame(
        schema={
            "facility": pl.String,
            "meter": pl.String,
            "at": TIME,
            "removed_value": pl.Float64,
            "installed_value": pl.Float64,
        }
    )
    # each value of its own, as in the registry
    return pl.DataFrame(meters.get_columns()), exchanges


def flat(meters: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return tree and virtual parts of meters none of which stands below another."""
    known = {"virtual": False, "class": 1.0, "class_assumed": False, "renewable": False}
    names = dict.fromkeys(("facility", "virtual", "meter"), pl.String)
    tree = meters.with_columns(pl.lit(value).alias(name) for name, value in known.items())
    return tree, pl.DataFrame(schema={**names, "times": pl.Float64})


def day_of_readings(meters: pl.DataFrame, late: timedelta) -> pl.DataFrame:
    """Readings every 15 minutes from one before the day to one after it, by meter and time."""
    times = pl.datetime_range(DAY.start - timedelta(minutes=15), DAY.end + timedelta(minutes=15), "15m", eager=True)
    return (
        meters.select("facility", "meter")
        .join(times.cast(TIME).alias("time").to_frame(), how="cross")
        .with_columns(pl.col("time") + late, value=pl.int_range(pl.len()).cast(pl.Float64), unit=pl.lit("kWh"))
    )


def size(meters: pl.DataFrame) -> int:
    """Meters of a share: where they are few, there are as many shares as are worked on at once, as in the job."""
    return min(SHARE, meters.height // engine.AT_ONCE)


def store(meters: pl.DataFrame, late: timedelta, folder: Path) -> None:
    """Write the day in files of some shares, row groups of one."""
    for rank, own in enumerate(meters.iter_slices(SHARES_A_FILE * size(meters))):
        rows = day_of_readings(own, late)
        rows.write_parquet(folder / f"{rank:03}.parquet", row_group_size=size(meters) * READINGS_A_METER)


def floor(folder: Path) -> int:
    """Scan and sum; the number of meters."""
    sums = pl.scan_parquet(folder / "*.parquet").group_by("facility", "meter").agg(pl.col("value").sum())
    return sums.collect(engine="streaming").height


def fill(heads: pl.DataFrame) -> None:
    """Fill slots, hours and days of one share of meters with what is known of each: the least that must be written."""
    for length in (96, 24, 1):
        rows = pl.int_range(heads.height * length, dtype=pl.UInt32, eager=True) // length
        times = [pl.repeat(DAY.start, rows.len(), dtype=TIME, eager=True).alias(name) for name in ("start", "end")]
        made = heads[rows].hstack(times)
        assert made.height == rows.len()


def share(file: Path, meters: pl.DataFrame, exchanges: pl.DataFrame, catalogue: Factors) -> list[float]:
    """Work on a share of the meters; seconds of: read, steps, slots, levels, ledger, tree."""
    tree, parts = flat(meters)
    laps = [perf_counter()]
    inside = pl.col("facility").is_between(pl.lit(meters["facility"][0]), pl.lit(meters["facility"][-1]))
    readings = pl.scan_parquet(file).filter(inside).collect()
    laps.append(perf_counter())
    steps = registers.steps(readings, meters, exchanges, DAY)
    del readings  # no longer held in the job either
    laps.append(perf_counter())
    slots = spread(steps, DAY)
    laps.append(perf_counter())
    rows = energy.levels(slots, meters, catalogue, ZONE)
    laps.append(perf_counter())
    odd = unattributed.ledger(steps, slots, meters, [DAY])
    laps.append(perf_counter())
    assert balance.virtual(rows["15m"], tree, parts).is_empty()
    assert balance.balances(rows["15m"], tree, DAY).is_empty()
    laps.append(perf_counter())
    # a register that gains 1 kWh in every quarter of an hour: 96 kWh a day
    assert rows["1d"].height == meters.height
    assert (rows["1d"]["kwh"] - 96).abs().max() < 1e-6
    assert odd.is_empty()
    return [end - start for start, end in pairwise(laps)]


def ours(folder: Path, meters: pl.DataFrame, exchanges: pl.DataFrame) -> list[float]:
    """Return seconds of each part, added up over the shares, and of all by the clock."""
    begun = perf_counter()
    catalogue = factors.load()
    # the lake's log says in which file a facility lies
    files = (file for file in sorted(folder.iterdir()) for _ in range(SHARES_A_FILE))
    shares = zip(files, meters.iter_slices(size(meters)), strict=False)
    parts = engine.run(lambda own: share(*own, exchanges, catalogue), shares)
    return [*map(sum, zip(*parts, strict=True)), perf_counter() - begun]


def written(meters: pl.DataFrame) -> float:
    """Return the seconds it takes to fill the result, share by share."""
    known = {"interval": "15m", "factor_version": "2026-01-01-0123456789ab"}
    known |= dict.fromkeys(("quantity", "kwh", "kgce", "kg_co2", "coverage", "estimated"), 1.0)
    heads = meters.select("facility", "meter", "carrier", "role", "scope", "unit").with_columns(
        # values, for a literal would never be written out
        pl.Series(name, [value] * meters.height)
        for name, value in known.items()
    )
    begun = perf_counter()
    engine.run(fill, heads.iter_slices(size(meters)))
    return perf_counter() - begun


def measure(count: int, late: timedelta) -> None:
    """Print one line."""
    meters, exchanges = registry(count)
    floors, fills, runs = [], [], []
    with TemporaryDirectory() as name:
        store(meters, late, Path(name))
        for _ in range(TURNS):
            begun = perf_counter()
            assert floor(Path(name)) == count
            floors.append(perf_counter() - begun)
            runs.append(ours(Path(name), meters, exchanges))
            fills.append(written(meters))
    *parts, whole = sorted(runs, key=itemgetter(-1))[TURNS // 2]
    least = median(floors)
    readings, memory = count * READINGS_A_METER, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    mark = "*" if late else " "
    figures = " ".join(f"{value:8.2f}" for value in (least, median(fills), *parts, whole))
    print(f"{count:>8}{mark} {readings:>11,} {figures} {whole / least:6.1f} {readings / whole:>11,.0f} {memory:4.1f}")


def main() -> None:
    """Print the table, or one line of it where a number and seconds are given."""
    if len(sys.argv) == 3:
        measure(int(sys.argv[1]), timedelta(seconds=int(sys.argv[2])))
        return
    titles = " ".join(
        f"{title:>8}" for title in ("floor", "write", "read", "steps", "slots", "levels", "ledger", "tree", "all")
    )
    print(f"{'meters':>8}  {'readings':>11} {titles} {'ratio':>6} {'readings/s':>11}   GB", flush=True)
    for count in (10_000, 100_000, 1_000_000):
        for late in (0, 67):
            subprocess.run([sys.executable, __file__, str(count), str(late)], check=True)
    print("* read 67 s after the quarter hour. Seconds.")


if __name__ == "__main__":
    main()
