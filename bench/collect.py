"""
What does a reading cost from the broker into the lake? Beside it, in the same run, a bare client that counts and acks.

    .venv/bin/python bench/collect.py [MESSAGES [RUNS]]

MESSAGES (default 100,000) of one reading wait in mosquitto, then a quarter as many of 20. Each consumer drains them in
a process of its own; a line is the median of RUNS (default 3). Costs are CPU time of all threads, connecting included,
starting Python and reading the registry not. mosquitto keeps nothing on disk here (persistence off): the disk is its
cost and not ours. The lake lies in the folder for temporary files.
"""

import getpass
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from socket import socket
from statistics import median
from tempfile import TemporaryDirectory
from time import monotonic, process_time, sleep
from typing import NamedTuple

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from ingest.collect.collector import Collector
from ingest.collect.mqtt import Broker
from ingest.collect.publish import publish
from ingest.collect.subscription import Subscription
from ingest.model import Publication
from ingest.registry import Registry
from ingest.registry.facility import Facility
from ingest.store.lake.adapter import Lake

SERVERS = Path(__file__).parents[1] / ".servers"
LIBRARIES = ":".join(str(SERVERS / place) for place in ("usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"))
START = datetime(2026, 11, 20, tzinfo=UTC)
NOW = START + timedelta(days=365)
FACILITIES, METERS, BATCH = 1000, 20, 5000
SETTINGS = """
listener {port} 127.0.0.1
allow_anonymous true
persistence false
max_inflight_messages 0
max_queued_messages 0
log_type none
user {user}
"""


class Cost(NamedTuple):
    """What a consumer took: CPU and wall time [s], CPU of the broker meanwhile [s], its largest memory [MB]."""

    cpu: float
    wall: float
    memory: float
    broker: float = 0.0


Consumer = Callable[[int, int, int], Cost]


def registry() -> Registry:
    """1,000 facilities of 20 meters."""
    meter = {"carrier": "electricity", "role": "process", "kind": "register", "unit": "kWh", "period": "15m"}
    meters = [meter | {"id": f"E-{n:02}", "valid_from": date(2025, 1, 1)} for n in range(METERS)]
    facility = {"name": {"zh": "示例", "en": "Sample"}, "kind": "industrial", "division": "440781", "industry": "3011"}
    facility |= {"key_energy_user": True, "meter": meters}
    names = [f"plant-{n:04}" for n in range(FACILITIES)]
    return Registry({name: Facility.model_validate(facility | {"id": name}) for name in names})


def publications(count: int, size: int) -> Iterator[Publication]:
    """Messages of `size` readings each; no meter has two readings of one time."""
    for n in range(count):
        turn, facility = divmod(n, FACILITIES)
        quarter, part = divmod(turn, METERS // size)
        at = (START + timedelta(minutes=15 * quarter)).isoformat()
        meters = range(part * size, (part + 1) * size)
        readings = [{"meter": f"E-{meter:02}", "time": at, "value": 1000.25 + n, "unit": "kWh"} for meter in meters]
        payload = json.dumps({"seq": n, "sent": at, "readings": readings}).encode()
        yield Publication(f"peakwatch/v1/plant-{facility:04}/gw/readings", payload)


@contextmanager
def mosquitto(folder: Path) -> Iterator[tuple[int, int]]:
    """Port and process id of a mosquitto on loopback while the context lasts."""
    unpacked = SERVERS / "usr/sbin/mosquitto"
    program = unpacked if unpacked.exists() else shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        sys.exit("no mosquitto: run deploy/servers.sh, or install Debian's package mosquitto")
    port = free_port()
    (folder / "mosquitto.conf").write_text(SETTINGS.format(port=port, user=getpass.getuser()))
    environment = os.environ | ({"LD_LIBRARY_PATH": LIBRARIES} if program == unpacked else {})
    command = [program, "-c", folder / "mosquitto.conf"]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    try:
        until(lambda: answers(port))
        yield port, process.pid
    finally:
        process.terminate()
        process.wait(60)


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def answers(port: int) -> bool:
    """Whether somebody listens."""
    with socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def until(reached: Callable[[], bool]) -> None:
    """Wait for something."""
    while not reached():
        sleep(0.02)


def cpu_of(pid: int) -> float:
    """CPU seconds a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cost_of(work: Callable[[], None]) -> Cost:
    """Run it and tell what this process took."""
    cpu, wall = process_time(), monotonic()
    work()
    cpu, wall = process_time() - cpu, monotonic() - wall
    # not ru_maxrss, which begins with the memory of the process that started this one
    peak = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    return Cost(cpu, wall, int(peak[1]) / 1000 if peak else 0.0)


class Bare:
    """paho as it comes: counts messages, and acks them by hand many at a time, which is its cheapest way."""

    def __init__(self, port: int) -> None:
        self.count = 0
        self._mids: list[int] = []
        version = MQTTProtocolVersion.MQTTv5
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id="bare", protocol=version, manual_ack=True)
        subscribed = threading.Event()
        self._client.on_message = self._on_message
        self._client.on_subscribe = lambda *_: subscribed.set()
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 3600
        properties.ReceiveMaximum = BATCH
        self._client.connect("127.0.0.1", port, clean_start=False, properties=properties)
        self._client.loop_start()
        self._client.subscribe("peakwatch/v1/+/+/readings", 1)
        subscribed.wait()

    def close(self) -> None:
        """Disconnect; the broker keeps the session."""
        self._client.disconnect()
        self._client.loop_stop()

    def _on_message(self, _: object, __: object, message: paho.MQTTMessage) -> None:
        self.count += 1
        self._mids.append(message.mid)
        if len(self._mids) == BATCH // 2:
            for mid in self._mids:
                self._client.ack(mid, 1)
            self._mids.clear()


def bare(port: int, messages: int, size: int) -> Cost:  # noqa: ARG001 - it looks into no message
    """Drain with a bare client."""

    def work() -> None:
        client = Bare(port)
        until(lambda: client.count == messages)
        client.close()

    return cost_of(work)


def subscription(port: int) -> Subscription:
    """Ours, with a session of its own."""
    return Subscription(Broker("127.0.0.1", port), "collector", clock=lambda: NOW, in_flight=BATCH)


def collector(port: int, messages: int, size: int) -> Cost:
    """Drain into a lake."""
    known, stop = registry(), threading.Event()
    assert known.meters.height == FACILITIES * METERS

    def work() -> None:
        with TemporaryDirectory() as folder, subscription(port) as ours:
            collecting = Collector(Lake(Path(folder)), known, ours, batch=BATCH)
            thread = threading.Thread(target=collecting.run, args=(stop,))
            thread.start()
            until(lambda: collecting.tally.stored == messages * size or not thread.is_alive())
            stop.set()
            thread.join()
            assert collecting.tally.stored == collecting.tally.received == messages * size, collecting.tally

    return cost_of(work)


CONSUMERS: dict[str, Consumer] = {"bare paho: count and ack": bare, "collector, into the lake": collector}


def run(messages: int, size: int) -> list[Cost]:
    """Let the messages wait in a broker of their own, once for each consumer, and drain them."""
    costs = []
    with TemporaryDirectory() as folder, mosquitto(Path(folder)) as (port, pid):
        Bare(port).close()
        with subscription(port):
            pass
        publish(Broker("127.0.0.1", port), publications(messages, size), client_id="meters")
        for consumer in CONSUMERS.values():
            before = cpu_of(pid)
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                cost = pool.submit(consumer, port, messages, size).result()
            costs.append(cost._replace(broker=cpu_of(pid) - before))
    return costs


def table(messages: int, size: int, runs: int) -> None:
    """Print a line for each consumer: the medians of its runs."""
    print(f"\n{f'{messages:,} messages of {size}':28}{'CPU':>8}{'ratio':>8}{'mosquitto':>11}", end="")
    print(f"{'messages':>12}{'readings':>16}{'memory':>9}")
    print(f"{'':28}{'us/msg':>8}{'':8}{'us/msg':>11}{'/s':>12}{'/core-second':>16}{'MB':>9}")
    done = [run(messages, size) for _ in range(runs)]
    for place, name in enumerate(CONSUMERS):
        cost = Cost(*(median(column) for column in zip(*(costs[place] for costs in done), strict=True)))
        ratio = median(costs[place].cpu / costs[0].cpu for costs in done)
        figures = f"{cost.cpu / messages * 1e6:8.1f}{ratio:8.2f}{cost.broker / messages * 1e6:11.1f}"
        readings = f"{messages * size / cost.cpu:16,.0f}" if place else f"{'':16}"
        print(f"{name:28}{figures}{messages / cost.wall:12,.0f}{readings}{cost.memory:9.0f}")


def main() -> None:
    """Print a table for each shape of message."""
    messages, runs = (int(text) for text in (*sys.argv[1:], *("100000", "3")[len(sys.argv) - 1 :]))
    for size in (1, METERS):
        table(messages if size == 1 else messages // 4, size, runs)


if __name__ == "__main__":
    main()
