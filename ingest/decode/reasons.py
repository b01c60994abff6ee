"""
Why a payload or one entry of it is refused: a code for machines, a sentence for people.

The sentence says what was found and what is wanted; `{}` are filled in the order of the sentence.
"""

import json
import reprlib
from enum import StrEnum
from typing import Self

import polars as pl

_LONGEST = 60


class Reason(StrEnum):
    """A reason code and its sentence."""

    sentence: str

    def __new__(cls, code: str, sentence: str) -> Self:
        """Make a member of its code, with the sentence beside it."""
        member = str.__new__(cls, code)
        member._value_ = code
        member.sentence = sentence
        return member

    TOPIC = "topic", "topic {} is not known; wanted peakwatch/v1/FACILITY/GATEWAY/ and {}"
    MALFORMED = "malformed", "{} is {}; wanted {}"
    EMPTY = "empty", "{} is an empty array; wanted at least one entry"
    UNMAPPED = "unmapped", "the payload names {} and none of the values mapped to meters; wanted one of {}"
    NOT_VALID = "not_valid", "{} is {}; wanted a valid value"
    NO_TIME = "no_time", '{} has no time; wanted one, or missing_time = "receipt" and a message that is not retained'
    NO_BIRTH = (
        "no_birth",
        "{} of {} is not known, because its birth is missing; wanted {} first, or names and datatypes in each message",
    )
    UNKNOWN_FACILITY = "unknown_facility", "facility {} is not in the registry; wanted a registered facility"
    UNKNOWN_METER = "unknown_meter", "meter {} is not registered; wanted a meter of facility {}"
    FOREIGN_METER = "foreign_meter", "meter {} belongs to another facility; wanted a meter of facility {}"
    UNKNOWN_PRODUCT = "unknown_product", "product {} is not registered; wanted a product of facility {}"
    WRONG_UNIT = "wrong_unit", "unit {} cannot measure {} {} ({})"
    BAD_TIME = "bad_time", "{} is {}; wanted RFC 3339 with an offset, or integer epoch milliseconds"
    FUTURE = "future", "time {} lies ahead of its receipt at {}; wanted at most {} s ahead"
    PAST = "past", "time {} lies behind its receipt at {}; wanted at most {} s behind"
    BEFORE_VALID = "before_valid", "time {} lies before meter {} is valid; wanted {} or later"
    NOT_FINITE = "not_finite", "{} is {}; wanted a finite number"
    BAD_PERIOD = "bad_period", "period ends at {} and starts at {}; wanted an end after the start, by at most 366 days"
    BAD_QUANTITY = "bad_quantity", "quantity is {}; wanted zero or more"
    STORE_REFUSED = "store_refused", "the store refuses it: {}"


_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = _LONGEST


def shown(value: object) -> str:
    """Show a foreign value in a sentence: quoted, cut, control characters escaped."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return _repr.repr(value)


def shown_text(column: str) -> pl.Expr:
    """Show a column of foreign text in a sentence: quoted, cut, control characters replaced."""
    text = pl.col(column).str.slice(0, _LONGEST).str.replace_all(r"\p{C}", "�")
    return pl.format("'{}'", text)
