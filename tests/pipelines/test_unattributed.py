"""The ledger: what is booked, on which day, that it is written once, and withdrawn when later readings explain it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from ingest.model import Period
from ingest.registry import Registry
from ingest.schema import READINGS, UNATTRIBUTED
from ingest.store.lake.adapter import Lake
from pipelines import periods
from pipelines.accounting import registers, unattributed
from pipelines.accounting.slots import spread
from pipelines.factors import catalogue as factors
from pipelines.jobs import compute
from pipelines.jobs.context import Context
from pipelines.notify.mail import connect
from pipelines.reports import export
from rules import catalogue

Plant = Callable[..., Registry]
Taken = Callable[..., pl.DataFrame]
# 1 March in Shanghai
DAY = Period(datetime(2026, 2, 28, 16, tzinfo=UTC), datetime(2026, 3, 1, 16, tzinfo=UTC))
NOW = datetime(2026, 3, 3, tzinfo=UTC)
RATED = {"id": "E", "rated_kw": 100.0, "digits": 6}


def booked(registry: Registry, readings: pl.DataFrame, *days: Period) -> pl.DataFrame:
    steps = registers.steps(readings, registry.meters, registry.exchanges)
    slots = spread(steps, Period(days[0].start, days[-1].end))
    rows = unattributed.ledger(steps, slots, registry.meters, days)
    assert rows.schema == UNATTRIBUTED.schema
    return rows


def test_a_row_holds_the_sum_of_the_day_and_the_evidence_of_the_first_step(plant: Plant, taken: Taken) -> None:
    readings = taken(
        "E",
        ("2026-03-01T00:00Z", 5000),
        ("2026-03-01T00:15Z", 6000),
        ("2026-03-01T00:30Z", 6010),
        ("2026-03-01T00:45Z", 8010),
        ("2026-03-01T01:00Z", 0),
        ("2026-03-01T01:15Z", 8020),
    )
    rows = booked(plant(RATED), readings, DAY)
    columns = ("kind", "start", "end", "quantity", "attributed", "unit", "steps", "at", "before", "after", "bound")
    first = datetime(2026, 3, 1, 0, 15, tzinfo=UTC)
    glitch = datetime(2026, 3, 1, 1, tzinfo=UTC)
    assert rows.select(columns).rows() == [
        # the line from 8010 to 8020 takes half an hour: 60 kWh and one more are allowed
        ("glitch", DAY.start, DAY.end, 0, 0, "kWh", 1, glitch, 8010, 0, 61),
        ("jump", DAY.start, DAY.end, 3000, 0, "kWh", 2, first, 5000, 6000, 31),
    ]
    assert rows["sentence"].to_list() == [
        "a value off the line of its neighbours was set aside: 8010.0 to 0.0, at most 61.0 kWh in that time",
        (
            "the advance is more than rated power allows; it is attributed to no slot: 5000.0 to 6000.0, "
            "at most 31.0 kWh in that time (the first of 2)"
        ),
    ]


def test_what_is_attributed_is_told_too(plant: Plant, taken: Taken) -> None:
    readings = taken("E", ("2026-03-01T00:00Z", 999_990), ("2026-03-01T00:15Z", 5), ("2026-03-01T00:30Z", 6))
    assert booked(plant(RATED), readings, DAY).select("kind", "quantity", "attributed").rows() == [("rollover", 0, 15)]


def test_a_step_over_midnight_is_booked_on_the_day_it_ends_in(plant: Plant, taken: Taken) -> None:
    one, two = DAY, Period(DAY.end, DAY.end + timedelta(days=1))
    for ends, day in (("2026-03-01T16:00Z", one), ("2026-03-01T16:05Z", two)):
        readings = taken("E", ("2026-03-01T15:50Z", 5000), (ends, 9000))
        assert booked(plant(RATED), readings, one, two)["start"].to_list() == [day.start]
        assert sum(booked(plant(RATED), readings, each).height for each in (one, two)) == 1


def test_intervals_that_overlap_are_booked(plant: Plant, taken: Taken) -> None:
    readings = taken("E", ("2026-03-01T00:15Z", 3), ("2026-03-01T00:20Z", 6))
    row = booked(plant({"id": "E", "kind": "interval"}), readings, DAY).row(0, named=True)
    assert (row["kind"], row["quantity"], row["attributed"]) == ("overlap", pytest.approx(4), pytest.approx(2))
    assert row["sentence"] == "intervals overlap; what was told twice is counted once: 4.0 kWh"


@pytest.mark.parametrize(
    ("quarters", "role", "booked_kwh"),
    [(8, "process", "2.0"), (7, "process", None), (8, "generation", None)],
)
def test_a_register_that_stands_still_while_its_sub_meter_advances(
    plant: Plant, taken: Taken, quarters: int, role: str, booked_kwh: str | None
) -> None:
    times = [f"2026-03-01T{n // 4:02}:{n % 4 * 15:02}Z" for n in range(12)]
    main = [(time, 100.0 if n <= quarters else 100.0 + n) for n, time in enumerate(times)]
    sub = [(time, n / 4) for n, time in enumerate(times)]
    registry = plant({"id": "M"}, {"id": "S", "parent": "M", "role": role})
    rows = booked(registry, pl.concat([taken("M", *main), taken("S", *sub)]), DAY)
    said = f"the register stood still while its sub-meters counted {booked_kwh} kWh"
    assert rows["sentence"].to_list() == ([said] if booked_kwh else [])
    assert rows.select("meter", "kind", "quantity").rows() == ([("M", "frozen", 0)] if booked_kwh else [])


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (lambda n: 20.0 + 0 * n, "frozen"),
        (lambda n: 20.0 + n, "interpolated"),
        (lambda n: 0.0 * n, None),
        (lambda n: 20.0 + n % 7, None),
    ],
)
def test_power_that_is_held_or_drawn_with_a_ruler(
    plant: Plant, taken: Taken, value: Callable[[int], float], kind: str | None
) -> None:
    registry = plant({"id": "P", "kind": "power", "unit": "kW"})
    values = [(f"2026-03-01T{n // 4:02}:{n % 4 * 15:02}Z", value(n)) for n in range(12)]
    rows = booked(registry, taken("P", *values, unit="kW"), DAY)
    assert rows["kind"].to_list() == ([kind] if kind else [])
    assert rows["quantity"].sum() == 0


def test_the_job_books_once_and_withdraws_what_later_readings_explain(
    plant: Plant, taken: Taken, tmp_path: Path
) -> None:
    lake = Lake(tmp_path / "lake")
    registry = plant(RATED)
    context = Context(lake, registry, factors.load(), catalogue.load(), connect(f"file:{tmp_path}"), "p@example.org")

    def arrive(*values: tuple[str, float]) -> None:
        rows = taken("E", *values).with_columns(flags=0, gateway=pl.lit("g"), received=pl.lit(NOW))
        lake.write("readings", rows.select(pl.col(name).cast(kind) for name, kind in READINGS.schema.items()))

    arrive(("2026-03-01T00:00Z", 5000), ("2026-03-01T00:15Z", 5200))
    compute.over(context, DAY, NOW)
    assert lake.read("unattributed").select("kind", "quantity", "steps").rows() == [("jump", 200, 1)]
    before = lake.read("unattributed")
    compute.over(context, DAY, NOW)
    assert lake.read("unattributed").equals(before)

    # the value was corrected
    arrive(("2026-03-01T00:15Z", 5020))
    compute.over(context, DAY, NOW)
    assert lake.read("unattributed").select("quantity", "steps", "sentence").rows() == [
        (0, 0, "withdrawn: the readings that are stored now show nothing odd")
    ]
    once = lake.read("unattributed")
    compute.over(context, DAY, NOW)
    assert lake.read("unattributed").equals(once)
    rows = export.rows(lake, "unattributed", registry, lambda zone: periods.days(DAY, zone)[0])
    assert rows.height == 1


def test_a_glitch_at_midnight_is_seen_from_both_days(plant: Plant, taken: Taken, tmp_path: Path) -> None:
    """5000, 0 at midnight, 5010: both days keep their half of the 10 kWh, and the glitch is booked once."""
    lake, registry = Lake(tmp_path / "lake"), plant(RATED)
    context = Context(lake, registry, factors.load(), catalogue.load(), connect(f"file:{tmp_path}"), "p@example.org")
    rows = taken("E", ("2026-03-01T15:45Z", 5000), ("2026-03-01T16:00Z", 0), ("2026-03-01T16:15Z", 5010))
    for n in range(3):
        arrived = rows[n : n + 1].with_columns(flags=0, gateway=pl.lit("g"), received=NOW + timedelta(hours=n))
        lake.write("readings", arrived.select(pl.col(name).cast(kind) for name, kind in READINGS.schema.items()))
        at = NOW + timedelta(hours=n + 1)
        compute.due(context, Period(at - timedelta(hours=1), at), at)
    slots = lake.read("energy").filter(interval="15m")
    assert slots.sort("start")["quantity"].to_list() == [5, 5]
    assert lake.read("unattributed").filter(pl.col("steps") > 0).select("kind", "quantity").rows() == [("glitch", 0)]
