"""
Settings and servers of all tests: a property is tried without a stopwatch, for tests say nothing about time.

With CI=true the examples follow from the test, so the same code has the same answer; by hand each run tries others.
"""

import os
import sys
from fcntl import LOCK_EX, flock
from pathlib import Path
from runpy import run_path

import pytest
from hypothesis import settings

settings.register_profile("peakwatch", deadline=None, derandomize=os.environ.get("CI") == "true")
settings.load_profile("peakwatch")


@pytest.fixture(scope="session")
def played(tmp_path_factory):
    """The folder of `peakwatch demo`, to be read only, and what it said: one worker plays it for all."""
    own = tmp_path_factory.getbasetemp()
    # the folder of a worker lies in that of the session
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    folder, said = shared / "demo", shared / "demo.said"
    with (shared / "demo.lock").open("w") as lock:
        flock(lock, LOCK_EX)
        if not said.exists():
            said.write_text(_play(folder), "utf-8")
    return folder, said.read_text("utf-8")


def _play(folder):
    from pipelines import cli  # noqa: PLC0415 - most tests do not need it

    registry = Path(__file__).parents[1] / "deploy" / "registry"
    with pytest.MonkeyPatch.context() as patch, cli.out.capture() as said:
        patch.setattr(sys, "argv", ["peakwatch", "demo", "--folder", str(folder), "--registry", str(registry)])
        with pytest.raises(SystemExit, match=r"^0$"):
            cli.main()
    return said.get()


@pytest.fixture(scope="session")
def influx():
    """The module that runs a real influxd, where there is one; otherwise the test is skipped, in CI it fails."""
    module = run_path(str(Path(__file__).with_name("influx.py")))
    if module["program"]() is None:
        told = "no influxd: run deploy/servers.sh, or install Debian's package influxdb"
        pytest.fail(told) if os.environ.get("CI") == "true" else pytest.skip(told)
    return module


@pytest.fixture(scope="session")
def influxd(influx, tmp_path_factory):
    """A real influxd for the tests of one worker; each test makes a database of its own."""
    server = influx["Influxd"](influx["program"](), tmp_path_factory.mktemp("influxd"))
    server.first_start()
    yield server
    server.stop()


@pytest.fixture
def start_influxd(influx, tmp_path_factory):
    """Start an influxd of one test; `coordinator` and `http` add settings to these sections, `ca` signed its TLS."""
    running = []

    def start(folder=None, **sections):
        server = influx["Influxd"](influx["program"](), folder or tmp_path_factory.mktemp("influxd"), **sections)
        running.append(server)
        server.first_start()
        return server

    yield start
    for server in running:
        server.stop()
