"""
Settings and servers of all tests: a property is tried without a stopwatch, for tests say nothing about time.

With CI=true the examples follow from the test, so the same code has the same answer; by hand each run tries others.
"""

import os
from pathlib import Path
from runpy import run_path

import pytest
from hypothesis import settings

settings.register_profile("peakwatch", deadline=None, derandomize=os.environ.get("CI") == "true")
settings.load_profile("peakwatch")


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
