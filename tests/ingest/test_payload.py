"""Payloads to entries: every format of the public interface, every way to get it wrong, and noise."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.decode.entries import MOST_ENTRIES
from ingest.decode.payload import Decoded, decode
from ingest.model import Message

NOW = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
A_TIME = "RFC 3339 with an offset, or integer epoch milliseconds"


def message(payload: bytes | dict | list, *, topic: str = "peakwatch/v1/dc-a/gw-1/readings") -> Message:
    return Message(topic, payload if isinstance(payload, bytes) else json.dumps(payload).encode(), NOW)


def refused(decoded: Decoded) -> list[tuple[int, str, str]]:
    return list(decoded.refused.select("item", "reason", "sentence").iter_rows())


def entry(**other) -> dict:
    return {"meter": "E-main", "time": "2026-11-20T08:15:00+08:00", "value": 184563.2, "unit": "kWh"} | other


def test_an_array_of_readings():
    decoded = decode(
        [message({"seq": 7, "sent": "x", "readings": [entry(), entry(meter="E-it", value=3)], "more": [1]})]
    )
    assert decoded.readings.rows() == [
        (0, 0, "dc-a", "gw-1", 0, "E-main", datetime(2026, 11, 20, 0, 15, tzinfo=UTC), 184563.2, "kWh", NOW),
        (0, 1, "dc-a", "gw-1", 0, "E-it", datetime(2026, 11, 20, 0, 15, tzinfo=UTC), 3.0, "kWh", NOW),
    ]
    assert (decoded.items, refused(decoded)) == (2, [])
    assert [(topic.gateway, seq) for topic, seq in decoded.seqs] == [("gw-1", 7)]


def test_a_flat_reading_and_the_time_beside_the_array():
    flat = message({"meter": "E-main", "value": 1, "time": 1_763_597_700_000})
    beside = message({"time": "2025-11-20T00:15:00Z", "readings": [{"meter": "E-it", "value": 2}]})
    decoded = decode([flat, beside])
    assert decoded.readings.select("message", "meter", "time", "value", "unit", "flags").rows() == [
        (0, "E-main", datetime(2025, 11, 20, 0, 15, tzinfo=UTC), 1.0, None, 0),
        (1, "E-it", datetime(2025, 11, 20, 0, 15, tzinfo=UTC), 2.0, None, 2),
    ]


def test_activity():
    output = {"product": "clinker", "start": "2026-11-19T00:00:00+08:00", "end": 1_763_600_400_000, "quantity": 12.5}
    decoded = decode([message({"activity": [output]}, topic="peakwatch/v1/mill-b/gw-2/activity")])
    assert decoded.activity.rows() == [
        (
            0, 0, "mill-b", "gw-2", "clinker",
            datetime(2026, 11, 18, 16, 0, tzinfo=UTC), datetime(2025, 11, 20, 1, 0, tzinfo=UTC), 12.5, None, NOW,
        )
    ]  # fmt: skip


def test_status_is_told_and_counts_nothing():
    topic = "peakwatch/v1/dc-a/gw-1/status"
    decoded = decode([message(text, topic=topic) for text in (b"online", b"offline", b"", b"\xff", b"offline!")])
    assert [state for _, state in decoded.statuses] == ["online", "offline", "unknown", "unknown", "unknown"]
    assert decoded.items == 0


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-11-20T08:15:00+08:00", datetime(2026, 11, 20, 0, 15, tzinfo=UTC)),
        ("2026-11-20t00:15:00z", datetime(2026, 11, 20, 0, 15, tzinfo=UTC)),
        ("2026-11-20 00:15:00.5Z", datetime(2026, 11, 20, 0, 15, 0, 500_000, tzinfo=UTC)),
        ("2026-11-20T00:15:00.123456789Z", datetime(2026, 11, 20, 0, 15, 0, 123_456, tzinfo=UTC)),
        ("2026-11-19T20:45:00-03:30", datetime(2026, 11, 20, 0, 15, tzinfo=UTC)),
        ("2026-12-31T23:59:60Z", datetime(2027, 1, 1, tzinfo=UTC)),
        (0, datetime(1970, 1, 1, tzinfo=UTC)),
        (-1, datetime(1969, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC)),
    ],
)
def test_times(text, utc):
    assert decode([message(entry(time=text))]).readings["time"].to_list() == [utc]


@pytest.mark.parametrize(
    "time",
    [
        "2026-11-20T08:15:00", "2026-11-20", "08:15", "", "now", "2026-02-30T00:00:00Z", "2026-11-20T24:00:00Z",
        "2026-11-20T08:15:00+0800", "2026-11-20T08:15:00+99:00", "9999-12-31T23:59:59-12:00",
        "0001-01-01T00:00:00+12:00", "-2026-11-20T08:15:00Z", "1763597700000", 10**18, 10**30, 1.5, True, [], {},
    ],
)  # fmt: skip
def test_what_is_no_time_is_refused_alone(time):
    decoded = decode([message({"readings": [entry(time=time), entry()]})])
    assert decoded.readings["item"].to_list() == [1]
    [(item, reason, sentence)] = refused(decoded)
    assert (item, reason) == (0, "bad_time")
    assert sentence.startswith("'time' is ")
    assert sentence.endswith(f"; wanted {A_TIME}")


def test_each_bad_entry_gets_its_own_sentence_and_the_good_are_used():
    payload = b"""{"seq": "seven", "time": true, "readings": [
        {"meter": "E-main", "time": 0, "value": 1},
        {"meter": "E-main", "time": 0, "value": "12.5"},
        {"meter": "E-main", "time": 0, "value": true},
        {"meter": "E-main", "time": 0, "value": null},
        {"meter": "E-main", "time": 0},
        {"meter": 5, "time": 0, "value": 1},
        {"time": 0, "value": 1},
        {"meter": "E-main", "time": 0, "value": 1, "unit": 5},
        [1, 2],
        {"meter": "E-main", "value": 1},
        {"meter": "E-main", "time": 0, "value": 2}
    ]}"""
    decoded = decode([message(payload)])
    assert decoded.readings["value"].to_list() == [1.0, 2.0]
    assert decoded.items == 11
    assert refused(decoded) == [
        (1, "malformed", "'value' is '12.5'; wanted a number"),
        (2, "malformed", "'value' is true; wanted a number"),
        (3, "malformed", "'value' is null; wanted a number"),
        (4, "malformed", "'value' is missing; wanted a number"),
        (5, "malformed", "'meter' is 5; wanted a meter id"),
        (6, "malformed", "'meter' is missing; wanted a meter id"),
        (7, "malformed", "'unit' is 5; wanted the name of a unit"),
        (8, "malformed", "the entry is [1, 2]; wanted an object"),
        (9, "bad_time", f"'time' is true; wanted {A_TIME}"),
    ]


def test_numbers_that_are_not_finite_are_left_to_the_screen():
    payload = b'{"time": 0, "readings": [{"meter": "a", "value": %s}]}'
    huge = b"9" * 5000
    decoded = decode([message(payload % text) for text in (b"NaN", b"-Infinity", b"1e999", huge, b"-" + huge)])
    assert list(map(str, decoded.readings["value"])) == ["nan", "-inf", "inf", "inf", "-inf"]


@pytest.mark.parametrize(
    ("payload", "reason", "sentence"),
    [
        (b"", "malformed", "the payload is not JSON at character 0; wanted a JSON object in UTF-8"),
        (b"\xff\xfe", "malformed", "the payload is not UTF-8 at byte 0; wanted a JSON object in UTF-8"),
        (b'{"readings": [', "malformed", "the payload is not JSON at character 14; wanted a JSON object in UTF-8"),
        (b"[" * 1_000_000, "malformed", "the payload is nested too deeply; wanted a JSON object in UTF-8"),
        (b'{"a":' * 1_000_000, "malformed", "the payload is nested too deeply; wanted a JSON object in UTF-8"),
        (
            b'{"meter": "\\ud800", "value": 1}',
            "malformed",
            "the payload is text with half a surrogate pair; wanted a JSON object in UTF-8",
        ),
        (b"[1]", "malformed", "the payload is [1]; wanted a JSON object in UTF-8"),
        (b"{}", "malformed", "'readings' is missing; wanted an array of objects"),
        (b'{"readings": {"a": 1}}', "malformed", "'readings' is {'a': 1}; wanted an array of objects"),
        (b'{"readings": null}', "malformed", "'readings' is null; wanted an array of objects"),
        (b'{"readings": []}', "empty", "'readings' is an empty array; wanted at least one entry"),
        (
            b'{"readings": [' + b"{}," * MOST_ENTRIES + b"{}]}",
            "malformed",
            f"'readings' is an array of {MOST_ENTRIES + 1} entries; wanted at most {MOST_ENTRIES}",
        ),
    ],
    ids=range(12),
)
def test_an_unusable_payload_is_refused_whole_and_counts_one(payload, reason, sentence):
    decoded = decode([message(payload), message(entry())])
    assert refused(decoded) == [(-1, reason, sentence)]
    assert (decoded.items, decoded.readings.height) == (2, 1)


@pytest.mark.parametrize(
    "topic",
    ["", "peakwatch/v1/dc-a/readings", "peakwatch/v2/dc-a/gw/readings", "peakwatch/v1//gw/readings",
     "peakwatch/v1/dc-a/gw/other", "peakwatch/v1/+/gw/readings", "peakwatch/v1/dc-a/gw/readings/x"],
)  # fmt: skip
def test_a_foreign_topic_is_refused_whole(topic):
    decoded = decode([message(entry(), topic=topic)])
    [(item, reason, sentence)] = refused(decoded)
    assert (item, reason, decoded.items) == (-1, "topic", 1)
    assert sentence.startswith(f"topic '{topic}' is not known; wanted peakwatch/v1/FACILITY/GATEWAY/")


def test_foreign_text_is_shown_short_and_without_control_characters():
    [(_, _, sentence)] = refused(decode([message(entry(value="\x1b[31m\n" + "x" * 5_000_000))]))
    assert len(sentence) < 120
    assert sentence.isprintable()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
)
ENTRIES = st.fixed_dictionaries(
    {},
    optional={
        name: st.sampled_from(["E-main", "2026-11-20T08:15:00Z", 5, 1.5, True]) | JSON
        for name in ("meter", "time", "value", "unit", "product", "start", "end", "quantity")
    },
)
PAYLOADS = st.fixed_dictionaries(
    {}, optional={"readings": st.lists(ENTRIES) | JSON, "activity": st.lists(ENTRIES) | JSON, "time": JSON, "seq": JSON}
)
KINDS = st.sampled_from(["readings", "activity"])


@given(st.lists(st.tuples(KINDS, st.binary() | (PAYLOADS | ENTRIES | JSON).map(lambda one: json.dumps(one).encode()))))
def test_noise_is_never_an_error_and_every_item_is_counted(noise):
    messages = [message(payload, topic=f"peakwatch/v1/dc-a/gw-1/{kind}") for kind, payload in noise]
    decoded = decode(messages)
    assert decoded.items == decoded.readings.height + decoded.activity.height + decoded.refused.height
    seen = [*decoded.readings["message"], *decoded.activity["message"], *decoded.refused["message"]]
    assert set(seen) == set(range(len(messages)))
