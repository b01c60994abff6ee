"""
How long does a day of 15-minute readings take from stored readings to days of energy? Beside it, the floor.

    python bench/compute.py

The readings lie in Parquet files sorted by meter, as the lake merges a day. The floor scans the same files and sums the
values of each meter; beside it stands `write`, what it takes to fill the columns of the result and nothing else. Ours
takes a share of the meters at a time, as the job does: readings -> steps -> slots -> kWh, kgce and kg of CO2 -> hours
-> days, the ledger, and `tree`: virtual meters and balances, of which this registry has none. Two shapes: read on the
quarter hour, and 67 seconds after it, so that every step reaches over two slots. Each line is its own process; best of
three, one run for a million meters.
"""

import resource
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from zoneinfo import ZoneInfo

import polars as pl

from ingest.model import Period
from ingest.schema import TIME
from pipelines.accounting import balance, energy, registers, unattributed
from pipelines.factors import catalogue as factors

ZONE = ZoneInfo("Asia/Shanghai")
START = datetime(2026, 2, 28, 16, tzinfo=UTC)
DAY = Period(START, START + timedelta(days=1))
METERS_OF_A_FACILITY = 20
SHARE = 10_000  # meters at a time, as in the job
READINGS_A_METER = 99


def registry(count: int) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Return meters, exchanges and facts as the registry gives them."""
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
        rated_kw=pl.lit(5000.0),
        parent=pl.lit(""),
        scope=pl.lit(""),
        valid_from=pl.lit(datetime(2025, 1, 1, tzinfo=UTC), TIME),
        timezone=pl.lit(ZONE.key),
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
    return meters, exchanges, meters.select("facility", division=pl.lit("440781")).unique()


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


def store(meters: pl.DataFrame, late: timedelta, folder: Path) -> None:
    """Write the day in files of ten shares, row groups of one."""
    for first in range(0, meters.height, 10 * SHARE):
        rows = day_of_readings(meters[first : first + 10 * SHARE], late)
        rows.write_parquet(folder / f"{first:08}.parquet", row_group_size=SHARE * READINGS_A_METER)


def floor(folder: Path) -> int:
    """Scan and sum; the number of meters."""
    sums = pl.scan_parquet(folder / "*.parquet").group_by("facility", "meter").agg(pl.col("value").sum())
    return sums.collect(engine="streaming").height


def fill(days: pl.DataFrame) -> None:
    """Fill slots, hours and days of one share of meters with what is known of each: the least that must be written."""
    heads = days.drop("start", "end")
    for length in (96, 24, 1):
        rows = pl.int_range(days.height * length, dtype=pl.UInt32, eager=True) // length
        made = heads[rows].with_columns(start=pl.lit(DAY.start, TIME), end=pl.lit(DAY.end, TIME)).rechunk()
        assert made.height == rows.len()


def shares(folder: Path, meters: pl.DataFrame) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    """Meters, and their readings, a share at a time."""
    files = pl.scan_parquet(folder / "*.parquet")
    for first in range(0, meters.height, SHARE):
        own = meters[first : first + SHARE]
        inside = pl.col("facility").is_between(pl.lit(own["facility"][0]), pl.lit(own["facility"][-1]))
        yield own, files.filter(inside).collect()


def ours(folder: Path, meters: pl.DataFrame, exchanges: pl.DataFrame, facts: pl.DataFrame) -> list[float]:
    """Return seconds of: read, steps, slots, valued, hours and days, ledger, tree, and of filling the result."""
    seconds, catalogue = [0.0] * 8, factors.load()
    tree, parts = flat(meters)
    begun = perf_counter()

    def lap(part: int) -> None:
        nonlocal begun
        seconds[part] += perf_counter() - begun
        begun = perf_counter()

    for own, readings in shares(folder, meters):
        lap(0)
        steps = registers.steps(readings, own, exchanges)
        lap(1)
        slots = energy.slots(steps, DAY)
        lap(2)
        quarters = energy.to_energy(slots, own, facts, catalogue)
        lap(3)
        days = energy.roll_up(energy.roll_up(quarters, "1h", ZONE), "1d", ZONE)
        lap(4)
        odd = unattributed.ledger(steps, slots, own, [DAY])
        lap(5)
        assert balance.virtual(quarters, tree, parts).is_empty()
        assert balance.balances(quarters, tree, DAY).is_empty()
        lap(6)
        fill(days)
        lap(7)
        # a register that gains 1 kWh in every quarter of an hour: 96 kWh a day
        assert days.height == own.height
        assert (days["kwh"] - 96).abs().max() < 1e-6
        assert odd.is_empty()
        begun = perf_counter()
    return seconds


def measure(count: int, late: timedelta) -> None:
    """Print one line."""
    meters, exchanges, facts = registry(count)
    floors, runs = [], []
    with TemporaryDirectory() as name:
        store(meters, late, Path(name))
        for _ in range(1 if count >= 1_000_000 else 3):
            begun = perf_counter()
            assert floor(Path(name)) == count
            floors.append(perf_counter() - begun)
            runs.append(ours(Path(name), meters, exchanges, facts))
    *parts, written = min(runs, key=lambda run: sum(run[:-1]))
    least = min(floors)
    readings, memory = count * READINGS_A_METER, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    mark, whole = "*" if late else " ", sum(parts)
    figures = " ".join(f"{value:8.2f}" for value in (least, written, *parts, whole))
    print(f"{count:>8}{mark} {readings:>11,} {figures} {whole / least:6.1f} {readings / whole:>11,.0f} {memory:4.1f}")


def main() -> None:
    """Print the table, or one line of it where a number and seconds are given."""
    if len(sys.argv) == 3:
        measure(int(sys.argv[1]), timedelta(seconds=int(sys.argv[2])))
        return
    titles = " ".join(
        f"{title:>8}"
        for title in ("floor", "write", "read", "steps", "slots", "valued", "1h, 1d", "ledger", "tree", "all")
    )
    print(f"{'meters':>8}  {'readings':>11} {titles} {'ratio':>6} {'readings/s':>11}   GB", flush=True)
    for count in (10_000, 100_000, 1_000_000):
        for late in (0, 67):
            subprocess.run([sys.executable, __file__, str(count), str(late)], check=True)
    print("* read 67 s after the quarter hour. Seconds.")


if __name__ == "__main__":
    main()
