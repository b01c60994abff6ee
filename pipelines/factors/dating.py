"""Until when a factor holds: until the day before the next of its kind, or its own last day where that is earlier."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from datetime import timedelta
from itertools import pairwise
from typing import TypeVar

from ingest.errors import Problem
from pipelines.factors.rows import Row

_DAY = timedelta(days=1)
_Row = TypeVar("_Row", bound=Row)


def closed(rows: Iterable[_Row], kind: Callable[[_Row], Hashable]) -> tuple[tuple[_Row, ...], list[Problem]]:
    """
    Give each row the last day it holds.

    Args:
        rows: factors; `valid_to` may be open.
        kind: what rows have in common of which only one can hold on a day.

    Returns:
        The rows by kind and time, `valid_to` open in the newest of a kind only; and those whose own `valid_to` reaches
        into the time of the next: which of the two holds would be a guess.
    """
    kinds: dict[Hashable, list[_Row]] = defaultdict(list)
    for row in rows:
        kinds[kind(row)].append(row)
    found: list[_Row] = []
    problems: list[Problem] = []
    for own in kinds.values():
        ordered = sorted(own, key=lambda row: row.valid_from)
        for row, following in pairwise(ordered):
            last = following.valid_from - _DAY
            if row.valid_to is not None and row.valid_to > last >= row.valid_from:
                name = f"{row.carrier} from {row.valid_from}: valid_to"
                problems.append(Problem(name, str(row.valid_to), f"a day before {following.valid_from}, the next one"))
            found.append(row.model_copy(update={"valid_to": min(row.valid_to or last, last)}))
        found.append(ordered[-1])
    return tuple(found), problems
