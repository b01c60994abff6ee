"""Tables that collectors write: what was measured, what was refused, and their counts."""

import polars as pl

from ingest.schema.columns import FACILITY, METER, Column, Table, count, number, text, time

# of readings.flags: the row replaced another value of the same time
REPLACED = 8
# entered by hand; void: known to be wrong, counts as not taken
ENTERED, VOID = 16, 32

READINGS = Table(
    "readings",
    "one value of one meter at one time",
    key=("facility", "meter", "time"),
    time="time",
    same=("facility", "meter", "time", "value"),
    columns=(
        FACILITY,
        METER,
        time("time", "when the value was taken; for interval meters the registered end (or start) of the interval"),
        number("value", "the value in `unit`, as shown by the meter (before the multiplier)"),
        text("unit", "the meter's registered unit; the payload's unit was converted to it"),
        Column(
            "flags",
            pl.Int32(),
            "sum of: 1 unit was converted, 2 time taken from the message's default, 4 time of receipt, "
            "8 replaced another value of the same time, 16 entered by hand, "
            "32 void: known to be wrong, counts as not taken",
        ),
        text("gateway", "gateway that published it"),
        time("received", "when the collector took it in hand, or handed it to the store again"),
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
        text("product", "product id of the registry"),
        time("start", "start of the period"),
        time("end", "end of the period (not part of it)"),
        number("quantity", "output in `unit`"),
        text("unit", "the product's registered unit"),
        text("gateway", "gateway that published it"),
        time("received", "when the collector took it in hand, or handed it to the store again"),
    ),
)

QUARANTINE = Table(
    "quarantine",
    "one payload or reading that was refused",
    key=("id",),
    time="received",
    same=("id",),
    columns=(
        text("id", "hash of topic, payload, item and reason: the same refusal again is the same row"),
        text("facility", "facility of the topic; empty where the topic names none"),
        text("topic", "topic as received"),
        Column("payload", pl.Binary(), "bytes as received; null where the day's allowance of the facility was used up"),
        Column("bytes", pl.Int64(), "size of the payload; null where it was not kept"),
        Column("item", pl.Int32(), "index of the refused item in the payload; -1 for the whole payload"),
        Column("entries", pl.Int32(), "refused entries the row stands for: its own, and those like it after it"),
        text("reason", "reason code"),
        text("sentence", "what was found, what is wanted"),
        time("received", "when the collector took it in hand, or handed it to the store again"),
    ),
)

QUARANTINE_STATES = Table(
    "quarantine_states",
    "what became of one refusal; a refusal without such a row is open",
    key=("id",),
    time="at",
    same=("id", "state", "by", "why"),
    columns=(
        text("id", "id of the refusal in `quarantine`"),
        text("state", "open (replayed and refused again), replayed, or discarded"),
        time("at", "when it came to be so"),
        text("by", "who discarded it; empty otherwise"),
        text("why", "why it was discarded, or the sentence it was refused with again; empty otherwise"),
    ),
)

COLLECTORS = Table(
    "collectors",
    "what one process of one collector has counted: items = stored + duplicate + quarantined + pending",
    key=("collector", "started"),
    time="started",
    columns=(
        text("collector", "client id of the collector"),
        time("started", "start of the process"),
        time("at", "when it counted; a process that was killed counted a few seconds longer"),
        count("items", "items received, that is decoded"),
        count("stored", "items that were new to the store, or changed what it held"),
        count("duplicate", "items the store knew already"),
        count("quarantined", "items refused"),
        count("pending", "items decoded and not yet stored; where the process ended, the broker sends them again"),
        count("overflow", "refused items whose bytes were not kept"),
    ),
)

TRAFFIC = Table(
    "traffic",
    "how far one process of one collector had counted in each five minutes: what readings per second are made of",
    key=("collector", "at"),
    time="at",
    columns=(
        text("collector", "client id of the collector"),
        time("at", "start of the five minutes"),
        count("items", "items received since the process started"),
        count("stored", "of them new to the store, or changed what it held"),
    ),
)

GATEWAYS = Table(
    "gateways",
    "one gateway, as one process of one collector heard it",
    key=("collector", "started", "facility", "gateway"),
    time="started",
    same=("collector", "started", "facility", "gateway", "state", "lost_upstream"),
    columns=(
        text("collector", "client id of the collector"),
        time("started", "start of the process"),
        FACILITY,
        text("gateway", "gateway id, as in its topics"),
        text("state", "online, offline or unknown, as its last will says; empty where it has none"),
        count("lost_upstream", "messages it numbered and nobody received; null where a group shares its messages"),
        time("at", "when the collector noted it"),
    ),
)
