"""
Where each facility stands: its main indicator over the last twelve months against the limit that binds it tightest.

    indicators, verdicts -> one row a facility, for the table on the terminal and the page
"""

from datetime import datetime, timedelta
from typing import Any

import polars as pl

from ingest.model import Period, Text
from ingest.schema import BREACH_EVENTS, INDICATORS
from pipelines.indicators import table as indicators
from pipelines.jobs import judge
from pipelines.jobs.context import Context
from pipelines.reports import page as report
from rules.lifecycle import open_breaches

# what a facility is judged by first, in this order: the first one it has
MAIN = ("pue", "intensity", "energy_per_area", "energy_consumption")

# what stands beside it, over the same twelve months
_BESIDE = ("peak_demand", "co2", "co2_market")

_ROW = ["facility", "indicator", "scope", "interval", "start"]


def standing(context: Context, period: Period, at: datetime) -> pl.DataFrame:
    """
    Return where each facility stands in the newest twelve months that end in a period.

    Returns:
        facility, indicator, scope, start, end, value, unit, coverage, status (ok | not_assessable), reason, limit
        (null where no rule binds), comparison, verdict (pass | breach | not_assessable | none), open (open breaches
        and warnings of the facility).
    """
    span = Period(period.start - (period.end - period.start), period.end)
    rows = context.store.read(INDICATORS.name, span, interval=["12mo"], indicator=MAIN)
    main = (
        rows.filter(pl.col("end").is_between(period.start, period.end, closed="right"))
        .with_columns(rank=pl.col("indicator").replace_strict({name: n for n, name in enumerate(MAIN)}))
        .sort("facility", "rank", "scope", "end", descending=[False, False, False, True])
        .unique("facility", keep="first", maintain_order=True)
        .drop("rank")
    )
    return (
        main.join(_tightest(judge.verdicts(context, period, at)), on=_ROW, how="left")
        .join(_open(context), on="facility", how="left")
        .with_columns(pl.col("verdict").fill_null("none"), pl.col("open").fill_null(0))
        .sort("facility")
    )


def _tightest(verdicts: pl.DataFrame) -> pl.DataFrame:
    """Of several limits on one value: a breached one before one kept, and the nearest of those."""
    return (
        verdicts.filter(severity="breach")
        .with_columns(
            verdict=pl.col("status"), over=pl.col("status") == "breach", room=(pl.col("limit") - pl.col("value")).abs()
        )
        .sort("over", "room", descending=[True, False])
        .unique(_ROW, keep="first", maintain_order=True)
        .select(*_ROW, "limit", "comparison", "verdict")
    )


def _open(context: Context) -> pl.DataFrame:
    events = context.store.read(BREACH_EVENTS.name)
    return open_breaches(events).group_by("facility").agg(open=pl.len().cast(pl.Int64))


def page(context: Context, rows: pl.DataFrame, months: Period, at: datetime) -> str:
    """
    Write the page: a chart a facility, the table, what is open.

    Args:
        context: the world of the jobs.
        rows: as `standing` returns them.
        months: what the charts show month by month.
        at: now.

    Raises:
        ConfigurationError: the extra `report` is not installed.
    """
    monthly = context.store.read(INDICATORS.name, months, interval=["1mo"], indicator=MAIN)
    charts = [_chart(context, row, monthly) for row in rows.iter_rows(named=True)]
    known = [
        (facility.id, facility.name.zh, facility.name.en, facility.timezone)
        for facility in context.registry.facilities.values()
    ]
    names = pl.DataFrame(known, schema=["facility", "name_zh", "name_en", "timezone"], orient="row")
    titles = [(one.code, one.title.zh, one.title.en) for one in indicators.INDICATORS.values()]
    titled = rows.join(names, on="facility").join(
        pl.DataFrame(titles, schema=["indicator", "title_zh", "title_en"], orient="row"), on="indicator"
    )
    opened = open_breaches(context.store.read(BREACH_EVENTS.name))
    return report.page(charts, titled, opened, _beside(context, rows).join(names, on="facility"), at=at)


def _beside(context: Context, rows: pl.DataFrame) -> pl.DataFrame:
    """Peak demand and both figures of carbon dioxide of each facility, over the months of its main indicator."""
    if rows.is_empty():
        return INDICATORS.empty()
    first, last = rows.select(first=pl.min("start"), last=pl.max("start") + timedelta(microseconds=1)).row(0)
    found = context.store.read(INDICATORS.name, Period(first, last), interval=["12mo"], indicator=_BESIDE)
    return found.join(rows.select("facility", "start"), on=["facility", "start"], how="semi").sort("facility")


def _chart(context: Context, row: dict[str, Any], monthly: pl.DataFrame) -> report.Chart:
    facility = context.registry.facilities[row["facility"]]
    title = indicators.INDICATORS[row["indicator"]].title
    return report.Chart(
        Text(zh=f"{facility.name.zh} {title.zh}", en=f"{facility.name.en}: {title.en}"),
        row["unit"],
        monthly.filter(*(pl.col(name) == row[name] for name in ("facility", "indicator", "scope"))),
        row["limit"],
        row["value"],
        facility.timezone,
    )
