"""What real devices send: every sample to its figures, worked by hand, or to the sentence that refuses it."""

import json
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.decode import topics
from ingest.decode.entries import MOST_ENTRIES
from ingest.decode.payload import Decoded, decode
from ingest.decode.table import FORMATS, Gateways
from ingest.model import Message
from ingest.registry import Facility, Registry
from ingest.screen import screen

NOW = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
FILE = Path(__file__).parent / "registry_cases" / "good" / "gateways.toml"
PLANT = tomllib.loads(FILE.read_text("utf-8"))
REGISTRY = Registry({"formats": Facility.model_validate(PLANT)})
PAYLOADS = Path(__file__).parents[3] / "shared/data/payloads"
real = pytest.mark.skipif(not PAYLOADS.is_dir(), reason="the recorded data (../shared/data) are not on this machine")


def message(gateway: str, below: str, payload: object, *, retained: bool = False) -> Message:
    content = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return Message(f"peakwatch/v1/formats/{gateway}/{below}", content, NOW, retained)


def decoded(gateway: str, below: str, payload: object, registry: Registry = REGISTRY, **more) -> Decoded:
    return decode([message(gateway, below, payload, **more)], Gateways(registry))


def mapped(form: str, meters: dict[str, str], **more) -> Registry:
    """The plant with one gateway `x`, whose values map to these meters."""
    plant = PLANT | {"gateway": [{"id": "x", "format": form, "meters": meters} | more]}
    return Registry({"formats": Facility.model_validate(plant)})


def readings(found: Decoded) -> list[tuple]:
    return found.readings.select("item", "meter", "time", "value", "unit", "flags").rows()


def refused(found: Decoded) -> list[tuple]:
    return found.refused.select("item", "reason", "sentence").rows()


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


# flat

VALUES = {"timestamp": 1650006388943, "node": "modbus", "group": "grp", "values": {"tag0": 123}, "metas": {}}
TAGS = {"timestamp": 1647497389075, "tags": [{"name": "tag0", "value": 123}, {"name": "tag1", "error": 2014}]}
# 1650006388.943 s after 1970 is 2022-04-15 07:06:28.943, 1647497389.075 s is 2022-03-17 06:09:49.075
SAID_AT, TAGGED_AT = utc(2022, 4, 15, 7, 6, 28, 943_000), utc(2022, 3, 17, 6, 9, 49, 75_000)
ERROR = "'tag1' is error 2014; wanted a valid value"


def test_neuron_values_and_the_errors_beside_them():
    found = decoded("neuron", "data", VALUES | {"errors": {"tag1": 2014}})
    assert readings(found) == [(0, "E-main", SAID_AT, 123.0, None, 2)]
    assert refused(found) == [(1, "not_valid", ERROR)]
    assert (found.items, found.unmapped) == (2, 0)


def test_neuron_tags_and_their_errors():
    found = decoded("neuron", "any/topic", TAGS)
    assert readings(found) == [(0, "E-main", TAGGED_AT, 123.0, None, 2)]
    assert refused(found) == [(1, "not_valid", ERROR)]


def test_dotted_names_keys_with_dots_units_and_a_local_time():
    payload = {"device": {"at": "2026-11-20 08:15:00"}, "meter": {"energy": {"total": 1.5}}, "obis": {"1.8.0.0": 7}}
    found = decoded("generic", "x", payload)
    at = utc(2026, 11, 20, 0, 15)  # Shanghai is eight hours ahead
    assert readings(found) == [(0, "E-main", at, 1.5, "MWh", 2), (1, "E-out", at, 7.0, None, 2)]
    # 1.5 MWh on a meter in kWh
    assert screen(found, REGISTRY).readings.select("value", "flags").rows() == [(1500.0, 3), (7.0, 2)]


def test_a_payload_without_a_time_counts_as_taken_when_received_where_the_registry_says_so():
    payload = {"meter": {"energy": {"total": 1.5}}}
    found = decoded("generic", "x", payload)
    assert readings(found) == [(0, "E-main", NOW, 1.5, "MWh", 4)]
    assert screen(found, REGISTRY).readings["flags"].to_list() == [5]
    sentence = '{} has no time; wanted one, or missing_time = "receipt" and a message that is not retained'
    kept = decoded("generic", "x", payload, retained=True)
    assert refused(kept) == [(0, "no_time", sentence.format("'meter.energy.total'"))]
    strict = decoded("neuron", "x", {"tag0": 5})
    assert refused(strict) == [(0, "no_time", sentence.format("'tag0'"))]


@pytest.mark.parametrize(
    ("payload", "reason", "sentence"),
    [
        (b"\xff", "malformed", "the payload is not UTF-8 at byte 0; wanted a JSON object in UTF-8"),
        ([], "malformed", "the payload is []; wanted a JSON object in UTF-8"),
        ({"tags": 5}, "malformed", "'tags' is 5; wanted an array of objects"),
        (
            {"tags": [{}] * (MOST_ENTRIES + 1)},
            "malformed",
            f"'tags' is an array of {MOST_ENTRIES + 1} entries; wanted at most {MOST_ENTRIES}",
        ),
        (
            {"timestamp": 0, "values": {"tag9": 1}},
            "unmapped",
            "the payload names ['tag9'] and none of the values mapped to meters; wanted one of ['tag0', 'tag1']",
        ),
        ({"values": {}}, "unmapped", None),
        ({"tags": []}, "unmapped", None),
    ],
)
def test_a_flat_payload_that_cannot_be_used_is_refused_whole(payload, reason, sentence):
    found = decoded("neuron", "x", payload)
    assert (found.items, found.readings.height) == (1, 0)
    assert [(item, code) for item, code, _ in refused(found)] == [(-1, reason)]
    assert sentence in (None, refused(found)[0][2])


@pytest.mark.parametrize("value", ["12", True, None, [1], {}])
def test_what_is_no_number_is_refused_alone(value):
    [(item, reason, sentence)] = refused(decoded("neuron", "x", {"timestamp": 0, "tag0": value, "tag1": 2}))
    assert (item, reason) == (0, "malformed")
    assert sentence.endswith("; wanted a number")


def test_a_local_time_that_the_clocks_skip_or_show_twice_is_refused():
    plant = PLANT | {"timezone": "Europe/Berlin"}
    registry = Registry({"formats": Facility.model_validate(plant)})
    for text in ("2026-03-29 02:30:00", "2026-10-25 02:30:00", "2026-02-30 00:00:00"):
        found = decoded("neuron", "x", {"timestamp": text, "tag0": 1}, registry)
        assert [reason for _, reason, _ in refused(found)] == ["bad_time"]
    good = decoded("neuron", "x", {"timestamp": "2026-10-25 03:30:00", "tag0": 1}, registry)
    assert readings(good)[0][2] == utc(2026, 10, 25, 2, 30)


# Tasmota

ENERGY = {"TotalStartTime": "2023-02-05T11:04:13", "Total": 1290.396, "Power": [8.15, 0], "Voltage": 237}
SENSOR = {"Time": "2023-02-05T20:31:48", "ENERGY": ENERGY, "SML": {"Total_out": 14737.1422}}


@pytest.mark.parametrize(
    ("below", "payload"),
    [("tele/SENSOR", SENSOR), ("stat/STATUS8", {"StatusSNS": SENSOR}), ("stat/STATUS10", {"StatusSNS": SENSOR})],
)
def test_tasmota_energy_and_power_of_a_phase_at_the_local_time(below, payload):
    at = utc(2023, 2, 5, 12, 31, 48)  # 20:31:48 in Shanghai
    found = decoded("tasmota", below, payload)
    assert readings(found) == [
        (0, "E-main", at, 1290.396, "kWh", 2),
        (1, "P-main", at, 8.15, "W", 2),
        (2, "E-out", at, 14737.1422, None, 2),
    ]
    assert screen(found, REGISTRY).readings["value"].to_list() == pytest.approx([1290.396, 0.00815, 14737.1422])


def test_tasmota_phases_as_a_whole_are_no_number_and_volts_no_energy():
    registry = mapped("tasmota", {"ENERGY.Power": "P-main", "ENERGY.Voltage": "E-main"})
    found = decoded("x", "tele/SENSOR", SENSOR, registry)
    assert refused(found) == [(0, "malformed", "'ENERGY.Power' is [8.15, 0]; wanted a number")]
    assert screen(found, registry).quarantine["sentence"].to_list() == [
        "'ENERGY.Power' is [8.15, 0]; wanted a number",
        "unit '?' cannot measure meter E-main (kWh)",
    ]


def test_tasmota_last_will_and_topics_that_are_none():
    for payload, state in ((b"Online", "online"), (b"Offline", "offline"), (b"x", "unknown")):
        found = decoded("tasmota", "tele/LWT", payload)
        assert ([said for _, said in found.statuses], found.items) == ([state], 0)
    [(item, reason, sentence)] = refused(decoded("tasmota", "tele/STATE", b"{}"))
    assert (item, reason) == (-1, "topic")
    assert sentence.endswith("GATEWAY/ and tele/SENSOR, stat/STATUS8, stat/STATUS10, tele/LWT")


# Shelly


def test_shelly_status_of_a_component_has_no_time():
    found = decoded("shelly", "status/emdata:0", {"id": 0, "total_act": 5415414.19, "total_act_ret": 0.0})
    assert readings(found) == [(0, "E-main", NOW, 5415414.19, "Wh", 4), (1, "E-out", NOW, 0.0, "Wh", 4)]
    # 5,415,414.19 Wh
    assert screen(found, REGISTRY).readings["value"].to_list() == [pytest.approx(5415.41419), 0.0]


@pytest.mark.parametrize("method", ["NotifyStatus", "NotifyFullStatus"])
def test_shelly_notifications_carry_the_time(method):
    params = {"ts": 1631186545.04, "em:0": {"id": 0, "total_act_power": 2413.825}}
    found = decoded("shelly", "events/rpc", {"src": "x", "method": method, "params": params})
    # 1631186545.04 s after 1970
    assert readings(found) == [(2, "P-main", utc(2021, 9, 9, 11, 22, 25, 40_000), 2413.825, "W", 2)]


def test_shelly_messages_without_a_mapped_value_are_counted():
    several = [
        message("shelly", "status/wifi", {"rssi": -50}),
        message("shelly", "events/rpc", {"method": "NotifyEvent", "params": {"ts": 1, "events": []}}),
        message("shelly", "relay/0/power", b"12.5"),
    ]
    found = decode(several, Gateways(REGISTRY))
    assert (found.items, found.unmapped, found.refused.height) == (0, 3, 0)


def test_shelly_first_generation_counts_watt_minutes_on_relays_and_wh_on_meters():
    meters = {"relay/0/energy": "E-main", "emeter/0/total": "E-out", "emeter/0/power": "P-main"}
    registry = mapped("shelly", meters, missing_time="receipt")
    several = [
        message("x", "relay/0/energy", b"6472513"),
        message("x", "emeter/0/total", b"401472.9"),
        message("x", "emeter/0/power", b"-620.34"),
        message("x", "emeter/0/power", b"on"),
    ]
    found = decode(several, Gateways(registry))
    # 6,472,513 W min / 60 = 107,875.2167 Wh
    rows = [(meter, round(value, 4), unit, flags) for _, meter, _, value, unit, flags in readings(found)]
    assert rows == [("E-main", 107875.2167, "Wh", 4), ("E-out", 401472.9, "Wh", 4), ("P-main", -620.34, "W", 4)]
    assert refused(found) == [(0, "malformed", "'emeter/0/power' is 'on'; wanted a number")]


def test_shelly_online():
    found = decode([message("shelly", "online", text) for text in (b"true", b"false", b"")], Gateways(REGISTRY))
    assert [state for _, state in found.statuses] == ["online", "offline", "unknown"]


# the national practice

ITEM = {"dataCode": "0000000001040110", "dataValue": "12.5", "inputType": 4, "statType": 0, "valid": 1}
STAMP = {"statDate": "2026-11-20 08:15:00", "uploadDate": "2026-11-20 08:16:00", "scope": 1}
UPLOAD = {"deviceId": "d-1", "enterpriseCode": "91350100M000100Y43"}


def test_national_record_by_code_in_the_time_of_shanghai():
    power = ITEM | STAMP | {"dataCode": "0000000002010110", "dataValue": 99.25, "statType": "0"}
    other = ITEM | STAMP | {"dataCode": "9900000002010110"}
    found = decoded("platform", "upload", UPLOAD | {"data": [ITEM | STAMP, power, other]})
    at = utc(2026, 11, 20, 0, 15)
    assert readings(found) == [(0, "G-main", at, 12.5, None, 0), (1, "E-main", at, 99.25, None, 0)]
    assert found.items == 2


@pytest.mark.parametrize(
    ("change", "reason", "sentence"),
    [
        ({"statType": 1}, "malformed", "'statType' is 1; wanted 0, real time"),
        ({"statType": False}, "malformed", "'statType' is false; wanted 0, real time"),
        ({"valid": 0}, "not_valid", "'0000000001040110' is marked valid = 0; wanted a valid value"),
        ({"dataValue": "1e3"}, "malformed", "'0000000001040110' is '1e3'; wanted a number"),
        (
            {"statDate": "20.11.2026"},
            "bad_time",
            "'time' is '20.11.2026'; wanted RFC 3339 with an offset, or integer epoch milliseconds",
        ),
        ({"statDate": None}, "no_time", None),
    ],
)
def test_a_national_value_that_cannot_be_used_is_refused_alone(change, reason, sentence):
    good = ITEM | STAMP | {"dataCode": "0000000002010110"}
    found = decoded("platform", "upload", UPLOAD | {"data": [ITEM | STAMP | change, good]})
    assert [meter for _, meter, *_ in readings(found)] == ["E-main"]
    [(item, code, words)] = refused(found)
    assert (item, code) == (0, reason)
    assert sentence in (None, words)


def test_a_national_record_of_another_enterprise_is_refused_whole():
    found = decoded("platform", "upload", {"enterpriseCode": "91350100M000100Y44", "data": [ITEM | STAMP]})
    wanted = "wanted 91350100M000100Y43, the facility's own"
    assert refused(found) == [(-1, "malformed", f"'enterpriseCode' is '91350100M000100Y44'; {wanted}")]


# all together


def test_filters_name_our_topics_and_those_of_the_gateways_of_other_formats():
    filters = topics.filters(REGISTRY)
    assert filters[:3] == [f"peakwatch/v1/+/+/{kind}" for kind in ("readings", "activity", "status")]
    assert "peakwatch/v1/formats/neuron/#" in filters
    assert "peakwatch/v1/formats/tasmota/tele/SENSOR" in filters
    assert not [one for one in filters if "/ours/" in one]
    assert topics.BELOW.keys() == FORMATS.keys()


def test_our_own_format_and_the_last_will_go_on_beside_the_others():
    own = {"meter": "E-main", "time": "2026-11-20T08:00:00+08:00", "value": 1}
    several = [
        message("ours", "readings", own),
        message("stranger", "readings", own),
        message("neuron", "status", b"online"),
        message("ours", "tele/SENSOR", SENSOR),
        message("neuron", "readings", VALUES),
    ]
    found = decode(several, Gateways(REGISTRY))
    assert found.readings["message"].to_list() == [0, 1, 4]
    assert [state for _, state in found.statuses] == ["online"]
    assert [(reason, item) for item, reason, _ in refused(found)] == [("topic", -1)]
    assert screen(found, REGISTRY).quarantine["facility"].to_list() == ["formats"]


SAMPLES = {
    "neuron": [("x", VALUES), ("x", TAGS)],
    "generic": [("x", {"device": {"at": 0}, "meter": {"energy": {"total": 1.5}}, "obis": {"1.8.0.0": 7}})],
    "tasmota": [("tele/SENSOR", SENSOR), ("stat/STATUS8", {"StatusSNS": SENSOR})],
    "shelly": [
        ("status/emdata:0", {"id": 0, "total_act": 5415414.19, "is_valid": True}),
        ("events/rpc", {"method": "NotifyStatus", "params": {"ts": 1631186545.04, "em:0": {"total_act_power": 1}}}),
    ],
    "platform": [("x", UPLOAD | {"data": [ITEM | STAMP]})],
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def mutated(draw) -> tuple[str, str, bytes]:
    """A sample with one of its parts replaced by something else, one of its bytes too, or nothing but noise."""
    gateway = draw(st.sampled_from(sorted(SAMPLES)))
    below, sample = draw(st.sampled_from(SAMPLES[gateway]))
    sample = json.loads(json.dumps(sample))
    node = sample
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        key = draw(st.sampled_from(keys))
        if isinstance(node[key], dict | list) and node[key] and draw(st.booleans()):
            node = node[key]
            continue
        node[key] = draw(JSON)
        break
    payload = draw(st.sampled_from([json.dumps(sample).encode(), draw(st.binary(max_size=30))]))
    if payload and draw(st.booleans()):
        place = draw(st.integers(0, len(payload) - 1))
        payload = payload[:place] + draw(st.binary(max_size=2)) + payload[place + 1 :]
    return gateway, draw(st.sampled_from([below, below, below, "x", "online", "status/x", "relay/0/power"])), payload


@settings(max_examples=200, deadline=None)
@given(st.lists(mutated(), max_size=4))
def test_whatever_a_device_sends_it_is_never_an_error_and_always_counted(sent):
    messages = [message(*one) for one in sent]
    found = decode(messages, Gateways(REGISTRY))
    assert found.items == found.readings.height + found.refused.height
    seen = {*found.readings["message"], *found.refused["message"]}
    assert len(seen) + found.unmapped + len(found.statuses) >= len(messages)
    screened = screen(found, REGISTRY)
    assert screened.readings.height + screened.refused == found.items


def test_nesting_and_endless_numbers_are_bounded():
    deep = b'{"tag0":' * 100_000
    long = b'{"timestamp": 0, "tag0": ' + b"9" * 1_000_000 + b"}"
    found = decode([message("neuron", "x", deep), message("neuron", "x", long)], Gateways(REGISTRY))
    assert [reason for _, reason, _ in refused(found)] == ["malformed"]
    assert [str(value) for value in found.readings["value"]] == ["inf"]


# recorded


def lines() -> list[dict]:
    text = (PAYLOADS / "evcc_shelly_tasmota.jsonl").read_text("utf-8")
    return [json.loads(line)["payload"] for line in text.splitlines()]


@real
def test_recorded_neuron_samples():
    samples = json.loads((PAYLOADS / "emqx_neuron_formats.json").read_text("utf-8"))
    for key, at in (("values_format", SAID_AT), ("tags_format", TAGGED_AT)):
        found = decoded("neuron", "x", samples[key])
        assert readings(found) == [(0, "E-main", at, 123.0, None, 2)]
        assert refused(found) == [(1, "not_valid", ERROR)]


@real
def test_recorded_tasmota_samples():
    registry = mapped("tasmota", {"ENERGY.Total": "E-main", "SML.Total_in": "E-out", "ENERGY.Power.0": "P-main"})
    found = [decoded("x", "stat/STATUS10", one, registry) for one in lines() if "StatusSNS" in one]
    assert [[row[1:4] for row in readings(one)] for one in found] == [
        [("E-main", utc(2023, 2, 5, 12, 31, 48), 1290.396)],
        [("E-main", utc(2023, 1, 9, 10, 57, 39), 0.077), ("P-main", utc(2023, 1, 9, 10, 57, 39), 8.15)],
        [("E-out", utc(2022, 7, 7, 5, 1, 11), 34507.4761)],
        [("E-out", utc(2026, 1, 21, 3, 7, 31), 2687.3687)],
    ]


@real
def test_recorded_shelly_samples_of_the_first_generation():
    meters = {"meters.0.total": "E-main", "emeters.0.total": "E-out", "meters.0.power": "P-main"}
    registry = mapped("shelly", meters)
    found = [decoded("x", "info", one, registry) for one in lines() if "unixtime" in one]
    # 1676134770 s is 2023-02-11 16:59:30, 1676139913 s is 18:25:13, 1676110566 s is 10:16:06
    day = (2023, 2, 11)
    assert [[(m, t, round(v, 4), u) for _, m, t, v, u, _ in readings(one)] for one in found] == [
        [("E-main", utc(*day, 16, 59, 30), 107875.2167, "Wh"), ("P-main", utc(*day, 16, 59, 30), 4711.12, "W")],
        [("P-main", utc(*day, 18, 25, 13), 81.5, "W")],
        [("E-out", utc(*day, 10, 16, 6), 401472.9, "Wh")],
    ]


@real
def test_recorded_shelly_samples_of_the_second_generation():
    meters = {"switch:0.aenergy.total": "E-main", "switch:0.ret_aenergy.total": "E-out", "switch:0.apower": "P-main"}
    registry = mapped("shelly", meters, missing_time="receipt")
    found = [decoded("x", "status/switch:0", one, registry) for one in lines() if "aenergy" in one]
    assert [[row[1:5:2] for row in readings(one)] for one in found] == [
        [("E-main", 5.125), ("P-main", 47.11)],
        [("E-main", 2574466.629), ("P-main", 399.2)],
        [("E-main", 10000.0), ("E-out", 4000.0), ("P-main", -350.0)],
        [("E-main", 4000.0), ("E-out", 4000.0)],
    ]
    others = [one for one in lines() if not {"aenergy", "unixtime", "StatusSNS"} & one.keys()]
    counted = [decoded("x", "status/switch:0", one, registry) for one in others]
    assert [(one.items, one.unmapped) for one in counted] == [(0, 1)] * 7


@real
def test_recorded_shelly_em1_samples():
    meters = {"em1:0.act_power": "P-main", "em1data:0.total_act_energy": "E-main"}
    registry = mapped("shelly", meters, missing_time="receipt")
    power, energy = (one for one in lines() if one.get("id") == "0")
    assert readings(decoded("x", "status/em1:0", power, registry)) == [(0, "P-main", NOW, -332.2, "W", 4)]
    assert readings(decoded("x", "status/em1data:0", energy, registry)) == [(1, "E-main", NOW, 1264.15, "Wh", 4)]


@real
def test_recorded_shelly_pro_3em_status():
    status = json.loads((PAYLOADS / "shelly_pro3em_status.json").read_text("utf-8"))
    params = {"ts": status["sys"]["unixtime"]} | status
    found = decoded("shelly", "events/rpc", {"method": "NotifyFullStatus", "params": params})
    at = utc(2025, 5, 18, 9, 38, 21)  # 11:38 by its own clock, two hours ahead
    assert readings(found) == [
        (0, "E-main", at, 5415414.19, "Wh", 2),
        (1, "E-out", at, 0.0, "Wh", 2),
        (2, "P-main", at, 2413.825, "W", 2),
    ]
