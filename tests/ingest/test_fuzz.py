"""
Samples of every format, mutated: no crash, no silent drop.

A few thousand of them in every run of the tests; PEAKWATCH_FUZZ=1000000 tries a million, with another seed each time.
"""

import os
import random
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from ingest.decode.payload import decode
from ingest.decode.table import FORMATS, Gateways
from ingest.model import Message
from ingest.registry import Facility, Registry
from ingest.schema import READINGS
from ingest.screen import screen

FILE = Path(__file__).parent / "registry_cases" / "good" / "gateways.toml"
REGISTRY = Registry({"formats": Facility.model_validate(tomllib.loads(FILE.read_text("utf-8")))})
RECORDED = Path(__file__).parents[3] / "shared/data/payloads"
NOW = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
COUNT, BATCH = int(os.environ.get("PEAKWATCH_FUZZ", "6000")), 250

OURS = b'{"seq":7,"sent":"2026-11-20T08:15:02+08:00","readings":[{"meter":"E-main","time":"2026-11-20T08:15:00+08:00",'
OURS += b'"value":184563.2,"unit":"kWh"},{"meter":"G-main","time":1763597700000,"value":5}]}'
ITEM = b'{"dataCode":"0000000002010110","dataValue":12.5,"statType":0,"statDate":"2026-11-20 08:15:00","valid":1}'
SAMPLES: dict[str, list[tuple[str, bytes]]] = {
    "ours": [
        ("readings", OURS),
        ("readings", b'{"meter":"E-main","time":1763597700000,"value":1.5e3}'),
        ("activity", b'{"activity":[{"product":"x","start":"2026-11-01T00:00:00Z","end":1763597700000,"quantity":1}]}'),
        ("status", b"online"),
    ],
    "neuron": [
        ("x", b'{"timestamp":1650006388943,"values":{"tag0":123,"tag1":4.5},"errors":{"tag1":2014},"metas":{}}'),
        ("x", b'{"timestamp":1647497389075,"tags":[{"name":"tag0","value":123},{"name":"tag1","error":2014}]}'),
    ],
    "generic": [("x", b'{"device":{"at":"2026-11-20 08:15:00"},"meter":{"energy":{"total":1}},"obis":{"1.8.0.0":7}}')],
    "tasmota": [
        ("tele/SENSOR", b'{"Time":"2026-11-20T08:15:00","ENERGY":{"Total":1290.396,"Power":[8.15,-1]}}'),
        ("stat/STATUS8", b'{"StatusSNS":{"Time":"2026-11-20T08:15:00","SML":{"Total_out":34507.4761}}}'),
        ("tele/LWT", b"Online"),
    ],
    "shelly": [
        ("status/emdata:0", b'{"id":0,"total_act":5415414.19,"is_valid":true}'),
        ("events/rpc", b'{"method":"NotifyStatus","params":{"ts":1631186545.04,"em:0":{"total_act_power":1}}}'),
        ("info", b'{"unixtime":1676134770,"meters":[{"power":4711.12,"total":6472513}]}'),
        ("online", b"true"),
    ],
    "platform": [
        ("x", b'{"enterpriseCode":"91350100M000100Y43","data":[' + ITEM + b"]}"),
    ],
}  # fmt: skip
if "sparkplug_b" in FORMATS:
    # written with pysparkplug 0.6.1: a birth and data by alias
    BIRTH = bytes.fromhex(
        "08a097f5f4a93312220a0c456e657267792f546f74616c100118a097f5f4a933200a699a9999999987064112180a05506f7765721002"
        "18a097f5f4a933200350fbffffff0f12170a06537461747573100318a097f5f4a933200c7a026f6b12160a0a456e657267792f476173"
        "1004200858b5b8f0fe2d1800"
    )
    DATA = bytes.fromhex(
        "0880ecf8f4a9331212100118f8c4f8f4a933699a999999a58706411211100218e0ccf8f4a933280150f9ffffff0f1204100438011207"
        "10037a036261641801"
    )
    SAMPLES["node"] = [
        ("spBv1.0/plant/DBIRTH/line-1/meter-1", BIRTH),
        ("spBv1.0/plant/DDATA/line-1/meter-1", DATA),
        ("spBv1.0/plant/NDEATH/line-1", b""),
    ]
if RECORDED.is_dir():
    lines = (RECORDED / "evcc_shelly_tasmota.jsonl").read_bytes().splitlines()
    SAMPLES["tasmota"] += [("tele/SENSOR", line) for line in lines]
    SAMPLES["shelly"] += [("status/x", line) for line in lines]

WORDS = (
    'null true false [] {} {{ ]] "" : , 0 -0 -1 1e309 -1e309 1e-400 NaN Infinity 9223372036854775808 0.1e 1763597700'
)
TIMES = "99999999999999999999999999 1763597700000 9999-12-31T23:59:59Z 0000-00-00T00:00:00Z 2026-02-30 24:00:61+99:99"
NAMES = "E-main G-main kWh MWh m3 kW \\ud800 \\u0000 \\\\ \U0001f600 \ufeff"
RAW = (b"\0", b"\xff\xfe", b"\xed\xa0\x80", b"\x08", b"\x12", b"\x18" + b"\xff" * 9 + b"\x01")
TOKENS = (*f"{WORDS} {TIMES} {NAMES}".encode().split(b" "), *RAW)


def mutant(chance: random.Random, payload: bytes, other: bytes) -> bytes:
    """A payload after a few accidents."""
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        here, there = sorted(chance.randrange(len(payload) + 1) for _ in range(2))
        match chance.randrange(8):
            case 0:
                payload = payload[:here] + bytes([chance.randrange(256)]) + payload[here + 1 :]
            case 1:
                payload = payload[:here] + payload[there:]
            case 2:
                payload = payload[:here] + payload[here:there] * chance.choice((2, 3, 20)) + payload[there:]
            case 3:
                payload = payload[:here] + chance.choice(TOKENS) + payload[chance.choice((here, there)) :]
            case 4:
                payload = payload[:here] + other[chance.randrange(len(other) + 1) :]
            case 5:
                payload = payload[:here] + chance.choice((b"[", b'{"a":', b"(", b"\x1a\xff")) * 200 + payload[here:]
            case 6:
                payload = payload[:here] + payload[here:].replace(*chance.sample(TOKENS[:18], 2))
            case _:
                payload = payload[:here]
    return payload[:20_000]


def mutants(count: int, seed: int) -> Iterator[Message]:
    chance = random.Random(seed)  # noqa: S311 - not for secrets
    gateways = sorted(SAMPLES)
    for _ in range(count):
        gateway = chance.choice(gateways)
        below, payload = chance.choice(SAMPLES[gateway])
        _, other = chance.choice(SAMPLES[chance.choice(gateways)])
        yield Message(f"peakwatch/v1/formats/{gateway}/{below}", mutant(chance, payload, other), NOW)


def check(batch: list[Message], gateways: Gateways) -> None:
    """Every message ends somewhere, every entry is counted, and what is stored can be stored."""
    found = decode(batch, gateways)
    assert found.items == found.readings.height + found.activity.height + found.refused.height
    seen = {*found.readings["message"], *found.activity["message"], *found.refused["message"]}
    assert len(seen) + found.unmapped + len(found.statuses) >= len(batch)
    screened = screen(found, REGISTRY)
    assert screened.readings.height + screened.activity.height + screened.refused == found.items
    assert screened.quarantine["entries"].sum() == screened.refused
    assert screened.readings["value"].is_finite().all()
    assert screened.readings.select(READINGS.key).null_count().sum_horizontal().item() == 0
    assert all(sentence.isprintable() for sentence in screened.quarantine["sentence"])
    refused = screened.quarantine.filter(pl.col("item") >= 0)
    assert set(refused["payload"]) <= {message.payload for message in batch}


@pytest.mark.timeout(max(120, COUNT // 500))
def test_mutated_samples_of_every_format_are_never_an_error_and_never_dropped():
    seed = random.SystemRandom().randrange(1 << 32) if "PEAKWATCH_FUZZ" in os.environ else 20261121
    gateways, messages = Gateways(REGISTRY), mutants(COUNT, seed)
    for _ in range(COUNT // BATCH):
        batch = [next(messages) for _ in range(BATCH)]
        try:
            check(batch, gateways)
        except Exception as error:  # noqa: BLE001 - whatever it is
            alone = [message for message in batch if not survives(message)]
            pytest.fail(f"seed {seed}: {error!r}; alone: {alone[:3]}")


def survives(message: Message) -> bool:
    try:
        check([message], Gateways(REGISTRY))
    except Exception:  # noqa: BLE001 - whatever it is
        return False
    return True


def test_most_samples_are_good_before_they_are_mutated():
    for gateway, samples in SAMPLES.items():
        batch = [Message(f"peakwatch/v1/formats/{gateway}/{below}", payload, NOW) for below, payload in samples]
        assert decode(batch, Gateways(REGISTRY)).readings.height > 0, gateway
