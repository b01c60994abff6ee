"""
Real servers on loopback: a free port and a folder of their own each, ended by their process id.

mosquitto is looked for below `.servers` (unpacked by deploy/servers.sh), on the PATH and in /usr/sbin. Where there is
none the tests are skipped with the reason; in CI they fail.
"""

import getpass
import os
import shutil
import socket
import subprocess
import threading
import time
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from runpy import run_path

import pytest

from ingest.collect.collector import Collector
from ingest.collect.mqtt import Broker
from ingest.collect.subscription import Subscription
from ingest.registry import Registry
from ingest.registry.facility import Facility
from ingest.settings import Settings
from ingest.store.connect import connect
from ingest.store.lake.adapter import Lake

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)

MOSQUITTO = """
listener {port} 127.0.0.1
persistence true
persistence_location {folder}/
max_inflight_messages 0
max_queued_messages 0
log_type none
user {user}
{login}
{more}
"""


@pytest.fixture(scope="session")
def mosquitto_program():
    """The command of mosquitto and the environment it needs."""
    servers = ROOT / ".servers"
    unpacked = servers / "usr/sbin/mosquitto"
    program = unpacked if unpacked.exists() else shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        told = "no mosquitto: run deploy/servers.sh, or install Debian's package mosquitto"
        pytest.fail(told) if os.environ.get("CI") == "true" else pytest.skip(told)
    libraries = [str(servers / place) for place in ("usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu")]
    return str(program), os.environ | ({"LD_LIBRARY_PATH": ":".join(libraries)} if program == unpacked else {})


class Mosquitto:
    """A mosquitto of one test; it can be stopped and started again on the same port."""

    def __init__(self, program, environment, folder: Path, login: str = "allow_anonymous true", more: str = "") -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            self.port = taken.getsockname()[1]
        self.url = f"mqtt://127.0.0.1:{self.port}"
        self.broker = Broker.parse(self.url)
        self.folder = folder
        self.settings = folder / "mosquitto.conf"
        self._command = [program, "-c", str(self.settings)]
        self._environment = environment
        self.settings.write_text(
            MOSQUITTO.format(port=self.port, folder=folder, user=getpass.getuser(), login=login, more=more)
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, env=self._environment, stderr=subprocess.DEVNULL)
        until(self._answers)

    def stop(self) -> None:
        """End it; a SIGTERM that comes before its loop begins is lost, which happens once in a hundred starts."""
        while self._process is not None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(2)
                self._process = None

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(10)
        self._process = None

    def _answers(self) -> bool:
        assert self._process.poll() is None, "mosquitto ended at once"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@pytest.fixture
def start_mosquitto(mosquitto_program, tmp_path_factory):
    """Start a mosquitto; the keyword `login` replaces its access settings, `more` adds settings."""
    running = []

    def start(**options) -> Mosquitto:
        folder = tmp_path_factory.mktemp("mosquitto")
        server = Mosquitto(*mosquitto_program, folder, **options)
        running.append(server)
        server.start()
        return server

    yield start
    for server in running:
        server.stop()


@pytest.fixture
def mosquitto(start_mosquitto) -> Mosquitto:
    return start_mosquitto()


@pytest.fixture
def proxy(mosquitto):
    """A network between a client and the mosquitto of this test, which can fail."""
    with run_path(str(Path(__file__).with_name("proxy.py")))["Proxy"](mosquitto.port) as network:
        yield network


def until(reached, *, seconds: float = 20.0) -> None:
    """Wait until something is reached."""
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end, f"not reached in {seconds:g} s"
        time.sleep(0.02)


@pytest.fixture
def wait_until():
    return until


@pytest.fixture
def subscribe():
    """A subscription of the collector of this test, all received at NOW."""
    return lambda broker, **options: Subscription(broker, "collector", clock=lambda: NOW, **options)


@pytest.fixture
def collecting():
    """Run a collector in a thread while the context lasts; what it raised is raised at the end."""

    @contextmanager
    def run(subscription, store, registry, **options):
        stop, raised = threading.Event(), []

        def work() -> None:
            try:
                collector.run(stop)
            except Exception as error:  # noqa: BLE001 - handed to the test
                raised.append(error)

        with subscription:
            collector = Collector(store, registry, subscription, **({"age": 0.1} | options))
            thread = threading.Thread(target=work)
            thread.start()
            try:
                yield collector
            finally:
                stop.set()
                thread.join(30)
        assert not thread.is_alive()
        if raised:
            raise raised[0]

    return run


@pytest.fixture
def registry() -> Registry:
    """Two facilities: dc-a with meters E-main (register, kWh) and E-it, mill-b with meter G-1 and product clinker."""
    common = {"name": {"zh": "示例", "en": "Sample"}, "division": "440781", "key_energy_user": True}
    meter = {"carrier": "electricity", "kind": "register", "unit": "kWh", "period": "15m"}
    meter |= {"role": "process", "valid_from": NOW.date().replace(year=2025)}
    raw = [
        {
            "id": "dc-a",
            "kind": "industrial",
            "industry": "6450",
            "meter": [meter | {"id": "E-main"}, meter | {"id": "E-it"}],
        },
        {
            "id": "mill-b",
            "kind": "industrial",
            "industry": "3011",
            "meter": [meter | {"id": "G-1"}],
            "product": [{"id": "clinker", "unit": "t"}],
        },
    ]
    return Registry({one["id"]: Facility.model_validate(common | one) for one in raw})


@pytest.fixture(scope="session")
def filled(influxd, played):
    """A real InfluxDB and the name of a database in it, with two facilities of the demo's year."""
    fill = run_path(str(Path(__file__).with_name("filled.py")))["fill"]
    database = influxd.database()
    with closing(connect(influxd.url(database), Settings(store_password=influxd.password))) as store:
        fill(store, Lake(played[0] / "data"))
    return influxd, database
