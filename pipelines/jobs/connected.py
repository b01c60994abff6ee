"""
Who is connected: the newest reading of each facility, its coverage of yesterday, its gateways.

    readings, indicators, gateways -> frames by facility
"""

from datetime import UTC, datetime, timedelta

import polars as pl

from ingest.model import Period
from ingest.registry import Registry
from ingest.schema import INDICATORS, READINGS
from ingest.screen import AHEAD
from ingest.store.base import Store
from pipelines.periods import between

SILENT = timedelta(days=32)  # a facility that sent nothing for so long is shown as silent, not looked for further

# most facilities sent something within the hour: the long spans are read for the others only
_BACK = (timedelta(hours=1), timedelta(days=1), SILENT)


def facilities(store: Store, registry: Registry, at: datetime) -> pl.DataFrame:
    """
    Look at every facility of the registry.

    Returns:
        facility, newest (time of its newest reading; null where it is silent), lag [s], coverage of yesterday [0..1]
        (null where nothing was computed).
    """
    names = list(registry.facilities)
    return (
        pl.DataFrame({"facility": names}, schema={"facility": pl.String})
        .join(_newest(store, names, at), on="facility", how="left")
        .join(_coverage(store, registry, at), on="facility", how="left")
        .with_columns(lag=(pl.lit(at.astimezone(UTC)) - pl.col("newest")).dt.total_microseconds() / 1e6)
        .select("facility", "newest", "lag", "coverage")
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
