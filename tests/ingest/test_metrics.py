"""What a collector counts, scraped over HTTP as Prometheus would, and kept in the store."""

import socket
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from ingest.collect.collector import Tally
from ingest.collect.gateways import Gateway
from ingest.collect.ledger import Ledger, collector_row, gateway_rows
from ingest.collect.metrics import Count, Watched, families, serving
from ingest.errors import ConfigurationError, StoreUnavailable
from ingest.schema import COLLECTORS, GATEWAYS, READINGS
from ingest.store.lake.adapter import Lake

NOW = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
TALLY = Tally(received=100, stored=70, duplicate=10, quarantined=15, pending=5, status=3, lost_upstream=4)
SEEN = {("dc-a", "gw-1"): Gateway("online", 4, 9), ("dc-a", 'g"\n'): Gateway("offline"), ("dc-a", "x"): Gateway("", 1)}
COUNT = Count(TALLY, SEEN, overflow=7)


def scraped(port: int) -> dict[tuple[str, ...], float]:
    """Name and label values of each sample to its value."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        text = answer.read().decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {(sample.name, *sample.labels.values()): sample.value for sample in samples}


def served(count: Count, *, shared: bool = False) -> dict[tuple[str, ...], float]:
    newest = {"dc-a": NOW}
    with serving("0", lambda: families(count, newest, seconds=0.25, shared=shared)) as port:
        return scraped(port)


def test_everything_is_scraped_by_its_name():
    assert served(COUNT) == {
        ("peakwatch_items_received_total",): 100,
        ("peakwatch_items_total", "stored"): 70,
        ("peakwatch_items_total", "duplicate"): 10,
        ("peakwatch_items_total", "quarantined"): 15,
        ("peakwatch_items_pending",): 5,
        ("peakwatch_quarantine_overflow_total",): 7,
        ("peakwatch_last_write_seconds",): 0.25,
        ("peakwatch_newest_reading_timestamp_seconds", "dc-a"): NOW.timestamp(),
        ("peakwatch_gateway_online", "dc-a", "gw-1"): 1,
        ("peakwatch_gateway_online", "dc-a", 'g"\n'): 0,
        ("peakwatch_lost_upstream_total", "dc-a", "gw-1"): 4,
        ("peakwatch_lost_upstream_total", "dc-a", 'g"\n'): 0,
        ("peakwatch_lost_upstream_total", "dc-a", "x"): 1,
    }


def test_a_collector_of_a_group_does_not_know_what_was_lost_upstream():
    assert {name for name, *_ in served(COUNT, shared=True)} == {name for name, *_ in served(COUNT)} - {
        "peakwatch_lost_upstream_total"
    }
    assert gateway_rows(COUNT, collector="c", started=NOW, at=NOW, shared=True)["lost_upstream"].null_count() == 3


@given(st.tuples(*[st.integers(0, 2**40)] * 4))
def test_the_equation_can_be_worked_out_from_the_metrics(parts):
    tally = Tally(sum(parts), *parts)
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in families(Count(tally, {}, 0), {}, seconds=0.0, shared=False)
        for sample in family.samples
    }
    fates = sum(value for (name, *_), value in samples.items() if name == "peakwatch_items_total")
    received, pending = samples["peakwatch_items_received_total",], samples["peakwatch_items_pending",]
    assert received == fates + pending == sum(parts)


@pytest.mark.parametrize("place", ["", "x", "-1", "65536", "127.0.0.1", "a:b:1", "[::1", ":9108", "9108 "])
def test_a_place_that_is_none_is_told(place):
    with pytest.raises(ConfigurationError, match=r"--metrics: found .* wanted PORT"), serving(place, list):
        pass


def test_a_port_in_use_is_told_and_a_port_is_let_go_of():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"{port}: Address already in use"), serving(str(port), list):
            pass
    for _ in range(2):
        with serving(f"127.0.0.1:{port}", list) as got:
            assert (got, scraped(got)) == (port, {})


def test_it_listens_on_loopback_only_unless_told():
    with serving("0", list) as port, socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.2", port)) != 0
    with serving("0.0.0.0:0", list) as port, socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.2", port)) == 0


def readings(*times: datetime, facility: str = "dc-a") -> pl.DataFrame:
    rows = [(facility, "E-main", time, 1.0, "kWh", 0, "gw", NOW) for time in times]
    return pl.DataFrame(rows, schema=READINGS.schema, orient="row")


@pytest.fixture
def lake(tmp_path: Path):
    store = Lake(tmp_path / "lake")
    yield store
    store.close()


def test_the_newest_reading_of_a_facility_never_goes_back(lake):
    store = Watched(lake)
    hour = timedelta(hours=1)
    assert store.write("readings", readings(NOW, NOW - hour)) == 2
    store.write("readings", readings(NOW - 2 * hour))
    store.write("readings", readings(NOW - 3 * hour, facility="mill-b"))
    assert store.newest == {"dc-a": NOW, "mill-b": NOW - 3 * hour}
    assert store.read("readings").height == 4


# ----- the counts in the store


def test_rows_have_the_columns_of_their_tables():
    at = {"collector": "c", "started": NOW, "at": NOW}
    assert collector_row(COUNT, **at).schema == COLLECTORS.schema
    assert gateway_rows(COUNT, **at, shared=False).schema == GATEWAYS.schema
    assert gateway_rows(Count(TALLY, {}, 0), **at, shared=False).schema == GATEWAYS.schema


def test_a_process_keeps_one_row_and_the_last_count_stands_at_the_end(lake):
    counts = [Count(Tally(), {}, 0)]
    times = iter([NOW, *(NOW + timedelta(seconds=n) for n in range(1, 9))])
    ledger = Ledger(lake, "c", lambda: counts[-1], clock=lambda: next(times), shared=False)
    with ledger:
        ledger._keep()
        ledger._keep()  # nothing new: nothing is written
        counts.append(COUNT)
    (row,) = lake.read("collectors").iter_rows(named=True)
    assert row == {
        "collector": "c",
        "started": NOW,
        "at": NOW + timedelta(seconds=3),
        "items": 100,
        "stored": 70,
        "duplicate": 10,
        "quarantined": 15,
        "pending": 5,
        "overflow": 7,
    }
    assert lake.read("gateways").select("gateway", "state", "lost_upstream").rows() == [
        ('g"\n', "offline", 0),
        ("gw-1", "online", 4),
        ("x", "", 1),
    ]


def test_counts_that_cannot_be_kept_stop_nothing_and_are_tried_again(lake):
    class Away:
        read = staticmethod(lake.read)
        away = True

        def write(self, table: str, rows: pl.DataFrame) -> int:
            if self.away:
                raise StoreUnavailable("the store is away")
            return lake.write(table, rows)

    store = Away()
    with Ledger(store, "c", lambda: COUNT, clock=lambda: NOW, shared=False) as ledger:
        ledger._keep()
        store.away = False
    assert lake.read("collectors")["items"].to_list() == [100]
