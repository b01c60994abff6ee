"""
InfluxDB 1.6 to 2.x as the store: docs/decisions/0010-influxdb.md says why it is as it is.

    rows -> what is stored of their keys? -> those that are new or changed -> delete what they replace -> lines

InfluxDB names a point by tags and time and merges the fields of a point that is written again. So a row whose place
changed, or that has null now where it had a value, has its old point deleted first; all others are written over.
"""

from collections import deque
from collections.abc import Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from threading import Lock

import polars as pl

from ingest.errors import RowsRefused
from ingest.model import Period
from ingest.schema import READINGS, TIME
from ingest.store.influx.answer import frame
from ingest.store.influx.http import Connection
from ingest.store.influx.layout import LAYOUTS, NS, PLACES, SHARD, SPECIAL, Layout
from ingest.store.influx.lines import holdable, joined, lines, ordered, restored
from ingest.store.influx.query import (
    between,
    columns_of,
    deletion,
    each_day,
    matching,
    points,
    predicate,
    select,
    within,
)
from ingest.store.influx.target import Target
from ingest.store.rows import FINE, accepted, chosen, matched, replacing, table_of

_LINES = 10_000  # in one request
_REQUESTS = 2  # under way at once: the server reads the lines of one while it stores those of the other
_METER, _NEWEST = ["facility", "meter"], "newest"
_NOTHING = datetime(1, 1, 1, tzinfo=UTC)


class Influx:
    """
    A store in InfluxDB.

    For readings a process remembers how far each meter's rows reach: later rows are new without a look.

    Args:
        target: the database, or pair of buckets; they are not made here.
        secret: the token, or the password of the target's user.
        ca: certificates of the authorities to trust, instead of the system's.
    """

    def __init__(self, target: Target, secret: str | None = None, ca: Path | None = None) -> None:
        self._connection = Connection(target, secret, ca)
        self._writing = Lock()
        self._reach = pl.DataFrame(schema={"facility": pl.String, "meter": pl.String, _NEWEST: TIME})

    def write(self, table: str, rows: pl.DataFrame) -> int:
        """Store rows; all of them when it returns. See `Store.write`."""
        batch = accepted(table_of(table), rows)
        if batch.is_empty():
            return 0
        layout = LAYOUTS[table]
        holdable(layout, batch)
        batch = batch.with_columns(layout.shard())
        with self._writing:
            spans = _spans(layout, batch)
            stored = self._stored(layout, batch, spans)
            fresh = _fresh(layout, batch, stored)
            placed = _placed(layout, fresh, stored)
            if not stored.is_empty():
                self._delete(layout, _replaced(layout, placed, stored))
            self._send(layout, placed)
            self._remember(spans)
        return fresh.height

    def read(
        self,
        table: str,
        period: Period | None = None,
        *,
        on: str | None = None,
        columns: Collection[str] = (),
        **match: Collection[str],
    ) -> pl.DataFrame:
        """Read rows, sorted by the table's key. See `Store.read`."""
        column = matched(table_of(table), on, match)
        names = chosen(table_of(table), columns)
        layout = LAYOUTS[table]
        if not all(match.values()):
            return pl.DataFrame(schema=layout.table.schema).select(names)
        conditions = matching(layout, match)
        if period is not None:
            conditions += within(layout, column, period)
        rows = self._points(layout, {*names, *layout.table.key, *match}, conditions)
        # what a text cannot say in InfluxQL was not asked for
        wanted = [pl.col(name).is_in(list(values)) for name, values in match.items()]
        return rows.filter(*wanted).sort(layout.table.key).select(names)

    def days(self, table: str) -> list[date]:
        """Name the days of a table, as the server counts them. See `WholeStore.days`."""
        statement, counts = each_day(LAYOUTS[table_of(table).name])
        answer = self._connection.query(statement)
        moments = frame(answer, (), counts, source=str(self._connection.target))[NS]
        return (moments // PLACES).cast(TIME).dt.date().sort().to_list()

    def maintain(self, at: datetime) -> dict[str, int]:
        """Do nothing: InfluxDB compacts its shards by itself. See `Store.maintain`."""
        del at
        return {}

    def close(self) -> None:
        """Let go of the connections."""
        self._connection.close()

    def _points(
        self, layout: Layout, names: Collection[str], conditions: Sequence[str], tail: str = ""
    ) -> pl.DataFrame:
        """Read these columns of points, and with them the tags, the key's time and `NS`."""
        fields = columns_of(layout, names)
        answer = self._connection.query(select(layout, fields, conditions, tail))
        found = frame(answer, layout.series, fields, source=str(self._connection.target))
        return restored(layout, found.select(NS, SPECIAL, *_columns(layout, found)))

    def _stored(self, layout: Layout, batch: pl.DataFrame, spans: pl.DataFrame) -> pl.DataFrame:
        """
        Read what may stand under the keys of a batch, or in the places of its rows.

        Returns:
            The table's columns, the shard where there is one, `NS` and `SPECIAL`.
        """
        table = layout.table
        names = [name for name in layout.tags if name in table.key]
        if layout.hashes is not None:
            texts = {name: batch[name].unique() for name in (*names, SHARD)}
            return self._points(layout, table.schema, matching(layout, texts))
        wanted = self._within_reach(layout, batch, spans) if table is READINGS else batch
        found = [batch.clear().with_columns(pl.lit(None, pl.Int64).alias(NS), pl.lit(None, pl.String).alias(SPECIAL))]
        for part in _parts(layout, wanted):
            texts = {name: part[name].unique() for name in names}
            near = self._points(layout, table.schema, [*matching(layout, texts), *_span(layout, part)])
            found.append(near.join(part, on=table.key, how="semi").select(found[0].columns))
        return pl.concat(found)

    def _within_reach(self, layout: Layout, batch: pl.DataFrame, spans: pl.DataFrame) -> pl.DataFrame:
        """Return the rows that are not later than the newest stored one of their meter."""
        unknown = spans.join(self._reach, on=_METER, how="anti")
        if not unknown.is_empty():
            asked = matching(layout, {name: unknown[name].unique() for name in _METER})
            last = self._points(layout, (), asked, " ORDER BY time DESC LIMIT 1")
            newest = unknown.select(_METER).join(
                last.select(*_METER, pl.col("time").alias(_NEWEST)), on=_METER, how="left"
            )
            self._reach = pl.concat([self._reach, newest.with_columns(pl.col(_NEWEST).fill_null(_NOTHING))])
        late = spans.join(self._reach, on=_METER).filter(pl.col("first") <= pl.col(_NEWEST))
        if late.is_empty():
            return batch.clear()
        reach = batch.join(late.select(*_METER, _NEWEST), on=_METER, maintain_order="left")
        return reach.filter(pl.col("time") <= pl.col(_NEWEST)).drop(_NEWEST)

    def _remember(self, spans: pl.DataFrame) -> None:
        """Note how far the rows of meters reach, once they are stored."""
        known = self._reach.join(spans, on=_METER, how="semi")
        reached = pl.concat([known, spans.select(*_METER, pl.col("last").alias(_NEWEST))])
        others = self._reach.join(spans, on=_METER, how="anti")
        self._reach = pl.concat([others, reached.group_by(_METER).agg(pl.col(_NEWEST).max())])

    def _delete(self, layout: Layout, rows: pl.DataFrame) -> None:
        gone = [(predicate(layout, tags), deletion(layout, tags, time), time) for tags, time in points(layout, rows)]
        self._connection.delete(layout.policy, gone)

    def _send(self, layout: Layout, placed: pl.DataFrame) -> None:
        """
        Send rows. While requests are under way the lines of the next are built; in which order they come to the server
        is of no matter, for no two rows have one place. An error is raised when none is under way any more.
        """
        with ThreadPoolExecutor(_REQUESTS) as senders:
            under_way: deque[Future[None]] = deque()
            for part in ordered(layout, placed).iter_slices(_LINES):
                built = lines(layout, part)
                if len(under_way) == _REQUESTS:
                    under_way.popleft().result()
                under_way.append(senders.submit(self._connection.write, layout.policy, built))
            for request in under_way:
                request.result()


def _columns(layout: Layout, found: pl.DataFrame) -> list[pl.Expr]:
    """Turn times and parts of payloads back into the table's columns, as far as they were asked for."""
    schema = layout.table.schema
    whole = [pl.col(name) for name in layout.series]
    whole.append(_moment(layout, pl.col(NS)).cast(TIME).alias(layout.table.time))
    for name in layout.fields:
        if name in found.columns:
            binary = schema[name] == pl.Binary
            whole.append(joined(name) if binary else pl.col(name).cast(schema[name]))
    return whole


def _spans(layout: Layout, batch: pl.DataFrame) -> pl.DataFrame:
    """Return the first and the last time of each meter's readings; nothing of another table."""
    if layout.table is not READINGS:
        return pl.DataFrame(schema={**dict.fromkeys(_METER, pl.String), "first": TIME, "last": TIME})
    return batch.group_by(_METER).agg(first=pl.col("time").min(), last=pl.col("time").max())


def _moment(layout: Layout, place: pl.Expr) -> pl.Expr:
    """Return the time of the row in a place. [us since 1970]"""
    return place // layout.places * layout.tick


def _parts(layout: Layout, rows: pl.DataFrame) -> list[pl.DataFrame]:
    """Part rows by what one look-up should hold: days in a row of one month, or all of an interval with few rows."""
    if rows.is_empty():
        return []
    intervals = [name for name in ("interval",) if name in layout.tags]
    day = pl.col(layout.table.time).dt.date()
    run = (day.diff() > timedelta(days=1)).fill_null(value=False).cum_sum()
    many = pl.all_horizontal(pl.lit(value=True), *(pl.col(name).is_in(FINE) for name in intervals))
    parts = rows.sort(layout.table.time).with_columns(
        pl.when(many).then(day.dt.month_start()).alias("_month"), pl.when(many).then(run).alias("_run")
    )
    return parts.partition_by(*intervals, "_month", "_run")


def _span(layout: Layout, rows: pl.DataFrame) -> list[str]:
    moments = rows[layout.table.time].dt.timestamp("us")
    return between(int(moments.min()), int(moments.max()))  # type: ignore[arg-type]


def _fresh(layout: Layout, batch: pl.DataFrame, stored: pl.DataFrame) -> pl.DataFrame:
    """Return the rows that are new or differ from the stored one of their key, and mark these."""
    table = layout.table
    if stored.is_empty():
        return batch
    fresh = batch.join(stored, on=table.identity, how="anti", nulls_equal=True, maintain_order="left")
    return replacing(table, fresh.select(table.schema.names()), stored).with_columns(layout.shard())


def _placed(layout: Layout, fresh: pl.DataFrame, stored: pl.DataFrame) -> pl.DataFrame:
    """
    Give each row its place: the one its key has already, or the next free one from where its hash points.

    Raises:
        RowsRefused: more rows fall into one microsecond of one series than there are places.
    """
    table = layout.table
    if layout.hashes is None:
        return fresh.with_columns(layout.place())
    moment = pl.col(table.time).dt.timestamp("us")
    held = stored.select(*table.key, pl.col(NS).alias("_held"))
    keeps = (_moment(layout, pl.col("_held")) == moment).fill_null(value=False)
    rows = fresh.join(held, on=table.key, how="left", maintain_order="left").with_columns(layout.place(), _keeps=keeps)
    rows = rows.with_columns(pl.when("_keeps").then("_held").otherwise(NS).alias(NS)).sort("_keeps", descending=True)
    taken = stored.join(rows.filter("_keeps"), on=table.key, how="anti").select(*layout.series, NS)
    for _ in range(layout.places):
        place = pl.struct(*layout.series, NS)
        clash = ~place.is_first_distinct() | pl.col("_taken").fill_null(value=False)
        marked = rows.join(
            taken.with_columns(_taken=True), on=taken.columns, how="left", nulls_equal=True, maintain_order="left"
        ).with_columns(clash.alias("_clash"))
        rows = marked.drop("_taken", "_clash")
        if not marked["_clash"].any():
            return rows.drop("_held", "_keeps")
        base, digit = pl.col(NS) // layout.places * layout.places, (pl.col(NS) + 1) % layout.places
        rows = rows.with_columns(pl.when(marked["_clash"]).then(base + digit).otherwise(NS).alias(NS))
    raise RowsRefused(f"table {table.name}: more than {PLACES} rows of one microsecond; the rows may come again later")


def _replaced(layout: Layout, placed: pl.DataFrame, stored: pl.DataFrame) -> pl.DataFrame:
    """Return the stored points that must go before their rows are written: moved ones, and those a null comes over."""
    key, names = list(layout.table.key), list(layout.fields)
    others = [name for name in (*layout.series, NS) if name not in key]
    known = stored.join(placed, on=key, how="inner", suffix="_new")
    moved = [pl.col(name).ne_missing(pl.col(f"{name}_new")) for name in others]
    emptied = [pl.col(name).is_not_null() & pl.col(f"{name}_new").is_null() for name in names if name not in key]
    special = pl.col(SPECIAL).is_not_null()
    odd = [
        pl.col(name).is_finite() & ~pl.col(f"{name}_new").is_finite()
        for name in names
        if layout.table.schema[name] == pl.Float64
    ]
    return known.filter(pl.any_horizontal(*moved, *emptied, *odd, special)).select(*layout.series, NS)
