"""
Times as payloads write them, RFC 3339 text or integer epoch milliseconds, to UTC: one column at a time.

Devices of other formats write local times without an offset; `zoned` gives them that of their zone.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

import polars as pl

from ingest.schema import TIME

# chrono's %+ takes more than RFC 3339 does: offsets without a colon, leading signs and spaces
_RFC3339 = r"^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$"
_LOCAL = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,6})?", re.ASCII)
# the years 1 to 9999: all that RFC 3339 and Python can write
_FIRST_MS, _LAST_MS = -62_135_596_800_000, 253_402_300_799_999


def parse(values: Sequence[object]) -> pl.Series:
    """
    Parse times; fractions of a second are kept to the microsecond.

    Returns:
        UTC times in the order of `values`; null where a value is neither RFC 3339 with an offset nor an integer number
        of epoch milliseconds, or lies outside the years 1 to 9999.
    """
    # the exact type: in Python, a bool is an int
    texts = [value if type(value) is str else None for value in values]
    numbers = [value if type(value) is int and _FIRST_MS <= value <= _LAST_MS else None for value in values]
    frame = pl.DataFrame({"text": texts, "number": numbers}, schema={"text": pl.String, "number": pl.Int64})
    # the meters of a gateway are read at the same times: each text is parsed once
    text = pl.when(pl.col("text").str.contains(_RFC3339)).then(pl.col("text"))
    read = text.str.to_datetime("%+", time_unit="us", time_zone="UTC", strict=False)
    distinct = frame.select(pl.col("text").drop_nulls().unique()).with_columns(read=read)
    time = pl.coalesce("read", (pl.col("number") * 1000).cast(TIME))
    within = time.dt.epoch("ms").is_between(_FIRST_MS, _LAST_MS)
    told = frame.join(distinct, on="text", how="left", maintain_order="left")
    return told.select(time=pl.when(within).then(time))["time"]


def zoned(value: object, zone: ZoneInfo) -> object:
    """
    Give a local time the offset of its zone.

    Returns:
        RFC 3339 text; the value as it is where it is no local time, and where the clocks of the zone skip it or show
        it twice: nothing says which of the two is meant.
    """
    if not isinstance(value, str) or _LOCAL.fullmatch(value) is None:
        return value
    try:
        local = datetime.fromisoformat(value).replace(tzinfo=zone)
        offsets = {local.utcoffset(), local.replace(fold=1).utcoffset()}
    except (ValueError, OverflowError):
        return value
    return local.isoformat(timespec="microseconds") if len(offsets) == 1 else value
