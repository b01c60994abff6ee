"""Tables that compute writes: energy, what was attributed to no slot, balances, indicators."""

from ingest.schema.columns import COVERAGE, FACILITY, INTERVAL, METER, Table, count, number, text, time

ENERGY = Table(
    "energy",
    "energy of one meter in one slot",
    key=("facility", "meter", "interval", "start"),
    time="start",
    columns=(
        FACILITY,
        METER,
        text("carrier", "energy carrier (能源品种)"),
        text("role", "what the meter measures: total, it, cooling, ..."),
        text("scope", "product or area the meter serves alone; empty otherwise"),
        INTERVAL,
        time("start", "start of the slot"),
        time("end", "end of the slot (not part of it)"),
        number("quantity", "native quantity in the carrier's canonical unit"),
        text("unit", "canonical unit of the carrier"),
        number("kwh", "energy content; null for energy-consuming media (耗能工质)", "kWh"),
        number("kgce", "coal equivalent (标准煤)", "kgce"),
        number("kg_co2", "carbon dioxide; null where no factor is known", "kg CO2"),
        COVERAGE,
        number("estimated", "share of the quantity that was spread over a gap", "0..1"),
        text("factor_version", "version of the factor catalogue used"),
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
        text("kind", "what happened, docs/methods/energy.md: rollover, exchange, reset, glitch, step_back, jump, ..."),
        time("start", "start of the day in the facility's zone in which the steps end"),
        time("end", "end of the day (not part of it)"),
        number("quantity", "advance that is attributed to no slot, in `unit`; negative where the register went back"),
        number("attributed", "advance of these steps that is attributed to slots, in `unit`"),
        text("unit", "canonical unit of the carrier"),
        count("steps", "number of steps; 0 where later readings explained all of them"),
        time("at", "end of the first of them"),
        number("before", "value before the first of them, as shown by the meter"),
        number("after", "value after it, as shown by the meter"),
        number("bound", "most that was plausible for it in `unit`; null where no rated power is known"),
        text("sentence", "what was found, and what was done with it"),
    ),
)

BALANCE = Table(
    "balance",
    "one main meter against the sum of its sub-meters in one slot or day",
    key=("facility", "meter", "interval", "start"),
    time="start",
    columns=(
        FACILITY,
        text("meter", "the main meter"),
        text("interval", "length of the period in the facility's zone: 15m, 1d"),
        time("start", "start of the period"),
        time("end", "end of the period (not part of it)"),
        number("quantity", "quantity of the main meter in `unit`, over the time in which all meters are covered"),
        number("subs", "sum of its sub-meters in `unit`; generation below the main meter counts against it"),
        number("difference", "quantity - subs, in `unit`"),
        number("tolerance", "root of the sum of squares of accuracy class x quantity of all meters, in `unit`"),
        text("unit", "canonical unit of the carrier"),
        number("coverage", "slot: the least of all meters; day: share of it in which all are covered", "0..1"),
        text("status", "ok, beyond_tolerance, or not_assessable"),
        text("reason", "why it is not assessable; otherwise the meters whose class is assumed"),
        text("meters", "the main meter and its sub-meters, as `main / meter, meter - meter`"),
    ),
)

INDICATORS = Table(
    "indicators",
    "one indicator of one facility in one period",
    key=("facility", "indicator", "scope", "interval", "start"),
    time="start",
    columns=(
        FACILITY,
        text("indicator", "indicator (指标) code"),
        text("scope", "product id where the indicator is of one product; empty otherwise"),
        INTERVAL,
        time("start", "start of the period"),
        time("end", "end of the period (not part of it)"),
        number("value", "value in `unit`; null where it is not assessable"),
        text("unit", "unit of the value"),
        number("numerator", "what stands above the line"),
        number("denominator", "what stands below the line"),
        COVERAGE,
        text("status", "ok, or not_assessable"),
        text("reason", "why it is not assessable; empty otherwise"),
        text("meters", "the meters it rests on, as `meter, meter / meter`"),
        text("catalogue_version", "version of the factor catalogue used"),
        text("unverified", "carriers whose factor is not verified, e.g. `water (RECALLED)`; empty where all are"),
    ),
)
