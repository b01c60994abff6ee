"""
From a failed check to a sentence for a person: file and key path, what was found, what is wanted.

    pydantic ValidationError -> problems_of() -> Problem, Problem, ...

The registry, the settings and the rule catalogue all report through this one function.
"""

import difflib
from collections.abc import Iterator
from datetime import date
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from ingest.errors import Problem

_OFFSET = "a date and time with offset and without quotes, e.g. 2026-03-02T10:00:00+08:00"

_LONGEST = 60

# the error types of pydantic that data from TOML or the environment can meet; {} is filled from the error's context
_WANTED = {
    "missing": "a value: the key is required",
    "wanted": "{wanted}",
    "string_type": "a text in quotes",
    "string_too_short": "a text of at least {min_length} characters",
    "string_too_long": "a text of at most {max_length} characters",
    "string_pattern_mismatch": "a text like {pattern}",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "greater_than": "a number above {gt:g}",
    "greater_than_equal": "a number not below {ge:g}",
    "less_than": "a number below {lt:g}",
    "less_than_equal": "a number not above {le:g}",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "date_type": "a date without quotes, e.g. 2026-01-31",
    "datetime_type": _OFFSET,
    "timezone_aware": _OFFSET,
    "literal_error": "one of {expected}",
    "tuple_type": "a list",
    "too_short": "a list of at least {min_length}",
    "model_type": "a table of keys",
    "dict_type": "a table of keys",
}


def problems_of(error: ValidationError, file: str, *, model: type[BaseModel] | None = None) -> Iterator[Problem]:
    """
    Turn every error of a pydantic model into a problem.

    Args:
        error: what the model raised.
        file: the file, or whatever else the values came from.
        model: the model itself; with it a mistyped key gets its nearest match.
    """
    for detail in error.errors(include_url=False):
        context = detail.get("ctx", {})
        path = ".".join(map(str, detail["loc"]))
        name = f" ({context['name']})" if context.get("name") else ""
        where = f"{file}: {path}{name}" if path else file
        if detail["type"] == "extra_forbidden":
            yield Problem(where, *_unknown_key(detail, model))
        else:
            found = "nothing" if detail["type"] == "missing" else _shown(detail["input"])
            wanted = _WANTED.get(detail["type"], "{message}")
            sentence = wanted.format(message=detail["msg"].lower(), **context)
            yield Problem(where, found, sentence.replace("'", "") if detail["type"] == "literal_error" else sentence)


def _unknown_key(detail: ErrorDetails, model: type[BaseModel] | None) -> tuple[str, str]:
    *above, key = detail["loc"]
    keys = _keys(model, above)
    nearest = difflib.get_close_matches(str(key), keys, n=1)
    return (
        f"unknown key {_shown(str(key))}" + "".join(f" ({match}?)" for match in nearest),
        f"one of {', '.join(keys)}" if keys else "no such key",
    )


def _keys(model: type[BaseModel] | None, path: list[int | str]) -> list[str]:
    """Return the keys of the table a path leads to; none where the path leaves the models."""
    for step in path:
        if isinstance(step, str):
            field = model.model_fields.get(step) if model else None
            model = next(_models(field.annotation), None) if field else None
    return [field.alias or name for name, field in model.model_fields.items()] if model else []


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)


def _shown(value: Any) -> str:
    """Write a value as it stands in the file, cut to a readable length."""
    match value:
        case None | {} if not value:
            shown = "nothing"
        case bool():
            shown = str(value).lower()
        case date():
            shown = value.isoformat()
        case dict():
            shown = "a table of keys"
        case list() | tuple():
            shown = f"a list of {len(value)}"
        case str():
            shown = repr(value if len(value) <= _LONGEST else value[: _LONGEST - 3] + "...")
        case float():
            shown = f"{value:.6g}"
        case _:
            shown = str(value)[:_LONGEST]
    return shown
