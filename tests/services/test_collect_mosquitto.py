"""From a real mosquitto (MQTT 5) to a real lake: nothing acked that is not stored, nothing lost, nothing twice."""

import base64
import gc
import hashlib
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from ingest.collect.gateways import Gateway
from ingest.collect.mqtt import Broker
from ingest.collect.publish import Publisher, publish
from ingest.collect.subscription import Subscription
from ingest.errors import BrokerError, BrokerUnavailable, ConfigurationError, StoreError, StoreUnavailable
from ingest.model import Publication
from ingest.store.lake.adapter import Lake

pytestmark = pytest.mark.server

READINGS = "peakwatch/v1/dc-a/gw-1/readings"
NOW = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
TIME = "2026-11-20T15:{:02d}:00+08:00"


def reading(minute: int, value: float = 1.0, **other) -> dict:
    return {"meter": "E-main", "time": TIME.format(minute), "value": value} | other


def message(*readings: dict, topic: str = READINGS) -> Publication:
    return Publication(topic, json.dumps({"readings": readings}).encode())


def minutes(store: Lake) -> list[int]:
    return [time.minute for time in store.read("readings")["time"]]


@pytest.fixture
def lake(tmp_path):
    store = Lake(tmp_path / "lake")
    yield store
    store.close()


BAD = {
    "malformed": Publication(READINGS, b'{"readings": ['),
    "not utf-8": Publication(READINGS, b'{"readings": "\xff\xfe"}'),
    "5 MB of garbage": Publication(READINGS, b"\x00garbage" * 655_360),
    "empty": Publication(READINGS, b'{"readings": []}'),
    "unknown_facility": message(reading(1), topic="peakwatch/v1/nobody/gw-1/readings"),
    "unknown_meter": message(reading(2), reading(3, meter="E-none")),
    "foreign_meter": message(reading(4), reading(5, meter="G-1")),
    "wrong_unit": message(reading(6), reading(7, unit="m3")),
    "future": message(reading(8), reading(9, time="2036-11-20T15:00:00+08:00")),
    "not_finite": message(reading(10), reading(11, value=float("nan"))),
    "bad_time": message(reading(12), reading(13, time="2026-11-20T15:00:00")),
    "before_valid": message(reading(14), reading(15, time="2016-11-20T15:00:00+08:00")),
    "unknown_product": Publication(
        "peakwatch/v1/mill-b/gw-1/activity",
        b'{"activity": [{"product": "x", "start": 0, "end": 1, "quantity": 1}]}',
    ),
}


def test_bad_input_is_quarantined_with_its_reason_and_the_good_beside_it_stored(
    mosquitto, subscribe, collecting, lake, registry
):
    with collecting(subscribe(mosquitto.broker), lake, registry) as collector:
        assert publish(mosquitto.broker, BAD.values(), client_id="meters") == len(BAD)
        assert collector.idle(0.5, timeout=30)
    assert minutes(lake) == [2, 4, 6, 8, 10, 12, 14]
    quarantine = lake.read("quarantine")
    assert sorted(quarantine["reason"]) == sorted(
        ["malformed"] * 3 + [name for name in BAD if name not in {"malformed", "not utf-8", "5 MB of garbage"}]
    )
    assert max(quarantine["payload"].bin.size()) == 5 * 1024 * 1024
    assert dict(quarantine.filter(item=1).select("reason", "sentence").iter_rows())["wrong_unit"] == (
        "unit 'm3' cannot measure meter E-main (kWh)"
    )
    tally = collector.tally
    assert (tally.received, tally.stored, tally.quarantined, tally.pending) == (20, 7, 13, 0)
    assert tally.whole

    with subscribe(mosquitto.broker) as again:
        assert again.take(10, 1.0) == []


class Flaky:
    """A lake that cannot be reached until it is told so; `asked` counts the tries."""

    def __init__(self, lake: Lake, error: type[StoreError] = StoreUnavailable) -> None:
        self._lake = lake
        self._error = error
        self.asked = 0
        self.reachable = False

    def write(self, table: str, rows: pl.DataFrame) -> int:
        self.asked += 1
        if self.reachable:
            return self._lake.write(table, rows)
        raise self._error("the store is away", retry_after=0.05)


def test_while_the_store_is_away_nothing_is_acked_and_then_everything_is_stored_once(
    mosquitto, subscribe, collecting, lake, registry, wait_until
):
    store = Flaky(lake)
    subscription = subscribe(mosquitto.broker)
    with collecting(subscription, store, registry, batch=5) as collector:
        publish(mosquitto.broker, [message(reading(minute)) for minute in range(15)], client_id="meters")
        wait_until(lambda: store.asked >= 3 and subscription.unacked == 15)
        tally = collector.tally
        assert (tally.stored, tally.received, tally.pending) == (0, tally.pending, tally.received)
        assert tally.pending <= 10  # one batch is stored, the next is decoded
        later = NOW + timedelta(hours=3)
        subscription.clock = lambda: later
        store.reachable = True
        assert collector.idle(0.3, timeout=20)
        assert subscription.unacked == 0
    assert (collector.tally.stored, collector.tally.duplicate, collector.tally.pending) == (15, 0, 0)
    assert minutes(lake) == list(range(15))
    # a job that looked for what was received up to an hour ago finds all of it
    assert set(lake.read("readings")["received"]) == {later}


def test_stopped_while_the_store_is_away_it_acks_nothing_and_the_next_one_gets_it_all(
    mosquitto, subscribe, collecting, lake, registry, wait_until
):
    store = Flaky(lake)
    with subscribe(mosquitto.broker):
        pass  # the broker keeps messages for the collector from now on
    publish(mosquitto.broker, [message(reading(minute)) for minute in range(5)], client_id="meters")
    with collecting(subscribe(mosquitto.broker), store, registry) as collector:
        wait_until(lambda: store.asked)
    assert collector.tally.whole
    assert collector.tally.pending == 5
    with collecting(subscribe(mosquitto.broker), lake, registry) as collector:
        assert collector.idle(0.3, timeout=20)
    assert minutes(lake) == list(range(5))


def test_a_store_that_refuses_for_good_stops_the_collector_and_loses_nothing(
    mosquitto, subscribe, collecting, lake, registry, wait_until
):
    store = Flaky(lake, StoreError)

    def collect() -> None:
        with collecting(subscribe(mosquitto.broker), store, registry):
            publish(mosquitto.broker, [message(reading(1))], client_id="meters")
            wait_until(lambda: store.asked)

    with pytest.raises(StoreError, match="the store is away"):
        collect()
    with subscribe(mosquitto.broker) as again:
        assert len(again.take(10, 2.0)) == 1


KILLED = """
import sys, time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from ingest.collect.mqtt import Broker
from ingest.collect.subscription import Subscription
with Subscription(Broker.parse(sys.argv[1]), "collector", clock=lambda: datetime.now(UTC)) as subscription:
    print("ready", flush=True)
    print(len(subscription.take(5, 30.0)), flush=True)
    time.sleep(60)
"""


def test_what_a_killed_collector_had_in_hand_comes_again_and_is_stored_once(
    mosquitto, subscribe, collecting, lake, registry
):
    command = [sys.executable, "-c", KILLED, mosquitto.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout.readline() == "ready\n"
        publish(mosquitto.broker, [message(reading(minute)) for minute in range(5)], client_id="meters")
        assert killed.stdout.readline() == "5\n"
        killed.kill()
    with collecting(subscribe(mosquitto.broker), lake, registry) as collector:
        assert collector.idle(0.5, timeout=20)
    assert (collector.tally.received, collector.tally.stored) == (5, 5)
    assert minutes(lake) == list(range(5))


def test_an_ack_of_a_lost_connection_is_dropped_and_the_messages_come_again(
    mosquitto, subscribe, collecting, lake, registry, wait_until
):
    store = Flaky(lake)
    with collecting(subscribe(mosquitto.broker), store, registry) as collector:
        publish(mosquitto.broker, [message(reading(minute)) for minute in range(5)], client_id="meters")
        wait_until(lambda: store.asked and collector.tally.pending == 5)
        mosquitto.stop()
        mosquitto.start()
        store.reachable = True
        wait_until(lambda: collector.tally.received == 10)
        publish(mosquitto.broker, [message(reading(minute)) for minute in range(5, 10)], client_id="meters")
        assert collector.idle(0.5, timeout=20)
    assert (collector.tally.stored, collector.tally.duplicate) == (10, 5)
    assert collector.tally.whole
    assert minutes(lake) == list(range(10))
    with subscribe(mosquitto.broker) as again:
        assert again.take(10, 1.0) == []


def test_no_more_than_the_receive_maximum_is_in_hand(mosquitto, subscribe, wait_until):
    with subscribe(mosquitto.broker, in_flight=10) as subscription:
        publish(mosquitto.broker, [message(reading(minute)) for minute in range(60)], client_id="meters")
        taken = 0
        while taken < 60:
            wait_until(lambda: subscription.unacked >= 10)
            assert subscription.unacked <= 11  # one more stands between socket and queue
            hand = subscription.take(10, 1.0)
            subscription.ack(hand)
            taken += len(hand)
        assert taken == 60


def test_a_group_shares_the_messages(mosquitto, subscribe):
    def member(name: str) -> Subscription:
        return Subscription(mosquitto.broker, name, clock=lambda: NOW, group="collectors")

    with member("one") as one, member("two") as two:
        publish(mosquitto.broker, [message(reading(minute)) for minute in range(40)], client_id="meters")
        taken = [one.take(100, 1.0), two.take(100, 1.0)]
    assert sum(map(len, taken)) == 40
    assert all(taken)


def test_gateways_and_what_they_lost_upstream(mosquitto, subscribe, collecting, lake, registry):
    numbered = [json.dumps({"seq": seq} | reading(5)).encode() for seq in (1, 2, 5, 10**400, -7, 5, 6)]
    texts = {"gw-2": b"offline", "gw-3": b"?"}
    said = [Publication(f"peakwatch/v1/dc-a/{gateway}/status", text) for gateway, text in texts.items()]
    with collecting(subscribe(mosquitto.broker), lake, registry) as collector:
        publish(mosquitto.broker, [*(Publication(READINGS, one) for one in numbered), *said], client_id="meters")
        assert collector.idle(0.3, timeout=20)
    assert collector.gateways == {
        ("dc-a", "gw-1"): Gateway("", lost_upstream=2, seq=6),
        ("dc-a", "gw-2"): Gateway("offline"),
        ("dc-a", "gw-3"): Gateway("unknown"),
    }
    assert (collector.tally.lost_upstream, collector.tally.status, collector.tally.received) == (2, 2, 7)


def test_a_publisher_sends_again_what_a_restarted_broker_did_not_ack(mosquitto, subscribe):
    with subscribe(mosquitto.broker):
        pass
    with Publisher(mosquitto.broker, "meters") as publisher:
        publisher.send(message(reading(0)))
        publisher.drain()
        mosquitto.stop()
        for minute in range(1, 50):
            publisher.send(message(reading(minute)))
        mosquitto.start()
        publisher.drain()
        assert publisher.acked == 50
    with subscribe(mosquitto.broker) as subscription:
        payloads = {delivery.message.payload for delivery in subscription.take(200, 2.0)}
    assert len(payloads) == 50


def test_a_broker_that_stays_away_is_one_sentence(mosquitto):
    with Publisher(mosquitto.broker, "meters", timeout=0.5) as publisher:
        mosquitto.stop()
        publisher.send(message(reading(0)))
        with pytest.raises(BrokerUnavailable, match=r"sent no ack for 0.5 s: 0 of 1 messages acked"):
            publisher.drain()


def test_a_broker_that_is_not_there_is_one_sentence(mosquitto, subscribe):
    mosquitto.stop()
    with pytest.raises(BrokerUnavailable, match=rf"broker 127.0.0.1:{mosquitto.port} cannot be reached: .*refused"):
        subscribe(mosquitto.broker).__enter__()


def hashed(user: str, password: str) -> str:
    """A line of mosquitto's password file: PBKDF2 with SHA-512, 101 rounds."""
    salt = b"twelve bytes"
    key = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, 101)
    return f"{user}:$7$101${base64.b64encode(salt).decode()}${base64.b64encode(key).decode()}\n"


@pytest.fixture
def guarded(start_mosquitto, tmp_path):
    """A broker with logins: the facility dc-a may write below its own name only."""
    (tmp_path / "passwords").write_text(hashed("dc-a", "right"))
    (tmp_path / "acl").write_text("pattern write peakwatch/v1/%u/#\n")
    for file in tmp_path.iterdir():
        file.chmod(0o600)
    return start_mosquitto(
        login=f"allow_anonymous false\npassword_file {tmp_path / 'passwords'}\nacl_file {tmp_path / 'acl'}"
    )


def test_a_refused_login_names_the_client_and_never_the_password(guarded):
    broker = Broker.parse(guarded.url, user="dc-a", password="wrong-secret")
    with pytest.raises(BrokerError, match="refuses client 'meters': Not authorized") as raised:
        publish(broker, [], client_id="meters")
    assert not isinstance(raised.value, BrokerUnavailable)
    assert "wrong-secret" not in f"{raised.value} {broker!r} {broker}"


def test_a_refused_message_names_its_topic(guarded):
    broker = Broker.parse(guarded.url, user="dc-a", password="right")
    assert publish(broker, [message(reading(0))], client_id="meters") == 1
    foreign = message(reading(0), topic="peakwatch/v1/mill-b/gw-1/readings")
    with pytest.raises(BrokerError, match="a message on 'peakwatch/v1/mill-b/gw-1/readings': Not authorized"):
        publish(broker, [foreign], client_id="meters")


@pytest.mark.parametrize(
    "url",
    [
        "mqtt://",
        "http://host",
        "host:1883",
        "mqtt://host:99999",
        "mqtt://host/x",
        "mqtt://user:secret@host",
        "mqtt://[::1",
    ],
)
def test_a_url_that_names_no_broker_is_told(url):
    with pytest.raises(ConfigurationError, match=r"setting broker: found .*; wanted ") as raised:
        Broker.parse(url)
    assert "secret" not in str(raised.value)


def test_default_ports():
    assert (Broker.parse("mqtt://h").port, Broker.parse("mqtts://h").port) == (1883, 8883)
    assert Broker.parse("mqtts://h:1").tls


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # paho leaves the socket of a failed handshake open
def test_tls_with_a_trusted_and_an_untrusted_certificate(start_mosquitto):
    certificates = Path(__file__).parents[1] / "pipelines/test_only_tls"
    served = start_mosquitto(
        login=f"allow_anonymous true\ncertfile {certificates / 'server.pem'}\nkeyfile {certificates / 'server.pem'}"
    )
    url = f"mqtts://localhost:{served.port}"
    trusting = Broker.parse(url, ca=certificates / "ca.pem")
    assert publish(trusting, [message(reading(0))], client_id="meters") == 1
    with pytest.raises(BrokerError, match=rf"certificate of broker localhost:{served.port} is not trusted: ") as raised:
        publish(Broker.parse(url), [], client_id="meters")
    assert not isinstance(raised.value, BrokerUnavailable)
    del raised
    gc.collect()


def test_a_ca_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(ConfigurationError, match=r"setting broker_ca: found .*none.pem'; wanted a file that exists"):
        Broker.parse("mqtts://host", ca=tmp_path / "none.pem")
