"""The calendar: days of 23, 24 and 25 hours, odd offsets, midnights that do not exist, twelve-month windows."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.model import Period
from pipelines import periods

SHANGHAI, BERLIN = ZoneInfo("Asia/Shanghai"), ZoneInfo("Europe/Berlin")
KATHMANDU, SANTIAGO, APIA = ZoneInfo("Asia/Kathmandu"), ZoneInfo("America/Santiago"), ZoneInfo("Pacific/Apia")


def utc(*when: int) -> datetime:
    return datetime(*when, tzinfo=UTC)


@pytest.mark.parametrize(
    ("day", "zone", "start", "hours"),
    [
        (date(2026, 3, 1), SHANGHAI, utc(2026, 2, 28, 16), 24),
        (date(2026, 3, 29), BERLIN, utc(2026, 3, 28, 23), 23),
        (date(2026, 10, 25), BERLIN, utc(2026, 10, 24, 22), 25),
        (date(2026, 3, 1), KATHMANDU, utc(2026, 2, 28, 18, 15), 24),
        # clocks go from 24:00 to 01:00: the day begins at 01:00 local, 04:00 UTC, and has 23 hours
        (date(2026, 9, 6), SANTIAGO, utc(2026, 9, 6, 4), 23),
        (date(2026, 4, 4), SANTIAGO, utc(2026, 4, 4, 3), 25),
    ],
)
def test_day(day: date, zone: ZoneInfo, start: datetime, hours: int) -> None:
    assert periods.midnight(day, zone) == start
    assert periods.between(day, day, zone) == Period(start, start + timedelta(hours=hours))


def test_days_touch_the_period_and_are_whole() -> None:
    touched = periods.days(Period(utc(2026, 2, 28, 15, 59), utc(2026, 3, 1, 16)), SHANGHAI)
    assert touched == [
        Period(utc(2026, 2, 27, 16), utc(2026, 2, 28, 16)),
        Period(utc(2026, 2, 28, 16), utc(2026, 3, 1, 16)),
    ]


def test_a_date_that_the_zone_skipped_is_no_day() -> None:
    touched = periods.days(periods.between(date(2011, 12, 29), date(2011, 12, 31), APIA), APIA)
    assert [day.start.astimezone(APIA).date().day for day in touched] == [29, 31]
    assert [day.length for day in touched] == [timedelta(hours=24)] * 2


def test_months() -> None:
    touched = periods.months(Period(utc(2026, 1, 31, 16), utc(2026, 3, 31, 15, 59)), SHANGHAI)
    assert touched == [
        periods.between(date(2026, 2, 1), date(2026, 2, 28), SHANGHAI),
        periods.between(date(2026, 3, 1), date(2026, 3, 31), SHANGHAI),
    ]


def test_twelve_months() -> None:
    february = periods.between(date(2026, 2, 1), date(2026, 2, 28), SHANGHAI)
    assert periods.twelve_months(february, SHANGHAI) == periods.between(date(2025, 3, 1), date(2026, 2, 28), SHANGHAI)
    december = periods.between(date(2025, 12, 1), date(2025, 12, 31), SHANGHAI)
    assert periods.twelve_months(december, SHANGHAI) == periods.between(date(2025, 1, 1), date(2025, 12, 31), SHANGHAI)


def test_twelve_months_with_a_month_are_all_windows_that_hold_it() -> None:
    february = periods.between(date(2026, 2, 1), date(2026, 2, 28), BERLIN)
    windows = periods.twelve_months_with(february, BERLIN)
    assert windows[0] == periods.between(date(2025, 3, 1), date(2026, 2, 28), BERLIN)
    assert windows[-1] == periods.between(date(2026, 2, 1), date(2027, 1, 31), BERLIN)
    assert len(set(windows)) == 12
    assert all(window.start <= february.start and february.end <= window.end for window in windows)


@given(
    start=st.integers(0, 47 * 365 * 86_400).map(lambda second: utc(1990, 1, 1) + timedelta(seconds=second)),
    length=st.timedeltas(timedelta(microseconds=1), timedelta(days=70)),
    zone=st.sampled_from([SHANGHAI, BERLIN, KATHMANDU, SANTIAGO, APIA, ZoneInfo("Australia/Lord_Howe")]),
)
def test_days_and_months_cover_the_period_without_gap_or_overlap(
    start: datetime, length: timedelta, zone: ZoneInfo
) -> None:
    period = Period(start, start + length)
    for spans in (periods.days(period, zone), periods.months(period, zone)):
        assert spans[0].start <= period.start < spans[0].end
        assert spans[-1].start < period.end <= spans[-1].end
        assert all(before.end == after.start for before, after in pairwise(spans))
        assert all(start in span for span in spans[:1])
