"""Entries against the registry: what is stored, what is refused and why, and the loss equation for any traffic."""

import json
import threading
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.collect.collector import Collector
from ingest.collect.subscription import Delivery
from ingest.decode.payload import decode
from ingest.model import Message
from ingest.registry import Registry
from ingest.registry.facility import Facility
from ingest.schema import ACTIVITY, QUARANTINE, READINGS
from ingest.screen import Screened, screen
from ingest.store.lake.adapter import Lake

NOW = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
TOPIC = "peakwatch/v1/{}/gw-1/{}"


def facility(name: str, *, meters: dict[str, str], products: dict[str, str]) -> Facility:
    common = {"carrier": "electricity", "role": "process", "period": "15m", "valid_from": date(2025, 1, 1)}
    kinds = {"kWh": "register", "kW": "power"}
    return Facility.model_validate(
        {
            "id": name,
            "name": {"zh": "示例", "en": "Sample"},
            "kind": "industrial",
            "division": "440781",
            "industry": "3011",
            "key_energy_user": True,
            "meter": [common | {"id": meter, "unit": unit, "kind": kinds[unit]} for meter, unit in meters.items()],
            "product": [{"id": product, "unit": unit} for product, unit in products.items()],
        }
    )


REGISTRY = Registry(
    {
        "dc-a": facility("dc-a", meters={"E-main": "kWh", "P-1": "kW"}, products={}),
        "mill-b": facility("mill-b", meters={"E-main": "kWh", "G-1": "kWh"}, products={"clinker": "t"}),
    }
)


def screened(*entries: dict, name: str = "dc-a", kind: str = "readings", **options) -> Screened:
    payload = json.dumps({kind: entries}).encode()
    return screen(decode([Message(TOPIC.format(name, kind), payload, NOW)]), REGISTRY, **options)


def reading(**other) -> dict:
    return {"meter": "E-main", "time": "2026-11-20T16:00:00+08:00", "value": 1.5} | other


def output(**other) -> dict:
    times = {"start": "2026-11-19T00:00:00+08:00", "end": "2026-11-20T00:00:00+08:00"}
    return {"product": "clinker", "quantity": 2.0} | times | other


def test_rows_have_the_columns_of_their_tables():
    mixed = screened(reading(), reading(meter="x"))
    assert mixed.readings.schema == READINGS.schema
    assert mixed.activity.schema == ACTIVITY.schema
    assert mixed.quarantine.schema == QUARANTINE.schema


def test_units_are_converted_to_the_meters_and_flagged():
    rows = screened(
        reading(unit="kWh"),
        reading(),
        reading(unit="MWh"),
        reading(unit="MJ", value=7.2),
        reading(meter="P-1", unit="W"),
    ).readings
    assert rows["value"].to_list() == [1.5, 1.5, 1500.0, pytest.approx(2.0), 0.0015]
    assert rows["unit"].to_list() == ["kWh", "kWh", "kWh", "kWh", "kW"]
    assert rows["flags"].to_list() == [0, 0, 1, 1, 1]


def test_a_defaulted_time_is_flagged_beside_a_converted_unit():
    payload = b'{"time": 1763600000000, "readings": [{"meter": "E-main", "value": 1, "unit": "Wh"}]}'
    rows = screen(decode([Message(TOPIC.format("dc-a", "readings"), payload, NOW)]), REGISTRY).readings
    assert rows.select("flags", "value").rows() == [(3, 0.001)]


@pytest.mark.parametrize(
    ("entry", "reason", "sentence"),
    [
        (reading(meter="E-9"), "unknown_meter", "meter 'E-9' is not registered; wanted a meter of facility 'dc-a'"),
        (
            reading(meter="G-1"),
            "foreign_meter",
            "meter 'G-1' belongs to another facility; wanted a meter of facility 'dc-a'",
        ),
        (reading(unit="m3"), "wrong_unit", "unit 'm3' cannot measure meter E-main (kWh)"),
        (reading(unit="kwh"), "wrong_unit", "unit 'kwh' cannot measure meter E-main (kWh)"),
        (reading(meter="P-1", unit="kWh"), "wrong_unit", "unit 'kWh' cannot measure meter P-1 (kW)"),
        (reading(value=float("nan")), "not_finite", "'value' is NaN; wanted a finite number"),
        (reading(value=1e308, unit="GWh"), "not_finite", "'value' is 1e+308; wanted a finite number"),
        (
            reading(time="2026-11-20T08:10:01Z"),
            "future",
            "time 2026-11-20T08:10:01Z lies ahead of its receipt at 2026-11-20T08:00:00Z; wanted at most 600 s ahead",
        ),
        (
            reading(time="2024-12-31T15:59:59Z"),
            "before_valid",
            "time 2024-12-31T15:59:59Z lies before meter E-main is valid; wanted 2024-12-31T16:00:00Z or later",
        ),
    ],
)
def test_a_bad_reading_is_refused_with_its_sentence(entry, reason, sentence):
    result = screened(reading(), entry)
    assert result.quarantine.select("item", "reason", "sentence", "facility").rows() == [(1, reason, sentence, "dc-a")]
    assert (result.readings.height, result.refused) == (1, 1)


@pytest.mark.parametrize(
    ("entry", "reason", "sentence"),
    [
        (
            output(product="x"),
            "unknown_product",
            "product 'x' is not registered; wanted a product of facility 'mill-b'",
        ),
        (output(unit="kWh"), "wrong_unit", "unit 'kWh' cannot measure product clinker (t)"),
        (output(quantity=-0.5), "bad_quantity", "quantity is -0.5; wanted zero or more"),
        (output(quantity=float("inf")), "not_finite", "'quantity' is inf; wanted a finite number"),
        (
            output(end="2026-11-19T00:00:00+08:00"),
            "bad_period",
            (
                "period ends at 2026-11-18T16:00:00Z and starts at 2026-11-18T16:00:00Z; "
                "wanted an end after the start, by at most 366 days"
            ),
        ),
        (
            output(start="2025-11-18T00:00:00+08:00"),
            "bad_period",
            (
                "period ends at 2026-11-19T16:00:00Z and starts at 2025-11-17T16:00:00Z; "
                "wanted an end after the start, by at most 366 days"
            ),
        ),
        (
            output(end="2036-11-19T00:00:00+08:00"),
            "future",
            "time 2036-11-18T16:00:00Z lies ahead of its receipt at 2026-11-20T08:00:00Z; wanted at most 600 s ahead",
        ),
    ],
)
def test_bad_activity_is_refused_with_its_sentence(entry, reason, sentence):
    result = screened(output(unit="kg", quantity=500), entry, name="mill-b", kind="activity")
    assert result.quarantine.select("item", "reason", "sentence").rows() == [(1, reason, sentence)]
    assert result.activity.select("quantity", "unit").rows() == [(0.5, "t")]


def test_the_edges_are_good():
    result = screened(reading(time="2026-11-20T08:10:00Z"), reading(time="2024-12-31T16:00:00Z"))
    assert result.readings.height == 2
    assert screened(reading(time="2026-11-20T08:00:01Z"), ahead=timedelta(0)).refused == 1


def test_an_unknown_facility_is_one_row_for_the_whole_payload():
    result = screened(reading(), reading(), reading(), name="nobody")
    assert result.refused == 3
    assert result.quarantine.select("facility", "item", "reason", "sentence").rows() == [
        ("nobody", -1, "unknown_facility", "facility 'nobody' is not in the registry; wanted a registered facility")
    ]


def test_the_same_refusal_is_the_same_row():
    first, second = screened(reading(meter="x")), screened(reading(meter="x"))
    other = screened(reading(meter="y"))
    assert first.quarantine["id"].to_list() == ["3a044a99cd44ae17bda7f1846627a850:0:unknown_meter"]
    assert first.quarantine.equals(second.quarantine)
    assert first.quarantine["id"][0] != other.quarantine["id"][0]


def test_a_payload_is_not_kept_once_for_each_of_its_many_bad_entries():
    result = screened(*[reading(meter="x" * 60, number=number) for number in range(5000)])
    assert result.refused == 5000
    rows = result.quarantine
    assert rows["payload"].bin.size().sum() <= 2 << 20
    assert rows["sentence"][-1].endswith(f" (and {5000 - rows.height} more entries like it)")
    assert rows["item"].to_list() == list(range(rows.height))


def test_foreign_text_is_cut_and_cleaned():
    [sentence] = screened(reading(meter="\x1b[2J\n\u202e" + "x" * 1000)).quarantine["sentence"]
    assert sentence.startswith("meter '�[2J��xxx")
    assert len(sentence) < 150


class Fed:
    """A subscription that hands out given messages and then nothing."""

    def __init__(self, messages: list[Message], stop: threading.Event) -> None:
        self._messages = messages
        self._stop = stop
        self.acked = 0
        self.clock = lambda: NOW

    def leave(self, _: float) -> bool:
        return False

    def take(self, limit: int, _: float) -> list[Delivery]:
        taken, self._messages = self._messages[:limit], self._messages[limit:]
        if not taken:
            self._stop.set()
        return [Delivery(message, 1, mid) for mid, message in enumerate(taken, start=1)]

    def ack(self, deliveries: list[Delivery]) -> None:
        self.acked += len(deliveries)


MINUTES = st.integers(0, 30)
GOOD = st.builds(lambda minute: reading(time=f"2026-11-20T07:{minute:02d}:00Z", value=float(minute)), MINUTES)
BAD = st.sampled_from([reading(meter="x"), reading(unit="m3"), reading(time="2036-11-20T07:00:00Z"), {}, 5, None])
UNUSABLE = st.sampled_from([b"", b"\xff", b"[]", b'{"readings": []}', b"NaN"])
TRAFFIC = st.lists(
    st.one_of(
        UNUSABLE, st.lists(GOOD | BAD, min_size=1, max_size=6).map(lambda one: json.dumps({"readings": one}).encode())
    ),
    max_size=12,
)


@given(TRAFFIC, st.integers(1, 5), st.randoms())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_comes_the_lake_holds_what_was_good_and_every_item_is_counted(
    tmp_path_factory, traffic, batch, chance
):
    again = [*traffic, *chance.sample(traffic, len(traffic) // 2)]
    chance.shuffle(again)
    stop = threading.Event()
    fed = Fed([Message(TOPIC.format("dc-a", "readings"), payload, NOW) for payload in again], stop)
    store = Lake(tmp_path_factory.mktemp("lake"))
    collector = Collector(store, REGISTRY, fed, batch=batch)
    collector.run(stop)

    sent = [entry for payload in again for entry in _entries(payload)]
    good = [
        entry["value"]
        for entry in sent
        if isinstance(entry, dict) and entry.get("time", "").startswith("2026-11-20T07")
    ]
    tally = collector.tally
    assert sorted(store.read("readings")["value"]) == sorted(set(good))
    assert (tally.stored, tally.stored + tally.duplicate) == (len(set(good)), len(good))
    assert (tally.received, tally.pending, fed.acked) == (len(sent), 0, len(again))
    assert tally.whole


def _entries(payload: bytes) -> list:
    """The entries of a payload of this test; an unusable one counts as one item."""
    try:
        return json.loads(payload)["readings"] or [None]
    except (ValueError, TypeError):
        return [None]
