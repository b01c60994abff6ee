"""
What the Grafana files are tried on: what a lake holds of two facilities after the demo, thirteen months.

Beside it a run of each job, a refusal, a jump, and days on which main and sub-meters differ.
"""

from datetime import timedelta

import polars as pl

from ingest.model import Period
from ingest.schema import BALANCE, COLLECTORS, INDICATORS, QUARANTINE, RUNS, TABLES, TRAFFIC, UNATTRIBUTED
from ingest.store.base import Store
from ingest.store.lake.adapter import Lake
from pipelines import demo
from pipelines.jobs.table import JOBS

FACILITIES = ("ceramics-sample", "dc-sample")


def fill(store: Store, lake: Lake) -> None:
    """
    Fill a store with two facilities of the demo, and what the demo has nothing of.

    Of readings and quarter-hours, which the dashboards do not look far back at, only the last two days.
    """
    for name, table in TABLES.items():
        days = Period(demo.NOW - timedelta(days=2), demo.NOW) if name == "readings" else None
        rows = lake.read(name, days, **({"facility": FACILITIES} if "facility" in table.schema else {}))
        store.write(name, rows.filter(pl.col("interval") != "15m") if name == "energy" else rows)
    store.write(RUNS.name, _runs())
    store.write(QUARANTINE.name, _refusal())
    store.write(UNATTRIBUTED.name, _jump())
    store.write(BALANCE.name, _beyond())
    store.write(INDICATORS.name, _peak(lake))
    counted = {"items": 10, "stored": 7, "duplicate": 1, "quarantined": 1, "pending": 1, "overflow": 0}
    process = {"collector": "c", "started": demo.NOW, "at": demo.NOW} | counted
    store.write(COLLECTORS.name, pl.DataFrame([process], schema=COLLECTORS.schema))
    traffic = [
        {"collector": "c", "at": demo.NOW - timedelta(minutes=n), "items": 90 - n, "stored": 90 - n} for n in (5, 10)
    ]
    store.write(TRAFFIC.name, pl.DataFrame(traffic, schema=TRAFFIC.schema))


def _runs() -> pl.DataFrame:
    at = demo.NOW - timedelta(minutes=5)
    run = {"since": at, "until": at, "rows": 1, "seconds": 0.5, "outcome": "done", "error": ""}
    return pl.DataFrame([{"job": job, "at": at, **run} for job in JOBS], schema=RUNS.schema)


def _refusal() -> pl.DataFrame:
    refusal = {"id": "ab12", "facility": "dc-sample", "topic": "peakwatch/v1/dc-sample/g/readings", "entries": 3}
    said = {"item": -1, "reason": "not_json", "sentence": "", "received": demo.NOW - timedelta(minutes=30)}
    return pl.DataFrame([refusal | said | {"payload": b"{", "bytes": 1}], schema=QUARANTINE.schema)


def _jump() -> pl.DataFrame:
    start = demo.NOW - timedelta(days=2)
    jump = {
        "facility": "dc-sample",
        "meter": "E-main",
        "kind": "jump",
        "start": start,
        "end": start + timedelta(days=1),
    }
    counted = {"quantity": 5000.0, "attributed": 0.0, "unit": "kWh", "steps": 1, "at": start, "sentence": "a jump"}
    return pl.DataFrame([jump | counted], schema=UNATTRIBUTED.schema)


def _peak(lake: Lake) -> pl.DataFrame:
    """A peak of one day: the meters of these facilities are read every hour, so they have none."""
    rows = lake.read(INDICATORS.name, facility=["dc-sample"], indicator=["peak_demand"], interval=["1d"])
    told = {"numerator": 1500.0, "denominator": 0.25, "value": 6000.0, "coverage": 1.0, "status": "ok", "reason": ""}
    return rows.tail(1).with_columns(**{name: pl.lit(value) for name, value in told.items()})


def _beyond() -> pl.DataFrame:
    """Seven days of a main meter below its sub-meters, six of another, and seven of one above them."""
    main = {"facility": "dc-sample", "interval": "1d", "unit": "kWh", "coverage": 1.0, "status": "beyond_tolerance"}
    counted = {"quantity": 900.0, "tolerance": 9.0, "reason": "", "meters": "m / s"}
    yesterday = demo.NOW.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
    cases = (("below-7", 7, -100.0), ("below-6", 6, -100.0), ("above-7", 7, 100.0))
    days = [(meter, by, yesterday - timedelta(days=n)) for meter, count, by in cases for n in range(count)]
    rows = [
        main
        | counted
        | {"meter": meter, "start": at, "end": at + timedelta(days=1), "difference": by, "subs": 900 - by}
        for meter, by, at in days
    ]
    return pl.DataFrame(rows, schema=BALANCE.schema)
