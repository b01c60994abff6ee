"""How the line stands: folds worked by hand, and what is read from a store."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.console import Console

from ingest.schema import COLLECTORS, GATEWAYS, INDICATORS, READINGS, RUNS, Table
from ingest.store.lake.adapter import Lake
from pipelines.commands import show
from pipelines.jobs import connected
from pipelines.reports import status
from pipelines.reports.export import HOME

# 16:00 in Shanghai: yesterday is the 19th there, from 16:00 UTC of the 18th
NOW = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


def rows(table: Table, *given: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(given, schema=table.schema)


def process(collector: str, hours: int, items: int, *fates: int, **other: Any) -> dict[str, Any]:
    started = NOW + hours * HOUR
    counted = dict(zip(status.FATES, fates, strict=True))
    return {
        "collector": collector,
        "started": started,
        "at": started,
        "items": items,
        "overflow": 0,
        **counted,
        **other,
    }


def test_the_newest_process_of_a_collector_is_shown_and_an_old_error_is_not_forgotten() -> None:
    found = status.equation(
        rows(
            COLLECTORS,
            process("a", 1, 10, 4, 3, 2, 1),
            process("a", 0, 9, 4, 3, 2, 1),  # 10 fates of 9 items
            process("b", 0, 6, 3, 2, 1, 0, overflow=1),
            process("b", -1, 1, 1, 0, 0, 0),
        )
    )
    assert found.select("collector", "started", "items", "closes").rows() == [
        ("a", NOW + HOUR, 10, False),
        ("b", NOW, 6, True),
    ]


def test_a_gateway_keeps_its_newest_state_and_the_sum_of_its_losses() -> None:
    def heard(gateway: str, hours: int, state: str, lost: int | None) -> dict[str, Any]:
        at = NOW + hours * HOUR
        own = {"collector": "c", "started": at, "facility": "f", "gateway": gateway, "at": at}
        return own | {"state": state, "lost_upstream": lost}

    found = connected.gateways(
        rows(
            GATEWAYS,
            heard("one", 1, "offline", 2),
            heard("one", 0, "online", 3),
            heard("one", 2, "", 1),
            heard("two", 0, "", None),
        )
    )
    assert found.rows() == [("f", "one", "offline", 6, NOW + 2 * HOUR), ("f", "two", "", None, NOW)]


def test_of_each_job_the_last_good_run_and_the_last_failure() -> None:
    def ran(job: str, hours: int, outcome: str, error: str = "") -> dict[str, Any]:
        return {"job": job, "at": NOW + hours * HOUR, "outcome": outcome, "error": error}

    runs = rows(RUNS, ran("judge", 2, "failed", "new"), ran("judge", 0, "done"), ran("judge", 1, "failed", "old"))
    found = {job: rest for job, *rest in status.jobs(runs).iter_rows()}
    assert list(found) == ["compute", "judge", "view", "announce", "maintain"]
    assert found["judge"] == [NOW, NOW + 2 * HOUR, "new"]
    assert found["compute"] == [None, None, None]


def test_refusals_are_counted_by_state_and_facilities_not_registered_together() -> None:
    refusals = pl.DataFrame(
        [("f", "open"), ("f", "open"), ("f", "discarded"), ("x", "open"), ("", "replayed")],
        schema=["facility", "state"],
        orient="row",
    )
    assert status.quarantine(refusals, ["f"]).rows() == [("", 1, 1, 0), ("f", 2, 0, 1)]


@pytest.fixture
def lake(tmp_path: Path) -> Any:
    store = Lake(tmp_path / "lake")
    yield store
    store.close()


def reading(facility: str, back: timedelta) -> dict[str, Any]:
    return {"facility": facility, "meter": "m", "time": NOW - back, "value": 1.0, "received": NOW}


def test_lag_and_coverage_of_every_registered_facility(lake: Lake, plant: Any) -> None:
    registry = plant({"id": "m"})
    facilities = registry.facilities | {
        name: registry.facilities["plant"].model_copy(update={"id": name}) for name in ("late", "silent", "ahead")
    }
    lake.write(
        "readings",
        rows(
            READINGS,
            reading("plant", timedelta(minutes=5)),
            reading("plant", timedelta(days=2)),
            reading("late", timedelta(days=3)),
            reading("silent", timedelta(days=33)),
            reading("ahead", timedelta(minutes=-2)),
            reading("nobody", timedelta(0)),
        ),
    )
    days = {
        start: {"facility": "plant", "indicator": "coverage", "scope": "", "interval": "1d", "start": start, "value": v}
        for start, v in ((NOW - 40 * HOUR, 0.75), (NOW - 16 * HOUR, 0.1), (NOW - 64 * HOUR, 0.2))
    }
    lake.write("indicators", rows(INDICATORS, *days.values()))
    found = status.status(lake, type(registry)(facilities), NOW).facilities
    assert {name: rest for name, *rest in found.iter_rows()} == {
        "plant": [NOW - timedelta(minutes=5), 300.0, 0.75],
        "late": [NOW - timedelta(days=3), 259_200.0, None],
        "silent": [None, None, None],
        "ahead": [NOW + timedelta(minutes=2), -120.0, None],
    }


def test_of_an_empty_store_everything_is_said_and_fits_a_terminal(lake: Lake, plant: Any) -> None:
    now = status.status(lake, plant({"id": "m"}), NOW)
    parts = json.loads(status.as_json(now))
    assert parts["collectors"] == []
    assert parts["total"] == [dict.fromkeys(("items", *status.FATES, "overflow"), 0) | {"closes": True}]
    assert [row["job"] for row in parts["jobs"]] == ["compute", "judge", "view", "announce", "maintain"]
    out = Console(width=80, record=True, quiet=True)
    show.status(out, now, HOME)


def test_large_counts_and_long_names_fit_80_columns(plant: Any, capsys: pytest.CaptureFixture[str]) -> None:
    many = process("c" * 64, 0, 4 * 10**12, *[10**12] * 4)
    broken = process("plain", 0, 5, 1, 1, 1, 1)
    collectors = status.equation(rows(COLLECTORS, many, broken))
    now = status.Status(
        collectors=collectors,
        total=collectors.select(pl.col("items", *status.FATES, "overflow").sum(), pl.col("closes").all()),
        facilities=pl.DataFrame(
            [("f" * 40, NOW, 1e7, 0.5)], schema=["facility", "newest", "lag", "coverage"], orient="row"
        ),
        gateways=connected.gateways(
            rows(
                GATEWAYS, {"facility": "f", "gateway": "[bold]\x1b[31m", "state": "offline", "at": NOW, "started": NOW}
            )
        ),
        jobs=status.jobs(rows(RUNS, {"job": "judge", "at": NOW, "outcome": "failed", "error": "e" * 200})),
        quarantine=pl.DataFrame(
            [("", 10**9, 0, 0)], schema=["facility", "open", "replayed", "discarded"], orient="row"
        ),
    )
    show.status(Console(width=80, emoji=False), now, HOME)
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 80
    words = " ".join(said.split())
    assert "5 received = 1 stored + 1 duplicate + 1 quarantined + 1 pending: does not close" in words
    assert "\x1b" not in said
    assert "[bold]" in said
