"""
How a table lies in InfluxDB: a measurement of the table's name, few columns as tags, the others as fields.

InfluxDB names a point by measurement, tags and time [ns]. A table whose key is tags and time has one place for a row,
the microsecond itself. The key of the others is made of hashes, which must not be tags: there the first two digits of
the hash are the tag `shard`, 256 at most, and the place inside of the microsecond comes from the hash too.
"""

from dataclasses import dataclass
from functools import cached_property

import polars as pl

from ingest.schema import (
    ACTIVITY,
    BALANCE,
    BREACH_EVENTS,
    BREACHES,
    COLLECTORS,
    CONNECTIONS,
    CORRECTIONS,
    ENERGY,
    ENTRIES,
    FACILITIES,
    FREEZES,
    GATEWAYS,
    INDICATORS,
    NOTICES,
    QUARANTINE,
    QUARANTINE_STATES,
    READINGS,
    RUNS,
    TRAFFIC,
    UNATTRIBUTED,
    VERDICTS,
    Table,
)

SHARD = "shard"
# names the columns of a row that InfluxDB cannot hold as they are: `,value=nan,limit=inf,`; null where there is none
SPECIAL = "special"
# time of a point [ns], and its first and last microsecond: 1677-09-21 and 2262-04-11
NS = "_ns"
FIRST, LAST = -(2**63) // 1000 + 1, (2**63 - 1) // 1000 - 1
PLACES = 1000  # in one microsecond
TEXT = 65_535  # most bytes of a text that InfluxDB promises to hold
PARTS, PART = 24, 45_000  # a payload lies in so many fields of so many bytes each, before base64


@dataclass(frozen=True)
class Layout:
    """
    Where a table lies.

    Attributes:
        table: the table.
        tags: columns that are tags.
        policy: its retention policy; in InfluxDB 2 the second half of the bucket's name.
        hashes: of a table whose key is no tag, the column the shard comes from and the one the place comes from.
        places: how many points of one series one moment has room for; the moment is so many nanoseconds long.
    """

    table: Table
    tags: tuple[str, ...]
    policy: str = "autogen"
    hashes: tuple[str, str] | None = None
    places: int = PLACES

    @property
    def tick(self) -> int:
        """Between two moments that the table's time can tell apart. [us]"""
        return self.places // PLACES

    @property
    def series(self) -> tuple[str, ...]:
        """Every tag of a point."""
        return (*self.tags, SHARD) if self.hashes else self.tags

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """Columns that are fields."""
        return tuple(name for name in self.table.schema if name not in self.tags and name != self.table.time)

    @cached_property
    def anchor(self) -> str:
        """The field a point is found by: null in no row of ours; `SPECIAL` stands in where it is."""
        return next(name for name in self.fields if self.table.schema[name] != pl.Float64)

    def shard(self) -> list[pl.Expr]:
        """The tag that parts a table with hashes in its key; nothing for another."""
        return [pl.col(self.hashes[0]).str.extract("^([0-9a-f]{2})").fill_null("").alias(SHARD)] if self.hashes else []

    def place(self) -> pl.Expr:
        """The first time to try for a row. [ns]"""
        moment = pl.col(self.table.time).dt.timestamp("us") * PLACES
        if self.hashes is None:
            return moment.alias(NS)
        if self.tick > 1:
            # a row that is stored keeps its place, so it is of no matter that another version hashes otherwise
            return (moment + (pl.struct(self.table.key).hash() % self.places).cast(pl.Int64)).alias(NS)
        digits = pl.col(self.hashes[1]).str.slice(2, 3).str.to_integer(base=16, strict=False)
        return (moment + digits.fill_null(0).abs() % PLACES).alias(NS)


_BREACH_TAGS = ("facility", "rule", "indicator", "interval")
# there is one point a breach: what an alert has to say of it must be tags, the only labels InfluxQL gives
_CASE_TAGS = (
    *("breach_id", "facility", "name_zh", "division", "kind", "rule", "title_zh", "severity", "indicator", "scope"),
    *("interval", "unit", "document", "clause"),
)

LAYOUTS: dict[str, Layout] = {
    layout.table.name: layout
    for layout in (
        Layout(READINGS, ("facility", "meter"), policy="raw"),
        Layout(ACTIVITY, ("facility", "product")),
        Layout(QUARANTINE, (), hashes=("id", "id")),
        Layout(QUARANTINE_STATES, (), hashes=("id", "id")),
        Layout(COLLECTORS, ("collector",)),
        Layout(TRAFFIC, ("collector",)),
        Layout(GATEWAYS, ("collector", "facility", "gateway")),
        Layout(ENERGY, ("facility", "meter", "carrier", "interval")),
        Layout(UNATTRIBUTED, ("facility", "meter", "kind")),
        Layout(BALANCE, ("facility", "meter", "interval")),
        Layout(INDICATORS, ("facility", "indicator", "scope", "interval")),
        Layout(BREACH_EVENTS, _BREACH_TAGS, hashes=("breach_id", "event_id")),
        Layout(NOTICES, ("channel",), hashes=("event_id", "event_id")),
        # several entries of one reading: the places of the others are probed
        Layout(ENTRIES, ("facility", "meter"), hashes=("facility", "facility")),
        Layout(FREEZES, ("facility",)),
        # every figure of a month may be corrected, and all of them have its start for their time, a whole second
        Layout(CORRECTIONS, ("facility", "of"), hashes=("facility", "facility"), places=1_000_000_000),
        Layout(RUNS, ("job",)),
        Layout(VERDICTS, ("facility", "rule", "indicator", "scope", "interval")),
        Layout(FACILITIES, ("facility", "division", "kind"), hashes=("facility", "facility")),
        Layout(CONNECTIONS, ("facility", "name_zh", "division", "kind")),
        Layout(BREACHES, _CASE_TAGS, hashes=("breach_id", "breach_id")),
    )
}
