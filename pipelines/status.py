"""
How the line stands: what was collected and whether it adds up, how late it is, what is offline, which job failed.

    collectors, gateways, readings, indicators, runs, quarantine -> Status: frames for the terminal and for scripts

Everything is read from the store, so it can be asked in any process, whether a collector runs or not.
"""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec
import polars as pl

from ingest.collect.quarantine import refusals
from ingest.model import Period
from ingest.registry import Registry
from ingest.schema import COLLECTORS, GATEWAYS, INDICATORS, READINGS, RUNS
from ingest.screen import AHEAD
from ingest.store.base import Store
from pipelines.export import encoded
from pipelines.jobs.table import JOBS
from pipelines.periods import between

FATES = ("stored", "duplicate", "quarantined", "pending")
SILENT = timedelta(days=32)  # a facility that sent nothing for so long is shown as silent, not looked for further

_COUNTS = ("items", *FATES, "overflow")
# most facilities sent something within the hour: the long spans are read for the others only
_BACK = (timedelta(hours=1), timedelta(days=1), SILENT)


class Status(NamedTuple):
    """
    How the line stands at one moment.

    Attributes:
        collectors: as `equation` returns them.
        total: one row, the sum of the collectors: items, stored, duplicate, quarantined, pending, overflow, closes.
        facilities: facility, newest (time of its newest reading; null where it is silent), lag [s], coverage of
            yesterday [0..1] (null where nothing was computed).
        gateways: as `gateways` returns them.
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
    facilities = (
        pl.DataFrame({"facility": names}, schema={"facility": pl.String})
        .join(_newest(store, names, at), on="facility", how="left")
        .join(_coverage(store, registry, at), on="facility", how="left")
        .with_columns(lag=(pl.lit(at) - pl.col("newest")).dt.total_microseconds() / 1e6)
        .select("facility", "newest", "lag", "coverage")
    )
    return Status(
        collectors=every,
        total=every.select(pl.col(_COUNTS).sum(), pl.col("closes").all()),
        facilities=facilities,
        gateways=gateways(store.read(GATEWAYS.name)),
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


def gateways(rows: pl.DataFrame) -> pl.DataFrame:
    """
    Fold what collectors heard into one row a gateway.

    Args:
        rows: GATEWAYS rows.

    Returns:
        facility, gateway, state (the newest; empty where it has no last will), lost_upstream (of all processes; null
        where it is not known), at (when it last changed).
    """
    lost = pl.col("lost_upstream")
    return (
        rows.sort("at", "started")
        .group_by("facility", "gateway")
        .agg(
            pl.col("state").filter(pl.col("state") != "").last().fill_null(""),
            lost_upstream=pl.when(lost.is_not_null().any()).then(lost.sum()),
            at=pl.col("at").max(),
        )
        .sort("facility", "gateway")
    )


def jobs(rows: pl.DataFrame) -> pl.DataFrame:
    """
    Fold runs into one row a job, in the order of the jobs.

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
    names = pl.DataFrame({"job": list(JOBS)}, schema={"job": pl.String})
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


def _newest(store: Store, facilities: list[str], at: datetime) -> pl.DataFrame:
    """Look for the newest reading of each facility, further back only where nearer there is none."""
    found = [pl.DataFrame(schema={"facility": pl.String, "newest": READINGS.schema["time"]})]
    missing, end = facilities, at + AHEAD
    for back in _BACK:
        rows = store.read(READINGS.name, Period(at - back, end), columns=["facility", "time"], facility=missing)
        found.append(rows.group_by("facility").agg(newest=pl.max("time")))
        missing, end = sorted(set(missing) - set(found[-1]["facility"])), at - back
    return pl.concat(found)


def _coverage(store: Store, registry: Registry, at: datetime) -> pl.DataFrame:
    """Read the coverage of each facility's yesterday."""
    parts = [pl.DataFrame(schema={"facility": pl.String, "coverage": pl.Float64})]
    for zone, names in registry.by_zone().items():
        day = at.astimezone(zone).date() - timedelta(days=1)
        rows = store.read(
            INDICATORS.name, between(day, day, zone), facility=names, indicator=["coverage"], interval=["1d"]
        )
        parts.append(rows.select("facility", coverage="value"))
    return pl.concat(parts)
