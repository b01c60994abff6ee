"""
Lists of tables, row by row and against each other: a fault of one row never hides those of another.

    list of tables -> rows() -> the checked list, or the errors of every row and of the rows together

Every error carries the name of its row: nobody counts tables in a file.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from pydantic import ValidationError, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

Row = dict[str, Any]
_Checked = TypeVar("_Checked")


class Fault(NamedTuple):
    """What is wrong with one row of a list: its place, its name, what was found, what is wanted."""

    at: tuple[int | str, ...]
    name: str
    found: object
    wanted: str


Check = Callable[[Sequence[Row]], Iterator[Fault]]


def wanted(sentence: str, *, name: str = "") -> PydanticCustomError:
    """Build the error of a check of ours: what is wanted, and the name of the row it is about."""
    return PydanticCustomError("wanted", "{wanted}", {"wanted": sentence, "name": name})


def rows(key: str, check: Check | None = None, *, once: bool = True) -> WrapValidator:
    """
    Check a list of tables row by row and the rows against each other, and report both.

    `key` names a row; where it has to stand `once`, a second row with it is a fault.
    """

    def validate(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        found = rows_of(value)
        faults = [*(twice(found, key) if once else ()), *(check(found) if check else ())]
        return together(value, handler, faults, naming=lambda error: _named(error, found, key))

    return WrapValidator(validate)


def together(
    value: Any,
    handler: Callable[[Any], _Checked],
    faults: Iterable[Fault],
    *,
    naming: Callable[[ErrorDetails], InitErrorDetails] | None = None,
) -> _Checked:
    """Run the checks of a model or a list, and raise what they find together with `faults`."""
    errors = [InitErrorDetails(type=wanted(f.wanted, name=f.name), loc=f.at, input=f.found) for f in faults]
    try:
        checked = handler(value)
    except ValidationError as error:
        errors = [*map(naming or _again, error.errors(include_url=False)), *errors]
    if errors:
        raise ValidationError.from_exception_data("registry", errors)
    return checked


def rows_of(value: object) -> list[Row]:
    """Return the tables of a list as they stand in the file; an empty one in place of what is none."""
    return [_row(row) for row in value] if isinstance(value, list | tuple) else []


def of(row: Row, key: str) -> str:
    """Return what names a row; empty where it has no such name."""
    return str(row[key]) if isinstance(row.get(key), str | int | datetime) else ""


def twice(found: Sequence[Row], key: str) -> Iterator[Fault]:
    """Tell each row whose `key` an earlier row has already."""
    seen: Counter[str] = Counter()
    for place, row in enumerate(found):
        name = of(row, key)
        seen[name] += 1
        if name and seen[name] > 1:
            first = [of(other, key) for other in found].index(name)
            yield Fault((place, key), "", row[key], f"another {key}: row {first} has this one already")


def _row(row: object) -> Row:
    return row if isinstance(row, dict) else getattr(row, "__dict__", {})


def _named(detail: ErrorDetails, found: Sequence[Row], key: str) -> InitErrorDetails:
    place = next(iter(detail["loc"]), None)
    name = of(found[place], key) if isinstance(place, int) else ""
    return _again(detail, **({"name": name} if name and detail["loc"][1:] != (key,) else {}))


def _again(detail: ErrorDetails, **context: str) -> InitErrorDetails:
    # the message is finished; doubled braces would show, single ones only match keys of the context
    error = PydanticCustomError(detail["type"], detail["msg"], detail.get("ctx", {}) | context)
    return InitErrorDetails(type=error, loc=detail["loc"], input=detail["input"])
