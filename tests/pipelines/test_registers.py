"""Steps: differences, rollovers, exchanges, what cannot be attributed, intervals and power."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.registry import Registry
from pipelines.accounting import registers

Plant = Callable[..., Registry]
Taken = Callable[..., pl.DataFrame]


def stepped(registry: Registry, readings: pl.DataFrame) -> list[tuple[str, str, float | None, bool, str]]:
    """Steps as (start, end, quantity, covered, kind) with times as 'hh:mm' in UTC."""
    steps = registers.steps(readings, registry.meters, registry.exchanges)
    assert steps.schema == registers.STEPS
    return [
        (f"{row['start']:%H:%M}", f"{row['end']:%H:%M}", row["quantity"], row["covered"], row["kind"])
        for row in steps.iter_rows(named=True)
    ]


def test_register_advance_is_difference_times_multiplier_in_the_canonical_unit(plant: Plant, taken: Taken) -> None:
    registry = plant({"id": "E", "unit": "MWh", "multiplier": 40.0})
    readings = taken("E", ("2026-03-01T00:00Z", 7.0), ("2026-03-01T00:15Z", 7.5), unit="MWh")
    assert stepped(registry, readings) == [("00:00", "00:15", 0.5 * 40 * 1000, True, "advance")]


def test_a_step_is_covered_up_to_twice_the_period(plant: Plant, taken: Taken) -> None:
    readings = taken(
        "E", ("2026-03-01T00:00Z", 1), ("2026-03-01T00:30Z", 2), ("2026-03-01T01:00:01Z", 3), ("2026-03-01T01:15Z", 3)
    )
    assert [covered for _, _, _, covered, _ in stepped(plant({"id": "E"}), readings)] == [True, False, True]


def test_rollover_within_the_rated_power(plant: Plant, taken: Taken) -> None:
    # 10^4 digits: 9990 -> 0015 is 25; rated 100 kW allows 100 kW x 0.25 h x 1.2 = 30, and one unit more
    registry = plant({"id": "E", "digits": 4, "rated_kw": 100.0})
    readings = taken("E", ("2026-03-01T00:00Z", 9990), ("2026-03-01T00:15Z", 15))
    assert stepped(registry, readings) == [("00:00", "00:15", 25, True, "rollover")]


def test_a_rollover_above_the_rated_power_is_not_believed(plant: Plant, taken: Taken) -> None:
    registry = plant({"id": "E", "digits": 4, "rated_kw": 100.0})
    readings = taken("E", ("2026-03-01T00:00Z", 9000), ("2026-03-01T00:15Z", 150))
    assert stepped(registry, readings) == [("00:00", "00:15", None, True, "exchange_likely")]


@pytest.mark.parametrize(("after", "quantity"), [(4000, 5000), (4001, None)])
def test_without_rated_power_a_rollover_is_believed_up_to_half_the_register(
    plant: Plant, taken: Taken, after: float, quantity: float | None
) -> None:
    registry = plant({"id": "G", "carrier": "natural_gas", "unit": "m3", "digits": 4})
    readings = taken("G", ("2026-03-01T00:00Z", 9000), ("2026-03-01T00:15Z", after), unit="m3")
    assert stepped(registry, readings)[0][2] == quantity


def test_a_register_that_goes_back_without_known_digits_is_not_attributed(plant: Plant, taken: Taken) -> None:
    readings = taken("E", ("2026-03-01T00:00Z", 500), ("2026-03-01T00:15Z", 3), ("2026-03-01T00:30Z", 5))
    assert stepped(plant({"id": "E"}), readings) == [
        ("00:00", "00:15", None, True, "reset"),
        ("00:15", "00:30", 2, True, "advance"),
    ]


@pytest.mark.parametrize(("jump", "kind"), [(31, "advance"), (31.1, "jump")])
def test_a_jump_above_the_rated_power_is_not_attributed(plant: Plant, taken: Taken, jump: float, kind: str) -> None:
    registry = plant({"id": "E", "rated_kw": 100.0})
    readings = taken("E", ("2026-03-01T00:00Z", 0), ("2026-03-01T00:15Z", jump))
    assert stepped(registry, readings)[0][4] == kind


def test_a_register_of_whole_units_may_tick_inside_a_second(plant: Plant, taken: Taken) -> None:
    # one kWh in one second would be 3600 kW; it is a register that shows whole kWh on a 5 kW meter
    registry = plant({"id": "E", "rated_kw": 5.0, "period": "1s"})
    readings = taken("E", ("2026-03-01T00:00:00Z", 7), ("2026-03-01T00:00:01Z", 8))
    assert stepped(registry, readings)[0][2] == 1


def test_rated_power_of_a_heat_meter_counts_in_its_unit(plant: Plant, taken: Taken) -> None:
    # 100 kW over 15 min x 1.2 are 30 kWh or 108 MJ; the shown unit of 1 MJ is allowed for
    registry = plant({"id": "H", "carrier": "heat", "unit": "MJ", "rated_kw": 100.0})
    readings = taken("H", ("2026-03-01T00:00Z", 0), ("2026-03-01T00:15Z", 108), ("2026-03-01T00:30Z", 218), unit="MJ")
    assert [kind for *_, kind in stepped(registry, readings)] == ["advance", "jump"]


def exchanged(plant: Plant, at: str = "2026-03-01T00:10:00Z", **meter: Any) -> Registry:
    swap = {"at": datetime.fromisoformat(at), "removed_value": 105.0, "installed_value": 12.0}
    return plant({"id": "E", "exchange": [swap], **meter})


def test_exchange_counts_both_meters(plant: Plant, taken: Taken) -> None:
    # (removed 105 - before 100) + (after 15 - installed 12) = 5 + 3
    readings = taken("E", ("2026-03-01T00:00Z", 100), ("2026-03-01T00:15Z", 15), ("2026-03-01T00:30Z", 16))
    assert stepped(exchanged(plant), readings) == [
        ("00:00", "00:10", 5, True, "exchange"),
        ("00:10", "00:15", 3, True, "exchange"),
        ("00:15", "00:30", 1, True, "advance"),
    ]


def test_exchange_for_a_meter_that_shows_more(plant: Plant, taken: Taken) -> None:
    readings = taken("E", ("2026-03-01T00:00Z", 2), ("2026-03-01T00:15Z", 15))
    assert [quantity for _, _, quantity, *_ in stepped(exchanged(plant), readings)] == [103, 3]


def test_a_reading_at_the_moment_of_the_exchange_adds_nothing(plant: Plant, taken: Taken) -> None:
    readings = taken("E", ("2026-03-01T00:00Z", 100), ("2026-03-01T00:10Z", 104.9), ("2026-03-01T00:15Z", 15))
    assert [quantity for _, _, quantity, *_ in stepped(exchanged(plant), readings)] == [5, 3]


def test_an_exchange_that_contradicts_the_readings_is_not_attributed(plant: Plant, taken: Taken) -> None:
    readings = taken("E", ("2026-03-01T00:00Z", 110), ("2026-03-01T00:15Z", 15))
    assert [(quantity, kind) for _, _, quantity, _, kind in stepped(exchanged(plant), readings)] == [
        (None, "step_back"),
        (3, "exchange"),
    ]


def test_an_exchange_outside_the_readings_makes_no_step(plant: Plant, taken: Taken) -> None:
    readings = taken("E", ("2026-03-01T00:15Z", 15), ("2026-03-01T00:30Z", 16))
    assert stepped(exchanged(plant), readings) == [("00:15", "00:30", 1, True, "advance")]


def test_interval_stamped_at_the_end_and_at_the_start(plant: Plant, taken: Taken) -> None:
    registry = plant({"id": "A", "kind": "interval"}, {"id": "B", "kind": "interval", "stamp": "start"})
    readings = pl.concat([taken(meter, ("2026-03-01T00:15Z", 4), ("2026-03-01T01:00Z", 5)) for meter in ("A", "B")])
    assert stepped(registry, readings) == [
        ("00:00", "00:15", 4, True, "advance"),
        ("00:45", "01:00", 5, True, "advance"),
        ("00:15", "00:30", 4, True, "advance"),
        ("01:00", "01:15", 5, True, "advance"),
    ]


def test_power_is_a_trapezoid_and_bridges_twice_the_period_at_most(plant: Plant, taken: Taken) -> None:
    # (10 + 20) / 2 kW x 0.25 h x 2 = 7.5 kWh; 20 kW over half an hour x 2 = 20 kWh; 31 minutes are a gap
    registry = plant({"id": "P", "kind": "power", "unit": "kW", "multiplier": 2.0})
    readings = taken(
        "P",
        ("2026-03-01T00:00Z", 10),
        ("2026-03-01T00:15Z", 20),
        ("2026-03-01T00:45Z", 20),
        ("2026-03-01T01:16Z", 20),
        unit="kW",
    )
    assert stepped(registry, readings) == [
        ("00:00", "00:15", 7.5, True, "advance"),
        ("00:15", "00:45", 20, True, "advance"),
    ]


def test_readings_from_before_the_registry_was_changed_are_converted(plant: Plant, taken: Taken) -> None:
    readings = pl.concat(
        [
            taken("E", ("2026-03-01T00:00Z", 1.5), unit="MWh"),
            taken("E", ("2026-03-01T00:15Z", 1510)),
            taken("E", ("2026-03-01T00:30Z", 1520), unit="m3"),
            taken("E", ("2026-03-01T00:45Z", 1530)),
        ]
    )
    assert stepped(plant({"id": "E"}), readings) == [
        ("00:00", "00:15", 10, True, "advance"),
        ("00:15", "00:45", 20, True, "advance"),
    ]


def test_hostile_readings_count_as_not_taken(plant: Plant, taken: Taken) -> None:
    readings = pl.concat(
        [
            taken(
                "E", ("2026-03-01T00:00Z", 1), ("2026-03-01T00:15Z", float("nan")), ("2026-03-01T00:30Z", float("inf"))
            ),
            taken("E", ("2026-03-01T00:45Z", 4)),
            taken("unknown", ("2026-03-01T00:00Z", 1), ("2026-03-01T00:15Z", 2)),
            taken("E", ("2026-03-01T00:00Z", 1), ("2026-03-01T00:15Z", 2), facility="unknown"),
        ]
    )
    assert stepped(plant({"id": "E"}), readings) == [("00:00", "00:45", 3, False, "catch_up")]


def test_steps_from_before_the_meter_was_valid_are_left_out(plant: Plant, taken: Taken) -> None:
    # valid from 2026-03-02 in Shanghai: 2026-03-01T16:00Z
    registry = plant({"id": "E", "valid_from": datetime(2026, 3, 2, tzinfo=UTC).date()})
    readings = taken("E", ("2026-03-01T15:45Z", 1), ("2026-03-01T16:00Z", 2), ("2026-03-01T16:15Z", 5))
    assert stepped(registry, readings) == [("16:00", "16:15", 3, True, "advance")]


def test_no_readings_make_no_steps(plant: Plant, taken: Taken) -> None:
    assert stepped(exchanged(plant), taken("E")) == []
    assert stepped(exchanged(plant), taken("E", ("2026-03-01T00:00Z", 1))) == []


@settings(max_examples=60, deadline=None)
@given(
    advances=st.lists(st.floats(0, 50), min_size=1, max_size=40),
    gaps=st.lists(st.integers(1, 86400), min_size=40, max_size=40),
    start=st.floats(0, 9999),
    seed=st.randoms(use_true_random=False),
)
def test_attributed_steps_add_up_to_the_advance_of_the_register(
    plant: Plant, advances: list[float], gaps: list[int], start: float, seed: Any
) -> None:
    """A register of four digits that rolls over as often as it likes, read at any rhythm, in any order."""
    registry = plant({"id": "E", "digits": 4})
    moment, value, rows = datetime(2026, 3, 1, tzinfo=UTC), start, [(datetime(2026, 3, 1, tzinfo=UTC), start)]
    for advance, gap in zip(advances, gaps, strict=False):
        moment, value = moment + timedelta(seconds=gap), (value + advance) % 10_000
        rows.append((moment, value))
    seed.shuffle(rows)
    readings = pl.DataFrame(rows, schema={"time": pl.Datetime("us", "UTC"), "value": pl.Float64}, orient="row")
    steps = registers.steps(
        readings.with_columns(facility=pl.lit("plant"), meter=pl.lit("E"), unit=pl.lit("kWh")),
        registry.meters,
        registry.exchanges,
    )
    assert steps["kind"].is_in(["advance", "catch_up", "rollover"]).all()
    assert steps["quantity"].sum() == pytest.approx(sum(advances), rel=1e-9, abs=1e-7)
    assert steps["start"].is_sorted()
