"""The shipped mosquitto configuration on a real mosquitto: TLS only, no stranger, each facility below its own name."""

import getpass
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

ROOT = Path(__file__).parents[2]
TLS = ROOT / "tests" / "pipelines" / "test_only_tls"
USERS = ("collector", "dc-sample", "copper-sample")

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def port(mosquitto_program: tuple[str, dict[str, str]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    program, environment = mosquitto_program
    passwords = Path(program).parents[1] / "bin" / "mosquitto_passwd"
    if not passwords.exists():
        pytest.skip(f"no {passwords}")
    folder = tmp_path_factory.mktemp("broker")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    (folder / "passwords").touch(0o600)
    for user in USERS:
        subprocess.run([passwords, "-b", folder / "passwords", user, f"secret-{user}"], env=environment, check=True)
    text = (ROOT / "deploy" / "mosquitto" / "mosquitto.conf").read_text("utf-8")
    for shipped, here in {
        "listener 8883": f"listener {free} 127.0.0.1",
        "/run/secrets/mosquitto_certificate": str(TLS / "server.pem"),
        "/run/secrets/mosquitto_key": str(TLS / "server.pem"),
        "/run/secrets/mosquitto_passwords": str(folder / "passwords"),
        "/mosquitto/config/acl": str(ROOT / "deploy" / "mosquitto" / "acl"),
        "/mosquitto/data/": f"{folder}/",
    }.items():
        assert shipped in text
        text = text.replace(shipped, here)
    (folder / "mosquitto.conf").write_text(f"user {getpass.getuser()}\n{text}", "utf-8")
    with (folder / "log").open("wb") as log:
        broker = subprocess.Popen([program, "-c", folder / "mosquitto.conf"], env=environment, stdout=log, stderr=log)
    try:
        while not answers(free):
            assert broker.poll() is None, (folder / "log").read_text()
            time.sleep(0.02)
        yield free
    finally:
        broker.terminate()
        broker.wait(10)


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Client:
    """One MQTT 5 client that waits for every answer."""

    def __init__(self, port: int, user: str, password: str) -> None:
        self.received: list[str] = []
        self._answer: list[object] = []
        self._answered = threading.Event()
        self.paho = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5, reconnect_on_failure=False)
        self.paho.tls_set(str(TLS / "ca.pem"))
        if user:
            self.paho.username_pw_set(user, password)
        self.paho.on_connect = lambda *a: self._take(a[3])
        self.paho.on_publish = lambda *a: self._take(a[3])
        self.paho.on_subscribe = lambda *a: self._take(a[3][0])
        self.paho.on_message = lambda *a: self.received.append(a[2].topic)
        self.paho.connect("127.0.0.1", port)
        self.paho.loop_start()
        self.greeting = self._wait()

    def publish(self, topic: str) -> str:
        self.paho.publish(topic, b"{}", qos=1)
        return self._wait()

    def subscribe(self, topic: str) -> str:
        self.paho.subscribe(topic, 1)
        return self._wait()

    def close(self) -> None:
        self.paho.disconnect()
        self.paho.loop_stop()

    def _take(self, reason: object) -> None:
        self._answer.append(reason)
        self._answered.set()

    def _wait(self) -> str:
        assert self._answered.wait(10), "no answer"
        self._answered.clear()
        return str(self._answer.pop())


@pytest.fixture
def client(port: int):
    opened: list[Client] = []

    def open_client(user: str = "", password: str | None = None) -> Client:
        opened.append(Client(port, user, f"secret-{user}" if password is None else password))
        return opened[-1]

    yield open_client
    for one in opened:
        one.close()


@pytest.mark.parametrize(("user", "password"), [("", ""), ("dc-sample", "wrong"), ("unknown", "secret-unknown")])
def test_no_stranger(client, user: str, password: str) -> None:
    assert client(user, password).greeting == "Not authorized"


def test_nothing_without_tls(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
        # CONNECT of MQTT 3.1.1, clean session, client "x": a listener without TLS would answer with CONNACK (0x20)
        plain.sendall(b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01x")
        try:
            answer = plain.recv(4)
        except ConnectionResetError:
            answer = b""
    assert not answer.startswith(b"\x20")


def test_a_facility_writes_below_its_own_name_alone(client) -> None:
    gateway = client("dc-sample")
    assert gateway.publish("peakwatch/v1/dc-sample/gw-1/readings") == "No matching subscribers"
    for topic in (
        "peakwatch/v1/copper-sample/gw-1/readings",
        "peakwatch/v1/dc-sample-2/gw-1/readings",
        "peakwatch/v1",
        "other/dc-sample/gw-1/readings",
        "$SYS/broker/uptime",
    ):
        assert gateway.publish(topic) == "Not authorized", topic


@pytest.mark.parametrize("prefix", ["", "$share/collectors/"])
def test_the_collector_reads_all_and_a_gateway_nothing(client, prefix: str) -> None:
    collector, gateway, other = client("collector"), client("dc-sample"), client("copper-sample")
    collector.subscribe(f"{prefix}peakwatch/v1/+/+/readings")
    other.subscribe("peakwatch/v1/#")
    assert gateway.publish("peakwatch/v1/dc-sample/gw-1/readings") == "Success"
    assert other.publish("peakwatch/v1/copper-sample/gw-1/readings") == "Success"
    # the answer to one more call of each says that what was published before has been handed out
    collector.subscribe(f"{prefix}peakwatch/v1/+/+/status")
    other.subscribe("peakwatch/v1/+/+/status")
    assert sorted(collector.received) == [
        "peakwatch/v1/copper-sample/gw-1/readings",
        "peakwatch/v1/dc-sample/gw-1/readings",
    ]
    assert other.received == []


def test_the_collector_cannot_write_for_a_facility(client) -> None:
    assert client("collector").publish("peakwatch/v1/dc-sample/gw-1/readings") == "Not authorized"
