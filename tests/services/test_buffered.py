"""The buffered client beside paho as it comes: the same messages, the same end, nothing left in memory, acks whole."""

import socket
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from ingest.collect.buffered import BufferedClient, BufferedSocket
from ingest.collect.mqtt import Broker
from ingest.collect.publish import publish
from ingest.model import Publication

TLS = Path(__file__).parents[1] / "pipelines" / "test_only_tls"
V5, V311 = MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311


@settings(max_examples=30)
@given(count=st.integers(0, 20_000), sizes=st.lists(st.integers(1, 100_000), min_size=1, max_size=5))
def test_a_buffered_socket_gives_every_byte_in_order_and_then_the_end(count, sizes):
    data = b"".join(n.to_bytes(4, "big") for n in range(count))
    ours, theirs = socket.socketpair()
    got = []
    with ours, theirs:
        theirs.sendall(data)
        theirs.shutdown(socket.SHUT_WR)
        buffered = BufferedSocket(ours)
        for size in cycle(sizes):
            part = buffered.recv(size)
            assert len(part) <= size
            if not part:
                break
            got.append(part)
        assert buffered.recv(1) == b""
    assert b"".join(got) == data


def test_what_lies_in_memory_is_pending_and_an_empty_socket_says_so():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        buffered = BufferedSocket(ours)
        ours.settimeout(0)
        for _ in range(2):
            with pytest.raises(BlockingIOError):
                buffered.recv(1)
            theirs.sendall(b"abcdef")
            assert buffered.recv(2) == b"ab"
            assert buffered.pending() == 4
            assert buffered.recv(9) == b"cdef"
            assert buffered.pending() == 0


def frame(first: int, body: bytes) -> bytes:
    length = [len(body) & 127 | 128, len(body) >> 7] if len(body) > 127 else [len(body)]
    return bytes([first, *length]) + body


def published(flags: int, topic: bytes, mid: int, properties: bytes, payload: bytes) -> bytes:
    number = mid.to_bytes(2, "big") if flags & 0b0110 else b""
    return frame(0x30 | flags, len(topic).to_bytes(2, "big") + topic + number + properties + payload)


FLAGS = st.integers(0, 15)
NO_PROPERTIES, A_PROPERTY, CUT_SHORT = b"\0", b"\x07\x26\0\1a\0\1b", b"\x07\x26\0"
PACKETS = st.lists(
    st.builds(
        published,
        FLAGS | st.just(0b0010),
        st.sampled_from([b"a/b", "电/表".encode(), b"\xff", b""]),
        st.integers(0, 65_535),
        st.sampled_from([NO_PROPERTIES] * 3 + [b"", A_PROPERTY, CUT_SHORT]),
        st.binary(max_size=8) | st.sampled_from([b"{}" * 2000]),
    )
    | st.builds(lambda flags, body: frame(0x30 | flags, body), FLAGS, st.binary(max_size=8))
    | st.binary(max_size=4),
    max_size=6,
)
GREETING = {V5: frame(0x20, b"\0\0\0"), V311: frame(0x20, b"\0\0")}


def told(kind: type[paho.Client], protocol: MQTTProtocolVersion, data: bytes) -> tuple[list[tuple], object]:
    """What a client hands on, and how its loop ends, when the broker sends these bytes and hangs up."""
    ours, theirs = socket.socketpair()
    client = kind(CallbackAPIVersion.VERSION2, client_id="c", protocol=protocol, manual_ack=True)
    client._create_socket_connection = lambda: ours
    messages: list[tuple] = []
    client.on_message = lambda _, __, message: messages.append(content(message))
    with ours, theirs:
        client.connect("nowhere")
        theirs.sendall(GREETING[protocol] + data)
        theirs.shutdown(socket.SHUT_WR)
        try:
            while not (end := client.loop()):
                pass
        except Exception as error:  # noqa: BLE001 - some bytes make paho itself raise
            end = type(error)
    return messages, end


def content(message: paho.MQTTMessage) -> tuple:
    try:
        topic = message.topic
    except UnicodeDecodeError:
        topic = None
    return topic, bytes(message.payload), message.qos, message.retain, message.mid


@pytest.mark.parametrize("protocol", [V5, V311])
@given(packets=PACKETS)
def test_whatever_a_broker_sends_ends_as_with_paho_as_it_comes(protocol, packets):
    data = b"".join(packets)
    assert told(BufferedClient, protocol, data) == told(paho.Client, protocol, data)


def test_a_plain_message_is_taken_apart_by_hand():
    data = published(0b0011, b"a/b", 258, NO_PROPERTIES, b"{}")
    assert told(BufferedClient, V5, data) == ([("a/b", b"{}", 1, True, 258)], MQTTErrorCode.MQTT_ERR_CONN_LOST)


@contextmanager
def session(broker: Broker, protocol: MQTTProtocolVersion):
    """A client whose session outlives it, and the ids of the messages it is given."""
    v5 = protocol == V5
    client = BufferedClient(
        CallbackAPIVersion.VERSION2,
        client_id="c",
        protocol=protocol,
        clean_session=None if v5 else False,
        manual_ack=True,
    )
    if broker.tls:
        client.tls_set(str(broker.ca))
    mids: list[int] = []
    client.on_message = lambda _, __, message: mids.append(message.mid)
    options = {}
    if v5:
        options = {"clean_start": False, "properties": Properties(PacketTypes.CONNECT)}
        options["properties"].SessionExpiryInterval = 600
    client.connect(broker.host, broker.port, **options)
    client.loop_start()
    try:
        yield client, mids
    finally:
        client.disconnect()
        client.loop_stop()


@pytest.fixture(params=["plain", "TLS"])
def broker(request, start_mosquitto) -> Broker:
    if request.param == "plain":
        return start_mosquitto().broker
    pem = TLS / "server.pem"
    port = start_mosquitto(login=f"allow_anonymous true\ncertfile {pem}\nkeyfile {pem}").port
    return Broker("127.0.0.1", port, tls=True, ca=TLS / "ca.pem")


def subscribe(client: paho.Client, topic: str, wait_until) -> None:
    """Subscribe and wait for the answer: what was sent before it has then reached the broker."""
    answers = []
    client.on_subscribe = lambda *_: answers.append(True)
    client.subscribe(topic, 1)
    wait_until(lambda: answers)


@pytest.mark.server
@pytest.mark.parametrize("protocol", [V5, V311])
def test_a_backlog_comes_whole_and_only_what_is_not_acked_comes_again(broker, protocol, wait_until):
    count, acked = 3000, 2000
    with session(broker, protocol) as (client, _):
        subscribe(client, "a", wait_until)
    assert publish(broker, [Publication("a", b"%d" % n) for n in range(count)], client_id="meters") == count
    with session(broker, protocol) as (client, mids):
        wait_until(lambda: len(mids) == count)
        client.ack_all(mids[:acked])
        subscribe(client, "b", wait_until)
    with session(broker, protocol) as (client, again):
        wait_until(lambda: len(again) >= count - acked)
        assert again == mids[acked:]
        client.ack_all(again)
        client.ack_all([])
        subscribe(client, "b", wait_until)
    with session(broker, protocol) as (client, rest):
        assert publish(broker, [Publication("b", b"last")], client_id="meters") == 1
        wait_until(lambda: rest)
        assert len(rest) == 1
