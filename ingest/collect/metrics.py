"""
What a collector counts, as Prometheus reads it.

    tally, gateways, newest readings -> families() -> serving(): GET /metrics

Only registered facilities and the gateways that `Gateways` notes become labels: a flood of names makes no series. A
gauge of time is a moment, as is the custom: `time() - peakwatch_newest_reading_timestamp_seconds` is the lag.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from time import monotonic
from typing import NamedTuple

import polars as pl
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector as Scraped

from ingest.collect.collector import Tally
from ingest.collect.gateways import Gateway, Name
from ingest.errors import ConfigurationError, Problem
from ingest.schema import READINGS
from ingest.store.base import Store

_LOOPBACK = "127.0.0.1"
_PLACE = re.compile(r"(?:(?:\[([0-9a-fA-F:]+)\]|([^\[\]:]+)):)?(\d{1,5})")
_MOST_PORT = 65_535
_GATEWAY = ("facility", "gateway")


class Watched:
    """
    A store that remembers what was stored last.

    Attributes:
        newest: facility to the time of its newest reading, as far as this process stored any.
        seconds: how long the last write took. [s]
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.read, self.maintain, self.close = store.read, store.maintain, store.close
        self.newest: dict[str, datetime] = {}
        self.seconds = 0.0

    def write(self, table: str, rows: pl.DataFrame) -> int:
        """Store rows. See `Store.write`."""
        begun = monotonic()
        new = self._store.write(table, rows)
        self.seconds = monotonic() - begun
        if table == READINGS.name:
            for facility, time in rows.group_by("facility").agg(pl.max("time")).iter_rows():
                self.newest[facility] = max(time, self.newest.get(facility, time))
        return new


class Count(NamedTuple):
    """
    What one process of a collector has counted at one moment.

    Attributes:
        tally: the loss equation.
        gateways: facility and gateway to what it said and lost.
        overflow: refused items whose bytes were not kept.
    """

    tally: Tally
    gateways: Mapping[Name, Gateway]
    overflow: int


def families(count: Count, newest: Mapping[str, datetime], *, seconds: float, shared: bool) -> Iterator[Metric]:
    """
    Tell what was counted.

    Args:
        count: the counts of this process.
        newest: facility to the time of its newest reading.
        seconds: how long the last write took. [s]
        shared: whether a group shares the messages: then nobody sees all numbers of a gateway, and its loss is not
            known.
    """
    tally = count.tally
    yield CounterMetricFamily("peakwatch_items_received", "Items received.", value=tally.received)
    fates = CounterMetricFamily("peakwatch_items", "Items received, by what became of them.", labels=["fate"])
    for fate in ("stored", "duplicate", "quarantined"):
        fates.add_metric([fate], getattr(tally, fate))
    yield fates
    yield GaugeMetricFamily("peakwatch_items_pending", "Items received and not yet stored.", value=tally.pending)
    yield CounterMetricFamily(
        "peakwatch_quarantine_overflow", "Refused items whose bytes were not kept.", value=count.overflow
    )
    yield GaugeMetricFamily("peakwatch_last_write_seconds", "How long the store took last.", value=seconds)
    times = GaugeMetricFamily(
        "peakwatch_newest_reading_timestamp_seconds", "Time of the newest reading stored.", labels=["facility"]
    )
    for facility, time in newest.items():
        times.add_metric([facility], time.timestamp())
    yield times
    yield from _gateways(count.gateways, shared=shared)


def _gateways(gateways: Mapping[Name, Gateway], *, shared: bool) -> Iterator[Metric]:
    online = GaugeMetricFamily("peakwatch_gateway_online", "1 online, 0 offline, by its last will.", labels=_GATEWAY)
    for name, gateway in gateways.items():
        if gateway.state in {"online", "offline"}:
            online.add_metric(name, gateway.state == "online")
    yield online
    if not shared:
        lost = CounterMetricFamily(
            "peakwatch_lost_upstream", "Messages a gateway numbered and nobody received.", labels=_GATEWAY
        )
        for name, gateway in gateways.items():
            lost.add_metric(name, gateway.lost_upstream)
        yield lost


class _Scrape(Scraped):
    def __init__(self, collect: Callable[[], Iterable[Metric]]) -> None:
        self._collect = collect

    def collect(self) -> Iterable[Metric]:
        """Tell the counts of this moment."""
        return self._collect()


@contextmanager
def serving(place: str, collect: Callable[[], Iterable[Metric]]) -> Iterator[int]:
    """
    Serve metrics while the context lasts.

    Args:
        place: PORT on loopback, or HOST:PORT; port 0 takes a free one.
        collect: tells the metrics of the moment.

    Yields:
        The port.

    Raises:
        ConfigurationError: `place` is none, or cannot be listened on.
    """
    host, port = _parsed(place)
    registry = CollectorRegistry()
    registry.register(_Scrape(collect))
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        wanted = "an address of this machine and a free port"
        raise ConfigurationError([Problem("--metrics", f"{place}: {error.strerror}", wanted)]) from None
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _parsed(place: str) -> tuple[str, int]:
    found = _PLACE.fullmatch(place)
    if found is None or int(found[3]) > _MOST_PORT:
        wanted = "PORT (on loopback) or HOST:PORT, e.g. 9108 or 0.0.0.0:9108"
        raise ConfigurationError([Problem("--metrics", repr(place), wanted)])
    return found[1] or found[2] or _LOOPBACK, int(found[3])
