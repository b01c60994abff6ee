"""Counter forensics: each event worked by hand, and conservation over histories with every event in them."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.model import Period
from ingest.registry import Registry
from ingest.schema import TIME
from pipelines.accounting import forensics, registers
from pipelines.accounting.slots import spread

Plant = Callable[..., Registry]
START = datetime(2026, 3, 1, tzinfo=UTC)
QUARTER = timedelta(minutes=15)

# 100 kW x 15 min x 1.2 + 1 kWh = 31 kWh are the most a quarter of an hour may bring
RATED = {"id": "E", "rated_kw": 100.0, "digits": 6}
UNRATED = {"id": "E"}


def quarters(values: list[float | None], meter: str = "E") -> pl.DataFrame:
    """Readings every 15 minutes; None is one that is missing."""
    rows = [("plant", meter, START + n * QUARTER, value, "kWh") for n, value in enumerate(values) if value is not None]
    schema = {"facility": pl.String, "meter": pl.String, "time": TIME, "value": pl.Float64, "unit": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row")


def named(registry: Registry, values: list[float | None]) -> list[tuple[str, float | None, float | None]]:
    """Kind, attributed and unattributed of every step; a plain advance has nothing unattributed to tell of."""
    steps = registers.steps(quarters(values), registry.meters, registry.exchanges)
    return list(steps.select(pl.col("kind").cast(pl.String), "quantity", "unattributed").iter_rows())


@pytest.mark.parametrize(
    ("meter", "values", "expected"),
    [
        # 999,990 -> 5 is 15 kWh at six digits
        (RATED, [999_990, 5, 10], [("rollover", 15, 0), ("advance", 5, 0)]),
        # set to zero, and counting since: 4 kWh passed since the reset at least
        (RATED, [5000, 4, 9], [("reset", 4, 0), ("advance", 5, 0)]),
        # 400 kWh in a quarter of an hour are no reset of a 100 kW meter: it is another meter
        (RATED, [5000, 400, 409], [("exchange_likely", None, -4600), ("advance", 9, 0)]),
        # a zero between 5000 and 5010 is off the line, and 10 kWh in half an hour are on it
        (RATED, [5000, 0, 5010, 5015], [("glitch", None, 0), ("advance", 10, 0), ("advance", 5, 0)]),
        (RATED, [5000, 65535, 5010, 5015], [("glitch", None, 0), ("advance", 10, 0), ("advance", 5, 0)]),
        # the same zero read three times; the line is four quarters long, so it is a catch-up
        (RATED, [5000, 0, 0, 0, 5010], [("glitch", None, 0), ("catch_up", 10, 0)]),
        # every second value is a zero: the zeros are off, not the values between them
        (
            RATED,
            [5000, 0, 5010, 0, 5020],
            [("glitch", None, 0), ("advance", 10, 0), ("glitch", None, 0), ("advance", 10, 0)],
        ),
        # a little back and on again: the value in between is off the line of 0.2 kWh
        (RATED, [5000, 4999.9, 5000.2], [("glitch", None, 0), ("advance", pytest.approx(0.2), 0)]),
        # back for good
        (RATED, [5000, 4900, 4905], [("step_back", None, -100), ("advance", 5, 0)]),
        # 1,000 kWh are more than 31
        (RATED, [5000, 6000, 6005], [("jump", None, 1000), ("advance", 5, 0)]),
        # three readings are missing: 80 kWh in an hour are within 121, and spread over the gap
        (RATED, [5000, None, None, None, 5080], [("catch_up", 80, 0)]),
        # two digits roll over at 100: 31 kWh are possible, 105 are not; but a day allows many turns
        ({**RATED, "digits": 2}, [90, 5], [("rollover", 15, 0)]),
        ({**RATED, "digits": 2}, [90, *[None] * 95, 5], [("ambiguous", None, 15)]),
        # without a rated power: a small value is a reset and is worth nothing, a larger one another meter
        (UNRATED, [5000, 4, 9], [("reset", None, 4), ("advance", 5, 0)]),
        (UNRATED, [5000, 4000, 4009], [("exchange_likely", None, -1000), ("advance", 9, 0)]),
        (UNRATED, [5000, 65535, 5010, 5015], [("glitch", None, 0), ("advance", 10, 0), ("advance", 5, 0)]),
        (UNRATED, [5000, 0, 5010, 5015], [("glitch", None, 0), ("advance", 10, 0), ("advance", 5, 0)]),
    ],
)
def test_each_event_by_hand(
    plant: Plant,
    meter: dict[str, object],
    values: list[float | None],
    expected: list[tuple[str, float | None, float | None]],
) -> None:
    found = named(plant(meter), values)
    assert [(kind, quantity, left or 0) for kind, quantity, left in found] == expected


def test_a_plain_meter_carries_no_evidence_and_an_odd_one_does(plant: Plant) -> None:
    registry = plant(RATED)
    plain = registers.steps(quarters([1, 2]), registry.meters, registry.exchanges)
    assert plain.select("unattributed", "before", "after", "bound").row(0) == (None,) * 4
    odd = registers.steps(quarters([5000, 6000]), registry.meters, registry.exchanges)
    assert odd.select("before", "after", "bound").row(0) == (5000, 6000, 31)


def test_one_odd_meter_leaves_the_others_as_they_are(plant: Plant) -> None:
    registry = plant({"id": "A"}, RATED, {"id": "F"})
    plain = [quarters([1, 2, 3], "A"), quarters([7, 8], "F")]
    alone = registers.steps(pl.concat(plain), registry.meters, registry.exchanges)
    together = registers.steps(pl.concat([*plain, quarters([5, 1])]), registry.meters, registry.exchanges)
    odd = registry.meters["meter"].index_of("E")
    assert together.filter(pl.col("row") != odd).equals(alone)


@pytest.mark.parametrize("unit_and_rated", [(31, "advance"), (32, "jump")])
def test_an_interval_above_the_rated_power_is_a_jump(plant: Plant, unit_and_rated: tuple[float, str]) -> None:
    value, kind = unit_and_rated
    registry = plant({"id": "E", "kind": "interval", "rated_kw": 100.0})
    assert named(registry, [value])[0][0] == kind


@pytest.mark.parametrize(("kw", "kind"), [(121, "advance"), (122, "jump")])
def test_power_above_the_rated_power_is_a_jump(plant: Plant, kw: float, kind: str) -> None:
    """100 kW x 1.2 and one shown kW: 121 kW, however short the step."""
    registry = plant({"id": "E", "kind": "power", "unit": "kW", "rated_kw": 100.0, "period": "1s"})
    readings = quarters([kw, kw]).with_columns(unit=pl.lit("kW"), time=START + pl.int_range(2) * pl.duration(seconds=1))
    steps = registers.steps(readings.cast({"time": TIME}), registry.meters, registry.exchanges)
    assert steps["kind"].to_list() == [kind]


def test_intervals_that_overlap_are_counted_once(plant: Plant) -> None:
    # 00:00-00:15 has 3 kWh; 00:05-00:20 has 6 kWh, of which the last third of the time is new: 2 kWh
    registry = plant({"id": "E", "kind": "interval"})
    readings = quarters([None, 3]).vstack(quarters([None, 6]).with_columns(pl.col("time") + timedelta(minutes=5)))
    steps = registers.steps(readings, registry.meters, registry.exchanges)
    assert steps.select("quantity", "unattributed").rows() == [(3, None), (pytest.approx(2), pytest.approx(4))]
    slots = spread(steps, Period(START, START + timedelta(hours=1)))
    assert slots["quantity"].to_list() == pytest.approx([3, 2])
    assert slots["coverage"].to_list() == [1, pytest.approx(1 / 3)]


def test_stamps_of_intervals_may_jitter(plant: Plant) -> None:
    registry = plant({"id": "E", "kind": "interval"})
    readings = quarters([None, 3, 4, 5]).with_columns(
        pl.col("time") + pl.Series([timedelta(seconds=s) for s in (40, -20, 3)])
    )
    steps = registers.steps(readings, registry.meters, registry.exchanges)
    assert steps["quantity"].to_list() == [3, 4, 5]
    assert steps["kind"].unique().to_list() == ["advance"]


class History(NamedTuple):
    """What a register went through, and what must come of it, by the plainest bookkeeping there is."""

    rows: list[tuple[datetime, float]]
    exchange: list[dict[str, object]]
    attributed: float
    unattributed: float
    kinds: set[str]


EVENTS = ["reset", "zero", "spike", "step_back", "jump", "exchange", "exchange_likely", "gap", "late"]


def lived(start: float, events: list[str], amounts: list[float]) -> History:
    """
    Live through events with two plain quarters of an hour between them, and keep the books.

    The register has six digits and 100 kW; it starts high enough for all events, or short of its end.
    """
    moment, value = START, start
    rows, exchange, attributed, unattributed, kinds = [(moment, value)], [], 0.0, 0.0, set()
    amount = iter(amounts)

    def advance(periods: float = 1) -> None:
        nonlocal moment, value, attributed
        moment, passed = moment + periods * QUARTER, next(amount)
        attributed += passed
        value = (value + passed) % 1_000_000
        rows.append((moment, value))

    def enough() -> None:
        """Bring a small register up by a jump: what follows must not be mistaken for a rollover or a reset."""
        nonlocal moment, value, unattributed
        if value < 100_000:
            advance()
            moment, value = moment + QUARTER, value + 250_000
            unattributed += 250_000
            rows.append((moment, value))
            kinds.add("jump")

    while value > 999_900:
        advance()
    enough()
    for event in events:
        advance()
        advance()
        passed = next(amount)
        match event:
            case "gap":
                advance(periods=7)
                kinds.add("catch_up")
            case "late":
                advance(periods=1.9)
            case "zero" | "spike":
                moment += QUARTER
                rows.append((moment, 0.0 if event == "zero" else (value + 400_000) % 1_000_000))
                kinds.add("glitch")
                advance()
            case "reset":
                moment, value = moment + QUARTER, passed
                rows.append((moment, value))
                attributed += passed
                kinds.add("reset")
            case "step_back" | "jump" | "exchange_likely":
                shift = {"step_back": -200.0, "jump": 5000.0, "exchange_likely": -value / 2}[event]
                moment, value = moment + QUARTER, value + shift
                unattributed += shift
                rows.append((moment, value))
                kinds.add(event)
            case "exchange":
                removed, installed, more = value + passed, 700.0, next(amount)
                exchange.append({"at": moment + QUARTER / 2, "removed_value": removed, "installed_value": installed})
                moment, value = moment + QUARTER, installed + more
                rows.append((moment, value))
                attributed += passed + more
                kinds.add("exchange")
        enough()
    advance()
    advance()
    return History(rows, exchange, attributed, unattributed, kinds)


histories = st.builds(
    lived,
    st.floats(300_000, 600_000) | st.floats(999_950, 999_999),
    st.lists(st.sampled_from(EVENTS), min_size=1, max_size=12),
    st.lists(st.floats(0.5, 12), min_size=180, max_size=180),
)


@settings(max_examples=60, deadline=None)
@given(history=histories, other=histories, cut=st.floats(0, 1))
def test_attributed_and_unattributed_are_what_the_books_say(
    plant: Plant, history: History, other: History, cut: float
) -> None:
    """Against books kept step by step; and the same when the time is worked on in two parts, as jobs do."""
    registry = plant({**RATED, "exchange": history.exchange}, {**RATED, "id": "F", "exchange": other.exchange})
    rows = [(name, *row) for name, one in (("E", history), ("F", other)) for row in one.rows]
    readings = pl.DataFrame(rows, schema={"meter": pl.String, "time": TIME, "value": pl.Float64}, orient="row")
    readings = readings.with_columns(facility=pl.lit("plant"), unit=pl.lit("kWh"))
    steps = registers.steps(readings, registry.meters, registry.exchanges)
    for name, one in (("E", history), ("F", other)):
        own = registers.named(steps, registry.meters).filter(meter=name)
        assert own["quantity"].sum() == pytest.approx(one.attributed, abs=1e-6)
        assert own["unattributed"].sum() == pytest.approx(one.unattributed, abs=1e-6)
        assert set(own["kind"].cast(pl.String)) - {"advance", "rollover"} == one.kinds

    end = max(row[1] for row in rows) + timedelta(hours=1)
    whole = spread(steps, Period(START, end))
    assert whole["quantity"].sum() == pytest.approx(history.attributed + other.attributed, abs=1e-6)
    edge = START + QUARTER * (1 + int(cut * ((end - START) / QUARTER - 2)))
    parts = []
    for period in (Period(START, edge), Period(edge, end)):
        inside = pl.col("time").is_between(period.start, period.end, closed="left")
        beside = pl.concat(
            [
                readings.filter(pl.col("time") < period.start).sort("time").group_by("meter").tail(2),
                readings.filter(pl.col("time") >= period.end).sort("time").group_by("meter").head(2),
            ]
        )
        own = pl.concat([readings.filter(inside), beside.select(readings.columns)])
        parts.append(spread(registers.steps(own, registry.meters, registry.exchanges, period), period))
        # what a step is shows in the values around it, so those of a window are those of all that reach into it
        reaches = pl.col("start") < period.end, pl.col("end") > period.start
        assert registers.steps(readings, registry.meters, registry.exchanges, period).equals(steps.filter(reaches))
    in_parts = pl.concat(parts).sort("row", "start")
    assert in_parts["quantity"].to_list() == pytest.approx(whole["quantity"].to_list(), abs=1e-6)


anything = st.floats(-10, 2e6) | st.sampled_from([0.0, 0.0, 100.0, 105.0, 999_999.0, 65_535.0])


@settings(max_examples=100, deadline=None)
@given(
    values=st.lists(st.tuples(st.integers(1, 200_000), anything), min_size=2, max_size=40),
    rated=st.sampled_from([None, 5.0, 100.0, 5000.0]),
    digits=st.sampled_from([None, 3, 6]),
    swap=st.none() | st.tuples(st.integers(0, 38), st.floats(0, 999), st.floats(0, 999)),
)
def test_any_sequence_conserves_the_advance_of_the_register(
    plant: Plant,
    values: list[tuple[int, float]],
    rated: float | None,
    digits: int | None,
    swap: tuple[int, float, float] | None,
) -> None:
    """quantity + unattributed = last - first + 10^digits a turn + the value before a reset + removed - installed."""
    moment, rows = START, []
    for gap, value in values:
        moment += timedelta(seconds=gap)
        rows.append(("plant", "E", moment, value, "kWh"))
    exchange, expected = [], rows[-1][3] - rows[0][3]
    if swap:
        # half a second before a reading that is not the first
        at = rows[1 + swap[0] % (len(rows) - 1)][2] - timedelta(milliseconds=500)
        exchange = [{"at": at, "removed_value": swap[1], "installed_value": swap[2]}]
        expected += swap[1] - swap[2]
    registry = plant({"id": "E", "rated_kw": rated, "digits": digits, "exchange": exchange})
    schema = {"facility": pl.String, "meter": pl.String, "time": TIME, "value": pl.Float64, "unit": pl.String}
    steps = registers.steps(
        pl.DataFrame(rows, schema=schema, orient="row"), registry.meters, registry.exchanges
    ).filter(pl.col("kind") != "glitch")
    for step in steps.filter(pl.col("before") > pl.col("after")).iter_rows(named=True):
        if step["kind"] in {"rollover", "exchange", "ambiguous"}:
            expected += 10.0 ** (digits or 0)
        elif step["kind"] == "reset":
            expected += step["before"]
    assert steps["quantity"].sum() + steps["unattributed"].sum() == pytest.approx(expected, abs=1e-6)
    # the steps follow each other without a hole from the first reading to the last
    assert steps["start"].to_list() == [rows[0][2], *steps["end"].to_list()[:-1]]
    assert steps["end"].to_list()[-1] == rows[-1][2]


near_a_period = st.sampled_from([809, 810, 811, 900, 1799, 1800, 1801]) | st.integers(1, 4000)
near_the_bound = st.floats(0, 200) | st.sampled_from([0.0, 27.999999999999996, 28.0, 28.000000000000004, 31.0, 61.0])


@settings(max_examples=200, deadline=None)
@given(
    advances=st.lists(st.tuples(near_a_period, near_the_bound), min_size=1, max_size=30),
    rated=st.sampled_from([None, 5.0, 100.0, 5000.0]),
    digits=st.sampled_from([None, 2, 6]),
)
def test_what_passes_at_a_glance_passes_a_closer_look(
    plant: Plant, advances: list[tuple[int, float]], rated: float | None, digits: int | None
) -> None:
    registry = plant({"id": "E", "rated_kw": rated, "digits": digits})
    rows = [("plant", "E", START, 0.0, "kWh")]
    for seconds, advance in advances:
        rows.append(("plant", "E", rows[-1][2] + timedelta(seconds=seconds), rows[-1][3] + advance, "kWh"))
    schema = {"facility": pl.String, "meter": pl.String, "time": TIME, "value": pl.Float64, "unit": pl.String}
    readings = pl.DataFrame(rows, schema=schema, orient="row")
    found = registers.steps(readings, registry.meters, registry.exchanges)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forensics, "_AT_A_GLANCE", pl.lit(value=False))
        closely = registers.steps(readings, registry.meters, registry.exchanges)
    assert found.equals(closely)
