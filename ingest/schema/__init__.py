"""
Every table and every column, once: both stores, the jobs, the exports and docs/tables.md follow these files.

A table is keyed; writing the same row again changes nothing, writing another row under the same key replaces it.
Stored time is UTC with microseconds; a period is labelled by its start.
"""

from ingest.schema.collected import (
    ACTIVITY,
    COLLECTORS,
    ENTERED,
    GATEWAYS,
    QUARANTINE,
    QUARANTINE_STATES,
    READINGS,
    REPLACED,
    TRAFFIC,
    VOID,
)
from ingest.schema.columns import EPOCH, TIME, Column, Table, microseconds, moment
from ingest.schema.computed import BALANCE, ENERGY, INDICATORS, UNATTRIBUTED
from ingest.schema.decisions import CORRECTIONS, ENTRIES, FREEZES
from ingest.schema.judged import BREACH_EVENTS, NOTICES, RUNS
from ingest.schema.views import BREACHES, CONNECTIONS, FACILITIES, VERDICTS

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        READINGS,
        ACTIVITY,
        QUARANTINE,
        QUARANTINE_STATES,
        COLLECTORS,
        TRAFFIC,
        GATEWAYS,
        ENERGY,
        UNATTRIBUTED,
        BALANCE,
        INDICATORS,
        BREACH_EVENTS,
        NOTICES,
        ENTRIES,
        FREEZES,
        CORRECTIONS,
        RUNS,
        VERDICTS,
        FACILITIES,
        CONNECTIONS,
        BREACHES,
    )
}


__all__ = [
    "ACTIVITY",
    "BALANCE",
    "BREACHES",
    "BREACH_EVENTS",
    "COLLECTORS",
    "CONNECTIONS",
    "CORRECTIONS",
    "ENERGY",
    "ENTERED",
    "ENTRIES",
    "EPOCH",
    "FACILITIES",
    "FREEZES",
    "GATEWAYS",
    "INDICATORS",
    "NOTICES",
    "QUARANTINE",
    "QUARANTINE_STATES",
    "READINGS",
    "REPLACED",
    "RUNS",
    "TABLES",
    "TIME",
    "TRAFFIC",
    "UNATTRIBUTED",
    "VERDICTS",
    "VOID",
    "Column",
    "Table",
    "microseconds",
    "moment",
]
