"""
The page of the demonstration: where each facility stands, as one self-contained HTML file in Chinese and English.

    charts, table, open breaches -> SVG (altair, vl-convert) -> templates/report.html

No script, nothing fetched from a network. The charts need the extra `report`.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import polars as pl
from markupsafe import Markup

from ingest.errors import ConfigurationError
from ingest.model import Text
from pipelines.notify import figures
from pipelines.notify.templating import environment

_TEMPLATES = environment("pipelines.reports")

_WIDTH, _HEIGHT = 690, 230
_INK, _QUIET, _FAINT = "#1d2730", "#5b6a77", "#dfe5ea"
_LINE, _OVER, _WITHIN = "#2c6e8f", "#b3261e", "#1e6b3a"

# height of a label of two lines [px]
_LABEL = 36

# months with less are drawn as hollow dots
_THIN = 0.9

# share of the range that stays free above and below the figures
_MARGIN = 0.18


@dataclass(frozen=True, slots=True)
class Chart:
    """
    The main indicator of one facility, month by month.

    `title` names facility and indicator. `monthly` has the columns start (UTC, start of the facility's month), value in
    `unit` (null where it is not assessable) and coverage [0..1]. `limit` is an upper bound, None where no rule binds;
    `twelve_months` the value of the newest twelve months, None where it is not assessable.
    """

    title: Text
    unit: str
    monthly: pl.DataFrame
    limit: float | None
    twelve_months: float | None
    timezone: str = "Asia/Shanghai"


class Drawn(NamedTuple):
    """A chart as it stands on the page."""

    title: Text
    unit: str
    svg: Markup


def page(
    charts: Sequence[Chart], table: pl.DataFrame, breaches: pl.DataFrame, further: pl.DataFrame, *, at: datetime
) -> str:
    """
    Write the page.

    Args:
        charts: one a facility.
        table: one row a facility: facility, name_zh, name_en, timezone, indicator, title_zh, title_en (of the
            indicator), value, limit (null where none), unit, coverage [0..1], verdict (pass | breach | not_assessable |
            none).
        breaches: BREACH_EVENTS rows, the events that opened what is open.
        further: INDICATORS rows of peak demand and carbon dioxide by place and by market, one period a facility, with
            name_zh and name_en of the facility.
        at: the moment the page was made; aware.

    Raises:
        ConfigurationError: the extra `report` is not installed.
    """
    return _TEMPLATES.get_template("report.html").render(
        charts=[Drawn(chart.title, figures.unit(chart.unit), Markup(_svg(chart))) for chart in charts],  # noqa: S704
        facilities=list(_facilities(table)),
        breaches=list(_open(breaches, table)),
        further=list(_further(further)),
        at=at.isoformat(sep=" ", timespec="minutes"),
    )


def _facilities(table: pl.DataFrame) -> Iterator[dict[str, Any]]:
    for row in table.iter_rows(named=True):
        value, limit = _written(row["value"], row["limit"], row["unit"])
        coverage = "" if row["coverage"] is None else figures.percent_at_least(row["coverage"])
        yield {**row, "value": value, "limit": limit, "coverage": coverage}


def _further(rows: pl.DataFrame) -> Iterator[dict[str, Any]]:
    """For each facility its names, and under the code of each indicator its figure and what it rests on, or why not."""
    for facility in rows.partition_by("facility", maintain_order=True):
        told: dict[str, Any] = {}
        for row in facility.iter_rows(named=True):
            value, _ = _written(row["value"], None, row["unit"])
            told[row["indicator"]] = {"value": value, "note": row["meters"] if value else row["reason"]}
        yield {"name_zh": row["name_zh"], "name_en": row["name_en"], **told}


def _written(value: float | None, limit: float | None, unit: str) -> tuple[str, str]:
    """Value and limit with their unit, empty where there is none."""
    if limit is None:
        return "" if value is None else figures.with_unit(figures.number(value), unit), ""
    standing = figures.beside(limit if value is None else value, limit)
    bound = figures.with_unit(standing.limit, unit)
    return "" if value is None else figures.with_unit(standing.value, unit), bound


def _open(breaches: pl.DataFrame, table: pl.DataFrame) -> Iterator[dict[str, Any]]:
    names = table.select("facility", "name_zh", "name_en", "timezone").unique("facility")
    titles = table.select("indicator", "title_zh", "title_en").unique("indicator")
    known = (
        breaches.join(names, on="facility", how="left")
        .join(titles, on="indicator", how="left")
        .with_columns(
            pl.coalesce("name_zh", "facility").alias("name_zh"),
            pl.coalesce("title_zh", "indicator").alias("title_zh"),
            pl.col("name_en", "title_en").fill_null(""),
            pl.col("timezone").fill_null("UTC"),
        )
        # what is a breach stands before what is a warning
        .sort("severity", "facility", "rule", "start")
    )
    for row in known.iter_rows(named=True):
        value, limit = _written(row["value"], row["limit"], row["unit"])
        zone = ZoneInfo(row["timezone"])
        first, last = row["start"].astimezone(zone), row["end"].astimezone(zone) - timedelta(microseconds=1)
        yield {**row, "value": value, "limit": limit, "first": first.date(), "last": last.date()}


def _svg(chart: Chart) -> str:
    try:
        import altair as alt  # noqa: PLC0415 - slow to import, and only the page needs it
        import vl_convert  # noqa: F401, PLC0415 - altair draws with it and would miss it only at the end
    except ImportError as error:
        wanted = "the extra `report`: pip install 'peakwatch[report]'"
        raise ConfigurationError(f"charts: found no package {error.name}; wanted {wanted}") from None
    months, domain = _months(chart), _domain(chart)
    drawn = alt.layer(*_curve(alt, months, domain), *_bounds(alt, chart, domain))
    text = io.StringIO()
    drawn.properties(width=_WIDTH, height=_HEIGHT, background="transparent").configure(
        font="sans-serif", view=alt.ViewConfig(stroke=None)
    ).save(text, format="svg")
    return text.getvalue()


def _months(chart: Chart) -> list[dict[str, Any]]:
    """One dot a month: month, value, stroke and fill."""
    over = pl.lit(value=False) if chart.limit is None else pl.col("value") > chart.limit
    stroke = pl.when(over).then(pl.lit(_OVER)).otherwise(pl.lit(_LINE))
    whole = pl.col("coverage") >= _THIN
    return (
        chart.monthly.sort("start")
        .select(
            "value",
            month=pl.col("start").dt.convert_time_zone(chart.timezone).dt.strftime("%Y-%m"),
            stroke=stroke,
            fill=pl.when(whole).then(stroke).otherwise(pl.lit("white")),
        )
        .to_dicts()
    )


def _domain(chart: Chart) -> tuple[float, float]:
    """Lowest and highest value of the axis: all figures of the chart with room around them."""
    known = [*chart.monthly["value"], chart.limit, chart.twelve_months]
    shown = [value for value in known if value is not None] or [0.0]
    low, high = min(shown), max(shown)
    room = (high - low or abs(high) or 1.0) * _MARGIN
    return low - room, high + room


def _curve(alt: Any, months: list[dict[str, Any]], domain: tuple[float, float]) -> Iterator[Any]:
    """Months as a line with dots: red above the limit, hollow where little was measured, a gap where nothing was."""
    axis = {"title": None, "labelColor": _QUIET, "labelFontSize": 12, "ticks": False}
    first_or_january = "datum.index == 0 || slice(datum.value, 5) == '01'"
    lines = "[slice(datum.value, 5), slice(datum.value, 0, 4)]"
    base = alt.Chart(alt.Data(values=months)).encode(
        x=alt.X(
            "month:O",
            axis=alt.Axis(
                **axis,
                labelAngle=0,
                labelPadding=8,
                domainColor=_FAINT,
                labelExpr=f"{first_or_january} ? {lines} : {lines}[0]",
            ),
        ),
        y=alt.Y(
            "value:Q",
            scale=alt.Scale(domain=domain, nice=False, zero=False),
            axis=alt.Axis(**axis, gridColor=_FAINT, domain=False, tickCount=5),
        ),
    )
    yield base.mark_line(color=_LINE, strokeWidth=2)
    yield (
        base.transform_filter("datum.value != null")
        .mark_point(size=64, strokeWidth=2, opacity=1)
        .encode(stroke=alt.Stroke("stroke:N", scale=None), fill=alt.Fill("fill:N", scale=None))
    )


def _bounds(alt: Any, chart: Chart, domain: tuple[float, float]) -> Iterator[Any]:
    """The limit and the twelve months as lines over the whole width, each with its name and figure on the right."""
    value, limit = _written(chart.twelve_months, chart.limit, "")
    over = chart.limit is not None and chart.twelve_months is not None and chart.twelve_months > chart.limit
    lines = [
        (chart.limit, "限值 limit", limit, _INK, [5, 4]),
        (chart.twelve_months, "12 个月 months", value, _OVER if over else _WITHIN, [1, 0]),
    ]
    drawn = [line for line in lines if line[0] is not None]
    places = _apart([_pixel(line[0], domain) for line in drawn])
    for (figure, name, text, colour, dash), place in zip(drawn, places, strict=True):
        mark = alt.Chart(alt.Data(values=[{}]))
        yield mark.mark_rule(color=colour, strokeWidth=1.5, strokeDash=dash).encode(y=alt.datum(figure))
        yield mark.mark_text(
            align="left",
            baseline="middle",
            color=colour,
            fontSize=13,
            fontWeight="bold",
            lineHeight=16,
            text=[name, text],
        ).encode(x=alt.value(_WIDTH + 10), y=alt.value(place))


def _pixel(figure: float | None, domain: tuple[float, float]) -> float:
    low, high = domain
    return (high - (figure or 0.0)) / (high - low) * _HEIGHT


def _apart(places: list[float]) -> list[float]:
    """Move two labels apart where one would cover the other."""
    if len(places) <= 1 or abs(places[0] - places[1]) >= _LABEL:
        return places
    middle = sum(places) / 2
    first = -_LABEL / 2 if places[0] <= places[1] else _LABEL / 2
    return [middle + first, middle - first]
