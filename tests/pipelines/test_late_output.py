"""Outputs that arrive late, again with other values, or in any order: the same indicators, and no day too many."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.model import Period
from ingest.registry import Registry
from ingest.schema import ACTIVITY, READINGS, TIME
from ingest.store.lake.adapter import Lake
from pipelines.factors import catalogue as factors
from pipelines.indicators.intensity import output
from pipelines.jobs import compute
from pipelines.jobs.context import Context
from pipelines.jobs.draft import Draft
from pipelines.jobs.windows import dirty
from pipelines.notify.mail import connect
from rules import catalogue

Plant = Callable[..., Registry]

ZONE = ZoneInfo("Asia/Kathmandu")
# over the end of a month
START, DAYS = datetime(2026, 10, 21, tzinfo=ZONE), 18
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
NOW = START + DAYS * DAY
BATCHES = 3
RULES, FACTORS = catalogue.load(), factors.load()
METER = {"id": "E", "kind": "interval", "stamp": "start", "period": "1d"}
PRODUCTS = [{"id": "steel", "unit": "t"}, {"id": "slag", "unit": "t"}]


class Output(NamedTuple):
    """An output of `hours` from an hour on, as it arrives in a batch; one of the same start before is corrected."""

    product: str
    hour: int
    hours: int
    quantity: float
    batch: int


outputs = st.lists(
    st.builds(
        Output,
        st.sampled_from(["steel", "slag"]),
        # few starts, so that corrections and overlaps are frequent
        st.sampled_from(range(0, 24 * DAYS, 36)),
        st.sampled_from([6, 24, 36, 48, 24 * 9]),
        st.sampled_from([0.0, 3.0, 7.1]),
        st.integers(0, BATCHES - 1),
        # what ends in the future is refused before it is stored
    ).filter(lambda one: one.hour + one.hours <= 24 * DAYS),
    max_size=12,
)


def frame(arrived: list[Output], received: datetime) -> pl.DataFrame:
    rows = {
        (one.product, one.hour): (
            *("plant", one.product, (START + one.hour * HOUR).astimezone(UTC)),
            *((START + (one.hour + one.hours) * HOUR).astimezone(UTC), one.quantity, "t", "g"),
            received.astimezone(UTC),
        )
        for one in arrived
    }
    return pl.DataFrame(list(rows.values()), schema=ACTIVITY.schema, orient="row")


def world(plant: Plant, folder: Path, *, silent: tuple[int, ...] = (5,)) -> Context:
    """A facility whose meter is read every day but a few, and serves one of its two products."""
    meters = [METER, METER | {"id": "S", "role": "process", "parent": "E", "scope": "steel"}]
    meters.append(METER | {"id": "G", "role": "process", "parent": "E", "scope": "slag"})
    registry = plant(*meters, timezone=ZONE.key, product=PRODUCTS)
    store = Draft(Lake(folder))
    rows = [
        ("plant", name, (START + n * DAY).astimezone(UTC), 100.0 + n, "kWh", 0, "g", START.astimezone(UTC))
        for name in ("E", "S", "G")
        for n in range(DAYS)
        if n not in silent
    ]
    store.write("readings", pl.DataFrame(rows, schema=READINGS.schema, orient="row"))
    return Context(store, registry, FACTORS, RULES, connect(f"file:{folder}"), "peakwatch@example.org")


@settings(max_examples=3)
@given(reported=outputs)
def test_any_arrival_order_gives_the_same_indicators(
    plant: Plant, tmp_path_factory: pytest.TempPathFactory, reported: list[Output]
) -> None:
    folder = tmp_path_factory.mktemp("outputs")
    at_once, in_turn = world(plant, folder), world(plant, folder)
    since, until = START - DAY, NOW + (BATCHES + 1) * 11 * HOUR
    compute.due(in_turn, Period(since, NOW), NOW)
    before = NOW
    for batch in range(BATCHES):
        moment = NOW + (batch + 1) * 11 * HOUR
        arrived = frame([one for one in reported if one.batch == batch], moment - 2 * HOUR)
        for context in (at_once, in_turn):
            context.store.write("activity", arrived)
        compute.due(in_turn, Period(before, moment), moment)
        before = moment
    compute.due(at_once, Period(since, until), until)
    compute.due(in_turn, Period(before, until), until)
    expected, found = (context.store.read("indicators") for context in (at_once, in_turn))
    assert found.equals(expected)


def test_an_output_is_split_into_the_same_bits_alone_and_beside_others() -> None:
    """Nine days of 7.1 t: Polars divides by one output as by a number, and by two as row by row."""
    product = pl.DataFrame({"facility": "plant", "scope": ["steel", "slag"], "unit": "t"})
    slag = Output("slag", 108, 216, 7.1, 0)
    days = [((START + n * DAY).astimezone(UTC), (START + (n + 1) * DAY).astimezone(UTC)) for n in range(DAYS)]
    found = set()
    for arrived in ([slag], [slag, Output("steel", 72, 216, 0.0, 0)]):
        for asked in (days[12:13], days[11:13], days):
            parts = pl.DataFrame(asked, schema={"part_start": TIME, "part_end": TIME}, orient="row")
            split = output(frame(arrived, NOW), product, parts.with_columns(part=pl.lit("1d")))
            found |= set(split.filter(scope="slag", part_start=days[12][0])["amount"])
    assert found == {7.1 * (24 / 216)}


def october(*days: int) -> set[date]:
    return {date(2026, 10, 20) + day * DAY for day in days}


def late(context: Context, *arrived: Output) -> set[date]:
    """What outputs that arrive make dirty, by number of the day."""
    received = NOW + 3 * HOUR
    context.store.write("activity", frame(list(arrived), received))
    return dirty(context.store, context.registry, Period(received, received + HOUR), received + HOUR).get(
        "plant", set()
    )


@pytest.fixture
def told(plant: Plant, tmp_path: Path) -> Context:
    """An output of steel each day but the third, one of slag over ten days; all computed."""
    context = world(plant, tmp_path)
    daily = [Output("steel", 24 * n, 24, 5.0, 0) for n in range(DAYS) if n != 2]
    context.store.write("activity", frame([*daily, Output("slag", 24, 240, 9.0, 0)], NOW - HOUR))
    compute.due(context, Period(START - DAY, NOW), NOW)
    return context


def test_a_late_output_makes_its_own_days_dirty_and_no_other(told: Context) -> None:
    assert late(told, Output("steel", 48, 24, 5.0, 1)) == october(3)


def test_an_output_again_as_it_was_makes_no_other_day_dirty(told: Context) -> None:
    assert late(told, Output("steel", 72, 24, 5.0, 1)) <= october(4)


def test_a_corrected_output_makes_all_days_dirty_it_was_counted_in(told: Context) -> None:
    assert late(told, Output("slag", 24, 30, 9.0, 1)) == october(*range(2, 12))


def test_an_output_that_overlaps_makes_all_days_of_the_other_dirty(told: Context) -> None:
    # slag of the first day and an hour: the ten days after it can no longer be told apart
    assert late(told, Output("slag", 0, 25, 1.0, 1)) == october(*range(1, 12))


def test_only_those_days_are_computed_again(told: Context) -> None:
    received = NOW + 3 * HOUR
    told.store.write("activity", frame([Output("steel", 48, 24, 5.0, 1)], received))
    draft = Draft(told.store)
    compute.due(
        Context(draft, told.registry, FACTORS, RULES, told.mailer, told.sender),
        Period(NOW + 2 * HOUR, NOW + 4 * HOUR),
        NOW + 4 * HOUR,
    )
    days = draft.written("indicators").filter(interval="1d")["start"].unique().to_list()
    assert days == [(START + 2 * DAY).astimezone(UTC)]
    months = draft.written("indicators").filter(interval="1mo")["start"].unique()
    assert len(months) == 1
    # an output moves no energy: it is computed again and stands as it is
    assert draft.written("energy").is_empty()
