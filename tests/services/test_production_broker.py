"""The shipped mosquitto configuration on a real mosquitto, with the secrets `peakwatch init` makes for it."""

import getpass
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from pipelines.credentials import devices, passwords, stack

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "deploy" / "mosquitto"
# certificates are checked against the clock of the machine
NOW = datetime.now(UTC)
FACILITIES = ("dc-sample", "copper-sample", "ceramics-sample", "gone-sample", "lost-sample")

pytestmark = pytest.mark.server


class Broker:
    """mosquitto with the files of deploy/mosquitto; only paths and listening addresses are those of the test."""

    def __init__(self, program: str, environment: dict[str, str], folder: Path) -> None:
        self.secrets = folder / "secrets"
        stack.make(self.secrets, (), NOW)
        self.passwords = {name: devices.add_password(self.secrets, name, facilities=FACILITIES) for name in FACILITIES}
        self.passwords["collector"] = (self.secrets / "peakwatch" / "broker_password").read_text()
        self.certificates = {
            name: devices.add_certificate(self.secrets, name, NOW, facilities=FACILITIES) for name in FACILITIES
        }
        self.plain, self.certified = free_port(), free_port()
        text = (CONFIG / "mosquitto.conf").read_text("utf-8")
        for shipped, here in {
            "listener 8883": f"listener {self.plain} 127.0.0.1",
            "listener 8884": f"listener {self.certified} 127.0.0.1",
            "/mosquitto/secrets": str(self.secrets / "mosquitto"),
            "/mosquitto/config": str(CONFIG),
            "/mosquitto/data/": f"{folder}/",
        }.items():
            assert shipped in text
            text = text.replace(shipped, here)
        settings = folder / "mosquitto.conf"
        settings.write_text(f"user {getpass.getuser()}\n{text}", "utf-8")
        self._command, self._environment, self._log = [program, "-c", settings], environment, folder / "log"

    def start(self) -> None:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(self._command, env=self._environment, stdout=log, stderr=log)
        while not answers(self.plain) or not answers(self.certified):
            assert self.process.poll() is None, self._log.read_text()
            time.sleep(0.02)

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(how)
        self.process.wait(10)

    def reload(self) -> None:
        self.process.send_signal(signal.SIGHUP)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def make(mosquitto_program: tuple[str, dict[str, str]], tmp_path_factory: pytest.TempPathFactory):
    running: list[Broker] = []

    def start() -> Broker:
        running.append(Broker(*mosquitto_program, tmp_path_factory.mktemp("broker")))
        running[-1].start()
        return running[-1]

    yield start
    for one in running:
        one.end()


@pytest.fixture(scope="module")
def broker(mosquitto_program: tuple[str, dict[str, str]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    one = Broker(*mosquitto_program, tmp_path_factory.mktemp("broker"))
    one.start()
    yield one
    one.end()


class Client:
    """One MQTT 5 client that waits for every answer."""

    def __init__(
        self,
        broker: Broker,
        user: str = "",
        password: str | None = None,
        *,
        pair: Path | None = None,
        client_id: str = "",
    ) -> None:
        self.received: list[str] = []
        self._answer: list[object] = []
        self._answered = threading.Event()
        self.ended = threading.Event()
        self.paho = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=client_id, protocol=paho.MQTTv5, reconnect_on_failure=False
        )
        files = (None, None) if pair is None else (str(pair / "certificate.pem"), str(pair / "key.pem"))
        self.paho.tls_set(str(broker.secrets / "peakwatch" / "authority.pem"), *files)
        if user:
            self.paho.username_pw_set(user, broker.passwords.get(user) if password is None else password)
        self.paho.on_connect = lambda *a: self._take(a[3])
        self.paho.on_publish = lambda *a: self._take(a[3])
        self.paho.on_subscribe = lambda *a: self._take(a[3][0])
        self.paho.on_message = lambda *a: self.received.append(a[2].topic)
        self.paho.on_disconnect = lambda *_: self.ended.set()
        self.paho.connect("127.0.0.1", broker.certified if pair else broker.plain)
        self.paho.loop_start()
        self.greeting = self._wait()

    def publish(self, topic: str, payload: bytes = b"{}") -> str:
        self.paho.publish(topic, payload, qos=1)
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
        for _ in range(500):
            if self._answered.wait(0.02):
                self._answered.clear()
                return str(self._answer.pop())
            if self.ended.is_set():
                return "ended"
        pytest.fail("no answer")


@pytest.fixture
def client():
    opened: list[Client] = []

    def open_client(broker: Broker, *arguments: str, **options: Any) -> Client:
        opened.append(Client(broker, *arguments, **options))
        return opened[-1]

    yield open_client
    for one in opened:
        one.close()


Open = Callable[..., Client]
REFUSED = "Not authorized"
ACCEPTED = ("Success", "No matching subscribers")


@pytest.mark.parametrize(("user", "password"), [("", ""), ("dc-sample", "wrong"), ("dc-sample", ""), ("unknown", "x")])
def test_no_stranger(client: Open, broker: Broker, user: str, password: str) -> None:
    assert client(broker, user, password).greeting == REFUSED


@pytest.mark.parametrize("listener", ["plain", "certified"])
def test_nothing_without_tls(broker: Broker, listener: str) -> None:
    with socket.create_connection(("127.0.0.1", getattr(broker, listener)), timeout=10) as plain:
        # CONNECT of MQTT 3.1.1, clean session, client "x": a listener without TLS would answer with CONNACK (0x20)
        plain.sendall(b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01x")
        try:
            answer = plain.recv(4)
        except ConnectionResetError:
            answer = b""
    assert not answer.startswith(b"\x20")


def test_nothing_below_tls_1_2(broker: Broker) -> None:
    context = ssl.create_default_context(cafile=broker.secrets / "peakwatch" / "authority.pem")
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with socket.create_connection(("127.0.0.1", broker.plain), timeout=10) as plain, pytest.raises(ssl.SSLError):
        context.wrap_socket(plain, server_hostname="mosquitto")


def test_the_server_is_told_from_every_other(broker: Broker, tmp_path: Path) -> None:
    stack.make(tmp_path / "other", (), NOW)
    for trusted, name in ((tmp_path / "other", "mosquitto"), (broker.secrets, "mosquitto.example.org")):
        context = ssl.create_default_context(cafile=trusted / "authority" / "certificate.pem")
        with (
            socket.create_connection(("127.0.0.1", broker.plain), timeout=10) as plain,
            pytest.raises(ssl.SSLCertVerificationError),
        ):
            context.wrap_socket(plain, server_hostname=name)


@pytest.mark.parametrize("way", ["password", "certificate"])
def test_a_facility_writes_below_its_own_name_alone(client: Open, broker: Broker, way: str) -> None:
    pair = {"pair": broker.certificates["dc-sample"]}
    gateway = client(broker, "dc-sample") if way == "password" else client(broker, **pair)
    assert gateway.publish("peakwatch/v1/dc-sample/gw-1/readings") in ACCEPTED
    for topic in (
        "peakwatch/v1/copper-sample/gw-1/readings",
        "peakwatch/v1/dc-sample-2/gw-1/readings",
        "peakwatch/v1",
        "other/dc-sample/gw-1/readings",
        "$SYS/broker/uptime",
    ):
        assert gateway.publish(topic) == REFUSED, topic


@pytest.mark.parametrize("prefix", ["", "$share/collectors/"])
def test_the_collector_reads_all_and_a_gateway_nothing(client: Open, broker: Broker, prefix: str) -> None:
    collector, gateway = client(broker, "collector"), client(broker, "dc-sample")
    other = client(broker, pair=broker.certificates["copper-sample"])
    collector.subscribe(f"{prefix}peakwatch/v1/+/+/readings")
    for topic in ("peakwatch/v1/#", "peakwatch/v1/copper-sample/#", "#", "$SYS/#"):
        other.subscribe(topic)
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


def test_the_collector_cannot_write_for_a_facility(client: Open, broker: Broker) -> None:
    assert client(broker, "collector").publish("peakwatch/v1/dc-sample/gw-1/readings") == REFUSED


def test_a_certificate_lends_no_other_name(client: Open, broker: Broker) -> None:
    # the name given at login counts for nothing beside the certificate's
    gateway = client(broker, "collector", pair=broker.certificates["dc-sample"])
    assert gateway.greeting == "Success"
    assert gateway.publish("peakwatch/v1/copper-sample/gw-1/readings") == REFUSED
    assert gateway.publish("peakwatch/v1/dc-sample/gw-1/readings") in ACCEPTED


def test_whoever_knows_the_client_id_of_a_collector_takes_its_place(client: Open, broker: Broker) -> None:
    """Why `peakwatch init` draws it: mosquitto 2.0.11 does not ask who the other one was."""
    name = (broker.secrets / "peakwatch" / "client_id").read_text()
    assert len(name) > 30
    collector = client(broker, "collector", client_id=name)
    assert client(broker, "dc-sample", client_id=name).greeting == "Success"
    assert collector.ended.wait(10)


@pytest.mark.parametrize("whose", ["nobody's", "another authority's", "a server's"])
def test_a_certificate_of_a_device_is_asked_for(client: Open, broker: Broker, tmp_path: Path, whose: str) -> None:
    stack.make(tmp_path, (), NOW)
    devices.add_password(tmp_path, "dc-sample", facilities=FACILITIES)
    pair = {
        "nobody's": None,
        "another authority's": devices.add_certificate(tmp_path, "dc-sample", NOW, facilities=FACILITIES),
        "a server's": broker.secrets / "influxdb",
    }[whose]
    context = ssl.create_default_context(cafile=broker.secrets / "peakwatch" / "authority.pem")
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # here a refusal ends the handshake itself
    if pair is not None:
        context.load_cert_chain(pair / "certificate.pem", pair / "key.pem")
    with socket.create_connection(("127.0.0.1", broker.certified), timeout=10) as plain, pytest.raises(OSError):  # noqa: PT011
        context.wrap_socket(plain, server_hostname="mosquitto")


def test_a_packet_that_is_too_large_ends_the_connection(client: Open, broker: Broker) -> None:
    gateway = client(broker, "dc-sample")
    assert gateway.publish("peakwatch/v1/dc-sample/gw-1/readings", b"x" * 1_000_000) in ACCEPTED
    assert gateway.publish("peakwatch/v1/dc-sample/gw-1/readings", b"x" * 1_100_000) == "ended"
    assert client(broker, "dc-sample").publish("peakwatch/v1/dc-sample/gw-1/readings") in ACCEPTED


def test_what_is_revoked_is_refused_after_sighup(client: Open, make: Callable[[], Broker], wait_until) -> None:
    broker = make()
    pair = broker.secrets / "kept"
    broker.certificates["gone-sample"].rename(pair)  # what a thief would have
    by_password, by_certificate = client(broker, "gone-sample"), client(broker, pair=pair)
    devices.revoke(broker.secrets, "gone-sample", NOW)
    broker.reload()
    assert by_password.ended.wait(10)
    assert client(broker, "gone-sample").greeting == REFUSED
    wait_until(lambda: handshake(broker, pair) == "refused")
    assert not by_certificate.ended.is_set()  # as docs/operations says: until the broker starts again
    # everybody else comes in as before, and the next one can be revoked
    assert client(broker, pair=broker.certificates["dc-sample"]).greeting == "Success"
    lost = broker.secrets / "lost"
    broker.certificates["lost-sample"].rename(lost)
    devices.revoke(broker.secrets, "lost-sample", NOW)
    broker.reload()
    wait_until(lambda: handshake(broker, lost) == "refused")
    assert handshake(broker, pair) == "refused"
    assert client(broker, pair=broker.certificates["dc-sample"]).greeting == "Success"


def handshake(broker: Broker, pair: Path) -> str:
    context = ssl.create_default_context(cafile=broker.secrets / "peakwatch" / "authority.pem")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(pair / "certificate.pem", pair / "key.pem")
    try:
        with socket.create_connection(("127.0.0.1", broker.certified), timeout=10) as plain:
            context.wrap_socket(plain, server_hostname="mosquitto").close()
    except OSError:
        return "refused"
    return "accepted"


def test_what_is_added_comes_in_after_sighup(client: Open, make: Callable[[], Broker], wait_until) -> None:
    broker = make()
    broker.passwords["new-sample"] = devices.add_password(broker.secrets, "new-sample", facilities=("new-sample",))
    assert client(broker, "new-sample").greeting == REFUSED
    broker.reload()
    wait_until(lambda: client(broker, "new-sample").greeting == "Success")
    assert client(broker, "new-sample").publish("peakwatch/v1/new-sample/gw/readings") in ACCEPTED


def test_what_waits_for_the_collector_survives_kill_9_but_for_the_last(
    client: Open, make: Callable[[], Broker], wait_until
) -> None:
    broker = make()
    with waiting(broker):
        pass
    gateway = client(broker, "dc-sample")
    sent = [str(number).encode() for number in range(200)]
    for payload in sent:
        assert gateway.publish("peakwatch/v1/dc-sample/gw-1/readings", payload) == "Success"
    broker.end(signal.SIGKILL)
    broker.start()
    with waiting(broker) as got:
        # mosquitto saves once more than one change is new, so it is one change behind
        wait_until(lambda: len(got) >= len(sent) - 1)
    assert got[: len(sent) - 1] == sent[:-1]


@contextmanager
def waiting(broker: Broker) -> Iterator[list[bytes]]:
    """Subscribe as a collector whose session the broker keeps; gives what arrives."""
    got: list[bytes] = []
    subscribed = threading.Event()
    one = paho.Client(CallbackAPIVersion.VERSION2, client_id="one", protocol=paho.MQTTv311, clean_session=False)
    one.tls_set(str(broker.secrets / "peakwatch" / "authority.pem"))
    one.username_pw_set("collector", broker.passwords["collector"])
    one.on_connect = lambda *a: a[0].subscribe("peakwatch/v1/+/+/readings", 1)
    one.on_subscribe = lambda *_: subscribed.set()
    one.on_message = lambda *a: got.append(a[2].payload)
    one.connect("127.0.0.1", broker.plain)
    one.loop_start()
    try:
        assert subscribed.wait(10)
        yield got
    finally:
        one.disconnect()
        one.loop_stop()


def test_mosquittos_own_program_writes_hashes_of_the_same_kind(
    mosquitto_program: tuple[str, dict[str, str]], tmp_path: Path
) -> None:
    program, environment = mosquitto_program
    own = Path(program).parents[1] / "bin" / "mosquitto_passwd"
    if not own.exists():
        pytest.skip(f"no {own}")
    file = tmp_path / "passwords"
    file.touch(0o600)
    subprocess.run([own, "-b", file, "dc-sample", "secret"], env=environment, check=True)
    (hash_,) = passwords.load(file).values()
    assert passwords.matches("secret", hash_)
    assert not passwords.matches("secret ", hash_)
    assert [len(part) for part in hash_.split("$")] == [len(part) for part in passwords.hashed("secret").split("$")]
