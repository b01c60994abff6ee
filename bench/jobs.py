"""
How long does a further quarter of an hour take, once the day is computed? And one late reading of one facility?

    python bench/jobs.py [METERS]

Registers of 20 meters a facility, read every 15 minutes for two days into the lake, and computed; then one more reading
of each meter, and a turn of `compute`; then one late reading of one facility, in the day before, and another turn.
Best of three.
"""

import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

# before Polars, as in the command: it says how long memory is kept
import pipelines  # noqa: F401

# isort: split
import polars as pl

from ingest.model import Period
from ingest.registry import Facility, Registry
from ingest.schema import READINGS, TIME
from ingest.store.lake.adapter import Lake
from pipelines.factors import catalogue as factors
from pipelines.jobs import compute
from pipelines.jobs.context import Context
from pipelines.notify.mail import connect
from rules import catalogue

QUARTER = timedelta(minutes=15)
START = datetime(2026, 10, 19, 16, tzinfo=UTC)
NOON = START + timedelta(days=1, hours=12)
METERS_OF_A_FACILITY = 20


def registry(count: int) -> Registry:
    """Facilities of register meters, all invented."""
    meter = {"carrier": "electricity", "role": "process", "kind": "register", "unit": "kWh", "period": "15m"}
    meters = [
        meter | {"id": f"E-{n:02}", "rated_kw": 5000.0, "valid_from": START.date()} for n in range(METERS_OF_A_FACILITY)
    ]
    plain = {"kind": "industrial", "division": "440781", "industry": "3071", "key_energy_user": True, "meter": meters}
    names = [f"plant-{n:05}" for n in range(count // METERS_OF_A_FACILITY)]
    title = {"zh": "示例", "en": "Sample"}
    return Registry({name: Facility.model_validate(plain | {"id": name, "name": title}) for name in names})


def readings(known: Registry, times: list[datetime], received: datetime, more: float = 0.0) -> pl.DataFrame:
    """One reading of each meter at each time: a register that gains 1 kWh in a quarter of an hour."""
    moments = pl.DataFrame({"time": times}, schema={"time": TIME})
    return (
        known.meters.select("facility", "meter")
        .join(moments, how="cross")
        .with_columns(
            value=(pl.col("time") - pl.lit(START, TIME)) / QUARTER + more,
            unit=pl.lit("kWh"),
            flags=pl.lit(0, pl.Int32),
            gateway=pl.lit("g"),
            received=pl.lit(received, TIME),
        )
        .select(READINGS.schema.names())
    )


def turn(context: Context, rows: pl.DataFrame, received: datetime) -> tuple[float, int]:
    """Store rows and let compute look at them; seconds and rows of the turn."""
    context.store.write(READINGS.name, rows)
    begun = perf_counter()
    done = compute.due(
        context, Period(received - QUARTER, received + timedelta(seconds=1)), received + timedelta(seconds=1)
    )
    return perf_counter() - begun, done.rows


def main() -> None:
    """Print the table."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    known = registry(count)
    with TemporaryDirectory() as name:
        post = connect(f"file:{name}")
        context = Context(Lake(Path(name) / "data"), known, factors.load(), catalogue.load(), post, "bench@example.org")
        past = [START + n * QUARTER for n in range(int((NOON - START) / QUARTER) + 1)]
        context.store.write(READINGS.name, readings(known, past, NOON - timedelta(hours=3)))
        compute.over(context, Period(START, NOON), NOON)
        context.store.maintain(NOON)
        fresh, late = [], []
        for n in range(1, 4):
            at = NOON + n * QUARTER
            fresh.append(turn(context, readings(known, [at], at), at))
        one = replace(context.registry, facilities=dict(list(known.facilities.items())[:1]))
        for n in range(3):
            # two hours later, so that the quarters of all are not looked at again
            at = NOON + timedelta(hours=2 + 2 * n)
            rows = readings(one, [START + timedelta(hours=6)], at, more=0.1 * (n + 1))
            late.append(turn(context, rows, at))
    print(f"{count:,} meters                          seconds       rows")
    print(f"a further quarter of an hour of all   {min(fresh)[0]:10.2f} {min(fresh)[1]:10,}")
    print(f"a correction of one facility          {min(late)[0]:10.2f} {min(late)[1]:10,}")


if __name__ == "__main__":
    main()
