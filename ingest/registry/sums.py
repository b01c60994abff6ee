"""
How virtual meters fit the meters they add and subtract, and dated values each other.

    rows as they stand in the file -> sums(), overlapping() -> Fault, Fault, ...

Like `fits.py` they look at rows that no model has checked yet.
"""

from collections.abc import Iterator, Sequence
from datetime import date
from itertools import combinations, pairwise

from ingest.registry.fits import above
from ingest.registry.rows import Fault, Row, of, rows_of

# roles whose meters stand beside their main meter: its energy does not hold theirs
BESIDE = ("generation", "export")

_SIDES = ("add", "subtract")


def sums(facility: Row) -> Iterator[Fault]:
    """Tell where a virtual meter adds what is not there, of another carrier, in a circle, or a second time."""
    meters = {of(row, "id"): row for row in rows_of(facility.get("meter"))}
    found = rows_of(facility.get("virtual"))
    virtuals = {name: row for row in found if (name := of(row, "id")) not in meters}
    for place, row in enumerate(found):
        name = of(row, "id")
        if name in meters:
            yield Fault(("virtual", place, "id"), "", name, "another id: a meter has this one already")
        yield from _parts(row, place, meters | virtuals)
        if name in _behind(virtuals, name):
            yield Fault(("virtual", place, "add"), name, name, "no circle: it adds or subtracts itself")
    if not any(name in _behind(virtuals, name) for name in virtuals):
        yield from _shared(meters, virtuals, {of(row, "id"): place for place, row in enumerate(found)})


def _parts(row: Row, place: int, known: dict[str, Row]) -> Iterator[Fault]:
    name, seen = of(row, "id"), set[str]()
    for side, position, part in _named(row):
        at = ("virtual", place, side, position)
        if part not in known:
            yield Fault(at, name, part, "the id of a meter or virtual meter of this facility")
        elif part in seen:
            yield Fault(at, name, part, "each meter once")
        elif of(known[part], "carrier") != of(row, "carrier"):
            found = of(known[part], "carrier")
            yield Fault(at, name, part, f"a meter of {of(row, 'carrier')} too; that one measures {found}")
        seen.add(part)


def _named(row: Row) -> Iterator[tuple[str, int, str]]:
    for side in _SIDES:
        listed = row.get(side)
        for position, part in enumerate(listed if isinstance(listed, list | tuple) else ()):
            if isinstance(part, str):
                yield side, position, part


def _behind(virtuals: dict[str, Row], name: str) -> set[str]:
    """Return everything a virtual meter rests on, itself where it runs in a circle."""
    behind: set[str] = set()
    waiting = [name]
    while waiting:
        row = virtuals.get(waiting.pop(), {})
        fresh = {part for _, _, part in _named(row)} - behind
        behind |= fresh
        waiting += sorted(fresh)
    return behind


def _added(virtuals: dict[str, Row], name: str) -> set[str]:
    """Return the meters a virtual meter is the sum of, through the virtual ones it adds."""
    row = virtuals.get(name)
    if row is None:
        return {name}
    return {meter for side, _, part in _named(row) if side == "add" for meter in _added(virtuals, part)}


def _shared(meters: dict[str, Row], virtuals: dict[str, Row], places: dict[str, int]) -> Iterator[Fault]:
    """Tell where the same energy is added twice: inside one virtual meter, or by two that are counted together."""
    lines = {name: _lines(meters, name) for name in meters}
    for name in virtuals:
        added = sorted(_added(virtuals, name) & meters.keys())
        for one, other in combinations(added, 2):
            if one in lines[other] or other in lines[one]:
                lower, upper = (other, one) if one in lines[other] else (one, other)
                sentence = f"no meter with one above it: {lower} stands below {upper} and is counted in it"
                yield Fault(("virtual", places[name], "add"), name, lower, sentence)
    for one, other in combinations(virtuals, 2):
        together = any(of(virtuals[one], key) == of(virtuals[other], key) != "" for key in ("role", "scope"))
        if not together or one in _behind(virtuals, other) or other in _behind(virtuals, one):
            continue
        mine, theirs = ({*_added(virtuals, name)} & meters.keys() for name in (one, other))
        common = sorted(a for a in mine for b in theirs if a in lines[b] or b in lines[a])
        if common:
            sentence = f"no energy that {one} adds already: both are counted together, as role or scope says"
            yield Fault(("virtual", places[other], "add"), other, common[0], sentence)


def _lines(meters: dict[str, Row], name: str) -> list[str]:
    """Return a meter and those whose energy holds its energy."""
    line = above(meters, name)
    for place, (lower, upper) in enumerate(pairwise(line)):
        role = of(meters[lower], "role")
        if role in BESIDE and of(meters[upper], "role") != role:
            return line[: place + 1]
    return line


def overlapping(found: Sequence[Row]) -> Iterator[Fault]:
    """Tell where two dated rows of one carrier hold on the same day: which one holds would be a guess."""
    for place, row in enumerate(found):
        for earlier in found[:place]:
            if of(row, "carrier") == of(earlier, "carrier") and _meet(row, earlier):
                sentence = f"days after those of the row from {earlier['valid_from']}"
                yield Fault((place, "valid_from"), of(row, "carrier"), row["valid_from"], sentence)


def _meet(one: Row, other: Row) -> bool:
    spans = [(row.get("valid_from"), row.get("valid_to") or date.max) for row in (one, other)]
    dated = [(first, last) for first, last in spans if type(first) is date and type(last) is date]
    return len(dated) == len(spans) and max(first for first, _ in dated) <= min(last for _, last in dated)
