"""The command as a process: it collects from a real broker, and ends well when it is told to."""

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ingest.collect.publish import publish
from ingest.model import Publication
from ingest.store.lake.adapter import Lake

PEAKWATCH = Path(sys.executable).parent / "peakwatch"
SAMPLES = Path(__file__).parents[2] / "deploy" / "registry"


@pytest.fixture
def settings(tmp_path: Path, mosquitto) -> Path:
    file = tmp_path / "peakwatch.toml"
    lines = {
        "registry": SAMPLES,
        "store": f"lake:{tmp_path / 'data'}",
        "broker": mosquitto.url,
        "mail": f"file:{tmp_path}",
    }
    file.write_text("".join(f'{key} = "{value}"\n' for key, value in lines.items()), "utf-8")
    return file


def told(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([PEAKWATCH, *arguments], capture_output=True, text=True, timeout=60, check=False)


@contextmanager
def running(*arguments: str | Path) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen([PEAKWATCH, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def reading(hour: int, value: float, *, minute: int = 0) -> Publication:
    entry = {"meter": "E-main", "time": f"2026-10-01T{hour:02d}:{minute:02d}:00+08:00", "value": value}
    return Publication("peakwatch/v1/dc-sample/gw/readings", json.dumps({"readings": [entry]}).encode())


@pytest.mark.parametrize("command", ["run", "collect"])
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_what_is_published_is_stored_and_a_signal_ends_it_with_0(
    command: str, how: signal.Signals, settings: Path, mosquitto, wait_until, tmp_path: Path
) -> None:
    with running(command, "--config", settings) as process:
        assert process.stderr is not None
        assert "collecting from" in process.stderr.readline()
        publish(mosquitto.broker, [reading(hour, 100.0 + hour) for hour in range(10)], client_id="gateway")
        lake = Lake(tmp_path / "data")
        wait_until(lambda: lake.read("readings").height == 10)
        process.send_signal(how)
        said, complaints = process.communicate(timeout=60)
    assert process.returncode == 0, complaints
    assert "10 received = 10 stored + 0 duplicate + 0 quarantined + 0 pending" in said


def test_what_was_published_while_it_was_away_is_stored_when_it_comes_back(
    settings: Path, mosquitto, wait_until, tmp_path: Path
) -> None:
    with running("collect", "--config", settings) as process:
        assert process.stderr is not None
        process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    publish(mosquitto.broker, [reading(1, 101.0)], client_id="gateway")
    with running("collect", "--config", settings):
        wait_until(lambda: Lake(tmp_path / "data").read("readings").height == 1)


def test_recorded_lines_are_replayed_to_a_collector(settings: Path, mosquitto, wait_until, tmp_path: Path) -> None:
    recording = tmp_path / "recorded.jsonl"
    lines = [{"topic": message.topic, **json.loads(message.payload)} for message in (reading(1, 1.0), reading(2, 2.0))]
    recording.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    with running("collect", "--config", settings) as process:
        assert process.stderr is not None
        process.stderr.readline()
        done = told("replay", recording, "--config", settings)
        assert (done.returncode, done.stderr) == (0, "")
        assert "2 messages published" in done.stdout
        wait_until(lambda: Lake(tmp_path / "data").read("readings")["value"].to_list() == [1.0, 2.0])


def test_a_device_of_another_format_is_collected_as_the_registry_says(
    settings: Path, mosquitto, wait_until, tmp_path: Path
) -> None:
    registry = Path(shutil.copytree(SAMPLES, tmp_path / "registry"))
    section = '\n[[gateway]]\nid = "hall"\nformat = "tasmota"\n[gateway.meters]\n"ENERGY.Total" = "E-main"\n'
    with (registry / "dc-sample.toml").open("a", encoding="utf-8") as file:
        file.write(section)
    settings.write_text(settings.read_text("utf-8").replace(str(SAMPLES), str(registry)), "utf-8")
    payload = b'{"Time": "2026-10-01T08:15:00", "ENERGY": {"Total": 1290.396, "Power": 8.15}}'
    with running("collect", "--config", settings) as process:
        assert process.stderr is not None
        process.stderr.readline()
        publish(
            mosquitto.broker, [Publication("peakwatch/v1/dc-sample/hall/tele/SENSOR", payload)], client_id="tasmota"
        )
        lake = Lake(tmp_path / "data")
        wait_until(lambda: lake.read("readings").height == 1)
    row = lake.read("readings").row(0, named=True)
    # 1290.396 kWh on a meter registered in kWh, at 08:15 of Shanghai
    assert (row["meter"], row["value"], row["unit"]) == ("E-main", 1290.396, "kWh")
    assert row["time"] == datetime(2026, 10, 1, 0, 15, tzinfo=UTC)


def test_killed_again_and_again_it_stores_every_acked_reading_exactly_once(
    settings: Path, mosquitto, wait_until, tmp_path: Path
) -> None:
    chance = random.Random(7)  # noqa: S311 - a seed, so that a failure comes again
    sent = [reading(hour, 100.0 + hour, minute=minute) for hour in range(24) for minute in range(60)]
    with running("collect", "--config", settings) as process:
        assert process.stderr is not None
        process.stderr.readline()
        process.send_signal(signal.SIGTERM)  # the broker knows the session from now on
        process.wait(60)
    lake = Lake(tmp_path / "data")
    for part in range(4):
        with running("collect", "--config", settings):
            publish(mosquitto.broker, sent[part * 360 : (part + 1) * 360], client_id="gateway")
            time.sleep(chance.uniform(0.0, 1.5))
        # leaving the context kills it: kill -9
    with running("collect", "--config", settings):
        wait_until(lambda: lake.read("readings").height == len(sent), seconds=30)
    assert lake.read("readings")["value"].sort().to_list() == sorted(
        100.0 + hour for hour in range(24) for _ in range(60)
    )
    assert lake.read("quarantine").is_empty()


def test_a_refused_login_is_one_sentence(start_mosquitto, settings: Path) -> None:
    locked = start_mosquitto(login="allow_anonymous false")
    settings.write_text(settings.read_text("utf-8").replace("broker = ", f'broker = "{locked.url}" #'), "utf-8")
    done = told("collect", "--config", settings)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "refuses client" in done.stderr


def test_the_scheduler_alone_ends_well(settings: Path, tmp_path: Path, wait_until) -> None:
    with running("schedule", "--config", settings) as process:
        lake = Lake(tmp_path / "data")
        wait_until(lambda: set(lake.read("runs")["job"]) >= {"compute", "judge", "announce", "maintain"}, seconds=60)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert set(lake.read("runs")["outcome"]) == {"done"}
