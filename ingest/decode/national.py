"""
The record that end devices send to the platforms of the online monitoring system (重点用能单位能耗在线监测系统).

    {"deviceId": "...", "enterpriseCode": "91350100M000100Y43", "data": [{"dataCode": "0000000001010410",
     "dataValue": 12.5, "inputType": 3, "statType": 0, "statDate": "2026-11-20 08:15:00", "valid": 1}]}

A meter's `code` names it. Only real-time values are readings (`statType` 0): what is computed from them is ours.
`statDate` is the time of Shanghai and the start of the period. The fields are those of implementations in the field
(NHJC-04-2018 practice); the official schema was not seen.
"""

import re
from collections.abc import Iterator
from typing import Any
from zoneinfo import ZoneInfo

from ingest.decode import times
from ingest.decode.entries import WHOLE, Refusal
from ingest.decode.reasons import shown
from ingest.decode.said import Said, Source, Value, array, document, malformed, not_valid, or_unmapped

_SHANGHAI = ZoneInfo("Asia/Shanghai")
_NUMBER = re.compile(r"[+-]?\d{1,18}(\.\d{1,18})?")
_REAL_TIME, _VALID = (0, "0"), (1, "1")


def read(_: str, payload: bytes, *, source: Source) -> Said:
    """Read one payload, whatever its topic."""
    found = document(payload)
    if isinstance(found, Refusal):
        return Said(refused=[found])
    said = found.get("enterpriseCode")
    if source.uscc and said not in (None, source.uscc):
        return Said(refused=[malformed(WHOLE, "'enterpriseCode'", shown(said), f"{source.uscc}, the facility's own")])
    data = array(found, "data")
    if isinstance(data, Refusal):
        return Said(refused=[data])
    parts = list(_parts(data, source))
    good = [part for part in parts if isinstance(part, Value)]
    bad = [part for part in parts if isinstance(part, Refusal)]
    codes = [one.get("dataCode") for one in data[:10] if isinstance(one, dict)]
    return or_unmapped(Said(good, refused=bad), codes, source)


def _parts(data: list[Any], source: Source) -> Iterator[Value | Refusal]:
    for item, one in enumerate(data):
        code = one.get("dataCode") if isinstance(one, dict) else None
        if not isinstance(code, str):
            yield malformed(item, "the entry", shown(one), "an object with a dataCode")
        elif code in source.meters:
            yield _part(item, code, one)


def _part(item: int, code: str, one: dict[str, Any]) -> Value | Refusal:
    kind, valid, value = one.get("statType"), one.get("valid", 1), one.get("dataValue")
    # a bool equals an int in Python
    if type(kind) is bool or kind not in _REAL_TIME:
        return malformed(item, "'statType'", shown(kind) if "statType" in one else "missing", "0, real time")
    if type(valid) is bool or valid not in _VALID:
        return not_valid(item, code, f"marked valid = {shown(valid)}")
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = float(value)
    return Value(item, code, value, time=times.zoned(one.get("statDate"), _SHANGHAI))
