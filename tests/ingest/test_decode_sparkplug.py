"""Sparkplug B: births, aliases, datatypes and noise. The bytes of the samples were written by another library."""

import sys
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.decode.payload import Decoded, decode
from ingest.decode.table import Gateways
from ingest.errors import ConfigurationError
from ingest.model import Message
from ingest.registry import Facility, Registry
from ingest.screen import screen

pytest.importorskip("google.protobuf", reason="the extra sparkplug is not installed")

from ingest.decode.sparkplug import _Payload

NOW = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
FILE = Path(__file__).parent / "registry_cases" / "good" / "gateways.toml"
REGISTRY = Registry({"formats": Facility.model_validate(tomllib.loads(FILE.read_text("utf-8")))})

# written with pysparkplug 0.6.1. Payload 1763597700000, seq 0: Energy/Total, alias 1, Double 184563.2; Power, alias 2,
# Int32 -5; Status, alias 3, String ok; Energy/Gas, alias 4, UInt64 12345678901, which has no time of its own
BIRTH = bytes.fromhex(
    "08a097f5f4a93312220a0c456e657267792f546f74616c100118a097f5f4a933200a699a9999999987064112180a05506f776572100218a097"
    "f5f4a933200350fbffffff0f12170a06537461747573100318a097f5f4a933200c7a026f6b12160a0a456e657267792f4761731004200858b5"
    "b8f0fe2d1800"
)
# payload 1763597760000, seq 1, by alias: 1 Double 184564.7 at 1763597755000; 2 Int32 -7 at 1763597756000, historical;
# 4 null; 3 String bad
DATA = bytes.fromhex(
    "0880ecf8f4a9331212100118f8c4f8f4a933699a999999a58706411211100218e0ccf8f4a933280150f9ffffff0f120410043801120710037a"
    "036261641801"
)


def message(below: str, payload: bytes) -> Message:
    return Message(f"peakwatch/v1/formats/node/spBv1.0/{below}", payload, NOW)


def decoded(*sent: tuple[str, bytes]) -> Decoded:
    return decode([message(*one) for one in sent], Gateways(REGISTRY))


def metrics(*several: dict, **more) -> bytes:
    return _Payload(timestamp=1763597700000, metrics=several, **more).SerializeToString()


DBIRTH, DDATA = "plant/DBIRTH/line-1/meter-1", "plant/DDATA/line-1/meter-1"


def test_a_birth_and_data_by_alias():
    found = decoded((DBIRTH, BIRTH), (DDATA, DATA))
    # 1763597700 s is 2025-11-20 00:15:00
    assert found.readings.select("message", "item", "meter", "time", "value", "unit", "flags").rows() == [
        (0, 0, "E-main", datetime(2025, 11, 20, 0, 15, tzinfo=UTC), 184563.2, None, 0),
        (0, 1, "P-main", datetime(2025, 11, 20, 0, 15, tzinfo=UTC), -5.0, "W", 0),
        (0, 3, "G-main", datetime(2025, 11, 20, 0, 15, tzinfo=UTC), 12345678901.0, None, 2),
        (1, 0, "E-main", datetime(2025, 11, 20, 0, 15, 55, tzinfo=UTC), 184564.7, None, 0),
        (1, 1, "P-main", datetime(2025, 11, 20, 0, 15, 56, tzinfo=UTC), -7.0, "W", 0),
    ]
    sentence = "'plant/line-1/meter-1/Energy/Gas' is null; wanted a number"
    assert found.refused.rows() == [(1, 2, "malformed", sentence)]
    assert (found.items, found.unmapped) == (6, 0)
    power = screen(found, REGISTRY).readings["value"].to_list()[1]
    assert power == -0.005  # -5 W on a meter in kW


def test_births_are_remembered_from_batch_to_batch_and_replaced_by_the_next():
    gateways = Gateways(REGISTRY)
    decode([message(DBIRTH, BIRTH)], gateways)
    assert decode([message(DDATA, DATA)], gateways).readings.height == 2
    swapped = metrics({"name": b"Power", "alias": 1, "datatype": 9, "float_value": 2.5})
    decode([message(DBIRTH, swapped)], gateways)
    found = decode([message(DDATA, metrics({"alias": 1, "float_value": 7.5}))], gateways)
    assert found.readings.select("meter", "value").rows() == [("P-main", 7.5)]


def test_without_its_birth_an_alias_is_refused_and_a_name_is_not():
    found = decoded((DDATA, DATA))
    assert found.refused["reason"].to_list() == ["no_birth"] * 4
    assert found.refused["sentence"][0] == (
        "alias 1 of plant/line-1/meter-1 is not known, because its birth is missing; "
        "wanted NBIRTH or DBIRTH first, or names and datatypes in each message"
    )
    named = {"name": b"Energy/Total", "double_value": 1.5}
    bare = {"name": b"Power", "int_value": 5}
    typed = {"name": b"Power", "int_value": 2**32 - 1, "datatype": 1}
    found = decoded((DDATA, metrics(named, bare, typed)))
    assert found.readings.select("item", "value", "flags").rows() == [(0, 1.5, 2), (2, -1.0, 2)]
    assert found.refused["sentence"][0].startswith("the datatype of plant/line-1/meter-1/Power is not known, because")


@pytest.mark.parametrize(
    ("datatype", "field", "sent", "value"),
    [
        (1, "int_value", 0xFF, -1.0), (1, "int_value", 0xFFFFFFFF, -1.0), (2, "int_value", 0x8000, -32768.0),
        (3, "int_value", 5, 5.0), (4, "long_value", 2**64 - 2, -2.0), (7, "int_value", 2**32 - 1, 4294967295.0),
        (8, "long_value", 2**63, 2.0**63),
    ],
)  # fmt: skip
def test_signed_values_travel_as_twos_complement(datatype, field, sent, value):
    payload = metrics({"name": b"Power", "datatype": datatype, field: sent})
    assert decoded((DDATA, payload)).readings["value"].to_list() == [value]


@pytest.mark.parametrize(
    ("payload", "sentence"),
    [
        (b"\xff\xff", "the payload is no protobuf; wanted a Sparkplug B payload"),
        (metrics(uuid=b"SPBV1.0_COMPRESSED"), "the payload is compressed; wanted a plain Sparkplug B payload"),
        (metrics(*[{}] * 100_001), "'metrics' is an array of 100001 entries; wanted at most 100000"),
        (metrics({"name": b"Power", "string_value": b"5"}), "'plant/line-1/meter-1/Power' is '5'; wanted a number"),
        (metrics({"name": b"Power", "boolean_value": True}), "'plant/line-1/meter-1/Power' is true; wanted a number"),
    ],
)
def test_what_cannot_be_used_is_refused(payload, sentence):
    found = decoded((DDATA, payload))
    assert (found.items, found.refused["sentence"].to_list()) == (1, [sentence])


def test_states_and_what_is_not_mapped():
    found = decoded(
        ("plant/NBIRTH/line-1", metrics({"name": b"bdSeq", "alias": 9, "datatype": 8, "long_value": 0})),
        ("plant/NDEATH/line-1", b"\xff"),
        ("plant/NDEATH/line-2", b""),
        ("plant/DDATA/line-1/meter-2", b"\xff"),
        ("plant/NCMD/line-1", b""),
    )
    assert [state for _, state in found.statuses] == ["online", "offline"]
    assert (found.items, found.unmapped, found.refused["reason"].to_list()) == (1, 2, ["topic"])


def test_without_the_extra_the_configuration_says_so(monkeypatch):
    monkeypatch.delattr("ingest.decode.sparkplug")
    monkeypatch.setitem(sys.modules, "ingest.decode.sparkplug", None)
    with pytest.raises(ConfigurationError, match=r"wanted the extra `sparkplug` installed"):
        Gateways(REGISTRY)


TOPICS = st.sampled_from([DBIRTH, DDATA, "plant/NBIRTH/line-1", "plant/NDATA/line-1", "plant/STATE/x", ""])


@st.composite
def mutated(draw) -> tuple[str, bytes]:
    payload = bytearray(draw(st.sampled_from([BIRTH, DATA])))
    for place in draw(st.lists(st.integers(0, len(payload) - 1), max_size=4)):
        payload[place] = draw(st.integers(0, 255))
    return draw(TOPICS), bytes(payload[: draw(st.integers(0, len(payload)))])


@settings(max_examples=200, deadline=None)
@given(st.lists(mutated() | st.tuples(TOPICS, st.binary()), max_size=5))
def test_noise_is_never_an_error_and_every_item_is_counted(sent):
    found = decoded(*sent)
    assert found.items == found.readings.height + found.refused.height
    seen = {*found.readings["message"], *found.refused["message"]}
    assert len(seen) + found.unmapped + len(found.statuses) >= len(sent)
    screened = screen(found, REGISTRY)
    assert screened.readings.height + screened.refused == found.items


def test_a_node_is_asked_once_for_the_births_that_are_missing():
    gateways = Gateways(REGISTRY)
    found = decode([message(DDATA, DATA), message(DDATA, DATA)], gateways)
    [asked] = found.asked
    assert asked.topic == "peakwatch/v1/formats/node/spBv1.0/plant/NCMD/line-1"
    payload = _Payload.FromString(asked.payload)
    [order] = payload.metrics
    # 1763597760000 ms is the time of the message; datatype 11 is Boolean
    assert (payload.timestamp, order.name, order.datatype) == (1763597760000, b"Node Control/Rebirth", 11)
    assert order.boolean_value is True
    assert not decode([message(DBIRTH, BIRTH), message(DDATA, DATA)], gateways).asked
