"""Points in time as people type them: a date, which is the facility's own midnight, or RFC 3339 with an offset."""

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from ingest.errors import ConfigurationError, Problem
from ingest.model import Period
from ingest.registry import Registry
from ingest.registry.facility import Facility
from pipelines.periods import midnight, months

_DATE = len("2026-10-01")


def period(start: str, end: str, zone: ZoneInfo, *, options: tuple[str, str] = ("--from", "--to")) -> Period:
    """
    Build the period of two typed points in time; a date is its midnight in `zone`.

    Raises:
        ConfigurationError: a point that is neither a date nor RFC 3339 with an offset, or an end not after the start.
    """
    first, last = (_moment(text, option, zone) for text, option in zip((start, end), options, strict=True))
    if last <= first:
        raise ConfigurationError([Problem(options[1], end, f"a time after {options[0]} {start}")])
    return Period(first, last)


def _moment(text: str, option: str, zone: ZoneInfo) -> datetime:
    try:
        if len(text) == _DATE:
            return midnight(date.fromisoformat(text), zone)
        at = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        at = None
    if at is None or at.tzinfo is None:
        wanted = "a date (2026-10-01) or RFC 3339 with an offset (2026-10-01T08:00:00+08:00)"
        raise ConfigurationError([Problem(option, repr(text), wanted)])
    return at


def named(by: str, why: str) -> None:
    """
    Require a name and a reason.

    Raises:
        ConfigurationError: one of them is empty.
    """
    if empty := [option for option, text in (("--by", by), ("--why", why)) if not text.strip()]:
        raise ConfigurationError([Problem(option, "nothing", "a text") for option in empty])


def month(text: str, option: str, zone: ZoneInfo) -> Period:
    """
    Build the local month of a text like 2026-10.

    Raises:
        ConfigurationError: it is none.
    """
    try:
        first = date.fromisoformat(f"{text}-01")
    except ValueError:
        raise ConfigurationError([Problem(option, repr(text), "a month, e.g. 2026-10")]) from None
    (whole,) = months(Period(midnight(first, zone), midnight(first, zone) + timedelta(hours=1)), zone)
    return whole


def facility(typed: str, registry: Registry, *, option: str = "--facility") -> Facility:
    """
    Find a facility (用能单位) by its id.

    Raises:
        ConfigurationError: the registry names no such facility.
    """
    if typed not in registry.facilities:
        raise ConfigurationError([Problem(option, repr(typed), f"one of {', '.join(registry.facilities)}")])
    return registry.facilities[typed]
