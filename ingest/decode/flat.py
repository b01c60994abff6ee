"""
Key-value JSON of generic gateways: one object, its values under names the registry maps.

    {"timestamp": 1650006388943, "values": {"tag0": 123}, "errors": {"tag1": 2014}}            EMQX Neuron, values
    {"timestamp": 1650006388943, "tags": [{"name": "tag0", "value": 123}]}                     EMQX Neuron, tags
    {"timestamp": 1650006388943, "meter": {"energy": {"total": 123}}}                          any other, dotted names

The time is RFC 3339, epoch milliseconds, or a local time without an offset in the facility's zone.
"""

from collections.abc import Iterator
from typing import Any

from ingest.decode import times
from ingest.decode.entries import Refusal
from ingest.decode.reasons import shown
from ingest.decode.said import (
    Said,
    Source,
    Value,
    array,
    document,
    look,
    malformed,
    not_valid,
    or_unmapped,
    values_of,
)


def read(_: str, payload: bytes, *, source: Source) -> Said:
    """Read one payload, whatever its topic."""
    found = document(payload)
    if isinstance(found, Refusal):
        return Said(refused=[found])
    time = times.zoned(look(found, source.time), source.zone)
    if "tags" in found:
        tags = array(found, "tags")
        if isinstance(tags, Refusal):
            return Said(refused=[tags])
        parts, names = list(_tags(tags, source)), [tag.get("name") for tag in tags[:10] if isinstance(tag, dict)]
    else:
        values = found["values"] if isinstance(found.get("values"), dict) else found
        parts, names = list(_values(values, found.get("errors"), source)), list(values)[:10]
    good = [part for part in parts if isinstance(part, Value)]
    bad = [part for part in parts if isinstance(part, Refusal)]
    return or_unmapped(Said(good, time, bad), names, source)


def _values(values: dict[str, Any], errors: object, source: Source) -> Iterator[Value | Refusal]:
    yield from values_of(values, source)
    for item, name in enumerate(source.meters):
        if isinstance(errors, dict) and name in errors:
            yield not_valid(item, name, f"error {shown(errors[name])}")


def _tags(tags: list[Any], source: Source) -> Iterator[Value | Refusal]:
    for item, tag in enumerate(tags):
        name = tag.get("name") if isinstance(tag, dict) else None
        if not isinstance(name, str):
            yield malformed(item, "the tag", shown(tag), "an object with a name")
        elif name in source.meters and "error" in tag:
            yield not_valid(item, name, f"error {shown(tag['error'])}")
        elif name in source.meters:
            yield Value(item, name, tag.get("value"))
