"""The stack of containers, checked without a container engine: what it names exists, and it keeps what it promises."""

import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from ingest import settings
from ingest.store.connect import parse
from ingest.store.influx.setup import ROLES, Vault, secrets_of
from ingest.store.influx.target import Target
from pipelines import cli
from pipelines.credentials import stack as secrets

ROOT = Path(__file__).parents[1]
STACK: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = STACK["services"]
GRAFANA = ROOT / "deploy" / "grafana"
INSTALL = (ROOT / "docs" / "operations" / "install.md").read_text("utf-8")
FOLDERS = STACK["x-peakwatch"]["environment"]["PEAKWATCH_SECRETS"].split(":")
OURS = [name for name, service in SERVICES.items() if service["image"].startswith("peakwatch:")]

# where the tokens of the store are written, by the one service that makes them
TOKENS = ("./secrets/store", "/run/store")

each = pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Every path that `peakwatch init` makes, as the stack names it."""
    root = tmp_path_factory.mktemp("made") / "secrets"
    paths = {one.path.relative_to(root.parent) for one in secrets.make(root, (), cli.clock())}
    return {f"./{path.as_posix()}" for one in paths for path in (one, one.parent)} - {"./secrets"}


def mounts(service: dict[str, Any]) -> list[list[str]]:
    return [mount.split(":") for mount in service.get("volumes", ())]


def given(service: dict[str, Any]) -> list[dict[str, str]]:
    """The secrets of a service, in the long form."""
    return [{"source": one, "target": one} if isinstance(one, str) else one for one in service.get("secrets", ())]


@each
def test_a_service_has_no_more_than_it_needs(service: dict[str, Any]) -> None:
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", service["user"]), "runs as root, or as a user of the image's choice"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "no-new-privileges:true" in service["security_opt"]
    assert not {"privileged", "network_mode", "pid", "devices", "ipc"} & service.keys()
    assert {"mem_limit", "cpus", "pids_limit", "restart", "tmpfs", "networks", "logging"} <= service.keys()


@each
def test_a_service_is_one_version_and_says_how_it_is(service: dict[str, Any]) -> None:
    assert re.fullmatch(r"[a-z0-9/-]+:v?\d+\.\d+\.\d+", service["image"]), "no exact version"
    check = service["healthcheck"]
    once = service["restart"] == "no"
    assert check == {"disable": True} if once else {"test", "interval", "timeout", "retries"} <= check.keys()


@each
def test_what_a_service_names_is_there(service: dict[str, Any], made: set[str]) -> None:
    assert {one["source"] for one in given(service)} <= STACK["secrets"].keys()
    assert set(service["networks"]) <= STACK["networks"].keys()
    for source, target, *mode in mounts(service):
        assert target.startswith("/")
        if source.startswith("./"):
            assert mode == ([] if (source, target) == TOKENS else ["ro"]), f"{source} can be written"
            assert source in made or (ROOT / source).exists(), source
        else:
            assert source in STACK["volumes"], source
    for other, on in service.get("depends_on", {}).items():
        once = SERVICES[other]["restart"] == "no"
        assert on["condition"] == ("service_completed_successfully" if once else "service_healthy")


def test_nothing_is_named_that_nobody_uses() -> None:
    used = {one["source"] for service in SERVICES.values() for one in given(service)}
    assert used == STACK["secrets"].keys()
    assert {network for service in SERVICES.values() for network in service["networks"]} == STACK["networks"].keys()
    volumes = {source for service in SERVICES.values() for source, *_ in mounts(service) if source[0] != "."}
    assert volumes == STACK["volumes"].keys()


def test_every_secret_is_a_file_that_init_makes(made: set[str]) -> None:
    assert {secret["file"] for secret in STACK["secrets"].values()} <= made


def test_no_service_reads_the_folder_of_another(made: set[str]) -> None:
    folders = {"mosquitto": "mosquitto", "influxdb": "influxdb", "grafana": "grafana"} | dict.fromkeys(
        OURS, "peakwatch"
    )
    for name, service in SERVICES.items():
        files = [STACK["secrets"][one["source"]]["file"] for one in given(service)]
        files += [source for source, *_ in mounts(service) if source.startswith("./secrets")]
        assert {file.split("/")[2] for file in files} <= {folders.get(name), "store"}, name
    # the keys of the authority and of the devices are mounted nowhere
    assert not re.search(r"\./secrets/(authority|devices)|\./secrets['\":]", str(STACK))


def test_each_service_sees_the_token_of_its_own_role_alone() -> None:
    seen = {
        name: [(source, *mode) for source, target, *mode in mounts(service) if target == "/run/store"]
        for name, service in SERVICES.items()
    }
    roles = {"collector": "collector", "collector-2": "collector", "scheduler": "jobs", "grafana": "grafana"}
    assert {name: own for name, own in seen.items() if own} == {
        "store-init": [TOKENS[:1]],
        **{name: [(f"./secrets/store/{role}", "ro")] for name, role in roles.items()},
    }
    assert set(roles.values()) == {role.name for role in ROLES}
    for name in roles:
        assert "store-init" in SERVICES[name]["depends_on"], "starts before its token is there"
    assert SERVICES["store-init"]["command"] == ["store", "init", "--secrets", TOKENS[1]]
    assert [name for name in SERVICES if "peakwatch_store_admin_token" in str(SERVICES[name])] == ["store-init"]


def test_the_scheduler_alone_fills_the_databases_of_facilities_from_where_store_init_wrote_their_secrets() -> None:
    (source, target, mode) = next(one for one in mounts(SERVICES["scheduler"]) if "facilities" in one[0])
    assert Path(source) == secrets_of(Path(TOKENS[0]), "any").parent
    assert mode == "ro"
    assert settings.load(ROOT / "deploy" / "peakwatch.toml").facility_secrets == Path(target)
    assert [name for name, service in SERVICES.items() if target in str(service)] == ["scheduler"]


def test_a_token_that_store_init_wrote_is_what_each_service_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings.load(ROOT / "deploy" / "peakwatch.toml")
    store = parse(config.store)
    assert isinstance(store, Target)
    assert (store.url, store.user, store.org) == (
        "https://influxdb:8086",
        "",
        SERVICES["influxdb"]["environment"]["DOCKER_INFLUXDB_INIT_ORG"],
    )
    drawn = tmp_path / "run" / "secrets"
    drawn.mkdir(parents=True)
    (drawn / "peakwatch_client_id").write_text("collector-x")
    for role in ROLES:
        Vault(tmp_path / "store", "token").put(role, f"token of {role.name}")
        folders = [folder.replace("/run/store", str(tmp_path / "store" / role.name)) for folder in FOLDERS]
        monkeypatch.setenv("PEAKWATCH_SECRETS", os.pathsep.join([str(drawn), *folders[1:]]))
        read = settings.load(ROOT / "deploy" / "peakwatch.toml")
        assert read.store_token is not None
        assert (read.store_token.get_secret_value(), read.client_id) == (f"token of {role.name}", "collector-x")


def test_a_token_is_handed_to_the_group_of_its_folder(tmp_path: Path) -> None:
    collector, _, shown = ROLES
    vault = Vault(tmp_path, "token")
    (tmp_path / "grafana").mkdir()
    (tmp_path / "grafana").chmod(0o2750)  # as docs/operations/install.md has it made
    vault.put(shown, "shown")
    vault.put(collector, "kept")
    assert [vault.path(role).stat().st_mode & 0o777 for role in (shown, collector)] == [0o640, 0o600]
    assert "install --directory --owner=10001 --group=472 --mode=2750 secrets/store/grafana" in INSTALL


def test_grafana_reads_the_store_with_the_token_of_its_role_and_starts_without_addresses() -> None:
    grafana = SERVICES["grafana"]
    source = yaml.safe_load((GRAFANA / "provisioning/datasources/peakwatch.yml").read_text("utf-8"))["datasources"][0]
    secret = source["secureJsonData"]
    assert source["jsonData"]["httpHeaderName1"] == "Authorization"
    assert secret["httpHeaderValue1"] == f"Token $__file{{{TOKENS[1]}/peakwatch_store_token}}"
    assert secret["tlsCACert"] == "$__file{/run/secrets/grafana_authority}"
    assert (source["url"], source["jsonData"]["dbName"]) == ("https://influxdb:8086", "peakwatch")
    # what the contact points name has a default, for Grafana takes no empty address
    points = (GRAFANA / "provisioning/alerting/contactPoints.yml").read_text("utf-8")
    for name in re.findall(r"\$\{(\w+)\}", points):
        assert re.fullmatch(rf"\${{{name}:-\S+@\S+}}", grafana["environment"][name])
    targets = {target: source for source, target, *_ in mounts(grafana)}
    assert targets["/etc/grafana/provisioning"] == "./deploy/grafana/provisioning"
    for provider in yaml.safe_load((GRAFANA / "provisioning/dashboards/peakwatch.yml").read_text("utf-8"))["providers"]:
        inside = Path(provider["options"]["path"]).relative_to("/etc/grafana/peakwatch")
        assert list((ROOT / targets["/etc/grafana/peakwatch"] / inside).glob("*.json"))


def test_no_secret_stands_in_the_file_itself() -> None:
    for service in SERVICES.values():
        for key, value in service.get("environment", {}).items():
            if re.search("PASSWORD|TOKEN|SECRET|KEY", key):
                assert value.startswith("/run/secrets") or value == "true", key


def test_the_zones_meet_only_where_they_have_to() -> None:
    zones = {name: set(service["networks"]) for name, service in SERVICES.items()}
    assert zones["mosquitto"] == {"field"}
    assert zones["collector"] == zones["collector-2"] == {"field", "core"}
    assert zones["grafana"] == {"view", "mail"}
    assert [name for name, own in zones.items() if "mail" in own] == ["scheduler", "grafana", "mailpit"]
    assert STACK["networks"]["core"] == {"internal": True}
    # the world reaches the broker and the pages; what is for this machine is bound to it
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    open_to_all = {name for name, ports in published.items() if not all(port.startswith("127.") for port in ports)}
    assert open_to_all == {"mosquitto", "grafana"}


@pytest.mark.parametrize("name", OURS)
def test_our_commands_exist(name: str) -> None:
    words = SERVICES[name]["command"]
    command = get_command(cli.app)
    while words and words[0] in getattr(command, "commands", {}):
        command, words = command.commands[words[0]], words[1:]  # type: ignore[attr-defined]
    command.make_context(name, list(words), resilient_parsing=False)


@pytest.mark.parametrize("name", OURS)
def test_our_secrets_are_settings(name: str) -> None:
    known = {f"peakwatch_{field}" for field in settings.Settings.model_fields}
    targets = {one["target"] for one in given(SERVICES[name])}
    assert targets <= known | {"authority"}
    assert settings.load(ROOT / "deploy" / "peakwatch.toml").broker_ca == Path("/run/secrets/authority")


def test_collectors_share_nothing_but_the_work() -> None:
    first, second = (
        {one["target"]: STACK["secrets"][one["source"]]["file"] for one in given(SERVICES[name])}
        for name in ("collector", "collector-2")
    )
    assert first.keys() == second.keys()
    assert {key for key in first if first[key] != second[key]} == {"peakwatch_client_id"}


def test_nobody_is_told_to_send_a_signal_past_which_docker_starts_nothing_again() -> None:
    # whatever `docker kill` sends counts as a stop by hand: `unless-stopped` then lets a crash be
    pages = [*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md"), *(ROOT / "pipelines").rglob("*.py")]
    told = {found for page in pages for found in re.findall(r"kill --signal (\w+)", page.read_text("utf-8"))}
    assert told == {"USR1"}  # a collector that leaves for good
    assert SERVICES["collector"]["stop_grace_period"] == "30s"
    assert "stop_signal" not in SERVICES["collector"]


def test_compose_reads_the_file(tmp_path: Path) -> None:
    library, python = ROOT / ".servers/usr/lib/python3/dist-packages", "/usr/bin/python3"
    environment = {"PYTHONPATH": str(library), "PATH": os.environ["PATH"]}

    def compose(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        call = [python, "-W", "ignore", "-c", code, *arguments]
        return subprocess.run(call, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    if not Path(python).exists() or compose("import compose.cli.main").returncode:
        pytest.skip("no docker-compose: run deploy/servers.sh, or install Debian's package docker-compose")
    # the one of Debian is too old for a name, and knows everything else
    text = (ROOT / "docker-compose.yml").read_text("utf-8").replace("\nname: peakwatch\n", "\n")
    (tmp_path / "docker-compose.yml").write_text(text, "utf-8")
    profiles = [word for name in ("scale", "observe", "dev") for word in ("--profile", name)]
    done = compose("from compose.cli.main import main; main()", *profiles, "config")
    assert done.returncode == 0, done.stderr
    read = yaml.safe_load(done.stdout)
    assert read["services"].keys() == SERVICES.keys()
    assert f"{tmp_path}/secrets/store/jobs:/run/store:ro" in read["services"]["scheduler"]["volumes"]
    assert read["services"]["grafana"]["environment"]["PEAKWATCH_REGULATOR_EMAIL"] == "regulator@example.org"
    assert all(service["cap_drop"] == ["ALL"] for service in read["services"].values())


def test_the_image_is_built_from_what_is_there_and_runs_as_nobody() -> None:
    lines = (ROOT / "deploy" / "docker" / "Dockerfile").read_text("utf-8").replace("\\\n", " ").splitlines()
    steps = [shlex.split(line, comments=True) for line in lines if line and not line.startswith("#")]
    copied = [name for step in steps if step[0] == "COPY" and step[1][:2] != "--" for name in step[1:-1]]
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert sorted(copied) == sorted(allowed)
    assert all((ROOT / name).exists() for name in copied)
    bases = [step[1] for step in steps if step[0] == "FROM"]
    assert all(re.fullmatch(r"python:3\.11\.\d+-slim-[a-z]+", base) for base in bases)
    assert ["USER", SERVICES["collector"]["user"]] in steps
    assert any(step[0] == "HEALTHCHECK" for step in steps)
