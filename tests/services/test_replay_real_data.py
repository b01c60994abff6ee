"""
Recorded data through the line: file -> messages -> mosquitto -> collector -> lake -> energy, against the known answers.

The recordings stand beside the repository and never in it; without them the tests are skipped.
"""

import csv
import json
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from ingest.collect.mapping import Mapping
from ingest.collect.publish import publish
from ingest.collect.replay import publications
from ingest.model import Period
from ingest.registry import Registry
from ingest.registry.facility import Facility
from ingest.store.lake.adapter import Lake
from pipelines.factors import catalogue as factors
from pipelines.jobs import compute
from pipelines.jobs.context import Context
from pipelines.notify.mail import connect as connect_mail
from rules import catalogue

DATA = Path(__file__).parents[3] / "shared/data"
STEEL = DATA / "industry/uci_steel_2018_H1.csv"
OFFICE = DATA / "datacentre/nrel_rsf_2011_H1.csv"
ANSWERS = DATA / "known_answers/known_answers.json"

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the recorded data (../shared/data) are not on this machine")


def answer(name: str) -> dict:
    [case] = [case for case in json.loads(ANSWERS.read_text("utf-8"))["cases"] if case["id"] == name]
    return case["expected"]


def facility(name: str, zone: str, *, period: str, first: date, meters: list[dict]) -> Registry:
    common = {"carrier": "electricity", "kind": "interval", "unit": "kWh", "period": period, "valid_from": first}
    one = {
        "id": name,
        "name": {"zh": name, "en": name},
        "kind": "industrial",
        "division": "440781",
        "industry": "3110",
        "timezone": zone,
        "key_energy_user": True,
        "meter": [common | meter for meter in meters],
    }
    return Registry({name: Facility.model_validate(one)})


@pytest.fixture
def replayed(mosquitto, subscribe, collecting, wait_until, tmp_path):
    """Replay a file through mosquitto into a lake, compute, and return the stored readings and the monthly energy."""

    def run(file: Path, mapping: Mapping, registry: Registry, half_year: Period) -> tuple[pl.DataFrame, pl.DataFrame]:
        store = Lake(tmp_path / "lake")
        subscription = subscribe(mosquitto.broker)
        with collecting(subscription, store, registry) as collector:
            sent = publish(mosquitto.broker, publications([file], mapping), client_id="replay")
            wait_until(lambda: subscription.acked == sent, seconds=60)
        assert collector.tally.whole
        assert (collector.tally.quarantined, collector.tally.duplicate) == (0, 0)
        readings = store.read("readings")
        assert collector.tally.stored == readings.height
        mailer = connect_mail(f"file:{tmp_path / 'outbox'}")
        context = Context(store, registry, factors.load(), catalogue.load(), mailer, "peakwatch@example.org")
        compute.over(context, half_year, half_year.end)
        return readings, store.read("energy", interval=["1mo"])

    return run


def months(energy: pl.DataFrame, zone: str, meter: str) -> dict[int, float]:
    """Energy of a meter by local month. [kWh]"""
    own = energy.filter(meter=meter)
    return dict(zip(own["start"].dt.convert_time_zone(zone).dt.month(), own["quantity"], strict=True))


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
    main = {"id": "E-main", "role": "total"}
    registry = facility("uci-steel", zone, period="15m", first=date(2018, 1, 1), meters=[main])
    readings, energy = replayed(STEEL, mapping, registry, half_year(2018, zone))

    with STEEL.open(encoding="utf-8-sig", newline="") as file:
        recorded = {_quarter_hour_end(row["date"]): float(row["Usage_kWh"]) for row in csv.DictReader(file)}
    local = readings["time"].dt.convert_time_zone(zone).dt.replace_time_zone(None)
    assert dict(zip(local, readings["value"], strict=True)) == recorded
    assert len(recorded) == 17_376

    sums = {f"{month:02d}": f"{total:.2f}" for month, total in months(energy, zone, "E-main").items()}
    assert sums == answer("steel-dev-monthly-kwh")
    assert energy["coverage"].to_list() == [1.0] * 6


def _quarter_hour_end(text: str) -> datetime:
    """The label of a quarter hour; 00:00 stands at the end of its day in this file."""
    label = datetime.strptime(text, "%d-%m-%Y %H:%M")  # noqa: DTZ007 - as written
    return label + timedelta(days=label.hour == label.minute == 0)


# column, meter, role, sign of the column
COLUMNS = {
    "data_centre_kWh": ("Total Data Center (kW)", "E-data-centre", "process", 1.0),
    "building_kWh": ("Total Building (kW)", "E-building", "total", 1.0),
    "pv_kWh": ("PV (kW)", "E-pv", "generation", -1.0),
    "cooling": ("Total Cooling (kW)", "E-cooling", "cooling", 1.0),
    "heating": ("Total Heating (kW)", "E-heating", "building", 1.0),
    "mechanical": ("Total Mechanical (kW)", "E-mechanical", "building", 1.0),
    "lighting": ("Total Lighting (kW)", "E-lighting", "lighting", 1.0),
    "plug": ("Total Plug Loads (kW)", "E-plug", "building", 1.0),
}
SUB_METERS = [meter for key, (_, meter, _, _) in COLUMNS.items() if key not in ("building_kWh", "pv_kWh")]


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
    meters = [
        {"id": meter, "role": role, "parent": "E-building" if meter in SUB_METERS else ""}
        for _, meter, role, _ in COLUMNS.values()
    ]
    registry = facility("nrel-rsf", zone, period="1h", first=date(2011, 1, 1), meters=meters)
    readings, energy = replayed(OFFICE, mapping, registry, half_year(2011, zone))

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
        for month, total in months(energy, zone, meter).items() if key in known["1"] else ():
            # known sums go by the label; the hour that ends at the first midnight belongs to the month before
            own, following = (midnights.get(which, {column: 0}) for which in (month, month + 1))
            moved = int(following[column]) - int(own[column])
            assert total == pytest.approx(scale * (known[str(month)][key] + moved), abs=1e-6)
    # six columns and their sum, each rounded to 2 kW: an hour may be off by 4 kWh (known answer rsf-dev-submeters-sum)
    parts = energy.filter(pl.col("meter").is_in(SUB_METERS)).group_by("start").agg(pl.sum("quantity")).sort("start")
    whole = energy.filter(meter="E-building").sort("start")
    hours = (whole["end"] - whole["start"]).dt.total_hours()
    assert ((parts["quantity"] - whole["quantity"]).abs() <= 4 * hours).all()


def half_year(year: int, zone: str) -> Period:
    first, last = (datetime(year, month, 1, tzinfo=ZoneInfo(zone)) for month in (1, 7))
    return Period(first, last)
