"""The demonstration on a live InfluxDB: the same figures, breaches and e-mails as on a lake."""

import shutil
import sys
from contextlib import closing
from pathlib import Path

import pytest

from ingest.settings import Settings
from ingest.store.connect import connect
from pipelines import cli

pytestmark = pytest.mark.server

SAMPLES = Path(__file__).parents[2] / "deploy" / "registry"
# the two that are over their limit; tests/pipelines/test_demo.py plays all five on a lake
PLAYED = ("ceramics-sample", "dc-sample")


def test_the_whole_line_on_influxdb(influxd, tmp_path, monkeypatch):
    folder, registry, url = tmp_path / "demo", tmp_path / "registry", influxd.url(influxd.database())
    registry.mkdir()
    for name in PLAYED:
        shutil.copy(SAMPLES / f"{name}.toml", registry)
    monkeypatch.setenv("PEAKWATCH_STORE_PASSWORD", influxd.password)
    monkeypatch.setattr(
        sys, "argv", ["peakwatch", "demo", "--folder", str(folder), "--registry", str(registry), "--store", url]
    )
    with cli.out.capture() as said, pytest.raises(SystemExit, match=r"^0$"):
        cli.main()
    assert not (folder / "data").exists()
    with closing(connect(url, Settings())) as store:
        stored = store.read("readings").height + store.read("activity").height
        events = store.read("breach_events").filter(severity="breach").sort("facility")
        year = store.read("indicators", facility=["dc-sample"], indicator=["pue"], interval=["12mo"]).filter(
            status="ok"
        )
        notices = store.read("notices")
    assert f"{stored + 54:,} received = {stored:,} stored + 54 duplicate + 0 quarantined + 0 pending" in said.get()
    assert list(events.select("facility", "rule", "kind").iter_rows()) == [
        ("ceramics-sample", "gb-21252-2023-level3", "opened"),
        ("dc-sample", "gd-13-pue", "opened"),
    ]
    assert year["value"].to_list() == [pytest.approx(1.38, rel=0.005)] * 2
    assert notices["status"].to_list() == ["sent"] * len(list((folder / "outbox").glob("*.eml"))) == ["sent"] * 4
