"""
The stack of docker-compose.yml, started as docs/operations/install.md has it, and the demo run through it.

It needs an engine with compose (docker or podman, 2.24 or newer), root, and the images: pulled where a registry is
reached. Where one of these is missing the tests are skipped with the reason, in CI too: an engine is no server of ours.
A service nothing waits for, whose image cannot be had, is left out. All it makes has names of its own and is removed.
"""

import json
import os
import re
import shutil
import subprocess
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from ingest import registry as registries
from ingest.collect.mqtt import Broker
from ingest.collect.publish import publish
from ingest.collect.simulate import simulate
from ingest.errors import BrokerError
from ingest.model import Publication
from pipelines import demo
from pipelines.jobs.table import JOBS

pytestmark = [pytest.mark.server, pytest.mark.timeout(3600)]

ROOT = Path(__file__).parents[2]
STACK: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = STACK["services"]
INSTALL = (ROOT / "docs" / "operations" / "install.md").read_text("utf-8")
NEEDED = {on for service in SERVICES.values() for on in service.get("depends_on", ())} | {"collector", "scheduler"}
OURS = [name for name, service in SERVICES.items() if service["image"].startswith("peakwatch:")]
PUBLISHED = {"mosquitto": (8883, 8884), "grafana": (3000,), "prometheus": (9090,), "mailpit": (8025,)}
PROFILES = ("observe", "dev")
PULL, BUILD, START = 300, 1200, 300  # [s]


def quiet(*command: object, seconds: float = 60) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=seconds, check=False, cwd=ROOT
    )


def engine() -> str:
    """The first engine that answers and composes."""
    for name in filter(shutil.which, ("docker", "podman")):
        version = re.search(r"\bv?(\d+)\.(\d+)\.\d+", quiet(name, "compose", "version").stdout)
        if version and tuple(map(int, version.groups())) >= (2, 24) and quiet(name, "info").returncode == 0:
            return name
    pytest.skip("no container engine with compose 2.24 answers")


def image(name: str, tag: str) -> bool:
    """Whether an image is here, or can be pulled."""
    if quiet(name, "image", "inspect", tag).returncode == 0:
        return True
    try:
        return quiet(name, "pull", "--quiet", tag, seconds=PULL).returncode == 0
    except subprocess.TimeoutExpired:
        return False


class Stack:
    """One project of compose, in a folder and under a name of its own."""

    def __init__(self, name: str, folder: Path, without: frozenset[str]) -> None:
        self.engine, self.folder, self.without = name, folder, without
        self.project = f"peakwatch-test-{os.getpid()}"
        self.environment = os.environ | {"PEAKWATCH_MAIL": "file:/var/lib/peakwatch/outbox"}
        if "mailpit" not in without:
            self.environment["PEAKWATCH_MAIL"] = "smtp://mailpit:1025"

    def compose(self, *words: object, seconds: float = START, check: bool = True) -> str:
        profiles = [word for profile in PROFILES for word in ("--profile", profile)]
        files = ["--file", "docker-compose.yml", "--file", "here.yml"]
        command = [self.engine, "compose", "--project-name", self.project, *files, *profiles, *map(str, words)]
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=seconds, check=False
        )
        assert not check or done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    def peakwatch(self, service: str, *words: str) -> str:
        """A command in a running service."""
        return self.compose("exec", "--no-TTY", service, "peakwatch", *words)

    def once(self, service: str, *words: str, seconds: float = 900) -> str:
        """A command in a container of its own, with what a service is given."""
        return self.compose("run", "--rm", "--no-TTY", service, *words, seconds=seconds)

    def inspect(self, service: str) -> dict[str, Any]:
        (one,) = self.compose("ps", "--all", "--quiet", service).split()
        found: list[dict[str, Any]] = json.loads(quiet(self.engine, "inspect", one).stdout)
        return found[0]

    def state(self, service: str) -> str:
        """Running and healthy, or how else it stands."""
        state = self.inspect(service)["State"]
        health = state.get("Health", {}).get("Status")
        return str(health if state["Running"] and health else f"{state['Status']} {state['ExitCode']}")

    def port(self, service: str, inner: int) -> int:
        return int(self.compose("port", service, inner).strip().rpartition(":")[2])

    def address(self, service: str) -> str:
        networks = self.inspect(service)["NetworkSettings"]["Networks"].values()
        return str(next(iter(networks))["IPAddress"])

    def broker(self, user: str, password: str | None, port: int = 8883) -> Broker:
        ca = self.folder / "secrets/authority/certificate.pem"
        return Broker.parse(f"mqtts://127.0.0.1:{self.port('mosquitto', port)}", user=user, password=password, ca=ca)


def until(reached: Callable[[], bool], what: str, *, seconds: float = START) -> None:
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end, f"{what}: not within {seconds:g} s"
        time.sleep(1)


def written() -> list[list[str]]:
    """The commands of the installation guide that are run by root before the start, as they stand there."""
    lines = re.findall(r"^    sudo (\S.*)$", INSTALL, re.MULTILINE)
    return [line.partition("#")[0].split() for line in lines]


def local(stack: Stack) -> str:
    """What differs from the real thing: ports of its own on loopback, an image of its own."""
    lines = ["services:"]
    for name, ports in PUBLISHED.items():
        lines += [f"  {name}:", "    ports: !override", *(f'      - "127.0.0.1::{port}"' for port in ports)]
    lines += [f"  {name}:\n    image: {stack.project}" for name in OURS]
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The stack, started the way the guide says; a clean copy of what git knows."""
    name = engine()
    if os.geteuid():
        pytest.skip("each folder of secrets belongs to another user: needs root")
    bases = re.findall(r"^FROM (\S+)", (ROOT / "deploy/docker/Dockerfile").read_text("utf-8"), re.MULTILINE)
    tags = {one: service["image"] for one, service in SERVICES.items() if one not in OURS}
    missing = {one: tag for one, tag in tags.items() if not image(name, tag)}
    lacking = [tag for one, tag in missing.items() if one in NEEDED] + [tag for tag in {*bases} if not image(name, tag)]
    if lacking:
        pytest.skip(f"images that are neither here nor pulled: {', '.join(sorted(lacking))}")
    folder = tmp_path_factory.mktemp("stack")
    for file in quiet("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").stdout.split("\0"):
        if file and (ROOT / file).is_file():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / file, folder / file)
    made = Stack(name, folder, frozenset(missing))
    (folder / "here.yml").write_text(local(made), "utf-8")
    try:
        _start(made)
        yield made
    finally:
        made.compose("down", "--volumes", "--remove-orphans", "--timeout", 20, check=False)
        quiet(name, "image", "rm", "--force", made.project)


def _start(stack: Stack) -> None:
    """Follow the guide: secrets, owners, devices, start."""
    command = Path(shutil.which("peakwatch") or ROOT / ".venv/bin/peakwatch")

    def run(*words: object, **more: str) -> None:
        call = [str(word) for word in words]
        done = subprocess.run(
            call, cwd=stack.folder, env=os.environ | more, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{call}: {done.stdout}{done.stderr}"

    run(command, "init", "--host", "broker.example.org")
    registered = registries.load(ROOT / "deploy/registry").facilities
    for words in written():
        if words[0].startswith("PEAKWATCH_"):  # device add, for one facility and for one with a certificate
            setting, value = words[0].split("=")
            for facility in registered if "--certificate" not in words else ("dc-sample",):
                run(command, *[facility if word == "dc-sample" else word for word in words[2:]], **{setting: value})
        else:
            run(*words)
    stack.compose("build", "--quiet", "scheduler", seconds=BUILD)
    stack.compose("up", "--detach", *(one for one in SERVICES if one not in stack.without | {"collector-2"}))


@pytest.fixture(scope="module")
def passwords(stack: Stack) -> Mapping[str, str]:
    return {path.parent.name: path.read_text() for path in (stack.folder / "secrets/devices").glob("*/password")}


def running(stack: Stack) -> list[str]:
    return [name for name in SERVICES if name not in stack.without | {"collector-2", "store-init"}]


def test_every_service_becomes_healthy_and_store_init_ends_well(stack: Stack) -> None:
    for name in running(stack):
        until(lambda name=name: stack.state(name) == "healthy", name)  # type: ignore[misc]
    assert stack.state("store-init") == "exited 0"


def test_nobody_is_root_and_nobody_writes_where_it_should_not(stack: Stack) -> None:
    try_it = "touch /etc/x 2>/dev/null && echo written; id -u; grep -E 'CapEff|NoNewPrivs' /proc/self/status"
    for name in running(stack):
        if name == "mailpit":  # no shell is promised there
            continue
        said = stack.compose("exec", "--no-TTY", name, "sh", "-c", try_it).split()
        user = SERVICES[name]["user"].split(":")[0]
        assert said == [user, "CapEff:", "0" * 16, "NoNewPrivs:", "1"], name


def test_zones_do_not_reach_each_other(stack: Stack) -> None:
    code = (
        "import socket, sys\n"
        "s = socket.socket(); s.settimeout(3)\n"
        "try: print(s.connect_ex((sys.argv[1], int(sys.argv[2]))))\n"
        "except OSError: print('none')"
    )

    def reaches(service: str, other: str, port: int) -> bool:
        said = stack.compose("exec", "--no-TTY", service, "python", "-c", code, stack.address(other), port)
        return said.strip() == "0"

    assert reaches("collector", "mosquitto", 8883)
    assert reaches("scheduler", "influxdb", 8086) or reaches("collector", "influxdb", 8086)
    assert not reaches("scheduler", "mosquitto", 8883)
    if "mailpit" not in stack.without:
        assert reaches("scheduler", "mailpit", 1025)
        assert not reaches("collector", "mailpit", 1025)


def test_strangers_are_refused(stack: Stack, passwords: Mapping[str, str]) -> None:
    one = Publication("peakwatch/v1/dc-sample/gw/readings", b"{}")
    for user, password in (("", None), ("dc-sample", "guessed"), ("dc-sample", passwords["copper-sample"])):
        with pytest.raises(BrokerError):
            publish(stack.broker(user, password), [one], client_id="stranger", timeout=10)


def test_the_demo_comes_out_as_on_one_machine(stack: Stack, passwords: Mapping[str, str]) -> None:
    if datetime.now(UTC) < demo.NOW:
        pytest.skip("the demo's months are not over")
    registry = registries.load(ROOT / "deploy/registry")
    sent = Counter[str]()
    every = list(simulate(registry, demo.MONTHS, seed=demo.SEED))
    for facility, password in passwords.items():
        own = [one for one in every if one.topic.split("/")[2] == facility]
        sent[facility] = publish(stack.broker(facility, password), own, client_id=f"meters-{facility}")
        assert sent[facility] == len(own)
    tally = "333435 = 333387 + 48 + 0 + 0"
    until(lambda: equation(stack) == tally, f"the loss equation {tally}", seconds=900)
    period = ("--from", "2025-10-01", "--to", "2026-11-01")
    for job in ("compute", "judge"):
        stack.once("scheduler", job, *period)
    said = stack.compose("exec", "--no-TTY", "scheduler", "peakwatch", "breaches", "list")
    assert len(re.findall(r"gb-21252-2023-level3|gd-13-pue", said)) >= 2
    indicators = stack.peakwatch("scheduler", "export", "indicators", *period, "--format", "json")
    year = [row for row in json.loads(indicators) if row["interval"] == "12mo" and row["indicator"] == "pue"]
    found = {row["facility"]: round(row["value"], 2) for row in year if row["value"] is not None}
    assert found == {"dc-green-sample": 1.24, "dc-sample": 1.38}


def equation(stack: Stack) -> str:
    one = json.loads(stack.peakwatch("scheduler", "status", "--format", "json"))["total"]
    total = {key: sum(row[key] for row in one) for key in ("items", "stored", "duplicate", "quarantined", "pending")}
    return "{items} = {stored} + {duplicate} + {quarantined} + {pending}".format(**total)


def test_the_scheduler_announces_what_was_judged(stack: Stack) -> None:
    if "mailpit" in stack.without:
        pytest.skip("no image of mailpit")
    url = f"http://127.0.0.1:{stack.port('mailpit', 8025)}/api/v1/messages"

    def told() -> bool:
        with urllib.request.urlopen(url) as answer:
            return any("(PUE) 1.38" in one["Subject"] for one in json.load(answer)["messages"])

    until(told, "the mail about the data centre", seconds=900)


def test_the_jobs_had_their_turns(stack: Stack) -> None:
    jobs = json.loads(stack.peakwatch("scheduler", "status", "--format", "json"))["jobs"]
    assert [job["job"] for job in jobs] == list(JOBS)
    assert all(job["good"] and not job["error"] for job in jobs)


def test_the_database_of_an_operator_is_made_and_filled(stack: Stack) -> None:
    stack.once("store-init", "store", "init", "--secrets", "/run/store", "--facility", "dc-sample")
    stack.compose("restart", "scheduler")

    def copied() -> bool:
        jobs = json.loads(stack.peakwatch("scheduler", "status", "--format", "json"))["jobs"]
        return any(job["job"] == "copy-dc-sample" and job["good"] for job in jobs)

    until(copied, "the first copy", seconds=900)
    place = "influxdbs://influxdb:8086/peakwatch{}?org=peakwatch"
    proof = ("copy", "--facility", "dc-sample", "--from", place.format(""), "--to", place.format("-dc-sample"))
    secrets = "PEAKWATCH_SECRETS=/run/secrets:/run/store:/run/facilities/dc-sample/copy"
    command = ("run", "--rm", "--no-TTY", "--env", secrets, "scheduler", *proof, "--table", "indicators")
    assert re.search(r"[1-9]\d* rows, 0 written", " ".join(stack.compose(*command).split()))


def test_prometheus_scrapes_both(stack: Stack) -> None:
    if "prometheus" in stack.without:
        pytest.skip("no image of prometheus")
    url = f"http://127.0.0.1:{stack.port('prometheus', 9090)}/api/v1/query?query=up"

    def up() -> set[str]:
        with urllib.request.urlopen(url) as answer:
            return {one["metric"]["job"] for one in json.load(answer)["data"]["result"] if one["value"][1] == "1"}

    until(lambda: up() == {"peakwatch-collector", "peakwatch-scheduler"}, "scrapes", seconds=90)


def _here(process: int, name: str) -> None:
    command = Path(f"/proc/{process}/cmdline")
    if not command.exists() or name not in command.read_text():
        pytest.skip("the engine runs on another machine")


def test_what_waits_in_the_broker_survives_its_kill_9_and_it_comes_back(
    stack: Stack, passwords: Mapping[str, str]
) -> None:
    process = int(stack.inspect("mosquitto")["State"]["Pid"])
    _here(process, "mosquitto")
    # the broker reads its files again, as the guide has it; Docker must not take that for a stop
    reread = re.search(r"docker compose exec mosquitto sh -c '(.+)'", INSTALL)
    assert reread
    stack.compose("exec", "--no-TTY", "mosquitto", "sh", "-c", reread[1])
    # stopped as an upgrade stops it: what comes meanwhile waits
    stack.compose("stop", "collector")
    hour = datetime(2026, 11, 2, tzinfo=UTC)
    body = '{{"readings": [{{"meter": "E-main", "time": "{}", "value": {}, "unit": "kWh"}}]}}'
    times = [hour.replace(hour=n // 60, minute=n % 60).isoformat() for n in range(200)]
    topic = "peakwatch/v1/dc-sample/gw-new/readings"
    waiting = [Publication(topic, body.format(at, 9e7 + n).encode()) for n, at in enumerate(times)]
    assert publish(stack.broker("dc-sample", passwords["dc-sample"]), waiting, client_id="gw-new") == len(waiting)
    os.kill(process, 9)
    until(lambda: stack.inspect("mosquitto")["State"]["Pid"] not in (0, process), "the broker is back")
    stack.compose("start", "collector")
    exported = ("export", "readings", "--facility", "dc-sample", "--format", "json")
    period = ("--from", "2026-11-02", "--to", "2026-11-03")

    def stored() -> int:
        rows = json.loads(stack.peakwatch("scheduler", *exported, *period))
        return sum(row["gateway"] == "gw-new" for row in rows)

    # mosquitto is one change behind: the newest may be gone, and a gateway that numbers its messages makes it visible
    until(lambda: stored() >= len(waiting) - 1, "what was acknowledged")


def test_a_service_that_dies_is_started_again(stack: Stack) -> None:
    process = int(stack.inspect("scheduler")["State"]["Pid"])
    _here(process, "peakwatch")
    os.kill(process, 9)
    until(lambda: stack.inspect("scheduler")["State"]["Pid"] not in (0, process), "the scheduler is back")
    until(lambda: stack.state("scheduler") == "healthy", "scheduler")
