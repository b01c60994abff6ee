"""The page: what it shows is what it was given, it fetches nothing, and it survives hostile names and empty frames."""

import re
import sys
from datetime import UTC, date, datetime
from html.parser import HTMLParser
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from ingest.errors import ConfigurationError
from ingest.model import Text
from ingest.schema import BREACH_EVENTS, INDICATORS
from pipelines.reports.page import Chart, page

SHANGHAI = ZoneInfo("Asia/Shanghai")
AT = datetime(2026, 11, 1, 9, 30, tzinfo=SHANGHAI)
OVER = "#b3261e"
TABLE = pl.Schema(
    {
        **dict.fromkeys(
            ("facility", "name_zh", "name_en", "timezone", "indicator", "title_zh", "title_en"), pl.String()
        ),
        "value": pl.Float64(),
        "limit": pl.Float64(),
        "unit": pl.String(),
        "coverage": pl.Float64(),
        "verdict": pl.String(),
    }
)


def months(values: list[float | None], zone: str = "Asia/Shanghai", coverage: float = 1.0) -> pl.DataFrame:
    starts = pl.date_range(date(2025, 10, 1), interval="1mo", closed="left", end=date(2026, 9, 1), eager=True)
    return pl.DataFrame(
        {
            "start": starts.head(len(values))
            .cast(pl.Datetime("us"))
            .dt.replace_time_zone(zone)
            .dt.convert_time_zone("UTC"),
            "value": pl.Series(values, dtype=pl.Float64),
            "coverage": [coverage] * len(values),
        }
    )


def chart(values: list[float | None], **over: Any) -> Chart:
    given = {"title": Text(zh="示例", en="Sample"), "unit": "1", "limit": 1.3, "twelve_months": 1.38}
    return Chart(**{**given, "monthly": months(values), **over})


def row(**over: Any) -> dict[str, Any]:
    return {
        "facility": "dc-sample",
        "name_zh": "示例数据中心",
        "name_en": "Sample data centre",
        "timezone": "Asia/Shanghai",
        "indicator": "pue",
        "title_zh": "电能利用效率 PUE",
        "title_en": "PUE",
        "value": 1.38,
        "limit": 1.3,
        "unit": "1",
        "coverage": 0.9876,
        "verdict": "breach",
    } | over


def breach(**over: Any) -> dict[str, Any]:
    known = {
        "facility": "dc-sample",
        "rule": "gd-13-pue",
        "severity": "breach",
        "indicator": "pue",
        "start": datetime(2025, 9, 30, 16, tzinfo=UTC),
        "end": datetime(2026, 9, 30, 16, tzinfo=UTC),
        "value": 1.38,
        "limit": 1.3,
        "unit": "1",
        "document": "广东省碳达峰实施方案",
        "clause": "第13项",
    }
    return dict.fromkeys(BREACH_EVENTS.schema.names()) | known | over


class Page(HTMLParser):
    """Collects text, tags and attributes of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.data: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.data.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.data).split())


def made(
    charts: list[Chart] | None = None,
    table: list[dict[str, Any]] | None = None,
    breaches: list[dict[str, Any]] | None = None,
    further: list[dict[str, Any]] | None = None,
) -> str:
    names = {"name_zh": pl.String(), "name_en": pl.String()}
    return page(
        charts or [],
        pl.DataFrame(table or [], schema=TABLE, orient="row"),
        pl.DataFrame(breaches or [], schema=BREACH_EVENTS.schema, orient="row"),
        pl.DataFrame(further or [], schema={**INDICATORS.schema, **names}, orient="row"),
        at=AT,
    )


def dots(html: str) -> list[tuple[str, str]]:
    """Fill and stroke of every dot of the charts."""
    marks = re.findall(r'<path aria-label="month: [^>]*aria-roledescription="point"[^>]*>', html)
    colours = [re.search(r'fill="([^"]*)" stroke="([^"]*)"', mark) for mark in marks]
    return [(found[1], found[2]) for found in colours if found]


def test_the_table_shows_each_facility_with_its_status() -> None:
    shown = Page(
        made(
            table=[
                row(),
                row(facility="a", name_zh="甲", name_en="A", value=7.0, limit=7.6, unit="kgce/m2", verdict="pass"),
                row(facility="b", name_zh="乙", name_en="B", value=None, coverage=0.2, verdict="not_assessable"),
                row(facility="c", name_zh="丙", name_en="C", value=17.1958295, limit=None, unit="tce", verdict="none"),
            ]
        )
    ).text
    assert "示例数据中心 Sample data centre 电能利用效率 PUE PUE 1.38 1.30 98.7 % ▲ 超限 over limit" in shown
    assert "甲 A 电能利用效率 PUE PUE 7.00 kgce/m² 7.60 kgce/m² 98.7 % ✓ 符合 within limit" in shown
    assert "乙 B 电能利用效率 PUE PUE – 1.30 20.0 % ? 不可判定 not assessable" in shown
    assert "丙 C 电能利用效率 PUE PUE 17.20 tce – 98.7 % – 无限值 no limit" in shown


def test_open_breaches_stand_before_warnings_with_local_dates() -> None:
    september = {"start": datetime(2026, 8, 31, 16, tzinfo=UTC), "severity": "warning", "value": 1.304}
    shown = Page(made(table=[row()], breaches=[breach(**september), breach()])).text
    first = "PUE 超限 breach 1.38 1.30 2025-10-01 至 2026-09-30 广东省碳达峰实施方案，第13项"
    second = "PUE 预警 early warning 1.304 1.300 2026-09-01 至 2026-09-30"
    assert 0 < shown.index(first) < shown.index(second)


def test_a_breach_of_a_facility_outside_the_table_is_still_shown() -> None:
    shown = Page(made(table=[row()], breaches=[breach(facility="elsewhere", indicator="co2")])).text
    assert "elsewhere co2 超限 breach" in shown


def test_nothing_open_is_said() -> None:
    assert "No breach and no early warning is open." in Page(made(table=[row()])).text


def test_peak_demand_and_both_figures_of_carbon_dioxide_stand_beside_each_other() -> None:
    names = {"facility": "a", "name_zh": "甲", "name_en": "A", "reason": ""}
    figures = [
        ("peak_demand", 1234.5, "kW", "E @ 2026-03-18T10:15+08:00"),
        ("co2", 41.2939, "t CO2", "E"),
        ("co2_market", 37.657, "t CO2", "E; less 31000.0 kWh: GEC-1"),
    ]
    rows = [
        names | {"indicator": code, "value": value, "unit": unit, "meters": meters}
        for code, value, unit, meters in figures
    ]
    shown = Page(made(further=[dict.fromkeys(INDICATORS.schema.names()) | one for one in rows])).text
    told = "1,234 kW E @ 2026-03-18T10:15+08:00 41.29 t CO2 E 37.66 t CO2 E; less 31000.0 kWh: GEC-1"
    assert f"甲 A {told}" in shown
    rows[0] |= {"value": None, "reason": "no mean over 15 minutes is known of E (every 60 min)"}
    shown = Page(made(further=[dict.fromkeys(INDICATORS.schema.names()) | one for one in rows])).text
    assert "– no mean over 15 minutes is known of E (every 60 min) 41.29 t CO2" in shown


def test_months_above_the_limit_are_red_and_twelve_months_too() -> None:
    html = made([chart([1.29, 1.30, 1.31, 1.45])])
    assert dots(html) == [("#2c6e8f", "#2c6e8f")] * 2 + [(OVER, OVER)] * 2
    assert re.search(rf'fill="{OVER}"><tspan>12 个月 months</tspan><tspan[^>]*>1\.38<', html)
    assert re.search(r"<tspan>限值 limit</tspan><tspan[^>]*>1\.30<", html)


def test_a_facility_within_its_limit_has_nothing_red() -> None:
    svg = made([chart([1.2, 1.25], twelve_months=1.24)]).split("<svg")[1]
    assert OVER not in svg
    assert ">1.24<" in svg


def test_months_hardly_measured_are_hollow_and_unknown_ones_a_gap() -> None:
    assert dots(made([chart([1.2, None, 1.2], monthly=months([1.2, None, 1.2], coverage=0.5))])) == [
        ("white", "#2c6e8f"),
        ("white", "#2c6e8f"),
    ]


@pytest.mark.parametrize("zone", ["Asia/Shanghai", "America/New_York", "Australia/Sydney"])
def test_months_are_those_of_the_facility(zone: str) -> None:
    html = made([chart([], monthly=months([1.0, 1.1, 1.2, 1.3], zone), timezone=zone)])
    assert re.findall(r'aria-label="month: (\d{4}-\d\d)[^>]*"point"', html) == [
        "2025-10",
        "2025-11",
        "2025-12",
        "2026-01",
    ]


def test_labels_of_close_figures_do_not_cover_each_other() -> None:
    svg = made([chart([1.0, 2.0], twelve_months=1.3001)])
    heights = [float(y) for y in re.findall(r'translate\(700,([\d.]+)\)"[^>]*><tspan', svg)]
    assert len(heights) == 2
    assert abs(heights[0] - heights[1]) == pytest.approx(36)
    # the larger figure stays above
    assert heights[1] < heights[0]


@pytest.mark.parametrize(
    "drawn",
    [
        chart([]),
        chart([None, None], limit=None, twelve_months=None),
        chart([0.0], limit=None, twelve_months=None),
        chart([5.0, 5.0], limit=5.0, twelve_months=5.0),
        chart([-10.0], limit=-30.0, twelve_months=None),
        chart([1e12, 1e-6], unit="kgce/t"),
    ],
)
def test_any_chart_can_be_drawn(drawn: Chart) -> None:
    html = made([drawn])
    assert html.count("<svg") == 1
    assert "NaN" not in html


def test_the_page_is_whole_and_fetches_nothing() -> None:
    html = made([chart([1.2, 1.4]), chart([1.2])], [row()], [breach()])
    shown = Page(html)
    assert shown.tags.count("svg") == 2
    assert "script" not in shown.tags
    assert not {"src", "href", "xlink:href", "srcset", "background"} & {name for name, _ in shown.attributes}
    assert "url(" not in html
    assert "default-src 'none'" in html
    assert "invented" in shown.text
    assert "虚构" in shown.text
    assert "2026-11-01 09:30+08:00" in shown.text


def test_names_inject_nothing() -> None:
    evil = "</title><script>alert(1)</script>{{ 7*7 }}"
    html = made(
        [chart([1.2], title=Text(zh=evil, en=evil), unit=evil)],
        [row(name_zh=evil, name_en=evil, title_zh=evil, unit=evil)],
        [breach(document=evil, clause=evil)],
    )
    assert "script" not in Page(html).tags
    assert "{{ 7*7 }}" in html


@pytest.mark.parametrize("package", ["altair", "vl_convert"])
def test_a_missing_extra_is_named(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigurationError, match=rf"found no package {package}; wanted the extra `report`"):
        made([chart([1.2])])
