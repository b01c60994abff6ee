"""What gateways say of themselves, and that a flood of their names takes no room."""

import json
from datetime import UTC, date, datetime

from ingest.collect.gateways import Gateway, Gateways
from ingest.decode.payload import decode
from ingest.model import Message
from ingest.registry.facility import Facility

NOW = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
METER = {"id": "E-main", "carrier": "electricity", "kind": "register", "unit": "kWh", "period": "15m"}
METER |= {"role": "process", "valid_from": date(2025, 1, 1)}


def facility(name: str, **other) -> Facility:
    raw = {"id": name, "name": {"zh": "示例", "en": "Sample"}, "kind": "industrial", "division": "440781"}
    return Facility.model_validate(raw | {"industry": "6450", "key_energy_user": True, "meter": [METER]} | other)


FACILITIES = {"dc-a": facility("dc-a", gateway=[{"id": "late"}]), "mill-b": facility("mill-b")}


def numbered(gateway: str, *seqs: int, name: str = "dc-a") -> list[Message]:
    body = {"readings": [{"meter": "E-main", "time": 0, "value": 1}]}
    topic = f"peakwatch/v1/{name}/{gateway}/readings"
    return [Message(topic, json.dumps({"seq": seq} | body).encode(), NOW) for seq in seqs]


def status(gateway: str, state: bytes, *, name: str = "dc-a") -> Message:
    return Message(f"peakwatch/v1/{name}/{gateway}/status", state, NOW)


def test_missing_numbers_are_counted_for_their_gateway_across_batches():
    gateways = Gateways(FACILITIES)
    # 3 and 4 of gw-1 are missing, 11 to 19 of gw-2; 5 comes twice, 1 is a restart
    assert gateways.note(decode([*numbered("gw-1", 1, 2, 5), *numbered("gw-2", 10)])) == 2
    assert gateways.note(decode([*numbered("gw-1", 5, 1, 2), *numbered("gw-2", 20)])) == 9
    assert gateways.seen == {("dc-a", "gw-1"): Gateway("", 2, 2), ("dc-a", "gw-2"): Gateway("", 9, 20)}


def test_the_newest_last_will_counts_and_keeps_the_numbers():
    gateways = Gateways(FACILITIES)
    gateways.note(decode([*numbered("gw-1", 1, 3), status("gw-1", b"online")]))
    gateways.note(decode([status("gw-1", b"offline")]))
    assert gateways.seen == {("dc-a", "gw-1"): Gateway("offline", 1, 3)}


def test_gateways_of_facilities_that_are_not_registered_are_not_noted():
    gateways = Gateways(FACILITIES)
    assert gateways.note(decode([*numbered("gw", 1, 9, name="nobody"), status("gw", b"online", name="nobody")])) == 0
    assert gateways.seen == {}


def test_a_flood_of_names_takes_no_room_from_others_nor_from_registered_gateways():
    gateways = Gateways(FACILITIES)
    gateways.note(decode([status(f"fake-{n}", b"online") for n in range(5000)]))
    gateways.note(decode([status("late", b"online"), status("gw-1", b"offline", name="mill-b")]))
    assert len(gateways.seen) == 102
    assert gateways.seen["dc-a", "late"].state == "online"
    assert gateways.seen["mill-b", "gw-1"].state == "offline"
    gateways.note(decode([status("fake-0", b"offline")]))
    assert gateways.seen["dc-a", "fake-0"].state == "offline"
