"""
Tasmota: sensor records with the device's local time.

    tele/SENSOR                 {"Time": "2023-02-05T20:31:48", "ENERGY": {"Total": 1290.396, "Power": [8.15, 0]}}
    stat/STATUS8, stat/STATUS10 {"StatusSNS": {the same}}
    tele/LWT                    Online, Offline

Names are dotted: `ENERGY.Total`, of one phase `ENERGY.Power.0`. ENERGY has units of its own, other sensors have none.
"""

from ingest.decode import times
from ingest.decode.entries import Refusal
from ingest.decode.said import OTHER_UNIT, Said, Source, document, or_unmapped, unknown_topic, values_of

_RECORDS = ("tele/SENSOR", "stat/STATUS8", "stat/STATUS10")
_UNITS = {"Power": "W", "Period": "Wh"} | dict.fromkeys(
    ("Total", "TotalTariff", "Today", "Yesterday", "ImportActive", "ExportActive", "ExportTariff"), "kWh"
)
_STATES = {b"Online": "online", b"Offline": "offline"}


def read(below: str, payload: bytes, *, source: Source) -> Said:
    """Read one message."""
    if below == "tele/LWT":
        return Said(state=_STATES.get(payload, "unknown"))
    if below not in _RECORDS:
        return unknown_topic(below, "tasmota")
    found = document(payload)
    if isinstance(found, Refusal):
        return Said(refused=[found])
    record = found["StatusSNS"] if isinstance(found.get("StatusSNS"), dict) else found
    values = [value._replace(unit=_unit(value.name)) for value in values_of(record, source)]
    return or_unmapped(Said(values, times.zoned(record.get("Time"), source.zone)), list(record)[:10], source)


def _unit(name: str) -> str | None:
    sensor, quantity, *_ = name.split(".")
    return _UNITS.get(quantity, OTHER_UNIT) if sensor == "ENERGY" else None
