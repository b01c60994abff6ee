"""
The plain types of the registry: identifiers, lines of text, units, durations; each says what it wants.

A type refuses with one sentence; where it stands and what was found is added by `problems.py`.
"""

import re
from collections.abc import Sequence
from datetime import timedelta
from functools import cache
from typing import Annotated
from zoneinfo import available_timezones

from pydantic import AfterValidator, Field

from ingest.model import Text
from ingest.registry.rows import wanted
from ingest.units import UNITS

_USCC_ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_SPANS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def text(pattern: str, sentence: str) -> AfterValidator:
    """Accept what a pattern matches whole."""

    def check(text: str) -> str:
        if re.fullmatch(pattern, text) is None:
            raise wanted(sentence)
        return text

    return AfterValidator(check)


def one_of(names: Sequence[str], kind: str = "one of ") -> AfterValidator:
    """Accept one of a few names."""

    def check(name: str) -> str:
        if name not in names:
            raise wanted(f"{kind}{', '.join(names)}")
        return name

    return AfterValidator(check)


def credit_code(code: str) -> str:
    """GB 32100: 17 characters weighted by 3^i mod 31, the 18th makes the sum divisible by 31."""
    if re.fullmatch(rf"[{_USCC_ALPHABET}]{{18}}", code) is None:
        raise wanted("18 characters, digits and capitals without I, O, S, V, Z (GB 32100)")
    weighted = sum(_USCC_ALPHABET.index(character) * pow(3, i, 31) for i, character in enumerate(code[:17]))
    check = _USCC_ALPHABET[-weighted % 31]
    if check != code[17]:
        raise wanted(f"the check digit {check} at the end (GB 32100)")
    return code


# the list of zones is read from disk at every call
_timezones = cache(available_timezones)


def zone_name(name: str) -> str:
    """Accept an IANA time zone."""
    if name not in _timezones():
        raise wanted("an IANA time zone, e.g. Asia/Shanghai")
    return name


def duration(text: object) -> timedelta:
    """Read a length of time like 15m, at most a day."""
    match = re.fullmatch(r"([1-9][0-9]{0,4})([smhd])", text) if isinstance(text, str) else None
    span = timedelta(**{_SPANS[match[2]]: int(match[1])}) if match else timedelta.max
    if span > timedelta(days=1):
        raise wanted("a whole number and s, m, h or d, at most 1d, e.g. 15m")
    return span


Identifier = Annotated[str, text(r"[a-z0-9-]{1,64}", "1 to 64 of a-z, 0-9 and -")]
MeterId = Annotated[str, text(r"[A-Za-z0-9._-]{1,64}", "1 to 64 letters a-z or A-Z, digits, '.', '_' and '-'")]
Line = Annotated[str, text(r"(?=.*\S)[^\x00-\x1f\x7f-\x9f\u2028\u2029]{1,200}", "one line of 1 to 200 characters")]
Tag = Annotated[str, text(r"[^\x00-\x20\x7f-\x9f]{0,64}", "at most 64 characters without blanks")]
Email = Annotated[str, text(r"[^@\s<>,;:\"\x00-\x1f]{1,64}@[^@\s<>,;:\"\x00-\x1f]{1,189}", "one e-mail address")]
UnitName = Annotated[str, one_of(list(UNITS))]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Name(Text):
    """A name in both languages of the product."""

    zh: Line
    en: Line
