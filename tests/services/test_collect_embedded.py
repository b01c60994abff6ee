"""The same line over the broker in this process (amqtt, MQTT 3.1.1), which needs no server."""

import json
import socket
import sys

import pytest

from ingest.collect.broker import EmbeddedBroker
from ingest.collect.mqtt import Broker
from ingest.collect.publish import publish
from ingest.errors import BrokerError, ConfigurationError
from ingest.model import Publication
from ingest.store.lake.adapter import Lake

READINGS = "peakwatch/v1/dc-a/gw-1/readings"


def messages(count: int):
    for number in range(count):
        entry = {"meter": "E-main", "time": 1_763_600_000_000 + number * 1000, "value": number}
        yield Publication(READINGS, json.dumps({"seq": number, "readings": [entry]}).encode())


def test_thousands_of_messages_and_a_large_one_arrive(subscribe, collecting, registry, tmp_path, wait_until):
    store = Lake(tmp_path)
    told = []
    with EmbeddedBroker() as embedded, collecting(subscribe(embedded.broker), store, registry) as collector:
        assert publish(embedded.broker, messages(3000), client_id="meters", advance=told.append) == sum(told) == 3000
        publish(embedded.broker, [Publication(READINGS, b"x" * 5_000_000)], client_id="another")
        wait_until(lambda: collector.tally.received == 3001 and not collector.tally.pending, seconds=60)
    assert store.read("readings")["value"].to_list() == list(range(3000))
    assert (collector.tally.stored, collector.tally.quarantined, collector.tally.lost_upstream) == (3000, 1, 0)
    assert collector.tally.whole


def test_a_client_that_asks_for_mqtt_5_first_falls_back(subscribe):
    with EmbeddedBroker() as embedded, subscribe(Broker("127.0.0.1", embedded.port)) as subscription:
        publish(embedded.broker, messages(1), client_id="meters")
        assert [delivery.message.topic for delivery in subscription.take(1, 5.0)] == [READINGS]


def test_a_port_in_use_is_one_sentence():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(BrokerError, match=f"cannot listen on 127.0.0.1:{port}: Address already in use"):
            EmbeddedBroker(port).__enter__()


def test_it_listens_on_loopback_only():
    with EmbeddedBroker() as embedded, socket.socket() as probe:
        elsewhere = "127.0.0.2"
        assert probe.connect_ex((elsewhere, embedded.port)) != 0


def test_without_amqtt_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "amqtt.broker", None)
    with pytest.raises(ConfigurationError, match=r"peakwatch\[broker\]"):
        EmbeddedBroker().__enter__()
