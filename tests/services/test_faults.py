"""
Whatever fails, each reading that a publisher saw acked is in the store once, or in quarantine.

The publisher does what a gateway does: it sends again what was not acked, and ends when everything is.
"""

import json
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import polars as pl
import pytest

from ingest import registry as registries
from ingest.collect.mqtt import Broker
from ingest.collect.publish import Publisher, publish
from ingest.errors import StoreUnavailable
from ingest.model import Publication
from ingest.store.lake.adapter import Lake

pytestmark = pytest.mark.server

PEAKWATCH = Path(sys.executable).parent / "peakwatch"
SAMPLES = Path(__file__).parents[2] / "deploy" / "registry"
START = datetime(2026, 1, 1, tzinfo=UTC)
READINGS = "peakwatch/v1/dc-sample/gw/readings"
# as deploy/mosquitto/mosquitto.conf has it
DURABLE = "autosave_on_changes true\nautosave_interval 1"


def stream(seed: int, count: int, *, bad: float = 0.1) -> list[Publication]:
    """Messages of 1 to 5 readings, each reading of a minute of its own; some are of a meter nobody registered."""
    chance, minute = Random(seed), 0  # noqa: S311
    publications = []
    for seq in range(count):
        entries = []
        for _ in range(chance.randint(1, 5)):
            meter = "E-none" if chance.random() < bad else "E-main"
            entries.append({"meter": meter, "time": f"{START + timedelta(minutes=minute):%FT%TZ}", "value": minute})
            minute += 1
        publications.append(Publication(READINGS, json.dumps({"seq": seq, "readings": entries}).encode()))
    return publications


def wanted(publications: Sequence[Publication]) -> tuple[list[tuple[str, float]], list[tuple[bytes, int]]]:
    """What must be stored, and what must lie in quarantine."""
    good, refused = [], []
    for publication in publications:
        for item, entry in enumerate(json.loads(publication.payload)["readings"]):
            if entry["meter"] == "E-main":
                good.append((entry["time"], float(entry["value"])))
            else:
                refused.append((publication.payload, item))
    return sorted(good), sorted(refused)


def found(store: Lake) -> tuple[list[tuple[str, float]], list[tuple[bytes, int]]]:
    readings = store.read("readings").select(pl.col("time").dt.to_string("%FT%TZ"), "value")
    quarantine = store.read("quarantine").select("payload", "item")
    return sorted(readings.iter_rows()), sorted(quarantine.iter_rows())


def is_whole(store: Lake, publications: Sequence[Publication]) -> Callable[[], bool]:
    """Whether everything has come to rest; asked again and again while the store may be away."""
    good, refused = wanted(publications)

    def whole() -> bool:
        try:
            return [len(part) for part in found(store)] >= [len(good), len(refused)]
        except StoreUnavailable:
            return False

    return whole


def assert_whole(store: Lake, publications: Sequence[Publication]) -> None:
    for kept, sent in zip(found(store), wanted(publications), strict=True):
        assert (sorted(set(sent) - set(kept)), sorted(set(kept) - set(sent))) == ([], [])
        assert len(kept) == len(sent)


@contextmanager
def publishing(broker: Broker, publications: Sequence[Publication], *, pace: float = 0.0, client_id: str = "gateway"):
    """Publish in the background while the context lasts; it ends when every message is acked."""
    raised: list[Exception] = []

    def work() -> None:
        try:
            with Publisher(broker, client_id, window=50, timeout=40) as publisher:
                for publication in publications:
                    publisher.send(publication)
                    time.sleep(pace)
                publisher.drain()
        except Exception as error:  # noqa: BLE001 - handed to the test
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join(60)
    assert not thread.is_alive()
    if raised:
        raise raised[0]


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    store = Lake(tmp_path / "data")
    yield store
    store.close()


@pytest.fixture
def registry() -> registries.Registry:
    return registries.load(SAMPLES)


@pytest.fixture
def settings_of(tmp_path: Path):
    """Write the settings for a broker."""

    def write(url: str) -> Path:
        file = tmp_path / "peakwatch.toml"
        lines = {"registry": SAMPLES, "store": f"lake:{tmp_path / 'data'}", "broker": url, "mail": f"file:{tmp_path}"}
        file.write_text("".join(f'{key} = "{value}"\n' for key, value in lines.items()), "utf-8")
        return file

    return write


@pytest.fixture
def collect(settings_of):
    """Run `peakwatch collect` while the context lasts, under a client id and with more arguments."""

    @contextmanager
    def run(url: str, *arguments: str, client_id: str = "collector") -> Iterator["subprocess.Popen[str]"]:
        process = subprocess.Popen(
            [PEAKWATCH, "collect", "--config", settings_of(url), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PEAKWATCH_CLIENT_ID": client_id},
        )
        try:
            assert "collecting from" in process.stderr.readline()
            yield process
        finally:
            process.kill()
            process.communicate()

    return run


def ended(process: "subprocess.Popen[str]", how: signal.Signals = signal.SIGTERM) -> dict[str, int]:
    """End a collector with a signal: it drains, exits with 0 and says its equation, which holds."""
    process.send_signal(how)
    said, complaints = process.communicate(timeout=30)
    assert process.returncode == 0, complaints
    line = next(line for line in said.splitlines() if " received = " in line)
    tally = {name: int(count.replace(",", "")) for count, name in re.findall(r"([\d,]+) (\w+)", line)}
    assert tally["received"] == tally["stored"] + tally["duplicate"] + tally["quarantined"] + tally["pending"]
    return tally


# ----- the collector


@pytest.mark.parametrize("seed", [1, 2])
def test_a_collector_killed_in_mid_batch(seed, mosquitto, collect, lake, wait_until):
    chance, publications = Random(seed), stream(seed, 400)  # noqa: S311
    with collect(mosquitto.url) as first, publishing(mosquitto.broker, publications, pace=0.005):
        time.sleep(chance.uniform(0.2, 1.5))
        first.kill()
        with collect(mosquitto.url) as second:
            time.sleep(chance.uniform(0.0, 0.3))
            second.kill()
        with collect(mosquitto.url) as last:
            wait_until(is_whole(lake, publications))
            assert ended(last)["pending"] == 0
    assert_whole(lake, publications)


def test_sigterm_in_mid_stream_drains_and_exits_with_0(mosquitto, collect, lake, wait_until):
    publications = stream(3, 300)
    tallies = []
    with collect(mosquitto.url) as first, publishing(mosquitto.broker, publications, pace=0.005):
        time.sleep(0.7)
        tallies.append(ended(first))
        with collect(mosquitto.url) as second:
            wait_until(is_whole(lake, publications))
            tallies.append(ended(second))
    assert_whole(lake, publications)
    good, refused = wanted(publications)
    assert sum(tally["stored"] for tally in tallies) == len(good)
    assert sum(tally["quarantined"] for tally in tallies) >= len(refused)
    assert not any(tally["pending"] for tally in tallies)


def test_members_of_a_group_join_leave_and_die(mosquitto, collect, lake, wait_until):
    first, second = stream(4, 300), stream(5, 300)
    second = [one._replace(topic=READINGS.replace("gw", "gw-2"), payload=later(one.payload)) for one in second]
    share = ("--group", "g")
    with collect(mosquitto.url, *share, client_id="one") as one:
        with (
            publishing(mosquitto.broker, first, pace=0.01),
            collect(mosquitto.url, *share, client_id="two") as two,
        ):
            time.sleep(0.3)
            assert ended(two, signal.SIGUSR1)["received"] > 0
        wait_until(is_whole(lake, first))  # nothing is set aside for one that left
        with publishing(mosquitto.broker, second, pace=0.01):
            with collect(mosquitto.url, *share, client_id="two") as two:
                time.sleep(0.3)
                two.kill()
            with collect(mosquitto.url, *share, client_id="two") as two:
                wait_until(is_whole(lake, [*first, *second]))
                ended(two)
        ended(one)
    assert_whole(lake, [*first, *second])


@pytest.mark.parametrize("members", [1, 2])
def test_a_group_that_is_started_again_misses_nothing(members, mosquitto, collect, lake, wait_until):
    publications, names = stream(6, 120), ["one", "two"][:members]
    for _ in range(2):  # the broker knows the sessions from the first time on
        for name in names:
            with collect(mosquitto.url, "--group", "g", client_id=name) as one:
                ended(one)
    with publishing(mosquitto.broker, publications, pace=0.001):
        pass
    with ExitStack() as running:
        for name in names:
            running.enter_context(collect(mosquitto.url, "--group", "g", client_id=name))
        wait_until(is_whole(lake, publications))
    assert_whole(lake, publications)


def later(payload: bytes) -> bytes:
    """The same readings a year later."""
    return payload.replace(b'"2026-', b'"2026-1').replace(b'"2026-101', b'"2026-07')


# ----- the broker and the network


@pytest.mark.parametrize("seed", [1, 2])
def test_a_broker_killed_and_started_again(seed, start_mosquitto, subscribe, collecting, lake, registry, wait_until):
    mosquitto, publications = start_mosquitto(more=DURABLE), stream(seed, 150)
    chance = Random(seed)  # noqa: S311
    with collecting(subscribe(mosquitto.broker), lake, registry) as collector:
        with publishing(mosquitto.broker, publications, pace=0.01):
            for _ in range(2):
                time.sleep(chance.uniform(0.2, 0.5))
                mosquitto.kill()
                mosquitto.start()
        wait_until(is_whole(lake, publications))
        assert collector.idle(0.3, timeout=20)
    assert collector.tally.whole
    assert collector.tally.pending == 0
    assert_whole(lake, publications)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_network_that_delays_and_cuts(seed, mosquitto, proxy, subscribe, collecting, lake, registry, wait_until):
    publications = stream(seed, 150)
    through = Broker("127.0.0.1", proxy.port)
    with collecting(subscribe(through), lake, registry, age=0.02) as collector:
        proxy.trouble(seed, cuts=0.02, delay=0.005)
        with publishing(through, publications, pace=0.005):
            time.sleep(2.0)
            proxy.heal()
        wait_until(is_whole(lake, publications))
        assert collector.idle(0.3, timeout=20)
    assert proxy.connections > 2
    assert collector.tally.whole
    assert_whole(lake, publications)


def test_a_connection_whose_packets_vanish_is_noticed_and_made_anew(
    mosquitto, proxy, subscribe, collecting, lake, registry, wait_until
):
    publications = stream(6, 60)
    subscription = subscribe(Broker("127.0.0.1", proxy.port), keepalive=1)
    with collecting(subscription, lake, registry) as collector:
        publish(mosquitto.broker, publications[:30], client_id="gateway")
        wait_until(is_whole(lake, publications[:30]))
        proxy.vanish()
        publish(mosquitto.broker, publications[30:], client_id="gateway")
        wait_until(lambda: proxy.connections > 1)  # nobody hung up
        proxy.heal()
        wait_until(is_whole(lake, publications))
        assert collector.idle(0.3, timeout=20)
    assert collector.tally.whole
    assert_whole(lake, publications)


# ----- the store


class Faulty:
    """A lake that is slow, that fails before it stores, and that fails after it has stored: the answer got lost."""

    def __init__(self, lake: Lake, seed: int) -> None:
        self._lake = lake
        self._chance = Random(seed)  # noqa: S311
        self.away = False

    def write(self, table: str, rows: pl.DataFrame) -> int:
        fate = self._chance.choice(["well", "slow", "before", "after"])
        if self.away or fate == "before":
            raise StoreUnavailable("the store is away", retry_after=0.02)
        if fate == "slow":
            time.sleep(0.05)
        new = self._lake.write(table, rows)
        if fate == "after":
            raise StoreUnavailable("the answer got lost", retry_after=0.02)
        return new


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_store_that_is_slow_and_fails(seed, mosquitto, subscribe, collecting, lake, registry, wait_until):
    publications = stream(seed, 200)
    with collecting(subscribe(mosquitto.broker), Faulty(lake, seed), registry, batch=20) as collector:
        publish(mosquitto.broker, publications, client_id="gateway")
        assert collector.idle(0.3, timeout=30)
    good, refused = wanted(publications)
    tally = collector.tally
    assert tally.whole
    assert (tally.stored + tally.duplicate, tally.quarantined) == (len(good), len(refused))
    assert_whole(lake, publications)


@pytest.mark.parametrize("back_first", ["store", "broker"])
def test_broker_and_store_both_away(back_first, start_mosquitto, subscribe, collecting, lake, registry, wait_until):
    mosquitto, publications = start_mosquitto(more=DURABLE), stream(7, 120)
    store = Faulty(lake, 7)
    with collecting(subscribe(mosquitto.broker), store, registry, batch=20) as collector:
        with publishing(mosquitto.broker, publications, pace=0.005):
            time.sleep(0.2)
            store.away = True
            time.sleep(0.2)
            mosquitto.kill()
            time.sleep(0.2)
            if back_first == "store":
                store.away = False
            mosquitto.start()
        store.away = False
        assert collector.idle(1.0, timeout=20)
    assert collector.tally.whole
    assert_whole(lake, publications)


@contextmanager
def full(process: "subprocess.Popen[str]", _: Path) -> Iterator[None]:
    """No file may grow: what a full disk does, to this process alone."""
    before = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, before)


@contextmanager
def away(_: "subprocess.Popen[str]", folder: Path) -> Iterator[None]:
    """The folder is not there: a disk that is not mounted."""
    elsewhere = folder.with_name("elsewhere")
    folder.rename(elsewhere)
    try:
        yield
    finally:
        elsewhere.rename(folder)


@contextmanager
def read_only(_: "subprocess.Popen[str]", folder: Path) -> Iterator[None]:
    """Nothing may be made in the folders of the table; root heeds only the attribute of the file system."""
    folders = [folder, *(path for path in folder.iterdir() if path.is_dir())]
    lock, free = (["chattr", "+i"], ["chattr", "-i"]) if os.geteuid() == 0 else (["chmod", "a-w"], ["chmod", "u+w"])
    if subprocess.run([*lock, *folders], check=False, capture_output=True).returncode:
        subprocess.run([*free, *folders], check=False, capture_output=True)
        pytest.skip("the file system knows no immutable folders")
    try:
        yield
    finally:
        subprocess.run([*free, *folders], check=True)


@pytest.mark.parametrize("fault", [full, away, read_only])
@pytest.mark.parametrize(("table", "bad"), [("readings", 0.0), ("quarantine", 1.0)])
def test_a_lake_that_cannot_be_written(fault, table, bad, mosquitto, collect, lake, tmp_path, wait_until):
    publications = stream(8, 90, bad=bad)
    with collect(mosquitto.url) as process:
        publish(mosquitto.broker, publications[:30], client_id="gateway")
        wait_until(is_whole(lake, publications[:30]))
        with fault(process, tmp_path / "data" / table):
            publish(mosquitto.broker, publications[30:60], client_id="gateway")
            assert "store cannot be reached" in process.stderr.readline()
        publish(mosquitto.broker, publications[60:], client_id="gateway")
        wait_until(is_whole(lake, publications))
        assert ended(process)["pending"] == 0
    assert_whole(lake, publications)


def test_a_log_that_cannot_be_written_ends_nothing(settings_of, collect, mosquitto, lake, tmp_path, wait_until):
    publications = stream(9, 60)
    with collect(mosquitto.url):
        pass  # the broker keeps messages for it from now on
    with Path("/dev/full").open("wb") as nowhere:
        command = [PEAKWATCH, "collect", "--config", settings_of(mosquitto.url)]
        environment = os.environ | {"PEAKWATCH_CLIENT_ID": "collector"}
        with subprocess.Popen(command, stdout=nowhere, stderr=nowhere, env=environment) as process:
            try:
                publish(mosquitto.broker, publications[:30], client_id="gateway")
                wait_until(is_whole(lake, publications[:30]))
                with away(process, tmp_path / "data" / "readings"):
                    publish(mosquitto.broker, publications[30:], client_id="gateway")
                    time.sleep(1.0)  # the store is tried, and the log of it fails
                wait_until(is_whole(lake, publications))
                assert process.poll() is None
            finally:
                process.kill()
    assert_whole(lake, publications)
