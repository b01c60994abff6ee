"""The tables of what people decided: entries by hand, frozen months, corrections. `ingest.schema` has them all."""

from ingest.schema.columns import FACILITY, METER, Table, number, text, time

ENTRIES = Table(
    "entries",
    "one reading that a person entered, replaced or declared void: who, why, and what stood there before",
    key=("facility", "meter", "time", "at"),
    time="time",
    columns=(
        FACILITY,
        METER,
        time("time", "when the value was taken: the reading's time"),
        time("at", "when it was entered"),
        number("value", "the value in `unit`; null where the reading was declared void"),
        number("previous", "the value that stood there before, as it was stored; null where there was none"),
        text("previous_gateway", "the gateway it came from; `manual` where it was entered by hand too; empty for none"),
        text("unit", "the meter's registered unit; the unit that was typed was converted to it"),
        text("by", "who entered it"),
        text("why", "the reason"),
    ),
)

FREEZES = Table(
    "freezes",
    "one month of one facility whose figures are final: they change by a correction with a name and a reason, or never",
    key=("facility", "start"),
    time="start",
    columns=(
        FACILITY,
        time("start", "start of the month in the facility's zone"),
        time("end", "end of the month (not part of it)"),
        time("at", "when it was frozen"),
        text("by", "who froze it"),
        text("why", "the reason"),
        text("factor_version", "version of the factor catalogue at that moment"),
        text("catalogue_version", "version of the rule catalogue at that moment"),
    ),
)

CORRECTIONS = Table(
    "corrections",
    "one figure of a frozen month that would be another one if it were computed now, and what became of that",
    key=("facility", "of", "row", "figure", "since"),
    time="start",
    columns=(
        FACILITY,
        text("of", "table the figure stands in: energy, unattributed, balance or indicators"),
        text("row", "key of the row: its texts and the start of its period, with a blank between them"),
        text("figure", "column of the table"),
        time("since", "when it was found first"),
        time("start", "start of the frozen month"),
        number("old", "the figure as frozen; null for none"),
        number("new", "the figure as the readings of today make it; null for none"),
        text("unit", "unit of the figure"),
        text("state", "pending, applied, dismissed, or withdrawn (the readings make the frozen figure again)"),
        time("at", "when it came to be so"),
        text("by", "who applied or dismissed it; empty otherwise"),
        text("why", "the reason; empty otherwise"),
    ),
)
