"""
How the line stands: what was collected and whether it adds up, how late it is, what is offline, which job failed.

    collectors, gateways, readings, indicators, runs, quarantine -> Status: frames for the terminal and for scripts

Everything is read from the store, so it can be asked in any process, whether a collector runs or not.
"""

from collections.abc import Collection
from datetime import datetime
from typing import NamedTuple

import msgspec
import polars as pl

from ingest.collect.quarantine import refusals
from ingest.registry import Registry
from ingest.schema import COLLECTORS, GATEWAYS, RUNS
from ingest.store.base import Store
from pipelines.jobs import connected
from pipelines.jobs.table import JOBS
from pipelines.reports.export import encoded

FATES = ("stored", "duplicate", "quarantined", "pending")

_COUNTS = ("items", *FATES, "overflow")


class Status(NamedTuple):
    """
    How the line stands at one moment.

    Attributes:
        collectors: as `equation` returns them.
        total: one row, the sum of the collectors: items, stored, duplicate, quarantined, pending, overflow, closes.
        facilities: as `connected.facilities` returns them.
        gateways: as `connected.gateways` returns them.
        jobs: as `jobs` returns them.
        quarantine: facility (empty for those not registered), and refusals open, replayed, discarded.
    """

    collectors: pl.DataFrame
    total: pl.DataFrame
    facilities: pl.DataFrame
    gateways: pl.DataFrame
    jobs: pl.DataFrame
    quarantine: pl.DataFrame


def status(store: Store, registry: Registry, at: datetime) -> Status:
    """
    Read how the line stands.

    Raises:
        StoreError: the store cannot be read.
    """
    names = list(registry.facilities)
    every = equation(store.read(COLLECTORS.name))
    return Status(
        collectors=every,
        total=every.select(pl.col(_COUNTS).sum(), pl.col("closes").all()),
        facilities=connected.facilities(store, registry, at),
        gateways=connected.gateways(store.read(GATEWAYS.name)),
        jobs=jobs(store.read(RUNS.name)),
        quarantine=quarantine(refusals(store), names),
    )


def as_json(now: Status) -> bytes:
    """Write one object, an array of rows for each part."""
    return msgspec.json.encode({name: msgspec.Raw(encoded(rows, "json")) for name, rows in now._asdict().items()})


def equation(rows: pl.DataFrame) -> pl.DataFrame:
    """
    Fold what processes counted into one row a collector.

    Args:
        rows: COLLECTORS rows.

    Returns:
        collector, started, at, items, stored, duplicate, quarantined, pending, overflow of its newest process;
        closes: whether items = stored + duplicate + quarantined + pending in every process it ever had.
    """
    whole = pl.col("items") == pl.sum_horizontal(FATES)
    return (
        rows.sort("collector", "started")
        .with_columns(closes=whole.all().over("collector"))
        .unique("collector", keep="last", maintain_order=True)
    )


def jobs(rows: pl.DataFrame) -> pl.DataFrame:
    """
    Fold runs into one row a job, in the order of the jobs; those that not every scheduler has come last, by name.

    Args:
        rows: RUNS rows.

    Returns:
        job, good (when it last went well), failed (when it last failed), error (of that failure); null where it never
        did.
    """
    good = pl.col("outcome") == "done"
    folded = (
        rows.sort("at")
        .group_by("job")
        .agg(
            good=pl.col("at").filter(good).last(),
            failed=pl.col("at").filter(~good).last(),
            error=pl.col("error").filter(~good).last(),
        )
    )
    more = sorted(set(rows["job"]) - JOBS.keys())
    names = pl.DataFrame({"job": [*JOBS, *more]}, schema={"job": pl.String})
    return names.join(folded, on="job", how="left", maintain_order="left")


def quarantine(rows: pl.DataFrame, facilities: Collection[str]) -> pl.DataFrame:
    """
    Count refusals by facility and state.

    Args:
        rows: as `refusals` returns them.
        facilities: the registered ones; all others count under the empty name.

    Returns:
        facility, open, replayed, discarded.
    """
    known = pl.when(pl.col("facility").is_in(list(facilities))).then("facility").otherwise(pl.lit(""))
    states = ("open", "replayed", "discarded")
    return (
        rows.group_by(known.alias("facility"))
        .agg((pl.col("state") == state).sum().cast(pl.Int64).alias(state) for state in states)
        .sort("facility")
    )
