"""
What a device of another format said: values by the names it gives them, and from there to readings of meters.

    payload -> a format's reader -> Said -> opened() -> Opened: the readings of the mapped names, and what was refused

A name that the registry does not map is no reading. A value without a unit is in the registry's unit for its name,
else in its meter's.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple, TypeAlias
from zoneinfo import ZoneInfo

from ingest.decode.entries import MOST_ENTRIES, RECEIVED, WHOLE, Opened, Reading, Refusal, loads, why
from ingest.decode.reasons import Reason, shown
from ingest.decode.topics import BELOW
from ingest.model import Message, Publication
from ingest.registry import Facility, Gateway
from ingest.schema import EPOCH

_MISSING = object()

OTHER_UNIT = "?"  # of a name that the format knows to be neither energy nor power


class Value(NamedTuple):
    """One value under the name its device gives it; without a unit or a time, the format says none for it."""

    item: int
    name: str
    value: object
    unit: str | None = None
    time: object = None


class Said(NamedTuple):
    """
    What one message says.

    Attributes:
        values: values of mapped names.
        time: the message's own time: RFC 3339 or epoch milliseconds; None where it has none.
        refused: what cannot be used.
        state: `online` or `offline` where the message tells that; empty otherwise.
        ask: what to send to the device, below its gateway's topic, so that its messages can be read; None for nothing.
    """

    values: Sequence[Value] = ()
    time: object = None
    refused: Sequence[Refusal] = ()
    state: str = ""
    ask: Publication | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """
    A gateway as its reader needs it.

    Attributes:
        meters: name of a value to its meter.
        units: name of a value to its unit.
        zone: of times without an offset.
        time: where the time stands in a payload of the flat format.
        uscc: credit code (统一社会信用代码) of the facility; None where the registry has none.
        receipt: whether a value without a time counts as taken when it was received.
    """

    meters: Mapping[str, str]
    units: Mapping[str, str]
    zone: ZoneInfo
    time: str
    uscc: str | None
    receipt: bool


# what stands below the gateway in the topic, and the payload
Reader: TypeAlias = Callable[[str, bytes], Said]


def source_of(facility: Facility, gateway: Gateway) -> Source:
    """Return what the registry says of a gateway; the national format names meters by their code."""
    codes = {meter.code: meter.id for meter in facility.meter if meter.code}
    return Source(
        meters=codes if gateway.format == "national" else gateway.meters,
        units=gateway.units,
        zone=facility.zone,
        time=gateway.time,
        uscc=facility.uscc,
        receipt=gateway.missing_time == "receipt",
    )


def opened(said: Said, message: Message, source: Source) -> Opened:
    """Turn what a device said into readings of meters; a retained message is older than its receipt."""
    default, flag = said.time, {}
    if default is None and source.receipt and not message.retained:
        default, flag = (message.received - EPOCH) // timedelta(milliseconds=1), {"flag": RECEIVED}
    items: list[int] = []
    entries: list[Reading] = []
    refused = list(said.refused)
    for value in said.values:
        number = _number(value.value)
        if number is None:
            refused.append(malformed(value.item, f"'{value.name}'", shown(value.value), "a number"))
        elif value.time is None and default is None:
            refused.append(Refusal(value.item, Reason.NO_TIME, Reason.NO_TIME.sentence.format(f"'{value.name}'")))
        else:
            unit = source.units.get(value.name, value.unit)
            entries.append(Reading(source.meters[value.name], number, value.time, unit))  # type: ignore[arg-type]
            items.append(value.item)
    return Opened(items, entries, default, None, refused, **flag)


def document(payload: bytes) -> dict[str, Any] | Refusal:
    """Read a JSON object."""
    try:
        whole = loads(payload)
    except (ValueError, RecursionError) as error:
        return malformed(WHOLE, "the payload", why(error), "a JSON object in UTF-8")
    if not isinstance(whole, dict):
        return malformed(WHOLE, "the payload", shown(whole), "a JSON object in UTF-8")
    return whole


def array(found: dict[str, Any], key: str) -> list[Any] | Refusal:
    """Return the array under a key, where it is one of at most `MOST_ENTRIES`."""
    entries = found.get(key)
    if not isinstance(entries, list):
        return malformed(WHOLE, f"'{key}'", shown(entries) if key in found else "missing", "an array of objects")
    if len(entries) > MOST_ENTRIES:
        return malformed(WHOLE, f"'{key}'", f"an array of {len(entries)} entries", f"at most {MOST_ENTRIES}")
    return entries


def values_of(tree: object, source: Source) -> Iterator[Value]:
    """Find the mapped names in nested objects; `item` is the place of the name in the registry."""
    for item, name in enumerate(source.meters):
        value = look(tree, name, _MISSING)
        if value is not _MISSING:
            yield Value(item, name, value)


def look(tree: object, name: str, missing: object = None) -> object:
    """Follow a dotted name into objects and arrays; a key may hold dots itself, as an OBIS code does."""
    if isinstance(tree, list):
        index, _, rest = name.partition(".")
        if not index.isascii() or not index.isdecimal() or int(index) >= len(tree):
            return missing
        return look(tree[int(index)], rest, missing) if rest else tree[int(index)]
    if not isinstance(tree, dict):
        return missing
    if name in tree:
        return tree[name]
    for place, character in enumerate(name):
        if character == "." and name[:place] in tree:
            found = look(tree[name[:place]], name[place + 1 :], _MISSING)
            if found is not _MISSING:
                return found
    return missing


def or_unmapped(said: Said, names: Sequence[object], source: Source) -> Said:
    """Refuse a record without any mapped name: a record holds all of a device's values, so the mapping is wrong."""
    if said.values or said.refused:
        return said
    sentence = Reason.UNMAPPED.sentence.format(shown(list(names)), shown(list(source.meters)))
    return said._replace(refused=[Refusal(WHOLE, Reason.UNMAPPED, sentence)])


def malformed(item: int, where: str, found: str, wanted: str) -> Refusal:
    """Refuse what is not of the form its format asks for."""
    return Refusal(item, Reason.MALFORMED, Reason.MALFORMED.sentence.format(where, found, wanted))


def not_valid(item: int, name: str, found: str) -> Refusal:
    """Refuse what the device itself calls wrong."""
    return Refusal(item, Reason.NOT_VALID, Reason.NOT_VALID.sentence.format(f"'{name}'", found))


def unknown_topic(below: str, format_: str) -> Said:
    """Refuse a topic that is none of the format's."""
    wanted = ", ".join(BELOW[format_])
    return Said(refused=[Refusal(WHOLE, Reason.TOPIC, Reason.TOPIC.sentence.format(shown(below), wanted))])


def _number(value: object) -> float | None:
    # the exact type: in Python, a bool is an int
    if type(value) is not int and type(value) is not float:
        return None
    return float(value)
