"""
The Grafana files against two facilities of the demo's year in a real InfluxDB: every statement of every panel,
variable, annotation and alert rule is asked as Grafana would ask it, and gives rows.

Grafana itself can be had from no registry the tests may use. What it would do with the files is checked by its own SDK.
"""

import json
import re
import subprocess
import sys
from base64 import b64encode
from contextlib import closing
from datetime import UTC, timedelta
from pathlib import Path
from runpy import run_path

import pytest
import urllib3
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models import alerting, dashboard

from ingest.carriers import CARRIERS
from ingest.schema import TABLES
from ingest.settings import Settings
from ingest.store.connect import connect
from pipelines import demo
from pipelines.indicators.table import INDICATORS
from pipelines.jobs.table import JOBS

ROOT = Path(__file__).parents[2]
GRAFANA = ROOT / "deploy" / "grafana"
POOL = urllib3.PoolManager()
HELPER = run_path(str(ROOT / "tests" / "influx.py"))

BOARDS = sorted(GRAFANA.glob("dashboards/*/*.json"))
RULES = yaml.safe_load((GRAFANA / "provisioning/alerting/rules.yml").read_text("utf-8"))["groups"][0]["rules"]
FACILITIES = ("ceramics-sample", "dc-sample")
# nothing is wrong with these in the demo's year, and then there is no row: no_data of the rule says what that means
QUIET = {"peakwatch-coverage"}
FAULTLESS = {"Not assessable", "无法评估"}
NAMES = [board.relative_to(GRAFANA / "dashboards").as_posix() for board in BOARDS]


def asked(statement: str, seconds: float) -> str:
    """Fill in what Grafana fills in; now is the demo's."""
    now = demo.NOW.astimezone(UTC)
    since = now - timedelta(seconds=seconds)
    until = now + timedelta(seconds=1)
    filled = statement.replace("$timeFilter", f"time >= '{since:%FT%TZ}' AND time <= '{until:%FT%TZ}'")
    filled = filled.replace("now()", f"'{now:%FT%TZ}'").replace("$__interval", "1d")
    for name, value in (("division", ".*"), ("sector", ".*"), ("facility", f"({'|'.join(FACILITIES)})")):
        filled = filled.replace(f"${name}", value)
    assert "$" not in filled.replace("$/", ""), filled
    return filled


def ask(server: object, database: str, statement: str, user: str, password: str) -> dict:
    login = {"Authorization": f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"}
    fields = {"q": statement, "db": database}
    address = f"{server.address}/query"
    return POOL.request_encode_body("POST", address, fields=fields, headers=login, encode_multipart=False).json()


def rows(filled: tuple[object, str], statement: str) -> list[dict[str, object]]:
    server, database = filled
    answered = ask(server, database, statement, HELPER["USER"], HELPER["PASSWORD"])
    assert "error" not in answered, (statement, answered)
    (answer,) = answered["results"]
    assert "error" not in answer, (statement, answer)
    return [
        dict(zip(series["columns"], values, strict=True)) | series.get("tags", {})
        for series in answer.get("series", ())
        for values in series["values"]
    ]


def seconds(board: dict) -> float:
    span = re.fullmatch(r"now-(\d+)([hdy])", board["time"]["from"])
    return int(span[1]) * {"h": 3600, "d": 86_400, "y": 366 * 86_400}[span[2]]


@pytest.mark.server
@pytest.mark.parametrize("file", BOARDS, ids=NAMES)
def test_no_panel_is_empty(filled: tuple[object, str], file: Path) -> None:
    board = json.loads(file.read_text("utf-8"))
    whole, empty = seconds(board), []
    for panel in board["panels"]:
        found = [rows(filled, asked(target["query"], whole)) for target in panel["targets"]]
        # the ages of open breaches: at least one of the three counts has a row
        if not (any(found) if panel["type"] == "stat" else all(found)) and panel["title"] not in FAULTLESS:
            empty.append((panel["title"], [target["query"] for target in panel["targets"]]))
    assert empty == []


@pytest.mark.server
@pytest.mark.parametrize("file", BOARDS, ids=NAMES)
def test_every_variable_has_values_and_every_annotation_rows(filled: tuple[object, str], file: Path) -> None:
    board = json.loads(file.read_text("utf-8"))
    variables = {one["name"]: one for one in board["templating"]["list"]}
    assert list(variables) == ["division", "sector", "facility"]
    assert {row["value"] for row in rows(filled, variables["division"]["query"])} == {"440305", "440781"}
    query, pattern = variables["facility"]["query"], variables["facility"]["regex"].strip("/").replace("?<", "?P<")
    labels = [next(v for k, v in row.items() if k != "time") for row in rows(filled, asked(query, 0))]
    named = [re.search(pattern, label).groupdict() for label in labels]
    assert {one["value"] for one in named} == set(FACILITIES)
    assert all(one["text"] for one in named)
    for annotation in board.get("annotations", {}).get("list", ()):
        found = rows(filled, asked(annotation["query"], seconds(board)))
        assert {row[annotation["textColumn"]] for row in found} > {""} - {""}
        assert all(row["clause"] for row in found)


@pytest.mark.server
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["uid"])
def test_every_alert_rule_has_its_series(filled: tuple[object, str], rule: dict) -> None:
    statements = [one for one in rule["data"] if one["datasourceUid"] == "peakwatch"]
    found = {
        one["refId"]: rows(filled, asked(one["model"]["query"], one["relativeTimeRange"]["from"])) for one in statements
    }
    if rule["uid"] in QUIET:
        assert rule["noDataState"] == "OK"
        return
    series = found["series"]
    assert series
    if rule["uid"] == "peakwatch-balance":
        (limit,) = rule["data"][-1]["model"]["conditions"][0]["evaluator"]["params"]
        assert [row["meter"] for row in series if row["count"] > limit] == ["below-7"]
    if rule["uid"] == "peakwatch-loss":
        assert [row for row in series if row["sum_sum_sum_sum_sum"] != 0] == []
    for name in re.findall(r"\.Labels\.(\w+)", json.dumps(rule["annotations"])):
        assert all(row[name] for row in series), name
    for name in re.findall(r"\.Values\.(\w+)_last", json.dumps(rule["annotations"])):
        assert len(found[name]) == len(series), name


@pytest.mark.server
def test_the_alert_list_names_the_two_breaches_of_the_demo(filled: tuple[object, str]) -> None:
    (rule,) = (rule for rule in RULES if rule["uid"] == "peakwatch-breach-open")
    queries = {one["refId"]: one["model"].get("query") for one in rule["data"]}
    found = {row["facility"]: row for row in rows(filled, queries["series"])}
    assert sorted(found) == ["ceramics-sample", "dc-sample"]
    centre = found["dc-sample"]
    assert (centre["name_zh"], centre["rule"], centre["clause"]) == ("示例数据中心", "gd-13-pue", "重点任务 13")
    assert [row["last"] for row in rows(filled, queries["limit"]) if row["facility"] == "dc-sample"] == [1.3]


@pytest.mark.server
def test_a_login_of_one_facility_s_database_reads_that_alone(filled: tuple[object, str]) -> None:
    server, whole = filled
    own = server.database("peakwatch-dc-sample")
    login = ("grafana-dc-sample", "a password")
    with (
        closing(connect(server.url(whole), Settings(store_password=HELPER["PASSWORD"]))) as every,
        closing(connect(server.url(own), Settings(store_password=HELPER["PASSWORD"]))) as one,
    ):
        for table in ("indicators", "verdicts", "breaches", "facilities"):
            one.write(table, every.read(table, facility=["dc-sample"]))
    server.ask(f"CREATE USER \"{login[0]}\" WITH PASSWORD '{login[1]}'")
    server.ask(f'GRANT READ ON "{own}" TO "{login[0]}"')
    seen = ask(server, own, 'SELECT count("value") FROM "indicators" GROUP BY "facility"', *login)
    assert [series["tags"]["facility"] for series in seen["results"][0]["series"]] == ["dc-sample"]
    for database, statement in (
        (whole, 'SELECT * FROM "indicators"'),
        (own, f'SELECT * FROM "{whole}"."autogen"."indicators"'),  # noqa: S608
        (own, f'SHOW TAG VALUES ON "{whole}" FROM "facilities" WITH KEY = "facility"'),
        (own, 'DROP MEASUREMENT "indicators"'),
        (own, f'SELECT * INTO "{own}".autogen.copy FROM "indicators"'),  # noqa: S608
        (own, f'GRANT READ ON "{whole}" TO "{login[0]}"'),
    ):
        refused = ask(server, database, statement, *login)
        assert "error" in refused or "error" in refused["results"][0], statement
        assert "series" not in json.dumps(refused), statement


@pytest.mark.parametrize("file", BOARDS, ids=NAMES)
def test_a_dashboard_is_what_the_sdk_reads_and_writes(file: Path) -> None:
    register_default_plugins()
    text = json.loads(file.read_text("utf-8"))
    again = json.loads(json.dumps(dashboard.Dashboard.from_json(text), cls=JSONEncoder))
    own = {"query", "fromAnnotations", "textColumn", "tagsColumn"}
    for annotation in text.get("annotations", {}).get("list", ()):
        assert own < annotation.keys()
        for name in own:
            del annotation[name]
    assert again == text
    assert len({panel["id"] for panel in text["panels"]}) == len(text["panels"])
    assert all(panel["title"] and panel["description"] for panel in text["panels"])
    assert all(target["datasource"]["uid"] == "peakwatch" for panel in text["panels"] for target in panel["targets"])


@pytest.mark.parametrize("file", BOARDS, ids=NAMES)
def test_a_table_says_the_order_of_all_its_columns(file: Path) -> None:
    # Grafana's data source gives the tags of GROUP BY in another order at every query
    for panel in json.loads(file.read_text("utf-8"))["panels"]:
        if panel["type"] == "table":
            _, organize = panel["transformations"]
            tails = [one["query"].rpartition(" GROUP BY ") for one in panel["targets"]]
            tags = {tag for _, grouped, tail in tails if grouped for tag in re.findall(r'"(\w+)"', tail)}
            places = organize["options"]["indexByName"]
            assert places.keys() <= {"Time"} | organize["options"]["renameByName"].keys()
            assert sorted(places.values()) == list(range(len(places)))
            assert {"Time"} | tags <= places.keys()


@pytest.mark.parametrize("file", BOARDS, ids=NAMES)
def test_lines_have_a_legend_and_the_limits_are_told_apart(file: Path) -> None:
    limit = {"zh": "限值 dc-sample gd-13-pue", "en": "limit dc-sample gd-13-pue"}[file.parent.name]
    for panel in json.loads(file.read_text("utf-8"))["panels"]:
        assert not panel["fieldConfig"]["defaults"]["unit"].startswith("suffix: "), "Grafana puts a space there"
        if panel["type"] == "timeseries":
            assert panel["options"]["legend"]["showLegend"], panel["title"]
            patterns = [
                one["matcher"]["options"]
                for one in panel["fieldConfig"]["overrides"]
                if one["matcher"]["id"] == "byRegexp"
            ]
            # without slashes Grafana lets a pattern fit whole names alone
            assert all(re.search(one[1:-1], limit) for one in patterns if one[0] == one[-1] == "/")
            assert all(one[0] == one[-1] == "/" for one in patterns)


def test_titles_differ_in_latin_letters_and_figures_too() -> None:
    titles = [json.loads(file.read_text("utf-8"))["title"] for file in BOARDS]
    providers = yaml.safe_load((GRAFANA / "provisioning/dashboards/peakwatch.yml").read_text("utf-8"))["providers"]
    bare = [re.sub("[^a-z0-9]", "", title.lower()) for title in titles + [one["folder"] for one in providers]]
    assert len(set(bare)) == len(bare)


@pytest.mark.parametrize("language", ["zh", "en"])
def test_a_carrier_is_named_and_not_coded(language: str) -> None:
    board = json.loads((GRAFANA / "dashboards" / language / "facility.json").read_text("utf-8"))
    (panel,) = [one for one in board["panels"] if "$tag_carrier" in one["targets"][0].get("alias", "")]
    renamed = {(one["options"]["regex"], one["options"]["renamePattern"]) for one in panel["transformations"]}
    names = {code: getattr(carrier, language) for code, carrier in CARRIERS.items()}
    assert renamed == {(f"(.*) {code} (.*)", f"$1 {name} $2") for code, name in names.items()}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["uid"])
def test_an_alert_rule_is_what_the_sdk_reads_and_writes(rule: dict) -> None:
    register_default_plugins()
    again = json.loads(json.dumps(alerting.Rule.from_json(rule), cls=JSONEncoder))
    assert {name: again[name] for name in rule} == rule
    # Grafana expands `$` in all of a provisioned rule but the statements
    assert "$" not in json.dumps({name: part for name, part in rule.items() if name != "data"})
    assert rule["annotations"].keys() == {"summary", "description", "link"}
    assert rule["condition"] in {one["refId"] for one in rule["data"]}


def test_both_languages_have_the_same_dashboards() -> None:
    def bare(file: Path) -> list[object]:
        return [
            (panel["type"], panel["gridPos"], [re.sub("_(zh|en)", "", target["query"]) for target in panel["targets"]])
            for panel in json.loads(file.read_text("utf-8"))["panels"]
        ]

    chinese = {file.name: bare(file) for file in (GRAFANA / "dashboards/zh").iterdir()}
    assert chinese == {file.name: bare(file) for file in (GRAFANA / "dashboards/en").iterdir()}
    assert len(chinese) == 6


def test_the_statements_name_tables_columns_and_jobs_that_exist() -> None:
    texts = [file.read_text("utf-8") for file in BOARDS]
    statements = [
        target["query"] for text in texts for panel in json.loads(text)["panels"] for target in panel["targets"]
    ]
    statements += [one["model"]["query"] for rule in RULES for one in rule["data"] if "query" in one["model"]]
    columns = {column for table in TABLES.values() for column in table.schema}
    for statement in statements:
        made = set(re.findall(r'AS "(\w+)"', statement))
        assert set(re.findall(r'"(\w+)"', statement)) <= columns | TABLES.keys() | made, (
            statement
        )  # the raw readings are not for Grafana
        assert set(re.findall(r"\"indicator\" = '(\w+)'", statement)) <= INDICATORS.keys()
    assert {rule["uid"] for rule in RULES if "-job-" in rule["uid"]} == {f"peakwatch-job-{job}" for job in JOBS}


def test_who_is_told_and_when_not() -> None:
    parts = {
        name: yaml.safe_load((GRAFANA / f"provisioning/alerting/{name}.yml").read_text("utf-8"))[name]
        for name in ("contactPoints", "policies", "muteTimes")
    }
    receivers = {point["name"] for point in parts["contactPoints"]}
    (policy,) = parts["policies"]
    muted = {name for route in policy["routes"] for name in route.get("mute_time_intervals", ())}
    assert {policy["receiver"], *(route["receiver"] for route in policy["routes"])} == receivers
    assert muted == {timing["name"] for timing in parts["muteTimes"]}
    # a breach is never muted
    assert all(
        ["severity", "=", "warning"] in route["object_matchers"]
        for route in policy["routes"]
        if "mute_time_intervals" in route
    )
    alerting.NotificationPolicy.from_json({name: part for name, part in policy.items() if name != "orgId"})


def test_the_generated_files_are_current() -> None:
    done = subprocess.run(
        [sys.executable, GRAFANA / "generate.py", "--check"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
