"""The quarantine: what a facility may fill, what a replay stores after a fix, and that nothing leaves it unseen."""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.collect import quarantine
from ingest.collect.quarantine import MIB, Bounded, Replayed, discard, refusals, replay
from ingest.decode.payload import decode
from ingest.errors import StoreError
from ingest.model import Message, Period
from ingest.registry import Registry
from ingest.registry.facility import Facility
from ingest.schema import QUARANTINE
from ingest.screen import screen
from ingest.store.lake.adapter import Lake

NOW = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
LATER = NOW + timedelta(hours=5)
TOPIC = "peakwatch/v1/{}/gw-1/readings"


def registry(**meters: list[str]) -> Registry:
    """Facilities (dc_a is dc-a) with their meters; a meter `x:kWh` counts in kWh, which is the default."""
    common = {"name": {"zh": "示例", "en": "Sample"}, "division": "440781", "key_energy_user": True}
    common |= {"kind": "industrial", "industry": "6450"}
    meter = {"carrier": "electricity", "kind": "register", "period": "15m", "role": "process"}
    meter |= {"valid_from": date(2025, 1, 1)}
    facilities = {}
    for name, ids in meters.items():
        split = [one.partition(":") for one in ids]
        rows = [meter | {"id": one, "unit": unit or "kWh"} for one, _, unit in split]
        facilities[name.replace("_", "-")] = Facility.model_validate(
            common | {"id": name.replace("_", "-"), "meter": rows}
        )
    return Registry(facilities)


OLD = registry(dc_a=["E-main"])


def reading(meter: str, value: float = 1.0, **other) -> dict:
    return {"meter": meter, "time": "2026-11-20T15:00:00+08:00", "value": value} | other


def collect(store, known: Registry, *payloads: bytes | list[dict], facility: str = "dc-a", at: datetime = NOW) -> None:
    """Store what a collector would have stored."""
    raw = [one if isinstance(one, bytes) else json.dumps({"readings": one}).encode() for one in payloads]
    screened = screen(decode([Message(TOPIC.format(facility), one, at) for one in raw]), known)
    store.write("quarantine", screened.quarantine)
    store.write("readings", screened.readings)


@pytest.fixture
def lake(tmp_path: Path):
    store = Lake(tmp_path / "lake")
    yield store
    store.close()


def states(store) -> list[tuple]:
    return sorted(refusals(store).select("item", "reason", "state").rows())


# ----- replay


def test_after_the_registry_was_fixed_the_refused_reading_is_stored_as_received_now(lake):
    collect(lake, OLD, [reading("E-main", 1.0), reading("E-new", 2.0)])
    assert lake.read("readings")["meter"].to_list() == ["E-main"]
    known = registry(dc_a=["E-main", "E-new"])
    assert replay(lake, known, refusals(lake), at=LATER) == Replayed(1, stored=1, duplicate=0, refused=0)
    assert lake.read("readings").select("meter", "value", "received").rows() == [
        ("E-main", 1.0, NOW),
        ("E-new", 2.0, LATER),
    ]
    assert states(lake) == [(1, "unknown_meter", "replayed")]
    (kept,) = lake.read("quarantine")["payload"]
    assert json.loads(kept)["readings"][1]["meter"] == "E-new"


def test_a_replay_again_changes_nothing(lake):
    collect(lake, OLD, [reading("E-main"), reading("E-new"), reading("E-none")])
    rows = refusals(lake)
    known = registry(dc_a=["E-main", "E-new"])
    assert replay(lake, known, rows, at=LATER) == Replayed(2, stored=1, duplicate=0, refused=1)
    tables = [lake.read(name) for name in ("readings", "quarantine", "quarantine_states")]
    # as after a crash between storing and noting it: the rows still say open
    again = replay(lake, known, rows, at=LATER + timedelta(hours=1))
    assert again == Replayed(2, stored=0, duplicate=1, refused=1)
    assert lake.read("readings").equals(tables[0])
    assert lake.read("quarantine").equals(tables[1])
    assert lake.read("quarantine_states").drop("at").equals(tables[2].drop("at"))
    assert replay(lake, known, refusals(lake), at=LATER) == Replayed(1, stored=0, duplicate=0, refused=1)


def test_what_is_refused_for_another_reason_now_is_a_refusal_of_its_own(lake):
    collect(lake, OLD, [reading("E-new", unit="m3")])
    replay(lake, registry(dc_a=["E-main", "E-new"]), refusals(lake), at=LATER)
    assert states(lake) == [(0, "unknown_meter", "replayed"), (0, "wrong_unit", "open")]
    assert set(lake.read("quarantine")["received"]) == {NOW}


def test_what_is_refused_for_the_same_reason_stays_open_with_its_new_sentence(lake):
    collect(lake, registry(dc_a=["E-main:kWh"]), [reading("E-main", unit="m3")])
    replay(lake, registry(dc_a=["E-main:MWh"]), refusals(lake), at=LATER)
    rows = refusals(lake)
    assert rows.select("state", "sentence").rows() == [("open", "unit 'm3' cannot measure meter E-main (MWh)")]
    assert replay(lake, registry(dc_a=["E-main", "E-new"]), rows, at=LATER).refused == 1


def test_a_replay_replaces_nothing_that_was_received_later(lake):
    collect(lake, OLD, [reading("E-new", 1.0)])
    known = registry(dc_a=["E-main", "E-new"])
    collect(lake, known, [reading("E-new", 7.0)], at=NOW + timedelta(hours=1))
    assert replay(lake, known, refusals(lake), at=LATER) == Replayed(1, stored=0, duplicate=1, refused=0)
    assert lake.read("readings")["value"].to_list() == [7.0]


def test_a_replay_replaces_what_was_received_before(lake):
    collect(lake, OLD, [reading("E-main", 7.0)], at=NOW - timedelta(minutes=1))
    collect(lake, registry(dc_a=["E-x"]), [reading("E-main", 1.0)])
    assert replay(lake, OLD, refusals(lake), at=LATER).stored == 1
    assert lake.read("readings")["value"].to_list() == [1.0]


@pytest.mark.parametrize("at_once", [32 * MIB, 1])
def test_of_several_refusals_of_one_reading_the_one_received_last_wins(lake, monkeypatch, at_once):
    monkeypatch.setattr(quarantine, "_AT_ONCE", at_once)
    for minutes, value in ((2, 3.0), (1, 2.0), (0, 1.0)):
        collect(lake, OLD, [reading("E-new", value)], at=NOW + timedelta(minutes=minutes))
    replay(lake, registry(dc_a=["E-new"]), refusals(lake), at=LATER)
    assert lake.read("readings")["value"].to_list() == [3.0]


def test_the_other_entries_of_a_payload_do_not_pass_again(lake):
    collect(lake, OLD, [reading("E-main", 1.0), reading("E-new")])
    # E-main is not registered any more: its reading was good at the time, and is no refusal now
    replay(lake, registry(dc_a=["E-new"]), refusals(lake), at=LATER)
    assert states(lake) == [(1, "unknown_meter", "replayed")]


def test_a_facility_that_is_registered_later_gets_all_its_entries(lake):
    collect(lake, OLD, [reading("M-1"), reading("M-2"), reading("M-3")], facility="mill-b")
    assert states(lake) == [(-1, "unknown_facility", "open")]
    known = registry(mill_b=["M-1", "M-2"])
    assert replay(lake, known, refusals(lake), at=LATER) == Replayed(1, stored=2, duplicate=0, refused=1)
    assert states(lake) == [(-1, "unknown_facility", "replayed"), (2, "unknown_meter", "open")]


def test_a_row_that_stands_for_several_entries_brings_all_of_them(lake):
    entries = [reading("E-new", time=f"2026-11-20T15:{n // 60:02d}:{n % 60:02d}+08:00") for n in range(600)]
    collect(lake, OLD, [*entries, {"meter": "E-main", "value": 0, "unit": "y" * 20_000}])
    rows = refusals(lake)
    assert rows.filter(reason="unknown_meter").height < 600
    assert rows.filter(reason="unknown_meter")["entries"].sum() == 600
    done = replay(lake, registry(dc_a=["E-new", "E-main"]), rows, at=LATER)
    assert (done.stored, done.refused) == (600, 1)


def test_only_what_is_open_and_was_chosen_is_replayed(lake):
    collect(lake, OLD, [reading("E-new")])
    collect(lake, OLD, b"{", b"\xff")
    known = registry(dc_a=["E-new"])
    assert replay(lake, known, refusals(lake, reason="malformed"), at=LATER) == Replayed(2, refused=2)
    assert replay(lake, known, refusals(lake, facility="mill-b"), at=LATER) == Replayed()
    assert replay(lake, known, refusals(lake, Period(NOW - timedelta(days=1), NOW)), at=LATER) == Replayed()
    discard(lake, refusals(lake, reason="unknown_meter")["id"], by="Li", why="a test rig", at=LATER)
    assert replay(lake, known, refusals(lake, reason="unknown_meter"), at=LATER) == Replayed()
    assert lake.read("readings").is_empty()


def test_a_store_that_fails_leaves_the_refusal_open(lake):
    collect(lake, OLD, [reading("E-new")])

    class Failing:
        read = staticmethod(lake.read)

        def write(self, table: str, rows: pl.DataFrame) -> int:
            if table == "readings":
                raise StoreError("full")
            return lake.write(table, rows)

    with pytest.raises(StoreError, match="full"):
        replay(Failing(), registry(dc_a=["E-new"]), refusals(lake), at=LATER)
    assert states(lake) == [(0, "unknown_meter", "open")]


# ----- discard


def test_what_is_discarded_stays_and_the_same_refusal_again_does_not_open_it(lake):
    collect(lake, OLD, b"{")
    (name,) = refusals(lake)["id"]
    discard(lake, [name], by="Li", why="a test rig", at=LATER)
    collect(lake, OLD, b"{", at=LATER)
    assert refusals(lake).select("state", "by", "why", "at").rows() == [("discarded", "Li", "a test rig", LATER)]
    assert lake.read("quarantine")["payload"].to_list() == [b"{"]


# ----- the allowance


def refused(number: int, size: int, *, facility: str = "dc-a", at: datetime = NOW, **other) -> dict:
    row = {"id": f"{number:032x}:0:malformed", "facility": facility, "topic": "t", "payload": b"p", "bytes": size}
    return row | {"item": 0, "entries": 1, "reason": "malformed", "sentence": "s", "received": at} | other


def frame(*rows: dict) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=QUARANTINE.schema)


def bounded(store, *, at: datetime = NOW) -> Bounded:
    return Bounded(store, OLD.facilities, mib=1, at=at)


def test_beyond_its_allowance_a_refusal_keeps_reason_and_sentence_but_no_bytes(lake):
    store = bounded(lake)
    # 1 MiB = 1,048,576: two of 500,000 (and 512 each) fit, a third does not
    store.write("quarantine", frame(*(refused(n, 500_000) for n in range(3))))
    rows = lake.read("quarantine")
    assert rows["payload"].to_list() == [b"p", b"p", None]
    assert rows["bytes"].to_list() == [500_000, 500_000, None]
    assert rows["reason"].to_list() == ["malformed"] * 3
    assert rows["sentence"][2] == "s; its bytes were not kept: more than 1 MiB were refused that day"
    assert store.overflow == 1


def test_beyond_it_the_refusals_of_a_batch_become_one_row_a_reason_that_counts_them(lake):
    store = bounded(lake)
    rows = [refused(n, 2 * MIB, entries=3) for n in range(5)] + [refused(9, 2 * MIB, reason="empty")]
    store.write("quarantine", frame(*rows))
    kept = lake.read("quarantine").sort("reason")
    assert kept["reason"].to_list() == ["empty", "malformed"]
    assert kept["entries"].to_list() == [1, 15]
    assert kept["sentence"][1].startswith("s (and 4 more rows like it); its bytes were not kept")
    assert store.overflow == 16


def test_each_facility_has_an_allowance_and_unknown_ones_share_one(lake):
    store = bounded(lake)
    for number, facility in enumerate(["dc-a", "nobody", "no-one"]):
        store.write("quarantine", frame(refused(number, 600_000, facility=facility)))
    kept = dict(lake.read("quarantine").select("facility", "bytes").iter_rows())
    assert kept == {"dc-a": 600_000, "nobody": 600_000, "no-one": None}


def test_a_restart_knows_what_the_store_holds_of_the_day_and_the_next_day_begins_anew(lake):
    bounded(lake).write("quarantine", frame(refused(1, 600_000)))
    bounded(lake, at=LATER).write("quarantine", frame(refused(2, 600_000, at=LATER)))
    tomorrow = NOW + timedelta(days=1)
    store = bounded(lake, at=LATER)
    store.write("quarantine", frame(refused(3, 600_000, at=tomorrow)))
    store.write("quarantine", frame(refused(4, 600_000, at=tomorrow)))
    assert lake.read("quarantine")["bytes"].to_list() == [600_000, None, 600_000, None]


def test_the_same_refusal_again_costs_nothing(lake):
    store = bounded(lake)
    for _ in range(5):
        store.write("quarantine", frame(refused(1, 500_000)))
    store.write("quarantine", frame(refused(2, 500_000)))
    assert lake.read("quarantine")["bytes"].to_list() == [500_000, 500_000]
    assert store.overflow == 0


def test_what_the_store_did_not_take_costs_nothing(lake):
    class Once:
        read, maintain, close = lake.read, lake.maintain, lake.close
        failed = False

        def write(self, table: str, rows: pl.DataFrame) -> int:
            if not self.failed:
                self.failed = True
                raise StoreError("away")
            return lake.write(table, rows)

    store = bounded(Once())
    with pytest.raises(StoreError):
        store.write("quarantine", frame(refused(1, 600_000), refused(2, 600_000)))
    assert store.overflow == 0
    store.write("quarantine", frame(refused(1, 600_000), refused(2, 600_000)))
    assert (lake.read("quarantine")["bytes"].to_list(), store.overflow) == ([600_000, None], 1)


def test_empty_payloads_fill_the_allowance_too(lake):
    store = bounded(lake)
    store.write("quarantine", frame(*(refused(n, 0) for n in range(3000))))
    # 1 MiB / 512 = 2048 rows, and one for the rest
    assert lake.read("quarantine").height == 2049
    assert store.overflow == 3000 - 2048


SIZES = st.integers(0, 700_000)
BATCHES = st.lists(st.lists(st.tuples(SIZES, st.sampled_from(["dc-a", "x", "y"])), min_size=1, max_size=6), max_size=5)


@given(batches=BATCHES)
@settings(max_examples=25, deadline=None)
def test_no_traffic_fills_more_than_the_allowance_and_no_entry_is_uncounted(tmp_path_factory, batches):
    lake = Lake(tmp_path_factory.mktemp("lake"))
    store, number = bounded(lake), 0
    for batch in batches:
        rows = [refused(number + n, size, facility=facility) for n, (size, facility) in enumerate(batch)]
        number += len(batch)
        store.write("quarantine", frame(*rows))
    kept = lake.read("quarantine")
    sources = kept.with_columns(source=pl.col("facility").replace({"x": "", "y": ""}))
    assert all(total <= MIB for total in sources.group_by("source").agg(pl.sum("bytes"))["bytes"])
    assert kept["entries"].sum() == number
    assert store.overflow == kept.filter(pl.col("bytes").is_null())["entries"].sum()


# ----- reading some columns only


def test_a_store_reads_only_the_columns_it_is_asked_for(lake):
    assert lake.read("quarantine", columns=["id", "bytes"]).columns == ["id", "bytes"]
    lake.write("quarantine", frame(refused(1, 5), refused(2, 6)))
    lake.write(
        "quarantine_states",
        pl.DataFrame([("1", "open", NOW, "", "")], schema=lake.read("quarantine_states").schema, orient="row"),
    )
    assert lake.read("quarantine", facility=["dc-a"], columns=["bytes"])["bytes"].to_list() == [5, 6]
    assert lake.read("quarantine_states", Period(NOW, LATER), columns=["state"]).rows() == [("open",)]
    with pytest.raises(StoreError, match="table quarantine has no column `nothing`"):
        lake.read("quarantine", columns=["nothing"])
