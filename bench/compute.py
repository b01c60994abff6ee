"""
How long does a day of 15-minute readings take from readings to days of energy? Beside it, the floor: scan and sum.

    python bench/compute.py

Two shapes for each number of meters: readings on the quarter hour, and readings 67 seconds after it, so that every step
reaches over two slots. The floor sums the value of each meter's readings and does nothing else. Best of three.
"""

import resource
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from time import perf_counter
from zoneinfo import ZoneInfo

import polars as pl

from ingest.model import Period
from ingest.schema import TIME
from pipelines import energy, factors, registers

ZONE = ZoneInfo("Asia/Shanghai")
START = datetime(2026, 2, 28, 16, tzinfo=UTC)
DAY = Period(START, START + timedelta(days=1))
METERS_OF_A_FACILITY = 20


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


def day_of_readings(meters: pl.DataFrame, late: timedelta) -> pl.DataFrame:
    """Readings every 15 minutes from one before the day to one after it, by meter and time."""
    times = pl.datetime_range(DAY.start - timedelta(minutes=15), DAY.end + timedelta(minutes=15), "15m", eager=True)
    return (
        meters.select("facility", "meter")
        .join(times.cast(TIME).alias("time").to_frame(), how="cross")
        .with_columns(pl.col("time") + late, value=pl.int_range(pl.len()).cast(pl.Float64), unit=pl.lit("kWh"))
    )


def best(work: Callable[[], pl.DataFrame]) -> tuple[float, pl.DataFrame]:
    """Seconds of the fastest of three runs, and the result of the last."""
    seconds = []
    for _ in range(3):
        begun = perf_counter()
        result = work()
        seconds.append(perf_counter() - begun)
    return min(seconds), result


def measure(count: int, late: timedelta) -> list[float]:
    """Return seconds of: scan and sum, steps, slots, valued, hours and days."""
    meters, exchanges, facts = registry(count)
    readings, catalogue = day_of_readings(meters, late), factors.load()
    floor, _ = best(lambda: readings.group_by("facility", "meter").agg(pl.col("value").sum()))
    first, steps = best(lambda: registers.steps(readings, meters, exchanges))
    second, slots = best(lambda: energy.slots(steps, DAY))
    third, quarters = best(lambda: energy.to_energy(slots, meters, facts, catalogue))
    fourth, days = best(lambda: energy.roll_up(energy.roll_up(quarters, "1h", ZONE), "1d", ZONE))
    # a register that gains 1 kWh in every quarter of an hour: 96 kWh a day
    assert days.height == count
    assert (days["kwh"] - 96).abs().max() < 1e-6
    return [floor, first, second, third, fourth]


def main() -> None:
    """Print the table."""
    titles = " ".join(f"{title:>8}" for title in ("floor", "steps", "slots", "valued", "1h, 1d", "all"))
    print(f"{'meters':>8} {'readings':>11} {titles} {'readings/s':>12}")
    for count in (10_000, 100_000):
        for late in (timedelta(0), timedelta(seconds=67)):
            floor, *parts = measure(count, late)
            name = f"{count}{'*' if late else ' '}"
            figures = " ".join(f"{seconds:8.2f}" for seconds in (floor, *parts, sum(parts)))
            print(f"{name:>8} {count * 98:>11,} {figures} {count * 98 / sum(parts):>12,.0f}")
    print("* read 67 s after the quarter hour. Seconds, best of three.")
    print(f"largest resident memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.1f} GB")


if __name__ == "__main__":
    main()
