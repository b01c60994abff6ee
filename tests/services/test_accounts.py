"""The loss equation of a running collector: scraped, kept in the store, asked by another process, and after a kill."""

import json
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ingest.collect.publish import publish
from ingest.model import Publication
from ingest.store.lake.adapter import Lake

pytestmark = pytest.mark.server

PEAKWATCH = Path(sys.executable).parent / "peakwatch"
SAMPLES = Path(__file__).parents[2] / "deploy" / "registry"
TOPIC = "peakwatch/v1/{}/gw/readings"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def settings(tmp_path: Path, mosquitto: Any) -> Path:
    file = tmp_path / "peakwatch.toml"
    lines = {"registry": SAMPLES, "store": f"lake:{tmp_path / 'data'}", "broker": mosquitto.url}
    file.write_text("".join(f'{key} = "{value}"\n' for key, value in lines.items()), "utf-8")
    return file


@contextmanager
def collecting(settings: Path, *options: str) -> Iterator["subprocess.Popen[str]"]:
    command = [PEAKWATCH, "collect", "--config", settings, *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        assert "collecting from" in process.stderr.readline()
        yield process
    finally:
        process.kill()
        process.communicate()


def scraped(port: int) -> dict[tuple[str, ...], float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        families = text_string_to_metric_families(answer.read().decode())
        return {(one.name, *one.labels.values()): one.value for family in families for one in family.samples}


def told(settings: Path) -> dict[str, Any]:
    command = [PEAKWATCH, "status", "--format", "json", "--config", settings]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def numbered(seq: int, *entries: dict[str, Any], facility: str = "dc-sample") -> Publication:
    return Publication(TOPIC.format(facility), json.dumps({"seq": seq, "readings": entries}).encode())


def reading(hour: int, **other: Any) -> dict[str, Any]:
    return {"meter": "E-main", "time": f"2026-10-01T{hour:02d}:00:00+08:00", "value": 100.0 + hour} | other


# 10 good (one of them twice), 3 refused readings, a payload refused whole, 2 of an unknown facility; seq 12 is missing
TRAFFIC = [
    *(numbered(seq, reading(seq)) for seq in range(10)),
    numbered(10, reading(1)),
    numbered(11, reading(2, meter="E-x"), reading(3, meter="E-y"), reading(4, unit="m3")),
    numbered(13, reading(0)),
    Publication(TOPIC.format("dc-sample"), b"{"),
    numbered(0, reading(1), reading(2), facility="nobody"),
    Publication("peakwatch/v1/dc-sample/gw/status", b"offline"),
    *(Publication(f"peakwatch/v1/nobody-{n}/gw/status", b"online") for n in range(50)),
]
RECEIVED, STORED, DUPLICATE, QUARANTINED = 18, 10, 2, 6


def equation(port: int) -> tuple[float, ...]:
    found = scraped(port)
    fates = (found["peakwatch_items_total", fate] for fate in ("stored", "duplicate", "quarantined"))
    return (found["peakwatch_items_received_total",], *fates, found["peakwatch_items_pending",])


def test_the_equation_closes_in_the_metrics_in_the_store_and_in_another_process(
    settings: Path, mosquitto: Any, wait_until: Any, tmp_path: Path
) -> None:
    port = free_port()
    with collecting(settings, "--metrics", str(port)) as process:
        assert equation(port) == (0, 0, 0, 0, 0)
        publish(mosquitto.broker, TRAFFIC, client_id="gateway")
        wait_until(lambda: equation(port) == (RECEIVED, STORED, DUPLICATE, QUARANTINED, 0))
        found = scraped(port)
        assert found["peakwatch_lost_upstream_total", "dc-sample", "gw"] == 1
        assert found["peakwatch_gateway_online", "dc-sample", "gw"] == 0
        assert not [labels for _, *labels in found if any("nobody" in label for label in labels)]
        lake = Lake(tmp_path / "data")
        wait_until(lambda: lake.read("collectors")["items"].to_list() == [RECEIVED])
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    with pytest.raises(URLError):
        scraped(port)
    now = told(settings)
    (counted,) = now["collectors"]
    assert counted["collector"] == "peakwatch-collector"
    assert [counted[name] for name in ("items", "stored", "duplicate", "quarantined", "pending", "overflow")] == [
        RECEIVED,
        STORED,
        DUPLICATE,
        QUARANTINED,
        0,
        0,
    ]
    assert now["total"][0]["closes"] is True
    (gateway,) = now["gateways"]
    assert (gateway["state"], gateway["lost_upstream"]) == ("offline", 1)


def test_a_kill_loses_counts_of_seconds_and_no_reading(
    settings: Path, mosquitto: Any, wait_until: Any, tmp_path: Path
) -> None:
    lake = Lake(tmp_path / "data")
    with collecting(settings) as process:
        publish(mosquitto.broker, TRAFFIC[:5], client_id="gateway")
        wait_until(lambda: lake.read("collectors")["items"].sum() == 5)
        publish(mosquitto.broker, TRAFFIC[5:10], client_id="gateway")
        process.kill()
        process.wait(20)
    with collecting(settings) as process:
        wait_until(lambda: lake.read("readings").height == 10)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    now = told(settings)
    assert now["total"][0]["closes"] is True
    assert lake.read("collectors").height == 2
    assert lake.read("readings").height == 10


def test_a_metrics_port_in_use_is_one_sentence(settings: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        command = [PEAKWATCH, "collect", "--config", settings, "--metrics", place]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert (
        done.stderr
        == f"✗ --metrics: found {place}: Address already in use; wanted an address of this machine and a free port\n"
    )
