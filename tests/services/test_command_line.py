"""The command as a process: it collects from a real broker, and ends well when it is told to."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ingest.collect.publish import publish
from ingest.model import Publication
from ingest.store.lake import Lake

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
    return subprocess.run([PEAKWATCH, *arguments], capture_output=True, text=True, timeout=30, check=False)


@contextmanager
def running(*arguments: str | Path) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen([PEAKWATCH, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def reading(hour: int, value: float) -> Publication:
    entry = {"meter": "E-main", "time": f"2026-10-01T{hour:02d}:00:00+08:00", "value": value}
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
        said, complaints = process.communicate(timeout=20)
    assert process.returncode == 0, complaints
    assert "10 received = 10 stored + 0 duplicate + 0 quarantined + 0 pending" in said


def test_what_was_published_while_it_was_away_is_stored_when_it_comes_back(
    settings: Path, mosquitto, wait_until, tmp_path: Path
) -> None:
    with running("collect", "--config", settings) as process:
        assert process.stderr is not None
        process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        process.wait(20)
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
        assert process.wait(20) == 0
    assert set(lake.read("runs")["outcome"]) == {"done"}
