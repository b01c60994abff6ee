"""
Does the memory stay flat, and is every reading stored, while messages keep coming for a long time?

    .venv/bin/python bench/soak.py [MINUTES [RATE]]

RATE (default 5,000) messages of one reading a second go through a mosquitto to `peakwatch collect`, a process of its
own as one would start it, into a lake in the folder for temporary files, for MINUTES (default 1). The lake is
maintained every two minutes, which the scheduler does every ten. A line every half a minute; after it SIGTERM, and
the lake must hold every reading that was acked, once.
"""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep
from urllib.request import urlopen

from collect import FACILITIES, METERS, answers, cpu_of, free_port, mosquitto, until

from ingest.collect.mqtt import Broker
from ingest.collect.publish import Publisher
from ingest.model import Publication
from ingest.store.lake.adapter import Lake

LINE, MAINTAIN = 30.0, 120.0  # [s]
FACILITY = """
id = "{id}"
name = {{ zh = "示例", en = "Sample" }}
kind = "industrial"
division = "440781"
industry = "3011"
key_energy_user = true
"""
METER = """
[[meter]]
id = "E-{n:02}"
carrier = "electricity"
role = "process"
kind = "register"
unit = "kWh"
period = "15m"
valid_from = 2025-01-01
"""


def write_registry(folder: Path) -> None:
    """Write 1,000 facilities of 20 meters."""
    folder.mkdir()
    for n in range(FACILITIES):
        name = f"plant-{n:04}"
        text = FACILITY.format(id=name) + "".join(METER.format(n=meter) for meter in range(METERS))
        (folder / f"{name}.toml").write_text(text, "utf-8")


def readings() -> Iterator[Publication]:
    """Messages of one reading, without end: every meter in turn, then a quarter of an hour later again."""
    at, n = datetime.now(UTC) - timedelta(days=300), 0
    while True:
        time = at.isoformat(timespec="seconds")
        for meter in range(METERS):
            for facility in range(FACILITIES):
                payload = f'{{"seq":{n},"readings":[{{"meter":"E-{meter:02}","time":"{time}","value":{n}.5}}]}}'
                yield Publication(f"peakwatch/v1/plant-{facility:04}/gw/readings", payload.encode())
            n += 1
        at += timedelta(minutes=15)


@contextmanager
def maintained(folder: Path) -> Iterator[None]:
    """Maintain a lake now and then while the context lasts."""
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(MAINTAIN):
            Lake(folder).maintain(datetime.now(UTC))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def memory_of(pid: int) -> float:
    """Resident memory of a process. [MB]"""
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1000 if found else 0.0


def counts(port: int) -> dict[str, int]:
    """Read what the collector counts from its metrics."""
    with urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        text = answer.read().decode()
    wanted = {"received": r"^peakwatch_items_received_total (\S+)", "pending": r"^peakwatch_items_pending (\S+)"}
    wanted |= {fate: rf'fate="{fate}"}} (\S+)' for fate in ("stored", "duplicate", "quarantined")}
    return {
        name: int(float(found[1]))
        for name, pattern in wanted.items()
        if (found := re.search(pattern, text, re.MULTILINE))
    }


def soak(port: int, broker: int, collector: int, metrics: int, *, minutes: float, rate: int) -> int:
    """Publish for some minutes and print a line now and then; return how many messages were acked."""
    titles = ("minute", "acked/s", "behind", "pending", "collector MB", "CPU", "mosquitto MB", "CPU")
    print("".join(f"{title:>13}" for title in titles))
    with Publisher(Broker("127.0.0.1", port), "meters", window=500) as publisher:
        begun = last = monotonic()
        acked, spent = 0, (cpu_of(collector), cpu_of(broker))
        for n, message in enumerate(readings()):
            publisher.send(message)
            now = monotonic()
            if now - last >= LINE:
                told, used = counts(metrics), (cpu_of(collector), cpu_of(broker))
                assert told["received"] == sum(told.values()) - told["received"], told
                shares = [(after - before) / (now - last) for before, after in zip(spent, used, strict=True)]
                print(
                    f"{(now - begun) / 60:13.1f}{(publisher.acked - acked) / (now - last):13,.0f}"
                    f"{publisher.acked - told['stored']:13,}{told['pending']:13,}{memory_of(collector):13.0f}"
                    f"{shares[0]:13.0%}{memory_of(broker):13.0f}{shares[1]:13.0%}",
                    flush=True,
                )
                last, acked, spent = now, publisher.acked, used
            if now - begun >= 60 * minutes:
                break
            if (ahead := (n + 1) / rate - (now - begun)) > 0.002:
                sleep(ahead)
        publisher.drain()
        return publisher.acked


def main() -> None:
    """Start everything, soak, stop the collector and count what the lake holds."""
    minutes, rate = (float(text) for text in (*sys.argv[1:], *("1", "5000")[len(sys.argv) - 1 :]))
    with TemporaryDirectory() as name, mosquitto(Path(name)) as (port, pid):
        folder, metrics = Path(name), free_port()
        write_registry(folder / "registry")
        environment = os.environ | {
            "PEAKWATCH_REGISTRY": f"{folder / 'registry'}",
            "PEAKWATCH_STORE": f"lake:{folder / 'lake'}",
            "PEAKWATCH_BROKER": f"mqtt://127.0.0.1:{port}",
        }
        command = [Path(sys.executable).parent / "peakwatch", "collect", "--metrics", str(metrics)]
        collector = subprocess.Popen(command, env=environment, cwd=folder)
        try:
            until(lambda: answers(metrics) or collector.poll() is not None)
            with maintained(folder / "lake"):
                acked = soak(port, pid, collector.pid, metrics, minutes=minutes, rate=int(rate))
            until(lambda: counts(metrics)["stored"] == acked)
        finally:
            collector.send_signal(signal.SIGTERM)
        assert collector.wait(60) == 0
        stored = Lake(folder / "lake").read("readings", columns=["facility"]).height
        print(f"{acked:,} messages acked, {stored:,} readings in the lake")
        assert stored == acked


if __name__ == "__main__":
    main()
