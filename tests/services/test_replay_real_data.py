"""
Recorded data through the line: file -> messages -> broker -> collector -> lake, compared with the published answers.

The recordings stand beside the repository and never in it; without them the tests are skipped.
"""

import csv
import json
from collections import Counter
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from ingest.collect.broker import EmbeddedBroker
from ingest.collect.mapping import Mapping
from ingest.collect.publish import publish
from ingest.collect.replay import publications
from ingest.registry import Registry
from ingest.registry.facility import Facility
from ingest.store.lake import Lake

DATA = Path(__file__).parents[3] / "shared/data"
STEEL = DATA / "industry/uci_steel_2018_H1.csv"
OFFICE = DATA / "datacentre/nrel_rsf_2011_H1.csv"
ANSWERS = DATA / "known_answers/known_answers.json"

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the recorded data (../shared/data) are not on this machine")


def answer(name: str) -> dict:
    [case] = [case for case in json.loads(ANSWERS.read_text("utf-8"))["cases"] if case["id"] == name]
    return case["expected"]


def facility(name: str, zone: str, *, period: str, first: date, meters: dict[str, str]) -> Registry:
    common = {"carrier": "electricity", "kind": "interval", "unit": "kWh", "period": period, "valid_from": first}
    one = {
        "id": name,
        "name": {"zh": name, "en": name},
        "kind": "industrial",
        "division": "440781",
        "industry": "3110",
        "timezone": zone,
        "key_energy_user": True,
        "meter": [common | {"id": meter, "role": role} for meter, role in meters.items()],
    }
    return Registry({name: Facility.model_validate(one)})


@pytest.fixture
def replayed(subscribe, collecting, tmp_path):
    """Replay a file into a lake and return the stored readings."""

    def run(file: Path, mapping: Mapping, registry: Registry) -> pl.DataFrame:
        store = Lake(tmp_path)
        with EmbeddedBroker() as embedded, collecting(subscribe(embedded.broker), store, registry) as collector:
            publish(embedded.broker, publications([file], mapping), client_id="replay")
            assert collector.idle(0.5, timeout=60)
        assert collector.tally.whole
        assert (collector.tally.quarantined, collector.tally.duplicate) == (0, 0)
        assert collector.tally.stored == store.read("readings").height
        return store.read("readings")

    return run


def months(readings: pl.DataFrame, zone: str, meter: str, *, hours: float) -> dict[int, Decimal]:
    """Exact sums by the local month in which an interval of `hours` that ends at `time` begins."""
    sums: dict[int, Decimal] = Counter()
    for time, value in readings.filter(meter=meter).select("time", "value").iter_rows():
        sums[(time - timedelta(hours=hours)).astimezone(ZoneInfo(zone)).month] += Decimal(str(value))
    return sums


def test_a_steel_mill_every_15_minutes(replayed):
    zone = "Asia/Seoul"
    mapping = Mapping.model_validate(
        {
            "facility": "uci-steel",
            "time": "date",
            "format": ["%d-%m-%Y %H:%M"],
            "timezone": zone,
            "midnight": "end_of_day",
            "column": [{"name": "Usage_kWh", "meter": "E-main", "unit": "kWh"}],
        }
    )
    registry = facility("uci-steel", zone, period="15m", first=date(2018, 1, 1), meters={"E-main": "total"})
    readings = replayed(STEEL, mapping, registry)

    with STEEL.open(encoding="utf-8-sig", newline="") as file:
        recorded = {_quarter_hour_end(row["date"]): float(row["Usage_kWh"]) for row in csv.DictReader(file)}
    local = readings["time"].dt.convert_time_zone(zone).dt.replace_time_zone(None)
    assert dict(zip(local, readings["value"], strict=True)) == recorded
    assert len(recorded) == 17_376

    sums = months(readings, zone, "E-main", hours=0.25)
    assert {f"{month:02d}": f"{total:.2f}" for month, total in sums.items()} == answer("steel-dev-monthly-kwh")


def _quarter_hour_end(text: str) -> datetime:
    """The label of a quarter hour; 00:00 stands at the end of its day in this file."""
    label = datetime.strptime(text, "%d-%m-%Y %H:%M")  # noqa: DTZ007 - as written
    return label + timedelta(days=label.hour == label.minute == 0)


COLUMNS = {
    "data_centre_kWh": ("Total Data Center (kW)", "E-it", "process", 1.0),
    "building_kWh": ("Total Building (kW)", "E-building", "total", 1.0),
    "pv_kWh": ("PV (kW)", "E-pv", "generation", -1.0),
}


def test_an_office_with_a_data_centre_every_hour(replayed):
    zone = "Etc/GMT+7"  # the logger keeps standard time: it shows 24 hours on 13 March 2011
    mapping = Mapping.model_validate(
        {
            "facility": "nrel-rsf",
            "time": "Date and Time",
            "format": ["%m/%d/%Y %H:%M"],
            "timezone": zone,
            "column": [
                {"name": name, "meter": meter, "unit": "kWh", "scale": scale}
                for name, meter, _, scale in COLUMNS.values()
            ],
        }
    )
    meters = {meter: role for _, meter, role, _ in COLUMNS.values()}
    registry = facility("nrel-rsf", zone, period="1h", first=date(2011, 1, 1), meters=meters)
    readings = replayed(OFFICE, mapping, registry)

    with OFFICE.open(encoding="utf-8-sig", newline="") as file:
        rows = {datetime.strptime(row["Date and Time"], "%m/%d/%Y %H:%M"): row for row in csv.DictReader(file)}  # noqa: DTZ007
    midnights = {at.month: row for at, row in rows.items() if (at.day, at.hour) == (1, 0)}
    known = answer("rsf-dev-monthly-kwh")
    for key, (column, meter, _, scale) in COLUMNS.items():
        stored = readings.filter(meter=meter)
        local = stored["time"].dt.convert_time_zone(zone).dt.replace_time_zone(None)
        assert dict(zip(local, stored["value"], strict=True)) == {
            at: float(row[column]) * scale for at, row in rows.items()
        }
        sums = months(readings, zone, meter, hours=1)
        for month in range(1, 7):
            # known sums go by the label; the hour that ends at the first midnight belongs to the month before
            own, following = (midnights.get(which, {column: 0}) for which in (month, month + 1))
            moved = int(following[column]) - int(own[column])
            assert sums[month] == Decimal(str(scale)) * (known[str(month)][key] + moved)
