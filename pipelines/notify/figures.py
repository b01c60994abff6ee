"""
Figures as a reader sees them: numbers, percentages, units, and a value beside its limit.

Enters: floats of the tables. Leaves: text that never hides a difference (1.304 and 1.3 are written 1.304 and 1.300)
and never rounds a limit away from what the document says.
"""

import math
from decimal import ROUND_DOWN, Decimal
from typing import Literal, NamedTuple

Side = Literal["above", "below", "equal"]

# two figures closer than this are one figure: what is left of a sum of floats, as in rules.evaluate
_NOISE = 1e-9

# from here on nobody reads decimals
_MANY = 1000

_UNITS = {"1": "", "m2": "m²", "m3": "m³"}


class Standing(NamedTuple):
    """
    A value beside its limit, as text with the same number of decimals.

    `difference` is signed and true of the figures as written; `share` is the distance from the limit as a share of the
    limit [1], None where the two are equal or the limit is zero.
    """

    side: Side
    value: str
    limit: str
    difference: str
    share: float | None


def beside(value: float, limit: float) -> Standing:
    """Write a value and its limit with as many digits as it takes to show the limit whole and tell the two apart."""
    if math.isclose(value, limit, rel_tol=_NOISE):
        value = limit
    digits = max(_digits(max(abs(value), abs(limit))), _decimals(limit))
    while value != limit and round(value, digits) == round(limit, digits):
        digits += 1
    shown, bound = f"{value:,.{digits}f}", f"{limit:,.{digits}f}"
    difference = Decimal(shown.replace(",", "")) - Decimal(bound.replace(",", ""))
    share = abs((value - limit) / limit) if limit and value != limit else None
    return Standing(_side(value, limit), shown, bound, f"{difference:+,f}", share)


def number(value: float) -> str:
    """Two decimals, or whole with thousands separators from 1,000 on."""
    return f"{value:,.{_digits(value)}f}"


def percent(share: float) -> str:
    """Share [1] as percent with one decimal."""
    return f"{share * 100:,.1f} %"


def percent_at_least(share: float) -> str:
    """Share [0..1] as percent, never rounded up: 0.9997 is 99.9 %, so that 100 % means all."""
    return f"{(Decimal(repr(share)) * 100).quantize(Decimal('0.1'), rounding=ROUND_DOWN)} %"


def unit(code: str) -> str:
    """Write a unit: `kgce/m2` with a raised 2, nothing for a pure number."""
    return "/".join(_UNITS.get(part, part) for part in code.split("/"))


def with_unit(figure: str, code: str) -> str:
    """Figure and unit with a space between; the figure alone where it is a pure number."""
    return f"{figure} {unit(code)}".strip()


def _side(value: float, limit: float) -> Side:
    if value == limit:
        return "equal"
    return "above" if value > limit else "below"


def _digits(value: float) -> int:
    return 0 if abs(value) >= _MANY else 2


def _decimals(limit: float) -> int:
    """How many decimals the limit has as it was written in the catalogue."""
    return max(0, -int(Decimal(repr(limit)).normalize().as_tuple().exponent))
