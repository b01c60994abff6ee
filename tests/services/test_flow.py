"""Flow between a real mosquitto and the collector: what is in hand is bounded, acks find their message."""

import json
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion
from structlog.testing import capture_logs

from ingest.collect.mqtt import Broker
from ingest.collect.publish import publish
from ingest.errors import RowsRefused, StoreError, StoreUnavailable
from ingest.model import Publication
from ingest.store.lake.adapter import Lake

pytestmark = pytest.mark.server

READINGS = "peakwatch/v1/dc-a/gw-1/readings"
ACTIVITY = "peakwatch/v1/mill-b/gw-1/activity"
NOW = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)


def reading(minute: int, value: float = 1.0) -> dict:
    return {"meter": "E-main", "time": f"{NOW - timedelta(minutes=minute):%FT%TZ}", "value": value}


def message(*readings: dict) -> Publication:
    return Publication(READINGS, json.dumps({"readings": readings}).encode())


@pytest.fixture
def lake(tmp_path):
    store = Lake(tmp_path / "lake")
    yield store
    store.close()


class Refusing:
    """A lake that refuses a batch with a certain value in it, as a database does with a value that it cannot hold."""

    def __init__(self, lake: Lake, error: type[StoreError] = RowsRefused) -> None:
        self._lake = lake
        self._error = error

    def write(self, table: str, rows: pl.DataFrame) -> int:
        column = {"readings": "value", "activity": "quantity"}.get(table)
        if column and (rows[column] == 13.0).any():
            raise self._error("13 is refused")
        return self._lake.write(table, rows)


# ----- rows that the store refuses


def test_the_rows_that_the_store_refuses_lie_in_quarantine_and_all_others_are_stored(
    mosquitto, subscribe, collecting, lake, registry
):
    values = [float(minute) for minute in range(30)]
    values[4] = values[17] = 13.0  # beside minute 13 itself
    output = {"product": "clinker", "start": "2026-11-19T00:00:00Z", "end": "2026-11-20T00:00:00Z", "quantity": 13.0}
    with collecting(subscribe(mosquitto.broker), Refusing(lake), registry) as collector:
        halves = [message(*(reading(minute, values[minute]) for minute in part)) for part in (range(15), range(15, 30))]
        sent = [*halves, Publication(ACTIVITY, json.dumps({"activity": [output]}).encode())]
        publish(mosquitto.broker, sent, client_id="meters")
        assert collector.idle(0.3, timeout=20)
    kept = sorted(set(range(30)) - {4, 13, 17})
    assert sorted(lake.read("readings")["value"]) == [values[minute] for minute in kept]
    quarantine = lake.read("quarantine").sort("topic", "payload", "item")
    assert set(quarantine["reason"]) == {"store_refused"}
    assert set(quarantine["sentence"]) == {"the store refuses it: 13 is refused"}
    assert sorted(zip(quarantine["payload"], quarantine["item"], strict=True)) == sorted(
        [(halves[0].payload, 4), (halves[0].payload, 13), (halves[1].payload, 2), (sent[2].payload, 0)]
    )
    tally = collector.tally
    assert (tally.received, tally.stored, tally.quarantined, tally.pending) == (31, 27, 4, 0)
    with subscribe(mosquitto.broker) as again:
        assert again.take(10, 0.5) == []


def test_a_store_that_refuses_everything_fills_no_quarantine(mosquitto, subscribe, collecting, lake, registry):
    def collect() -> None:
        with collecting(subscribe(mosquitto.broker), Refusing(lake, StoreError), registry) as collector:
            publish(mosquitto.broker, [message(reading(1, 13.0))], client_id="meters")
            collector.idle(0.3, timeout=1)

    with pytest.raises(StoreError, match="13 is refused"):
        collect()
    assert lake.read("quarantine").is_empty()


# ----- bounded


class Away:
    """A store that cannot be reached until it is told so."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self.reachable = True
        self.refused = threading.Event()

    def write(self, table: str, rows: pl.DataFrame) -> int:
        if self.reachable:
            return self._lake.write(table, rows)
        self.refused.set()
        raise StoreUnavailable("the store is away", retry_after=0.05)


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_while_the_store_is_away_longer_than_the_keepalive_what_is_in_hand_stays_bounded(
    version, mosquitto, subscribe, collecting, lake, registry, wait_until
):
    store, broker = Away(lake), replace(mosquitto.broker, versions=(version,))
    subscription = subscribe(broker, in_flight=20, keepalive=1)
    with collecting(subscription, store, registry, batch=10) as collector:
        publish(mosquitto.broker, [message(reading(minute)) for minute in range(50)], client_id="meters")
        assert collector.idle(0.3, timeout=20)  # after the first acks mosquitto minds the receive maximum no more
        store.reachable = False
        publish(mosquitto.broker, [message(reading(minute)) for minute in range(50, 400)], client_id="meters")
        wait_until(store.refused.is_set)
        highest = 0
        for _ in range(25):
            threading.Event().wait(0.1)
            highest = max(highest, subscription.unacked)
        # two batches in hand, the inbox full, one more between socket and inbox
        assert highest <= 10 + 10 + 20 + 1
        store.reachable = True
        wait_until(lambda: lake.read("readings").height == 400)
        assert collector.idle(0.5, timeout=20)
    assert collector.tally.whole
    assert (collector.tally.stored, collector.tally.pending) == (400, 0)


def test_large_messages_are_bounded_by_their_bytes(mosquitto, subscribe, wait_until):
    with subscribe(mosquitto.broker) as subscription:
        publish(mosquitto.broker, [Publication(READINGS, b"x" * (1 << 20))] * 24, client_id="meters", window=4)
        wait_until(lambda: subscription.unacked == 17)  # 16 MiB in the inbox, one more message before it
        taken = 0
        while taken < 24:
            hand = subscription.take(100, 0.5)
            assert 0 < len(hand) <= 16
            subscription.ack(hand)
            taken += len(hand)


# ----- connections


def test_a_late_ack_never_hits_the_message_that_has_its_id_now(start_mosquitto, subscribe, wait_until):
    mosquitto = start_mosquitto()
    first, second = message(reading(1)), message(reading(2))
    with subscribe(mosquitto.broker) as subscription:
        publish(mosquitto.broker, [first], client_id="meters")
        old = subscription.take(1, 5.0)
        mosquitto.kill()
        wait_until(lambda: not subscription.connected)
        for database in mosquitto.folder.glob("mosquitto.db*"):
            database.unlink()
        mosquitto.start()  # it knows nothing of the session and counts its message ids anew
        wait_until(lambda: subscription.connected)
        publish(mosquitto.broker, [second], client_id="meters")
        new = subscription.take(1, 5.0)
        assert [(one.message.payload, one.mid) for one in (*old, *new)] == [(first.payload, 1), (second.payload, 1)]
        assert old[0].connection != new[0].connection
        subscription.ack(old)
    with subscribe(mosquitto.broker) as again:
        assert [one.message.payload for one in again.take(10, 2.0)] == [second.payload]


def test_a_login_that_is_refused_after_it_stood_is_tried_again(
    start_mosquitto, subscribe, collecting, lake, registry, wait_until
):
    mosquitto = start_mosquitto()
    free = mosquitto.settings.read_text()
    with capture_logs() as logs, collecting(subscribe(mosquitto.broker), lake, registry) as collector:
        mosquitto.stop()
        mosquitto.settings.write_text(free.replace("allow_anonymous true", "allow_anonymous false"))
        mosquitto.start()
        wait_until(lambda: any(log["event"] == "broker refuses, tried again" for log in logs))
        mosquitto.stop()
        mosquitto.settings.write_text(free)
        mosquitto.start()
        wait_until(lambda: any(log["event"] == "broker answers again" for log in logs))
        publish(mosquitto.broker, [message(reading(1))], client_id="meters")
        wait_until(lambda: lake.read("readings").height == 1)
        assert collector.idle(0.3, timeout=20)
    assert {log["answer"] for log in logs if "answer" in log} == {"Not authorized"}


# ----- what comes again, late, or otherwise


def test_duplicated_and_reordered_delivery_counts_once(mosquitto, subscribe, collecting, lake, registry):
    order = [3, 1, 2, 1, 3, 3, 0, 2]
    with collecting(subscribe(mosquitto.broker), lake, registry, batch=3) as collector:
        sent = [message(reading(minute, float(minute))) for minute in order]
        publish(mosquitto.broker, sent, client_id="meters")
        assert collector.idle(0.3, timeout=20)
    assert lake.read("readings")["value"].to_list() == [3.0, 2.0, 1.0, 0.0]
    assert (collector.tally.stored, collector.tally.duplicate) == (4, 4)


@pytest.mark.parametrize("batch", [1, 100])
def test_of_two_values_for_one_time_the_one_that_came_last_counts(
    batch, mosquitto, subscribe, collecting, lake, registry
):
    with collecting(subscribe(mosquitto.broker), lake, registry, batch=batch) as collector:
        sent = [message(reading(1, value)) for value in (5.0, 7.0, 6.0)]
        publish(mosquitto.broker, sent, client_id="meters")
        assert collector.idle(0.3, timeout=20)
    assert lake.read("readings")["value"].to_list() == [6.0]
    assert collector.tally.whole


def test_a_retained_reading_is_received_with_each_subscription_and_stored_once(
    mosquitto, subscribe, collecting, lake, registry
):
    retained(mosquitto.broker, message(reading(1)))
    for expected in ((1, 1, 0), (1, 0, 1)):
        with collecting(subscribe(mosquitto.broker), lake, registry) as collector:
            assert collector.idle(0.5, timeout=20)
        tally = collector.tally
        assert (tally.received, tally.stored, tally.duplicate) == expected
    assert lake.read("readings").height == 1


@pytest.mark.parametrize("group", ["", "g"])
def test_every_collector_of_a_group_learns_what_a_retained_last_will_says(group, mosquitto, subscribe, wait_until):
    retained(mosquitto.broker, Publication("peakwatch/v1/dc-a/gw-1/status", b"offline"))
    with subscribe(mosquitto.broker, group=group) as subscription:
        assert [one.message.payload for one in subscription.take(1, 5.0)] == [b"offline"]


def retained(broker: Broker, publication: Publication) -> None:
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.connect(broker.host, broker.port)
    client.loop_start()
    client.publish(publication.topic, publication.payload, qos=1, retain=True).wait_for_publish(10)
    client.disconnect()
    client.loop_stop()


def test_the_tolerance_of_clocks_is_a_setting(mosquitto, subscribe, collecting, lake, registry):
    spans = {"ahead": timedelta(minutes=2), "behind": timedelta(minutes=5)}
    with collecting(subscribe(mosquitto.broker), lake, registry, **spans) as collector:
        sent = [message(reading(minute)) for minute in (-3, -2, 0, 5, 6)]
        publish(mosquitto.broker, sent, client_id="meters")
        assert collector.idle(0.3, timeout=20)
    assert lake.read("readings").height == 3
    told = dict(lake.read("quarantine").select("reason", "sentence").iter_rows())
    receipt = "its receipt at 2026-11-20T08:00:00Z"
    assert told == {
        "future": f"time 2026-11-20T08:03:00Z lies ahead of {receipt}; wanted at most 120 s ahead",
        "past": f"time 2026-11-20T07:54:00Z lies behind {receipt}; wanted at most 300 s behind",
    }
