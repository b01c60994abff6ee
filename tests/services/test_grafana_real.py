"""
The files and the commands against a real Grafana, which tests/grafana.py says how to name; skipped where none is named.

Its data source is the InfluxDB of the other Grafana tests, and what is asked for a time is asked for that of the demo.
"""

import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import UTC, timedelta
from pathlib import Path
from runpy import run_path

import polars as pl
import pytest
import yaml

from ingest.schema import BREACH_EVENTS
from ingest.settings import Settings
from ingest.store.connect import connect
from ingest.store.lake.adapter import Lake
from pipelines import cli, demo
from pipelines.grafana.operators import BOARDS as OPERATOR_BOARDS

ROOT = Path(__file__).parents[2]
HELPER = run_path(str(ROOT / "tests" / "grafana.py"))
INFLUX = run_path(str(ROOT / "tests" / "influx.py"))
FILES = HELPER["FILES"]
BOARDS = sorted(FILES.glob("dashboards/*/*.json"))
NAMES = [board.relative_to(FILES / "dashboards").as_posix() for board in BOARDS]
PARTS = {
    name: yaml.safe_load((FILES / f"provisioning/alerting/{name}.yml").read_text("utf-8"))[part]
    for name, part in (
        ("rules", "groups"),
        ("contactPoints", "contactPoints"),
        ("policies", "policies"),
        ("muteTimes", "muteTimes"),
    )
}
RULES = PARTS["rules"][0]["rules"]
# what the frontend puts for "All", before the statement goes to Grafana
CHOSEN = {"division": ".*", "sector": ".*", "facility": "(ceramics-sample|dc-sample)"}
# nothing is wrong with these in the demo's year
FAULTLESS = {"Not assessable", "无法评估"}

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="session")
def source(filled) -> dict:
    """What differs in the data source: the InfluxDB 1 of the tests, with its user and without TLS."""
    server, database = filled
    return {
        "url": server.address,
        "database": database,
        "user": INFLUX["USER"],
        "jsonData": {"version": "InfluxQL", "dbName": database, "httpMode": "POST"},
        "secureJsonData": {"password": INFLUX["PASSWORD"]},
    }


@pytest.fixture(scope="session")
def started(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    """A Grafana started with our provisioning."""
    home = os.environ.get("PEAKWATCH_TEST_GRAFANA")
    if not home:
        pytest.skip("PEAKWATCH_TEST_GRAFANA names no folder of a Grafana")
    source = request.getfixturevalue("source")
    grafana = HELPER["Started"](Path(home), tmp_path_factory.mktemp("grafana"), source)
    grafana.start(len(BOARDS))
    yield grafana
    grafana.stop()


@pytest.fixture(scope="session")
def grafana(request: pytest.FixtureRequest):
    """The one that is named by its address, or else one that is started."""
    url, password = (os.environ.get(f"PEAKWATCH_TEST_GRAFANA_{part}", "") for part in ("URL", "PASSWORD"))
    if url:
        return HELPER["Grafana"](url, password)
    if not os.environ.get("PEAKWATCH_TEST_GRAFANA"):
        pytest.skip("neither PEAKWATCH_TEST_GRAFANA_URL nor PEAKWATCH_TEST_GRAFANA names a Grafana")
    return request.getfixturevalue("started")


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable:
    """Run `peakwatch grafana ...` in an empty folder; return exit code, output and error."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["peakwatch", "grafana", *arguments, "--folder", str(FILES)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        output = capsys.readouterr()
        return int(ended.value.code or 0), output.out, output.err

    return call


def frames(grafana, queries: list[dict], seconds: float = 0, **how) -> dict[str, list]:
    """Ask for queries as a panel does; each answer is its frames."""
    end = demo.NOW.astimezone(UTC) + timedelta(seconds=1)
    moments = [str(int(at.timestamp() * 1000)) for at in (end - timedelta(seconds=seconds), end)]
    asked = [
        query | {"query": chosen(query["query"]), "intervalMs": 86_400_000, "maxDataPoints": 900} for query in queries
    ]
    body = {"from": moments[0], "to": moments[1], "queries": asked}
    answer = grafana.done("POST", "/ds/query", body, **how)["results"]
    assert all("error" not in one for one in answer.values()), (queries, answer)
    return {name: [frame for frame in one["frames"] if rows(frame)] for name, one in answer.items()}


def rows(frame: dict) -> list[tuple]:
    return list(zip(*frame["data"]["values"], strict=True))


def chosen(statement: str) -> str:
    # of `now()` the tests know that of the demo alone
    text = statement.replace("now()", f"'{demo.NOW.astimezone(UTC):%FT%TZ}'")
    for name, value in CHOSEN.items():
        text = text.replace(f"${name}", value)
    return text


def seconds(board: dict) -> float:
    span = re.fullmatch(r"now-(\d+)([hdy])", board["time"]["from"])
    return int(span[1]) * {"h": 3600, "d": 86_400, "y": 366 * 86_400}[span[2]]


@pytest.mark.server
def test_it_starts_with_the_provisioning_and_complains_of_nothing(started) -> None:
    assert started.complaints() == []
    folders = {one["title"]: one["uid"] for one in started.done("GET", "/folders")}
    assert {"PeakWatch 中文 (zh)": "peakwatch-zh", "PeakWatch English (en)": "peakwatch-en"}.items() <= folders.items()
    found = {(one["folderTitle"], one["uid"]) for one in started.done("GET", "/search?type=dash-db")}
    titles = {"zh": "PeakWatch 中文 (zh)", "en": "PeakWatch English (en)"}
    assert found == {(titles[file.parent.name], json.loads(file.read_text("utf-8"))["uid"]) for file in BOARDS}
    assert started.done("GET", "/datasources/uid/peakwatch")["readOnly"]


@pytest.mark.server
def test_the_rules_and_who_is_told_are_there(started) -> None:
    rules = {one["uid"]: one for one in started.done("GET", "/v1/provisioning/alert-rules")}
    assert rules.keys() == {rule["uid"] for rule in RULES}
    for rule in RULES:
        assert rules[rule["uid"]].items() >= {"annotations": rule["annotations"], "labels": rule["labels"]}.items()
    points = {
        one["name"]: one["settings"]["addresses"] for one in started.done("GET", "/v1/provisioning/contact-points")
    }
    assert points["regulator"] == "regulator@example.org"
    assert points["operations"] == "operations@example.org"
    policy = started.done("GET", "/v1/provisioning/policies")
    (wanted,) = PARTS["policies"]
    assert (policy["receiver"], policy["group_by"]) == (wanted["receiver"], wanted["group_by"])
    assert [route["receiver"] for route in policy["routes"]] == [route["receiver"] for route in wanted["routes"]]
    timings = started.done("GET", "/v1/provisioning/mute-timings")
    assert [one["name"] for one in timings] == [one["name"] for one in PARTS["muteTimes"]]


@pytest.mark.server
@pytest.mark.parametrize("file", BOARDS, ids=NAMES)
def test_every_panel_variable_and_annotation_is_answered_with_rows(started, file: Path) -> None:
    board = started.done("GET", f"/dashboards/uid/{json.loads(file.read_text('utf-8'))['uid']}")["dashboard"]
    empty = []
    for panel in board["panels"]:
        answers = frames(started, panel["targets"], seconds(board)).values()
        if not (any(answers) if panel["type"] == "stat" else all(answers)) and panel["title"] not in FAULTLESS:
            empty.append(panel["title"])
    assert empty == []
    asked = [one["query"] for one in board["templating"]["list"] if one["type"] == "query"]
    asked += [
        one["target"]["query"] for one in board["annotations"].get("list", ()) if "target" in one and "query" in one
    ]
    origin = {"datasource": {"type": "influxdb", "uid": "peakwatch"}, "rawQuery": True}
    found = frames(started, [origin | {"refId": f"Q{n}", "query": one} for n, one in enumerate(asked)], seconds(board))
    assert all(found.values())


@pytest.mark.server
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["uid"])
def test_every_rule_is_evaluated(started, rule: dict) -> None:
    body = {"data": rule["data"], "condition": rule["condition"], "now": demo.NOW.astimezone(UTC).isoformat()}
    answer = started.done("POST", "/v1/eval", body)["results"]
    assert all("error" not in one for one in answer.values()), answer
    judged = [value for frame in answer["fires"]["frames"] for row in rows(frame) for value in row[-1:]]
    fires = {"peakwatch-breach-open": 2, "peakwatch-balance": 1, "peakwatch-quarantine": 1}
    assert sum(map(bool, judged)) >= fires.get(rule["uid"], 0)


@pytest.fixture
def organisation(grafana, source: dict) -> Iterator[int]:
    """An organisation of this test, with the data source in it."""
    number = grafana.done("POST", "/orgs", {"name": "peakwatch-test"})["orgId"]
    made = source | {"name": "PeakWatch", "uid": "peakwatch", "type": "influxdb", "access": "proxy"}
    grafana.done("POST", "/datasources", made, org=number)
    yield number
    grafana.ask("DELETE", f"/orgs/{number}")


@pytest.mark.server
def test_push_brings_all_once_and_shows_what_was_edited(
    grafana, organisation: int, command: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nine = grafana.done("GET", "/health")["version"].startswith("9.")
    who = {"name": "push", "role": "Admin" if nine else "Editor"}
    account = grafana.done("POST", "/serviceaccounts", who, org=organisation)
    route = f"/serviceaccounts/{account['id']}/tokens"
    monkeypatch.setenv(
        "PEAKWATCH_GRAFANA_TOKEN", grafana.done("POST", route, {"name": "push"}, org=organisation)["key"]
    )
    Lake(tmp_path / "data").write("breach_events", _event())
    call = ["push", "--url", grafana.url]
    code, said, error = command(*call, "--dry-run")
    assert (code, error, said.splitlines()[-1]) == (0, "", "16 of 16 would change")
    if nine:
        _made_before(grafana, organisation)
    assert command(*call, "--from", "2026-10-01")[1].splitlines()[-1] == f"{17 - nine} of 17 new or changed"
    assert command(*call, "--from", "2026-10-01")[1] == "0 of 16 new or changed\n"
    _edit(grafana, organisation)
    code, said, _ = command(*call, "--dry-run")
    assert (code, said.splitlines()[-1]) == (0, "2 of 16 would change")
    assert '-    "title": "mine"' in said
    assert f'"title": "{RULES[0]["title"]}"' in said
    assert command(*call)[1].splitlines()[-1] == "2 of 16 new or changed"
    assert command(*call)[1] == "0 of 16 new or changed\n"
    (annotation,) = grafana.done("GET", "/annotations?type=annotation&tags=peakwatch", org=organisation)
    assert annotation["time"] == demo.NOW.timestamp() * 1000
    assert "event:ab-0" in annotation["tags"]


def _made_before(grafana, organisation: int) -> None:
    """Make folder and rules one by one: Grafana 9 takes no group with a new rule that brings its uid."""
    grafana.done("POST", "/folders", {"uid": "peakwatch", "title": "PeakWatch"}, org=organisation)
    place = {"folderUID": "peakwatch", "ruleGroup": "PeakWatch", "orgID": organisation}
    for rule in RULES:
        grafana.done("POST", "/v1/provisioning/alert-rules", rule | place, org=organisation)


def _edit(grafana, organisation: int) -> None:
    board = grafana.done("GET", "/dashboards/uid/peakwatch-overview-zh", org=organisation)
    changed = {"dashboard": board["dashboard"] | {"title": "mine"}, "folderUid": board["meta"]["folderUid"]}
    grafana.done("POST", "/dashboards/db", changed | {"overwrite": True}, org=organisation)
    route = "/v1/provisioning/folder/peakwatch/rule-groups/PeakWatch"
    group = grafana.done("GET", route, org=organisation)
    group["rules"][0]["title"] = "mine"
    grafana.done("PUT", route, group, org=organisation)


def _event() -> pl.DataFrame:
    text = {name: "x" for name, dtype in BREACH_EVENTS.schema.items() if dtype == pl.String}
    event = text | {"event_id": "ab-0", "kind": "opened", "facility": "dc-sample", "value": 1.38, "limit": 1.3}
    return pl.DataFrame([event | dict.fromkeys(("at", "start", "end"), demo.NOW)], schema=BREACH_EVENTS.schema)


@pytest.fixture
def operator(filled, grafana, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, str]]:
    """A database of one facility with its login, as `store init --facility` leaves them; and where the store is."""
    server, whole = filled
    own, password = server.database(f"{whole}-dc-sample"), "a password"
    with (
        closing(connect(server.url(whole), Settings(store_password=INFLUX["PASSWORD"]))) as every,
        closing(connect(server.url(own), Settings(store_password=INFLUX["PASSWORD"]))) as one,
    ):
        for table in ("indicators", "verdicts", "breaches", "facilities"):
            one.write(table, every.read(table, facility=["dc-sample"]))
    login = f"{own}-grafana"
    server.ask(f"CREATE USER \"{login}\" WITH PASSWORD '{password}'")
    server.ask(f'GRANT READ ON "{own}" TO "{login}"')
    secret = tmp_path / "secrets/facilities/dc-sample/grafana/peakwatch_store_password"
    secret.parent.mkdir(parents=True)
    secret.write_text(password)
    monkeypatch.setenv("PEAKWATCH_REGISTRY", str(ROOT / "deploy" / "registry"))
    monkeypatch.setenv("PEAKWATCH_GRAFANA_ADMIN_PASSWORD", grafana.password)
    yield whole, server.url(whole)
    with suppress(AssertionError, KeyError, TypeError):
        grafana.ask("DELETE", f"/admin/users/{grafana.done('GET', '/users/lookup?loginOrEmail=dc-sample')['id']}")
        grafana.ask("DELETE", f"/orgs/{grafana.done('GET', '/orgs/name/dc-sample')['id']}")


@pytest.mark.server
def test_an_operator_s_login_sees_its_own_facility_alone(
    grafana, operator: tuple[str, str], command: Callable, tmp_path: Path
) -> None:
    whole, store = operator
    call = ["users", "--url", grafana.url, "--secrets", "secrets", "--store", store, "--facility", "dc-sample"]
    made = 1 + 1 + 2 + 2 * len(OPERATOR_BOARDS) + 1
    assert command(*call, "--dry-run")[1].splitlines()[-1] == f"dc-sample: {made} would change"
    code, said, error = command(*call)
    assert (code, error, said.splitlines()[-1]) == (0, "", f"dc-sample: {made} new or changed")
    assert command(*call)[1] == "dc-sample: 0 new or changed\n"
    login = ("dc-sample", (tmp_path / "secrets/facilities/dc-sample/viewer_password").read_text())
    boards = {one["uid"] for one in grafana.done("GET", "/search?type=dash-db", login=login)}
    assert boards == {f"peakwatch-{name}-{one}" for name in OPERATOR_BOARDS for one in ("zh", "en")}
    query = {"refId": "A", "datasource": {"type": "influxdb", "uid": "peakwatch"}, "rawQuery": True}
    text = 'SELECT "value" FROM "indicators" GROUP BY "facility"'
    found = frames(grafana, [query | {"query": text}], 10**8, login=login)["A"]
    assert {field["labels"]["facility"] for frame in found for field in frame["schema"]["fields"][1:]} == {"dc-sample"}
    other = query | {"query": f'SELECT "value" FROM "{whole}".autogen."indicators"'}  # noqa: S608
    assert grafana.ask("POST", "/ds/query", {"from": "0", "to": "1", "queries": [other]}, login=login)[0] >= 400
    # that of its own organisation a viewer may look up in Grafana 9; no secret is told
    status, sources = grafana.ask("GET", "/datasources", login=login)
    assert status == 403 or [one["jsonData"]["dbName"] for one in sources] == [f"{whole}-dc-sample"]
    for method, route in (("GET", "/orgs"), ("GET", "/users/search"), ("POST", "/folders")):
        assert grafana.ask(method, route, {"title": "x"} if method == "POST" else None, login=login)[0] == 403
    assert grafana.ask("GET", "/dashboards/uid/peakwatch-breaches-zh", login=login, org=1)[0] in (401, 403)
