"""
How the rows of one registry file fit each other: meters with meters, gateways with meters.

    rows as they stand in the file -> tree(), fits() -> Fault, Fault, ...

They look at rows that no model has checked yet, so that what is wrong with one row hides nothing of another.
"""

from collections.abc import Iterator, Sequence

from ingest.carriers import CARRIERS
from ingest.registry.rows import Fault, Row, of, rows_of, twice


def tree(found: Sequence[Row]) -> Iterator[Fault]:
    """Tell where meters form no trees of one carrier: a sub-meter's energy is part of its parent's."""
    if not found:
        yield Fault((), "", [], "at least one [[meter]]")
    yield from twice(found, "code")
    meters = {of(row, "id"): row for row in found}
    for place, row in enumerate(found):
        name, parent = of(row, "id"), of(row, "parent")
        at = (place, "parent")
        if not parent:
            continue
        if parent not in meters:
            yield Fault(at, name, parent, "the id of a meter of this facility")
        elif name in (path := above(meters, parent)):
            circle = " > ".join([name, *path[: path.index(name) + 1]])
            yield Fault(at, name, parent, f"no circle of parents: {circle}")
        elif {of(row, "carrier"), of(meters[parent], "carrier")} <= CARRIERS.keys() and (
            row["carrier"] != meters[parent]["carrier"]
        ):
            yield Fault(
                at, name, parent, f"a meter of {row['carrier']} too; that one measures {meters[parent]['carrier']}"
            )


def above(meters: dict[str, Row], name: str) -> list[str]:
    """Return a meter and those above it, each once also where they run in a circle."""
    path: list[str] = []
    while name in meters and name not in path:
        path.append(name)
        name = of(meters[name], "parent")
    return path


def fits(facility: Row) -> Iterator[Fault]:
    """Tell where a gateway names no meter of its facility; the national format names meters by code."""
    meters = rows_of(facility.get("meter"))
    ids = {of(meter, "id") for meter in meters}
    for place, gateway in enumerate(rows_of(facility.get("gateway"))):
        name, mapped = of(gateway, "id"), gateway.get("meters")
        for key, meter in mapped.items() if isinstance(mapped, dict) else ():
            if isinstance(meter, str) and meter not in ids:
                at = ("gateway", place, "meters", key)
                yield Fault(at, name, meter, "the id of a meter of this facility")
        if gateway.get("format") == "national" and not any(meter.get("code") for meter in meters):
            yield Fault(("gateway", place, "format"), name, "national", "a meter with a code, by which it is named")
    if any(gateway.get("format") == "national" for gateway in rows_of(facility.get("gateway"))):
        yield from _stamps(meters)


def _stamps(meters: Sequence[Row]) -> Iterator[Fault]:
    """Require the stamp of the national practice: the start of the period."""
    for place, meter in enumerate(meters):
        if meter.get("code") and meter.get("kind") == "interval" and meter.get("stamp", "end") == "end":
            sentence = "start, because a national gateway stamps a period with its start"
            yield Fault(("meter", place, "stamp"), of(meter, "id"), "end", sentence)
