"""
Lifecycle: verdicts and the events so far -> the events that follow. Pure; state is a fold over the events.

                 breach                 pass
        clear ----------> opened ----------> closed (clear again)

A transition is an opening or a closing at a judged period. `events` works out the transitions that follow from the
verdicts, compares them with those the history still holds, and says only what is different: a new transition is opened
or closed, one that no longer follows is withdrawn. So judging twice says nothing twice.
"""

import hashlib
from datetime import UTC, datetime

import polars as pl

from ingest.schema import BREACH_EVENTS, TIME
from rules.model import VERDICTS

# a breach is one rule, facility, scope and interval; its periods are told apart by their start
_BREACH = ("rule", "facility", "scope", "interval")
_PERIOD = (*_BREACH, "start")

_DIGITS = 16


def events(verdicts: pl.DataFrame, history: pl.DataFrame, at: datetime) -> pl.DataFrame:
    """
    Work out what has to be said after judging.

    A breach opens at the first enforceable breach verdict and closes at the next pass; `not_assessable` and a verdict
    that is not enforceable do neither. A period that is not in `verdicts` keeps its transition, unless what was judged
    leaves it without effect (an opening of what is open already, a closing of what is clear): then it is withdrawn too.

    Args:
        verdicts: VERDICTS rows; at most one for each rule, facility, scope, interval and start.
        history: BREACH_EVENTS rows of the same facilities, all of them, in any order.
        at: the moment of judging.

    Returns:
        BREACH_EVENTS rows to append, in order of time for each breach, a withdrawal before what replaces it. None where
        nothing changed. The same verdicts and history give the same event ids, whoever asks and when.
    """
    timeline = _timeline(verdicts, _transitions(history))
    changed = timeline.filter(pl.col("had").ne_missing(pl.col("wanted")))
    withdrawn = changed.filter(pl.col("had").is_not_null()).with_columns(kind=pl.lit("withdrawn"))
    fresh = changed.filter(pl.col("wanted").is_not_null()).with_columns(
        kind=pl.col("wanted"), place=pl.col("place") + pl.col("had").is_not_null()
    )
    found = pl.concat([withdrawn, fresh]).sort(*_PERIOD, "place").with_columns(at=pl.lit(at.astimezone(UTC), TIME))
    return _named(found).select(BREACH_EVENTS.schema.names())


def open_breaches(history: pl.DataFrame) -> pl.DataFrame:
    """
    Fold the events into the breaches that are open now.

    Args:
        history: BREACH_EVENTS rows, all of a breach or none, in any order.

    Returns:
        BREACH_EVENTS rows: for each open breach the event that opened it, sorted by facility, rule, scope and interval.
    """
    rows = standing(history).filter(state="open").select(BREACH_EVENTS.schema.names())
    return rows.sort("facility", "rule", "scope", "interval")


def standing(history: pl.DataFrame) -> pl.DataFrame:
    """
    Fold the events into how every breach stands now.

    Args:
        history: BREACH_EVENTS rows, all of a breach or none, in any order.

    Returns:
        One row a breach, sorted by its id: BREACH_EVENTS columns of the event that opened it last (of its last event
        where all is withdrawn), `state` (open, closed or withdrawn) and `closed`, the end of the period that closed it.
    """
    opening = (pl.col("had") == "opened").fill_null(value=False)
    last = pl.col("had").drop_nulls().last()
    return (
        _transitions(history)
        .sort("start")
        .with_columns(
            state=last.replace("opened", "open").fill_null("withdrawn").over("breach_id"),
            closed=pl.when(last == "closed").then(pl.col("end").filter(~opening).last()).over("breach_id"),
            opening=opening,
        )
        .sort("opening", "start")
        .group_by("breach_id")
        .last()
        .select(*BREACH_EVENTS.schema.names(), "state", "closed")
        .sort("breach_id")
    )


def _transitions(history: pl.DataFrame) -> pl.DataFrame:
    """
    Keep the last event of every period: BREACH_EVENTS columns, `had`, `place`.

    `had` is the transition that stands, null where it was withdrawn; `place` is the place of the period's next event.
    """
    # one run may say two things of a period at the same moment: the place in the id orders them, not the time
    place = pl.col("event_id").str.split("-").list.last().cast(pl.Int64)
    return (
        history.with_columns(place=place)
        .sort("place", "event_id")
        .group_by("breach_id", "start", maintain_order=True)
        .last()
        .with_columns(had=pl.col("kind").replace("withdrawn", None), place=pl.col("place") + 1)
    )


def _timeline(verdicts: pl.DataFrame, before: pl.DataFrame) -> pl.DataFrame:
    """
    Lay judged periods and the transitions of all others on one line for each breach and walk along it.

    Returns:
        The evidence columns of BREACH_EVENTS, `had` and `place` of `_transitions`, and `wanted`: the transition that
        follows at this period, null for none.
    """
    evidence = [name for name in BREACH_EVENTS.schema.names() if name in VERDICTS]
    columns = (*evidence, "had", "place", "mark")
    judged = verdicts.join(before.select(*_PERIOD, "had", "place"), on=_PERIOD, how="left").with_columns(
        pl.col("place").fill_null(0),
        mark=pl.when(pl.col("status") == "pass")
        .then(pl.lit("closed"))
        .when((pl.col("status") == "breach") & pl.col("enforceable"))
        .then(pl.lit("opened")),
    )
    others = before.join(verdicts, on=_PERIOD, how="anti").with_columns(mark=pl.col("had"))
    timeline = pl.concat([judged.select(columns), others.select(columns)]).sort(_PERIOD)
    state = pl.col("mark").forward_fill().over(_BREACH).fill_null("closed")
    return (
        timeline.with_columns(state=state)
        .with_columns(before=pl.col("state").shift(1).over(_BREACH).fill_null("closed"))
        .with_columns(wanted=pl.when(pl.col("state") != pl.col("before")).then(pl.col("state")))
    )


def _named(found: pl.DataFrame) -> pl.DataFrame:
    """Add `breach_id` and `event_id`: hashes that every process and every later run computes alike."""
    breaches = [_digest(*row) for row in found.select(_BREACH).iter_rows()]
    steps = found.select("kind", pl.col("start").dt.epoch("us"), "place").iter_rows()
    named = [
        f"{_digest(breach, kind, str(start))}-{place}"
        for breach, (kind, start, place) in zip(breaches, steps, strict=True)
    ]
    return found.with_columns(
        breach_id=pl.Series(breaches, dtype=pl.String), event_id=pl.Series(named, dtype=pl.String)
    )


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:_DIGITS]
