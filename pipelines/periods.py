"""
The calendar: whole days, months and twelve-month windows of an IANA time zone.

Periods and dates go in, periods with bounds in UTC come out. A day runs from the first moment of a local date to the
first moment of the next one, so it has 23, 24 or 25 hours where clocks change, and may start at 01:00.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from ingest.model import Period

_DAY = timedelta(days=1)
_MONTHS_A_YEAR = 12


def midnight(day: date, zone: ZoneInfo) -> datetime:
    """
    First moment of a local date, in UTC.

    Where clocks skip midnight it is the moment they skip it; where midnight comes twice it is the first one.
    """
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


def between(first: date, last: date, zone: ZoneInfo) -> Period:
    """Period of whole local days from `first` to `last`, both included."""
    return Period(midnight(first, zone), midnight(last + _DAY, zone))


def span(every: Iterable[Period]) -> Period:
    """Return the period from the first start to the last end; there is at least one."""
    spans = list(every)
    return Period(min(each.start for each in spans), max(each.end for each in spans))


def days(period: Period, zone: ZoneInfo) -> list[Period]:
    """Whole local days that touch a period, in order; a date that the zone skipped is no day."""
    day = _date(period.start, zone)
    bounds = [midnight(day, zone)]
    while bounds[-1] < period.end:
        day += _DAY
        bounds.append(midnight(day, zone))
    return list(_spans(bounds))


def months(period: Period, zone: ZoneInfo) -> list[Period]:
    """Whole local months that touch a period, in order."""
    day = _date(period.start, zone).replace(day=1)
    bounds = [midnight(day, zone)]
    while bounds[-1] < period.end:
        day = _month_after(day, 1)
        bounds.append(midnight(day, zone))
    return list(_spans(bounds))


def twelve_months(last: Period, zone: ZoneInfo) -> Period:
    """Twelve continuous local months (interval code 12mo) that end with the month in which `last` starts."""
    month = _date(last.start, zone).replace(day=1)
    return Period(midnight(_month_after(month, 1 - _MONTHS_A_YEAR), zone), midnight(_month_after(month, 1), zone))


def twelve_months_with(month: Period, zone: ZoneInfo) -> list[Period]:
    """All twelve windows of twelve continuous local months that hold the month in which `month` starts, in order."""
    first = _date(month.start, zone).replace(day=1)
    return [
        twelve_months(between(last, last, zone), zone)
        for last in (_month_after(first, later) for later in range(_MONTHS_A_YEAR))
    ]


def _date(moment: datetime, zone: ZoneInfo) -> date:
    return moment.astimezone(zone).date()


def _month_after(first: date, count: int) -> date:
    """First day of the month `count` months after the month of `first`."""
    year, month = divmod(first.year * _MONTHS_A_YEAR + first.month - 1 + count, _MONTHS_A_YEAR)
    return date(year, month + 1, 1)


def _spans(bounds: list[datetime]) -> Iterator[Period]:
    for start, end in pairwise(bounds):
        if start < end:
            yield Period(start, end)
