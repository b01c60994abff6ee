"""
The life of a breach, step by step and as properties.

A step is a string with one verdict for each period, oldest first: b breach, p pass, n not assessable, u a breach that
is not enforceable, and . for a period that is not judged in this step. Events are written o (opened), c (closed) and
w (withdrawn) with the number of their period.
"""

from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.schema import BREACH_EVENTS
from rules import lifecycle
from rules.lifecycle import events, open_breaches
from rules.model import VERDICTS

AT = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
FIRST = datetime(2026, 9, 1, tzinfo=UTC)
DAY = timedelta(days=1)
STATUS = {"b": ("breach", True), "u": ("breach", False), "p": ("pass", True), "n": ("not_assessable", True)}
EMPTY = pl.DataFrame(schema=BREACH_EVENTS.schema)

PERIODS = 7
LINES = st.text("bpnu", min_size=PERIODS, max_size=PERIODS)


def verdict(day, letter, **other):
    status, enforceable = STATUS[letter]
    row = {
        "rule": "plan-pue",
        "facility": "dc",
        "scope": "",
        "indicator": "pue",
        "interval": "1d",
        "start": FIRST + day * DAY,
        "end": FIRST + (day + 1) * DAY,
        "value": 1.38 if status == "breach" else 1.24,
        "comparison": "<=",
        "limit": 1.3,
        "unit": "1",
        "numerator": 138.0,
        "denominator": 100.0,
        "coverage": 0.99,
        "meters": "E-main / E-it",
        "status": status,
        "reason": "",
        "severity": "breach",
        "enforceable": enforceable,
        "document": "方案",
        "clause": "十三",
        "catalogue_version": "c-1",
        "factor_version": "f-1",
    }
    return row | other


def verdicts(line, **other):
    rows = [verdict(day, letter, **other) for day, letter in enumerate(line) if letter != "."]
    return pl.DataFrame(rows, schema=VERDICTS, orient="row")


def written(rows):
    return [f"{row['kind'][0]}{(row['start'] - FIRST) // DAY}" for row in rows.iter_rows(named=True)]


def run(*lines):
    """Judge one line after the other; return the events of each step and the whole history."""
    history, steps = EMPTY, []
    for line in lines:
        new = events(verdicts(line), history, AT)
        steps.append(written(new))
        history = pl.concat([history, new])
    return steps, history


def standing(history):
    """Fold the events, written down here in the plainest way: what stands of each period, in order of time."""
    place = pl.col("event_id").str.split("-").list.last().cast(pl.Int64)
    stand = {}
    for row in history.sort(place).iter_rows(named=True):
        stand[row["start"]] = row["kind"]
    return [(start, kind) for start, kind in sorted(stand.items()) if kind != "withdrawn"]


def expected(line):
    """The transitions of a whole line, written down here in the plainest way."""
    state, found = "closed", []
    for day, letter in enumerate(line):
        wanted = {"b": "opened", "p": "closed"}.get(letter, state)
        if wanted != state:
            found.append((FIRST + day * DAY, wanted))
        state = wanted
    return found


@pytest.mark.parametrize(
    ("lines", "steps"),
    [
        (["ppp"], [[]]),
        (["b"], [["o0"]]),
        (["bbb"], [["o0"]]),
        (["pbbp"], [["o1", "c3"]]),
        (["bpbp"], [["o0", "c1", "o2", "c3"]]),
        # not assessable and not enforceable neither open nor close
        (["nnn"], [[]]),
        (["uuu"], [[]]),
        (["bnp"], [["o0", "c2"]]),
        (["bub"], [["o0"]]),
        (["pnb"], [["o2"]]),
        # the next period, with and without the old ones judged again
        (["b", ".b", "..p"], [["o0"], [], ["c2"]]),
        (["b", "bb", "bbp"], [["o0"], [], ["c2"]]),
        # a correction: the opening falls, or moves
        (["b", "p"], [["o0"], ["w0"]]),
        (["b", "n"], [["o0"], ["w0"]]),
        (["b", "u"], [["o0"], ["w0"]]),
        (["bb", "pb"], [["o0"], ["w0", "o1"]]),
        (["pb", "bb"], [["o1"], ["o0", "w1"]]),
        # a closing falls, or moves
        (["bpp", "bbp"], [["o0", "c1"], ["w1", "c2"]]),
        (["bpp", "bbb"], [["o0", "c1"], ["w1"]]),
        (["bbp", "bpp"], [["o0", "c2"], ["c1", "w2"]]),
        # the other way round at one period
        (["bpb", "pbp"], [["o0", "c1", "o2"], ["w0", "w1", "o1", "w2", "c2"]]),
        # and back: the place in history makes each step an event of its own
        (["b", "p", "b", "p"], [["o0"], ["w0"], ["o0"], ["w0"]]),
        # a breach between two passes that were judged before
        (["p.p", ".b", "..p"], [[], ["o1"], ["c2"]]),
        # what was not judged again and lost its effect is withdrawn too
        (["bbp", "p"], [["o0", "c2"], ["w0", "w2"]]),
        (["..b", "b"], [["o2"], ["o0", "w2"]]),
    ],
)
def test_steps(lines, steps):
    assert run(*lines)[0] == steps


@pytest.mark.parametrize(
    ("lines", "state", "opened", "closed"),
    [
        (["bbb"], "open", 0, None),
        (["pbbp"], "closed", 1, 4),
        (["bpb"], "open", 2, None),
        (["bpbp"], "closed", 2, 4),
        (["b", "p"], "withdrawn", 0, None),
        (["bpp", "bbb"], "open", 0, None),
        (["bb", "pb"], "open", 1, None),
        (["bpb", "pbp"], "closed", 1, 3),
    ],
)
def test_how_a_breach_stands(lines, state, opened, closed):
    (row,) = lifecycle.standing(run(*lines)[1]).iter_rows(named=True)
    end = None if closed is None else FIRST + closed * DAY
    assert (row["state"], row["start"], row["closed"]) == (state, FIRST + opened * DAY, end)


@given(st.lists(LINES, min_size=1, max_size=4), st.randoms())
def test_how_a_breach_stands_follows_from_the_events_in_any_order(lines, random):
    history = run(*lines)[1]
    shuffled = history.sample(fraction=1, shuffle=True, seed=random.randrange(10**6))
    stands = standing(history)
    found = [(row["state"], row["start"]) for row in lifecycle.standing(shuffled).iter_rows(named=True)]
    openings = [start for start, kind in stands if kind == "opened"]
    if history.is_empty():
        assert found == []
    elif not stands:
        assert [state for state, _ in found] == ["withdrawn"]
    else:
        assert found == [("open" if stands[-1][1] == "opened" else "closed", openings[-1])]


def test_event_carries_the_evidence_of_its_verdict():
    (row,) = events(verdicts("b"), EMPTY, AT).to_dicts()
    judged = verdict(0, "b")
    assert {key: row[key] for key in row if key in judged} == {key: judged[key] for key in row if key in judged}
    assert (row["kind"], row["at"]) == ("opened", AT)


def test_withdrawal_carries_what_was_found_instead():
    _, history = run("b")
    (row,) = events(verdicts("p", value=1.29, coverage=0.97), history, AT).to_dicts()
    assert (row["kind"], row["value"], row["coverage"]) == ("withdrawn", 1.29, 0.97)


def test_withdrawal_of_a_period_not_judged_keeps_its_evidence():
    _, history = run("..b")
    new = events(verdicts("b", value=1.5), history, AT)
    assert new.filter(pl.col("kind") == "withdrawn")["value"].to_list() == [1.38]


def test_at_is_stored_in_utc_whatever_its_zone():
    new = events(verdicts("b"), EMPTY, AT.astimezone(timezone(timedelta(hours=8))))
    assert new.schema == BREACH_EVENTS.schema
    assert new["at"].to_list() == [AT]


def test_rules_facilities_scopes_and_intervals_are_breaches_of_their_own():
    rows = [
        verdict(0, "b"),
        verdict(0, "b", rule="other"),
        verdict(0, "b", facility="other"),
        verdict(0, "b", scope="tile"),
        verdict(0, "b", interval="1mo"),
    ]
    new = events(pl.DataFrame(rows, schema=VERDICTS, orient="row"), EMPTY, AT)
    assert new["kind"].to_list() == ["opened"] * 5
    assert new["breach_id"].n_unique() == 5
    assert new["event_id"].n_unique() == 5
    assert open_breaches(new).height == 5


def test_an_open_breach_says_nothing_of_its_neighbours():
    rows = [verdict(0, "b", facility="a"), verdict(0, "n", facility="b"), verdict(1, "b", facility="b")]
    new = events(pl.DataFrame(rows, schema=VERDICTS, orient="row"), EMPTY, AT)
    assert list(zip(new["facility"], written(new), strict=True)) == [("a", "o0"), ("b", "o1")]


def test_ids_stay_what_they_are():
    # sha256 of rule, facility, scope and interval with a zero byte between; a change would orphan every stored breach
    (row,) = events(verdicts("b"), EMPTY, AT).to_dicts()
    assert (row["breach_id"], row["event_id"]) == ("af2768c477039006", "60f39ac85dd1d970-0")


def test_open_breaches_are_the_events_that_opened_them():
    _, history = run("bpbb")
    (row,) = open_breaches(history).to_dicts()
    assert (row["kind"], row["start"]) == ("opened", FIRST + 2 * DAY)
    assert open_breaches(run("bp")[1]).is_empty()
    assert open_breaches(run("b", "p")[1]).is_empty()


def test_nothing_in_nothing_out():
    none = events(verdicts(""), EMPTY, AT)
    assert none.schema == BREACH_EVENTS.schema
    assert none.is_empty()
    assert open_breaches(EMPTY).schema == BREACH_EVENTS.schema
    # nothing judged, nothing said, whatever the history
    assert events(verdicts(""), run("bpb")[1], AT).is_empty()


@given(LINES)
def test_state_follows_from_the_verdicts(line):
    _, history = run(line)
    assert standing(history) == expected(line)
    assert open_breaches(history).height == (bool(expected(line)) and expected(line)[-1][1] == "opened")


@given(st.lists(st.text("bpnu.", min_size=PERIODS, max_size=PERIODS), max_size=4), st.randoms())
def test_judging_twice_says_nothing_new_and_order_of_rows_does_not_matter(lines, random):
    steps, history = run(*lines, *lines[-1:])
    if lines:
        assert steps[-1] == []
    shuffled = history.sample(fraction=1, shuffle=True, seed=random.randint(0, 99))
    assert open_breaches(shuffled).equals(open_breaches(history))
    again = events(verdicts("b" * PERIODS).sample(fraction=1, shuffle=True, seed=1), shuffled, AT)
    assert again.equals(events(verdicts("b" * PERIODS), history, AT))


@given(LINES, st.sets(st.integers(1, PERIODS - 1)))
def test_any_partition_into_successive_calls_gives_the_same_transitions(line, cuts):
    bounds = [0, *sorted(cuts), PERIODS]
    parts = ["." * first + line[first:last] for first, last in pairwise(bounds)]
    assert standing(run(*parts)[1]) == expected(line)


@given(LINES, LINES, st.integers(0, PERIODS - 1))
def test_judging_again_from_a_corrected_period_on_gives_what_all_at_once_gives(before, after, since):
    corrected = before[:since] + after[since:]
    assert standing(run(before, "." * since + corrected[since:])[1]) == expected(corrected)


@given(st.lists(st.text("bpnu.", min_size=PERIODS, max_size=PERIODS), max_size=5))
def test_openings_and_closings_always_alternate(lines):
    _, history = run(*lines)
    kinds = [kind for _, kind in standing(history)]
    assert kinds == ["opened", "closed"] * (len(kinds) // 2) + ["opened"] * (len(kinds) % 2)
    assert history["event_id"].is_unique().all()


@given(LINES, LINES)
def test_two_processes_with_the_same_history_say_the_same(first, second):
    _, history = run(first)
    one = events(verdicts(second), history, AT)
    two = events(verdicts(second), history, AT + DAY)
    assert one.drop("at").equals(two.drop("at"))
    # and both stored is one stored: rows of one id are one row
    both = pl.concat([history, one, two]).unique(["breach_id", "event_id"], keep="last", maintain_order=True)
    assert events(verdicts(second), both, AT).is_empty()
