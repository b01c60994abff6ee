"""In whatever order readings arrive, and however often compute ran meanwhile: the tables are the same."""

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.model import Period
from ingest.registry import Registry
from ingest.schema import READINGS
from ingest.store.lake.adapter import Lake
from pipelines.factors import catalogue as factors
from pipelines.jobs import compute
from pipelines.jobs.context import Context
from pipelines.jobs.draft import Draft
from pipelines.notify.mail import connect
from rules import catalogue

# over the end of a month
START = datetime(2026, 10, 30, 3, tzinfo=UTC)
SLOTS, EVERY = 60, timedelta(minutes=100)
NOW = START + SLOTS * EVERY
BATCHES = 4
RULES, FACTORS = catalogue.load(), factors.load()
METERS = (
    {"id": "main", "rated_kw": 50.0, "digits": 4, "period": "1h"},
    {"id": "free", "parent": "main", "role": "process", "period": "1h"},
    {"id": "power", "kind": "power", "unit": "kW", "period": "1h", "role": "process"},
    {"id": "end", "kind": "interval", "period": "1h", "role": "process"},
    {"id": "start", "kind": "interval", "stamp": "start", "period": "4h", "role": "process", "rated_kw": 40.0},
)
ZONES = {"plant": "Asia/Shanghai", "werk": "America/New_York"}


class Story(NamedTuple):
    """What a meter showed in each slot (see `value_of`; 9: nothing), and in which batch that arrives."""

    shown: str
    arrives: str


class Reading(NamedTuple):
    """One reading, and in which batch it arrives."""

    facility: str
    meter: str
    slot: int
    value: float
    batch: int


def value_of(shown: str, meter: str, slot: int) -> float:
    """Registers that advance, stand still, are reset, send zeros and nonsense; power and intervals that vary."""
    plain = 4000.0 + 30 * slot if meter in ("main", "free") else 7.3 + slot % 5
    odd = {"0": 0.0, "1": 0.0, "2": plain / 7, "3": plain + 4321.1, "4": 4015.0}
    return odd.get(shown, plain)


def told(stories: list[Story]) -> Iterator[Reading]:
    """All readings; an 8 is read wrong first and corrected in the last batch."""
    names = [(facility, meter["id"]) for facility in ZONES for meter in METERS]
    for (facility, meter), story in zip(names, stories, strict=True):
        for slot, (shown, batch) in enumerate(zip(story.shown, story.arrives, strict=True)):
            if shown == "8":
                yield Reading(facility, meter, slot, 1.5, int(batch))
                yield Reading(facility, meter, slot, value_of("7", meter, slot), BATCHES - 1)
            elif shown != "9":
                yield Reading(facility, meter, slot, value_of(shown, meter, slot), int(batch))


def text(alphabet: str) -> st.SearchStrategy[str]:
    return st.text(alphabet, min_size=SLOTS, max_size=SLOTS)


story = st.builds(Story, text("0123456789"), text("0123"))
stories = st.lists(story, min_size=len(METERS) * len(ZONES), max_size=len(METERS) * len(ZONES))


def frame(readings: Iterable[Reading], received: datetime) -> pl.DataFrame:
    rows = [(one.facility, one.meter, START + one.slot * EVERY, one.value, "kWh", 0, "g", received) for one in readings]
    found = pl.DataFrame(rows, schema=READINGS.schema, orient="row")
    return found.with_columns(unit=pl.when(pl.col("meter") == "power").then(pl.lit("kW")).otherwise("unit"))


def world(plant: Callable[..., Registry], folder: Path) -> Context:
    known = {}
    for name, zone in ZONES.items():
        known |= plant(*METERS, id=name, timezone=zone, product=[{"id": "steel", "unit": "t"}]).facilities
    draft = Draft(Lake(folder))
    return Context(draft, Registry(known), FACTORS, RULES, connect(f"file:{folder}"), "peakwatch@example.org")


def tables(context: Context) -> dict[str, pl.DataFrame]:
    """What was computed; what was emptied since counts as never written."""
    read = context.store.read
    return {
        "energy": read("energy").filter(pl.col("quantity").is_not_null()),
        "unattributed": read("unattributed").filter(pl.col("steps") > 0),
        "indicators": read("indicators"),
    }


@settings(max_examples=4)
@given(stories=stories)
def test_any_arrival_order_gives_the_same_tables(
    plant: Callable[..., Registry], tmp_path_factory: pytest.TempPathFactory, stories: list[Story]
) -> None:
    folder = tmp_path_factory.mktemp("arrival")
    at_once, in_turn = world(plant, folder), world(plant, folder)
    moments = [NOW + n * timedelta(hours=11) for n in range(BATCHES + 1)]
    since = START - timedelta(days=1)
    for batch, (before, moment) in enumerate(zip([since, *moments[1:]], moments[1:], strict=False)):
        received = moment - timedelta(minutes=90)
        arrived = frame([one for one in told(stories) if one.batch == batch], received)
        in_turn.store.write("readings", arrived)
        at_once.store.write("readings", arrived)
        compute.due(in_turn, Period(before, moment), moment)
    compute.due(at_once, Period(since, moments[-1]), moments[-1])
    expected, found = tables(at_once), tables(in_turn)
    for name, rows in expected.items():
        assert found[name].equals(rows), name
