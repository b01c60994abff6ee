"""
One payload's bytes to typed entries: readings, or output of products.

    bytes -> open_payload() -> Opened: the good entries, and a reason and a sentence for each bad one

The fast path decodes straight into structs. Only a payload it refuses is opened again, entry by entry, so that the good
entries beside a bad one are used. Work and memory are bounded for every byte; nothing is raised.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from ingest.decode.reasons import Reason, shown

WHOLE = -1
MOST_ENTRIES = 100_000

# of readings.flags: where a time comes from that the reading itself has not
DEFAULTED, RECEIVED = 2, 4


class Reading(msgspec.Struct, gc=False):
    """One value of one meter; without a time, the payload's own counts."""

    meter: str
    value: float
    time: str | int | None = None
    unit: str | None = None


class Output(msgspec.Struct, gc=False):
    """Output of one product in one period."""

    product: str
    start: str | int
    end: str | int
    quantity: float
    unit: str | None = None


class _Readings(msgspec.Struct, gc=False):
    readings: list[Reading] | None = None
    time: str | int | None = None
    seq: int | None = None
    meter: str | None = None
    value: float | None = None
    unit: str | None = None

    def entries(self) -> list[Reading] | None:
        if self.readings is not None or self.meter is None or self.value is None:
            return self.readings
        return [Reading(self.meter, self.value, self.time, self.unit)]


class _Activity(msgspec.Struct, gc=False):
    activity: list[Output] | None = None
    time: None = None
    seq: int | None = None

    def entries(self) -> list[Output] | None:
        return self.activity


class Refusal(NamedTuple):
    """One entry that was refused; `item` is WHOLE for the payload itself."""

    item: int
    reason: Reason
    sentence: str


class Opened(NamedTuple):
    """
    What one payload holds: entries and their places in it, its default time, its `seq`, what was refused.

    `flag` tells where the default time comes from: the message (DEFAULTED) or its receipt (RECEIVED).
    """

    items: Sequence[int] = ()
    entries: Sequence[Any] = ()
    time: object = None
    seq: int | None = None
    refused: Sequence[Refusal] = ()
    flag: int = DEFAULTED


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of payload: the key of its array, the type of an entry, and the key that marks a flat object."""

    key: str
    entry: type[Reading | Output]
    decoder: msgspec.json.Decoder[_Readings] | msgspec.json.Decoder[_Activity]
    flat: str | None = None


KINDS = {
    "readings": Kind("readings", Reading, msgspec.json.Decoder(_Readings), flat="meter"),
    "activity": Kind("activity", Output, msgspec.json.Decoder(_Activity)),
}

_WANTED = {
    "meter": "a meter id",
    "product": "a product id",
    "value": "a number",
    "quantity": "a number",
    "unit": "the name of a unit",
}
_FIELD = re.compile(r"`\$\.(\w+)`|field `(\w+)`")
_LONGEST_INTEGER = 18


def open_payload(payload: bytes, kind: Kind) -> Opened:
    """Decode one payload; what cannot be used is told in `refused`."""
    try:
        whole = kind.decoder.decode(payload)
        entries = whole.entries()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        entries = None
    if entries is None:
        return _by_entry(payload, kind)
    if refusal := _wrong_length(entries, kind):
        return Opened(refused=[refusal])
    return Opened(range(len(entries)), entries, whole.time, whole.seq)


def _by_entry(payload: bytes, kind: Kind) -> Opened:
    try:
        whole = loads(payload)
    except (ValueError, RecursionError) as error:
        return _unusable("the payload", why(error), "a JSON object in UTF-8")
    if not isinstance(whole, dict):
        return _unusable("the payload", shown(whole), "a JSON object in UTF-8")
    found = whole.get(kind.key, [whole] if kind.flat in whole else None)
    if not isinstance(found, list):
        return _unusable(f"'{kind.key}'", _found(whole, kind.key), "an array of objects")
    if refusal := _wrong_length(found, kind):
        return Opened(refused=[refusal])
    return _sorted(found, whole, kind)


def _sorted(found: list[Any], whole: dict[str, Any], kind: Kind) -> Opened:
    items: list[int] = []
    entries: list[Reading | Output] = []
    refused: list[Refusal] = []
    for item, one in enumerate(found):
        try:
            entries.append(msgspec.convert(one, kind.entry))
            items.append(item)
        except msgspec.ValidationError as error:
            refused.append(_refusal(item, one, str(error)))
    seq = whole.get("seq")
    return Opened(items, entries, whole.get("time"), seq if type(seq) is int else None, refused)


def _refusal(item: int, one: object, error: str) -> Refusal:
    field = _FIELD.search(error)
    if field is None or not isinstance(one, dict):
        return Refusal(item, Reason.MALFORMED, Reason.MALFORMED.sentence.format("the entry", shown(one), "an object"))
    name = field[1] or field[2]
    where, found = f"'{name}'", _found(one, name)
    if name not in _WANTED:
        return Refusal(item, Reason.BAD_TIME, Reason.BAD_TIME.sentence.format(where, found))
    return Refusal(item, Reason.MALFORMED, Reason.MALFORMED.sentence.format(where, found, _WANTED[name]))


def _found(one: dict[str, Any], name: str) -> str:
    return shown(one[name]) if name in one else "missing"


def _unusable(where: str, found: str, wanted: str) -> Opened:
    return Opened(refused=[Refusal(WHOLE, Reason.MALFORMED, Reason.MALFORMED.sentence.format(where, found, wanted))])


def _wrong_length(entries: Sequence[object], kind: Kind) -> Refusal | None:
    if not entries:
        return Refusal(WHOLE, Reason.EMPTY, Reason.EMPTY.sentence.format(f"'{kind.key}'"))
    if len(entries) > MOST_ENTRIES:
        found, wanted = f"an array of {len(entries)} entries", f"at most {MOST_ENTRIES}"
        return Refusal(WHOLE, Reason.MALFORMED, Reason.MALFORMED.sentence.format(f"'{kind.key}'", found, wanted))
    return None


def loads(payload: bytes) -> Any:
    """
    Read JSON that may hold NaN and Infinity: they spoil their own entry only.

    Raises:
        ValueError, RecursionError: it is none, or nests too deeply; `why` has the words.
    """
    whole = json.loads(payload.decode("utf-8"), parse_int=_integer)
    # a lone surrogate can be written as \ud800 in JSON and stored nowhere
    json.dumps(whole, ensure_ascii=False).encode("utf-8")
    return whole


def why(error: ValueError | RecursionError) -> str:
    """Tell what is wrong with a payload that `loads` cannot read."""
    match error:
        case UnicodeDecodeError():
            return f"not UTF-8 at byte {error.start}"
        case UnicodeEncodeError():
            return "text with half a surrogate pair"
        case json.JSONDecodeError():
            return f"not JSON at character {error.pos}"
        case _:
            return "nested too deeply"


def _integer(digits: str) -> int | float:
    # reading n digits as an int takes n^2 steps; no time and no seq is that long
    return int(digits) if len(digits) <= _LONGEST_INTEGER else float(digits)
