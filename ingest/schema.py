"""
Every table and every column, once: both stores, the jobs, the exports and docs/tables.md follow this file.

A table is keyed; writing the same row again changes nothing, writing another row under the same key replaces it.
Stored time is UTC with microseconds; a period is labelled by its start.
"""

from dataclasses import dataclass

import polars as pl

TIME = pl.Datetime("us", "UTC")
# of readings.flags: the row replaced another value of the same time
REPLACED = 8


@dataclass(frozen=True, slots=True)
class Column:
    """One column: type, what it means, unit in brackets where it has one."""

    name: str
    dtype: pl.DataType
    meaning: str
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """
    One table.

    `key` names a row; `time` is the column that periods select and days partition; `same` are the columns that decide
    whether a row with a known key is the same row again (a duplicate) or a correction. Empty `same` means all columns.
    """

    name: str
    row: str
    key: tuple[str, ...]
    time: str
    columns: tuple[Column, ...]
    same: tuple[str, ...] = ()

    @property
    def schema(self) -> pl.Schema:
        """Column names and types, in order."""
        return pl.Schema({column.name: column.dtype for column in self.columns})

    @property
    def identity(self) -> tuple[str, ...]:
        """The columns that must all agree for a row to be the same row again."""
        return self.same or tuple(column.name for column in self.columns)


def _text(name: str, meaning: str) -> Column:
    return Column(name, pl.String(), meaning)


def _number(name: str, meaning: str, unit: str = "") -> Column:
    return Column(name, pl.Float64(), meaning, unit)


def _count(name: str, meaning: str) -> Column:
    return Column(name, pl.Int64(), meaning)


def _time(name: str, meaning: str) -> Column:
    return Column(name, TIME, meaning, "UTC")


FACILITY = _text("facility", "facility (用能单位) id of the registry")
METER = _text("meter", "meter (计量器具) id, unique inside its facility")
INTERVAL = _text("interval", "length of the period in the facility's zone: 15m, 1h, 1d, 1mo; indicators also 12mo")
COVERAGE = _number("coverage", "share of the period that rests on readings no further apart than allowed", "0..1")

READINGS = Table(
    "readings",
    "one value of one meter at one time",
    key=("facility", "meter", "time"),
    time="time",
    same=("facility", "meter", "time", "value"),
    columns=(
        FACILITY,
        METER,
        _time("time", "when the value was taken; for interval meters the registered end (or start) of the interval"),
        _number("value", "the value in `unit`, as shown by the meter (before the multiplier)"),
        _text("unit", "the meter's registered unit; the payload's unit was converted to it"),
        Column(
            "flags",
            pl.Int32(),
            "sum of: 1 unit was converted, 2 time taken from the message's default, 4 time of receipt, "
            "8 replaced another value of the same time",
        ),
        _text("gateway", "gateway that published it"),
        _time("received", "when the collector took it in hand, or handed it to the store again"),
    ),
)

ACTIVITY = Table(
    "activity",
    "output of one product in one period",
    key=("facility", "product", "start"),
    time="start",
    same=("facility", "product", "start", "end", "quantity"),
    columns=(
        FACILITY,
        _text("product", "product id of the registry"),
        _time("start", "start of the period"),
        _time("end", "end of the period (not part of it)"),
        _number("quantity", "output in `unit`"),
        _text("unit", "the product's registered unit"),
        _text("gateway", "gateway that published it"),
        _time("received", "when the collector took it in hand, or handed it to the store again"),
    ),
)

QUARANTINE = Table(
    "quarantine",
    "one payload or reading that was refused",
    key=("id",),
    time="received",
    same=("id",),
    columns=(
        _text("id", "hash of topic, payload, item and reason: the same refusal again is the same row"),
        _text("facility", "facility of the topic; empty where the topic names none"),
        _text("topic", "topic as received"),
        Column("payload", pl.Binary(), "bytes as received; null where the day's allowance of the facility was used up"),
        Column("bytes", pl.Int64(), "size of the payload; null where it was not kept"),
        Column("item", pl.Int32(), "index of the refused item in the payload; -1 for the whole payload"),
        Column("entries", pl.Int32(), "refused entries the row stands for: its own, and those like it after it"),
        _text("reason", "reason code"),
        _text("sentence", "what was found, what is wanted"),
        _time("received", "when the collector took it in hand, or handed it to the store again"),
    ),
)

QUARANTINE_STATES = Table(
    "quarantine_states",
    "what became of one refusal; a refusal without such a row is open",
    key=("id",),
    time="at",
    same=("id", "state", "by", "why"),
    columns=(
        _text("id", "id of the refusal in `quarantine`"),
        _text("state", "open (replayed and refused again), replayed, or discarded"),
        _time("at", "when it came to be so"),
        _text("by", "who discarded it; empty otherwise"),
        _text("why", "why it was discarded, or the sentence it was refused with again; empty otherwise"),
    ),
)

COLLECTORS = Table(
    "collectors",
    "what one process of one collector has counted: items = stored + duplicate + quarantined + pending",
    key=("collector", "started"),
    time="started",
    columns=(
        _text("collector", "client id of the collector"),
        _time("started", "start of the process"),
        _time("at", "when it counted; a process that was killed counted a few seconds longer"),
        _count("items", "items received, that is decoded"),
        _count("stored", "items that were new to the store, or changed what it held"),
        _count("duplicate", "items the store knew already"),
        _count("quarantined", "items refused"),
        _count("pending", "items decoded and not yet stored; where the process ended, the broker sends them again"),
        _count("overflow", "refused items whose bytes were not kept"),
    ),
)

GATEWAYS = Table(
    "gateways",
    "one gateway, as one process of one collector heard it",
    key=("collector", "started", "facility", "gateway"),
    time="started",
    same=("collector", "started", "facility", "gateway", "state", "lost_upstream"),
    columns=(
        _text("collector", "client id of the collector"),
        _time("started", "start of the process"),
        FACILITY,
        _text("gateway", "gateway id, as in its topics"),
        _text("state", "online, offline or unknown, as its last will says; empty where it has none"),
        _count("lost_upstream", "messages it numbered and nobody received; null where a group shares its messages"),
        _time("at", "when the collector noted it"),
    ),
)

ENERGY = Table(
    "energy",
    "energy of one meter in one slot",
    key=("facility", "meter", "interval", "start"),
    time="start",
    columns=(
        FACILITY,
        METER,
        _text("carrier", "energy carrier (能源品种)"),
        _text("role", "what the meter measures: total, it, cooling, ..."),
        _text("scope", "product or area the meter serves alone; empty otherwise"),
        INTERVAL,
        _time("start", "start of the slot"),
        _time("end", "end of the slot (not part of it)"),
        _number("quantity", "native quantity in the carrier's canonical unit"),
        _text("unit", "canonical unit of the carrier"),
        _number("kwh", "energy content; null for energy-consuming media (耗能工质)", "kWh"),
        _number("kgce", "coal equivalent (标准煤)", "kgce"),
        _number("kg_co2", "carbon dioxide; null where no factor is known", "kg CO2"),
        COVERAGE,
        _number("estimated", "share of the quantity that was spread over a gap", "0..1"),
        _text("factor_version", "version of the factor catalogue used"),
    ),
)

UNATTRIBUTED = Table(
    "unattributed",
    "what was odd in the steps of one meter on one day, and what of its advance was attributed to no slot",
    key=("facility", "meter", "kind", "start"),
    time="start",
    columns=(
        FACILITY,
        METER,
        _text("kind", "what happened, docs/methods/energy.md: rollover, exchange, reset, glitch, step_back, jump, ..."),
        _time("start", "start of the day in the facility's zone in which the steps end"),
        _time("end", "end of the day (not part of it)"),
        _number("quantity", "advance that is attributed to no slot, in `unit`; negative where the register went back"),
        _number("attributed", "advance of these steps that is attributed to slots, in `unit`"),
        _text("unit", "canonical unit of the carrier"),
        _count("steps", "number of steps; 0 where later readings explained all of them"),
        _time("at", "end of the first of them"),
        _number("before", "value before the first of them, as shown by the meter"),
        _number("after", "value after it, as shown by the meter"),
        _number("bound", "most that was plausible for it in `unit`; null where no rated power is known"),
        _text("sentence", "what was found, and what was done with it"),
    ),
)

INDICATORS = Table(
    "indicators",
    "one indicator of one facility in one period",
    key=("facility", "indicator", "scope", "interval", "start"),
    time="start",
    columns=(
        FACILITY,
        _text("indicator", "indicator (指标) code"),
        _text("scope", "product id where the indicator is of one product; empty otherwise"),
        INTERVAL,
        _time("start", "start of the period"),
        _time("end", "end of the period (not part of it)"),
        _number("value", "value in `unit`; null where it is not assessable"),
        _text("unit", "unit of the value"),
        _number("numerator", "what stands above the line"),
        _number("denominator", "what stands below the line"),
        COVERAGE,
        _text("status", "ok, or not_assessable"),
        _text("reason", "why it is not assessable; empty otherwise"),
        _text("meters", "the meters it rests on, as `meter, meter / meter`"),
        _text("catalogue_version", "version of the factor catalogue used"),
        _text("unverified", "carriers whose factor is not verified, e.g. `water (RECALLED)`; empty where all are"),
    ),
)

BREACH_EVENTS = Table(
    "breach_events",
    "one step in the life of a breach, with its frozen evidence",
    key=("breach_id", "event_id"),
    time="at",
    same=("breach_id", "event_id"),
    columns=(
        _text("breach_id", "hash of rule, facility, scope and interval"),
        _text("event_id", "hash of breach, kind, period and place in its history"),
        _text("kind", "opened, closed, or withdrawn"),
        _time("at", "when it was judged"),
        FACILITY,
        _text("rule", "rule id of the catalogue"),
        _text("severity", "breach, or warning"),
        _text("indicator", "indicator (指标) code"),
        _text("scope", "product id where the indicator is of one product; empty otherwise"),
        INTERVAL,
        _time("start", "start of the period judged"),
        _time("end", "end of the period judged"),
        _number("value", "the indicator's value in `unit`"),
        _text("comparison", "how the value must stand to the limit: <=, <, >=, >"),
        _number("limit", "the limit in `unit`"),
        _text("unit", "unit of value and limit"),
        _number("numerator", "what stood above the line"),
        _number("denominator", "what stood below the line"),
        COVERAGE,
        _text("meters", "the meters it rests on"),
        _text("document", "title and number of the document, as issued (Chinese)"),
        _text("clause", "clause of the document, as issued (Chinese)"),
        _text("catalogue_version", "version of the rule catalogue"),
        _text("factor_version", "version of the factor catalogue behind the value"),
    ),
)

NOTICES = Table(
    "notices",
    "one message to one person about one event, and how the sending ended",
    key=("event_id", "channel", "recipient"),
    time="at",
    columns=(
        _text("event_id", "event the message tells of"),
        _text("channel", "email"),
        _text("recipient", "address"),
        FACILITY,
        _time("at", "when it was first due; stays the same over later tries"),
        _text("status", "sending, sent, failed (tried again) or refused (given up)"),
        _text("message_id", "Message-ID of the e-mail, the same at every try"),
        Column("tries", pl.Int32(), "how often it was tried"),
        _text("error", "what the mail server said last; empty when it was sent"),
    ),
)

RUNS = Table(
    "runs",
    "one run of one job: the watermark of a job is the newest `until` of its good runs",
    key=("job", "at"),
    time="at",
    columns=(
        _text("job", "name of the job"),
        _time("at", "the moment the run was for"),
        _time("since", "start of what was new to it: what the collector received, what was computed, what was judged"),
        _time("until", "end of what was new to it (not part of it)"),
        _time("touched_from", "start of the measured time whose rows it wrote; null where it wrote none"),
        _time("touched_until", "end of the measured time whose rows it wrote"),
        Column("rows", pl.Int64(), "rows it changed"),
        _number("seconds", "how long it took", "s"),
        _text("outcome", "done, or failed"),
        _text("error", "the sentence of the failure; empty otherwise"),
    ),
)

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        READINGS,
        ACTIVITY,
        QUARANTINE,
        QUARANTINE_STATES,
        COLLECTORS,
        GATEWAYS,
        ENERGY,
        UNATTRIBUTED,
        INDICATORS,
        BREACH_EVENTS,
        NOTICES,
        RUNS,
    )
}
