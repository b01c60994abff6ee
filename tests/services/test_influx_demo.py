"""The demonstration on a live InfluxDB: the same figures, breaches and e-mails as on a lake."""

import sys
from contextlib import closing
from pathlib import Path

import pytest

from ingest.settings import Settings
from ingest.store.connect import connect
from pipelines import cli

pytestmark = pytest.mark.server

SAMPLES = Path(__file__).parents[2] / "deploy" / "registry"


def test_the_whole_line_on_influxdb(influxd, tmp_path, monkeypatch):
    folder, url = tmp_path / "demo", influxd.url(influxd.database())
    monkeypatch.setenv("PEAKWATCH_STORE_PASSWORD", influxd.password)
    monkeypatch.setattr(
        sys, "argv", ["peakwatch", "demo", "--folder", str(folder), "--registry", str(SAMPLES), "--store", url]
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
    assert f"{stored + 48:,} received = {stored:,} stored + 48 duplicate + 0 quarantined + 0 pending" in said.get()
    assert list(events.select("facility", "rule", "kind").iter_rows()) == [
        ("ceramics-sample", "gb-21252-2023-level3", "opened"),
        ("dc-sample", "gd-13-pue", "opened"),
    ]
    assert year["value"].to_list() == [pytest.approx(1.38, rel=0.005)] * 2
    assert notices["status"].to_list() == ["sent"] * len(list((folder / "outbox").glob("*.eml"))) == ["sent"] * 4
