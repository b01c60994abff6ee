"""
Shelly: one topic a value (first generation), or one record a component (second generation and later).

    emeter/0/total, relay/0/energy     12345.6                                              no time
    info                               {"unixtime": 1676134770, "emeters": [{"total": 401472.9}]}
    status/emdata:0                    {"id": 0, "total_act": 5415414.19}                   no time
    events/rpc                         {"method": "NotifyStatus", "params": {"ts": 1631186545.04, "em:0": {...}}}
    online                             true, false

Names are the topic of a single value, else dotted: `emeters.0.total`, `emdata:0.total_act`. Energy is in Wh; relays and
`meters` count watt-minutes, which leave here as Wh.
"""

import math
import re

from ingest.decode.entries import Refusal
from ingest.decode.said import OTHER_UNIT, Said, Source, Value, document, look, malformed, not_valid, values_of

_NOTIFICATIONS = ("NotifyStatus", "NotifyFullStatus")
_STATES = {b"true": "online", b"false": "offline"}
_NUMBER = re.compile(rb"[+-]?\d{1,18}(\.\d{1,18})?")
_WATT_MINUTES = re.compile(r"\w+/\d+/(returned_)?energy|meters\.\d+\.total")
_UNITS = (
    (re.compile(r"\w+/\d+/(total|total_returned)|emeters\.\d+\.(total|total_returned)"), "Wh"),
    (
        re.compile(r"\w+:\d+\.(aenergy\.total|ret_aenergy\.total|\w*act_energy|\w*act_ret_energy|total_act(_ret)?)"),
        "Wh",
    ),
    (re.compile(r"\w+/\d+/power|e?meters\.\d+\.power|\w+:\d+\.(apower|(\w+_)?act_power)"), "W"),
)
_MINUTES = 60  # of an hour
_LATEST = 1e11  # [s] far beyond any year that can be written


def read(below: str, payload: bytes, *, source: Source) -> Said:
    """Read one message."""
    if below == "online":
        return Said(state=_STATES.get(payload, "unknown"))
    if below in {"info", "events/rpc"} or below.startswith("status/"):
        return _record(below, payload, source)
    if below not in source.meters:
        return Said()
    if _NUMBER.fullmatch(payload) is None:
        found = f"{payload[:20]!r}".removeprefix("b")
        return Said(refused=[malformed(0, f"'{below}'", found, "a number")])
    return Said([_in_unit(Value(0, below, float(payload)))])


def _record(below: str, payload: bytes, source: Source) -> Said:
    found = document(payload)
    if isinstance(found, Refusal):
        return Said(refused=[found])
    tree: object = found
    time = found.get("unixtime") if below == "info" else None
    if below == "events/rpc":
        tree = found.get("params") if found.get("method") in _NOTIFICATIONS else None
        time = look(tree, "ts")
    elif below != "info":
        tree = {below.removeprefix("status/"): found}
    values = list(values_of(tree, source))
    bad = {value.item for value in values if look(tree, f"{value.name.rpartition('.')[0]}.is_valid") is False}
    good = [_in_unit(value) for value in values if value.item not in bad]
    refused = [not_valid(value.item, value.name, "marked not valid") for value in values if value.item in bad]
    return Said(good, _milliseconds(time), refused)


def _in_unit(value: Value) -> Value:
    if _WATT_MINUTES.fullmatch(value.name):
        number = value.value
        return value._replace(value=number / _MINUTES if type(number) in {int, float} else number, unit="Wh")  # type: ignore[operator]
    unit = next((unit for pattern, unit in _UNITS if pattern.fullmatch(value.name)), OTHER_UNIT)
    return value._replace(unit=unit)


def _milliseconds(seconds: object) -> object:
    if type(seconds) is int or type(seconds) is float:
        return round(seconds * 1000) if math.fabs(seconds) < _LATEST else seconds
    return seconds
