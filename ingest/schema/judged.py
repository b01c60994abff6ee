"""Tables of breaches, notices and the runs of jobs."""

import polars as pl

from ingest.schema.columns import (
    CLAUSE,
    COMPARISON,
    COVERAGE,
    DOCUMENT,
    FACILITY,
    INDICATOR,
    INTERVAL,
    RULE,
    SCOPE,
    SEVERITY,
    Column,
    Table,
    number,
    text,
    time,
)

BREACH_EVENTS = Table(
    "breach_events",
    "one step in the life of a breach, with its frozen evidence",
    key=("breach_id", "event_id"),
    time="at",
    same=("breach_id", "event_id"),
    columns=(
        text("breach_id", "hash of rule, facility, scope and interval"),
        text("event_id", "hash of breach, kind, period and place in its history"),
        text("kind", "opened, closed, or withdrawn"),
        time("at", "when it was judged"),
        FACILITY,
        RULE,
        SEVERITY,
        INDICATOR,
        SCOPE,
        INTERVAL,
        time("start", "start of the period judged"),
        time("end", "end of the period judged"),
        number("value", "the indicator's value in `unit`"),
        COMPARISON,
        number("limit", "the limit in `unit`"),
        text("unit", "unit of value and limit"),
        number("numerator", "what stood above the line"),
        number("denominator", "what stood below the line"),
        COVERAGE,
        text("meters", "the meters it rests on"),
        DOCUMENT,
        CLAUSE,
        text("catalogue_version", "version of the rule catalogue"),
        text("factor_version", "version of the factor catalogue behind the value"),
    ),
)

NOTICES = Table(
    "notices",
    "one message to one person about one event, and how the sending ended",
    key=("event_id", "channel", "recipient"),
    time="at",
    columns=(
        text("event_id", "event the message tells of"),
        text("channel", "email"),
        text("recipient", "address"),
        FACILITY,
        time("at", "when it was first due; stays the same over later tries"),
        text("status", "sending, sent, failed (tried again) or refused (given up)"),
        text("message_id", "Message-ID of the e-mail, the same at every try"),
        Column("tries", pl.Int32(), "how often it was tried"),
        text("error", "what the mail server said last; empty when it was sent"),
    ),
)

RUNS = Table(
    "runs",
    "one run of one job: the watermark of a job is the newest `until` of its good runs",
    key=("job", "at"),
    time="at",
    columns=(
        text("job", "name of the job"),
        time("at", "the moment the run was for"),
        time("since", "start of what was new to it: what the collector received, what was computed, what was judged"),
        time("until", "end of what was new to it (not part of it)"),
        time("touched_from", "start of the measured time whose rows it wrote; null where it wrote none"),
        time("touched_until", "end of the measured time whose rows it wrote"),
        Column("rows", pl.Int64(), "rows it changed"),
        number("seconds", "how long it took", "s"),
        text("outcome", "done, or failed"),
        text("error", "the sentence of the failure; empty otherwise"),
    ),
)
