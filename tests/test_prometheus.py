"""The alert rules speak of metrics that are really told, and fire when they should; promtool reads the very files."""

import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from ingest.collect.collector import Tally
from ingest.collect.gateways import Gateway
from ingest.collect.metrics import Count, families, serving
from pipelines.jobs.table import JOBS
from pipelines.scheduler import Turns

FOLDER = Path(__file__).parents[1] / "deploy" / "prometheus"
STACK = yaml.safe_load((FOLDER.parents[1] / "docker-compose.yml").read_text("utf-8"))
NOW = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
RULES: dict[str, dict[str, Any]] = {
    rule["alert"]: rule
    for group in yaml.safe_load((FOLDER / "alerts.yml").read_text("utf-8"))["groups"]
    for rule in group["rules"]
}


@pytest.fixture(scope="module")
def told() -> dict[str, set[str]]:
    """Name of every sample both kinds of process tell, and its labels, as scraped over HTTP."""

    def everything() -> Iterable[Metric]:
        count = Count(Tally(5, 2, 1, 1, 1), {("dc-a", "gw"): Gateway("online", 4, 9)}, 0)
        return chain(families(count, {"dc-a": NOW}, seconds=0.1, shared=False), Turns().families())

    with serving("0", everything) as port, urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        text = answer.read().decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {sample.name: set(sample.labels) for sample in samples}


@pytest.fixture(scope="module")
def promtool() -> str:
    unpacked = FOLDER.parents[1] / ".servers" / "usr" / "bin" / "promtool"
    found = str(unpacked) if unpacked.exists() else shutil.which("promtool")
    if found is None:
        pytest.skip("no promtool: run deploy/servers.sh, or install Debian's package prometheus")
    return found


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_rule_speaks_of_metrics_that_are_told(told: dict[str, set[str]], rule: dict[str, Any]) -> None:
    text = " ".join((rule["expr"], *rule["annotations"].values()))
    names = set(re.findall(r"peakwatch_\w+", text))
    assert names <= told.keys()
    labels = set(re.findall(r"\$labels\.(\w+)", text)) - {"instance", "job"}
    assert labels <= set().union(*(told[name] for name in names))


def test_what_is_scraped_is_where_the_stack_serves_it() -> None:
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text("utf-8"))
    assert config["rule_files"] == ["/etc/prometheus/alerts.yml"]
    collectors, scheduler = config["scrape_configs"]
    (found,) = collectors["dns_sd_configs"]
    targets = [f"{name}:{found['port']}" for name in found["names"]] + scheduler["static_configs"][0]["targets"]
    for target in targets:
        name, port = target.split(":")
        assert STACK["services"][name]["command"][-1] == f"0.0.0.0:{port}"
    jobs = {job["job_name"] for job in config["scrape_configs"]}
    asked = {name for rule in RULES.values() for name in re.findall(r'job="([^"]+)"', rule["expr"])}
    assert asked == jobs


def test_promtool_accepts_the_files(promtool: str) -> None:
    for call in (
        ("check", "config", "--syntax-only", FOLDER / "prometheus.yml"),
        ("check", "rules", FOLDER / "alerts.yml"),
    ):
        done = subprocess.run([promtool, *call], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


C = 'job="peakwatch-collector", instance="collector:9108"'
RECEIVED, PENDING = f"peakwatch_items_received_total{{{C}}}", f"peakwatch_items_pending{{{C}}}"
FATE = {fate: f'peakwatch_items_total{{{C}, fate="{fate}"}}' for fate in ("stored", "duplicate", "quarantined")}
CLOSED = {RECEIVED: "0+100x180", FATE["stored"]: "0+90x180", FATE["duplicate"]: "0+10x180", PENDING: "0+0x180"}
JOB = 'peakwatch_job_last_success_timestamp_seconds{job_name="judge"}'


@pytest.mark.parametrize(
    ("alert", "series", "fires"),
    [
        ("LossEquationOpen", CLOSED, False),
        ("LossEquationOpen", CLOSED | {PENDING: "1+0x180"}, True),
        ("CollectorDown", {'up{job="peakwatch-collector", instance="a"}': "1+0x180"}, False),
        ("CollectorDown", {'up{job="peakwatch-collector", instance="a"}': "0+0x180"}, True),
        # of two collectors one is away: the other takes the messages
        (
            "CollectorDown",
            {
                'up{job="peakwatch-collector", instance="a"}': "0+0x180",
                'up{job="peakwatch-collector", instance="b"}': "1+0x180",
            },
            False,
        ),
        ("SchedulerDown", {}, True),
        ("QuarantineGrowing", CLOSED | {FATE["quarantined"]: "0+2x180"}, True),
        ("QuarantineGrowing", CLOSED | {FATE["quarantined"]: "500+0x180"}, False),
        ("InboxLag", CLOSED | {PENDING: "7+0x180"}, False),
        ("InboxLag", {RECEIVED: "100+0x180", PENDING: "7+0x180"}, True),
        ("JobLate", {JOB: "0+60x180"}, False),
        ("JobLate", {JOB: "0+0x180"}, True),
        ("JobFailing", {'peakwatch_job_failures_total{job_name="judge"}': "3+0x180"}, False),
        ("JobFailing", {'peakwatch_job_failures_total{job_name="judge"}': "0+1x180"}, True),
        ("FacilitySilent", {'peakwatch_newest_reading_timestamp_seconds{facility="dc-a"}': "0+60x180"}, False),
        ("FacilitySilent", {'peakwatch_newest_reading_timestamp_seconds{facility="dc-a"}': "0+0x180"}, True),
        ("LostUpstream", {'peakwatch_lost_upstream_total{facility="dc-a", gateway="g"}': "0+1x180"}, True),
        ("StoreSlow", {f"peakwatch_last_write_seconds{{{C}}}": "11+0x180"}, True),
        ("QuarantineOverflow", {f"peakwatch_quarantine_overflow_total{{{C}}}": "0+1x180"}, True),
    ],
)
def test_an_alert_fires_when_it_should(
    promtool: str, tmp_path: Path, alert: str, series: dict[str, str], *, fires: bool
) -> None:
    query = f'count(ALERTS{{alertname="{alert}", alertstate="firing"}}) or vector(0)'
    case = {
        "rule_files": [str(FOLDER / "alerts.yml")],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "promql_expr_test": [
                    {"expr": query, "eval_time": "170m", "exp_samples": [{"labels": "{}", "value": int(fires)}]}
                ],
            }
        ],
    }
    (tmp_path / "case.yml").write_text(yaml.safe_dump(case), "utf-8")
    done = subprocess.run(
        [promtool, "test", "rules", tmp_path / "case.yml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tried() -> None:
    (mark,) = test_an_alert_fires_when_it_should.pytestmark  # type: ignore[attr-defined]
    assert {alert for alert, _, fires in mark.args[1] if fires} == RULES.keys()


def test_turns_are_noted_as_they_went(monkeypatch: pytest.MonkeyPatch) -> None:
    results = iter([object(), None])
    monkeypatch.setattr("pipelines.scheduler.run", lambda *_: next(results))
    turns = Turns()
    for _ in range(2):
        turns.take(JOBS["judge"], None, lambda: NOW)  # type: ignore[arg-type]
    samples = {
        (sample.name, sample.labels["job_name"]): sample.value for one in turns.families() for sample in one.samples
    }
    assert samples["peakwatch_job_last_success_timestamp_seconds", "judge"] == NOW.timestamp()
    assert samples["peakwatch_job_failures_total", "judge"] == 1
    assert samples["peakwatch_job_last_success_timestamp_seconds", "compute"] == 0
