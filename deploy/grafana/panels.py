"""
What a panel and a dashboard are, and how they become Grafana's JSON: the only place that knows the SDK's dashboards.

    Panel (key of words.py, queries, unit) -> built() -> SDK model -> JSON
"""

import re
from dataclasses import dataclass
from typing import Any, Literal

from grafana_foundation_sdk.builders import common, dashboard, stat, table, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import common as models
from grafana_foundation_sdk.models import dashboard as board_models
from labels import CARRIERS, COLUMNS, COUNTS, KINDS, LEGENDS, VALUES, WIDTHS
from words import BOARDS, PANELS, SECTORS, VARIABLES, Words

SOURCE = models.DataSourceRef("influxdb", "peakwatch")
LANGUAGES = ("zh", "en")
_LIMIT = {"id": "custom.lineStyle", "value": {"dash": [8, 6], "fill": "dash"}}
_RED = {"id": "color", "value": {"mode": "fixed", "fixedColor": "red"}}
_MINUTE = "time:YYYY-MM-DD HH:mm"
_LABEL = r"/^(?<text>.*) \((?<value>[^()]*)\)$/"


@dataclass(frozen=True, slots=True)
class Query:
    """
    One InfluxQL statement; `{lang}` in it is the dashboard's language.

    `alias` names its series, by Grafana's patterns ($tag_NAME); a word in braces is one of LEGENDS.
    """

    text: str
    alias: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """
    One panel: its words, its queries, its place.

    `unit` is Grafana's, or any text after `suffix:`; `sort` the column a table is sorted by, the highest first; a stat
    that is an `alarm` is red unless it is 0.
    """

    key: str
    kind: Literal["stat", "lines", "bars", "table"]
    queries: tuple[Query, ...]
    unit: str = "none"
    decimals: int = 0
    width: int = 12
    height: int = 9
    sort: str = ""
    alarm: bool = False


@dataclass(frozen=True, slots=True)
class Board:
    """One dashboard, made once in each language."""

    key: str
    panels: tuple[Panel, ...]
    since: str = "now-2y"
    sector: str = ""
    annotations: tuple[Query, ...] = ()


class _Influx(Dataquery):
    """A query of Grafana's InfluxDB data source; the SDK has no model of its own for it."""

    def __init__(self, query: str, form: str, alias: str, ref: str, **more: object) -> None:
        self._json: dict[str, object] = {
            "datasource": SOURCE,
            "refId": ref,
            "rawQuery": True,
            "query": query,
            "resultFormat": form,
            **({"alias": alias} if alias else {}),
            **more,
        }

    def to_json(self) -> dict[str, object]:
        return self._json


class Target(Builder[Dataquery]):
    """Builds a query for a panel or an alert rule."""

    def __init__(self, query: str, *, form: str = "time_series", alias: str = "", ref: str = "A") -> None:
        self._query = _Influx(query, form, alias, ref)

    def build(self) -> Dataquery:
        """Return the query."""
        return self._query


def built(board: Board, language: str) -> board_models.Dashboard:
    """
    Make one dashboard in one language.

    Its number orders the list. It also tells the titles apart for a Grafana before 10, which keeps no two in a folder
    that differ in Chinese characters alone, and none that so equals a folder.
    """
    made = (
        dashboard.Dashboard(f"PeakWatch {list(BOARDS).index(board.key) + 1} {_said(BOARDS[board.key], language)}")
        .uid(uid(board.key, language))
        .tags(["peakwatch", language])
        .time(board.since, "now")
        .timezone("browser")
        .refresh("5m")
        .readonly()
        .tooltip(board_models.DashboardCursorSync.CROSSHAIR)
        .variables(_variables(board, language))
        .link(_links(language))
    )
    for query in board.annotations:
        made = made.annotation(_Annotated(query, language))
    for number, panel in enumerate(board.panels, 1):
        made = made.with_panel(_panel(panel, language).id(number))
    return made.build()


def uid(key: str, language: str) -> str:
    """Return the uid of a dashboard."""
    return f"peakwatch-{key}-{language}"


def _said(words: Words, language: str) -> str:
    return words.zh if language == "zh" else words.en


def _panel(panel: Panel, language: str) -> Any:
    words = PANELS[panel.key]
    makers: dict[str, Any] = {"stat": _stat, "lines": _lines, "bars": _bars, "table": _table}
    made = (
        makers[panel.kind](panel, language)
        .title(_said(words.title, language))
        .description(_said(words.shows, language))
        .datasource(SOURCE)
        .unit(panel.unit)
        .decimals(panel.decimals)
        .no_value(_said(LEGENDS["none"], language))
        .span(panel.width)
        .height(panel.height)
    )
    form = "table" if panel.kind == "table" else "time_series"
    for number, query in enumerate(panel.queries):
        text, alias = query.text.replace("{lang}", language), query.alias
        for key, legend in LEGENDS.items():
            alias = alias.replace(f"{{{key}}}", _said(legend, language))
        made = made.with_target(Target(text, form=form, alias=alias, ref=chr(ord("A") + number)))
    return made


def _stat(panel: Panel, language: str) -> stat.Panel:
    del language
    colours = [(None, "red"), (0, "green"), (1, "red")] if panel.alarm else [(None, "text")]
    steps = [board_models.Threshold(value, colour) for value, colour in colours]
    return (
        stat.Panel()
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .graph_mode(models.BigValueGraphMode.NONE)
        .thresholds(dashboard.ThresholdsConfig().mode(board_models.ThresholdsMode.ABSOLUTE).steps(steps))
    )


def _lines(panel: Panel, language: str) -> timeseries.Panel:
    made = (
        timeseries.Panel()
        .line_width(2)
        .show_points(models.VisibilityMode.AUTO)
        .span_nulls(True)
        # without being told the SDK says that there is none
        .legend(common.VizLegendOptions().show_legend(True).placement(models.LegendPlacement.BOTTOM))
        .tooltip(common.VizTooltipOptions().mode(models.TooltipDisplayMode.MULTI))
        # a pattern without slashes would have to fit the whole name
        .override_by_regexp(
            f"/^{_said(LEGENDS['limit'], language)} /",
            [board_models.DynamicConfigValue(one["id"], one["value"]) for one in (_LIMIT, _RED)],
        )
    )
    if panel.unit == "percentunit":
        made = made.min(0).max(1)
    aliases = " ".join(query.alias for query in panel.queries)
    if "$tag_kind" in aliases:
        for code, words in KINDS.items():
            made = made.override_by_name(code, [board_models.DynamicConfigValue("displayName", _said(words, language))])
    if "$tag_carrier" in aliases:
        made = made.transformations([_renamed(code, _said(words, language)) for code, words in CARRIERS.items()])
    return made


def _renamed(code: str, name: str) -> board_models.DataTransformerConfig:
    """Put a carrier's name for its code, which stands between other words in the name of a series."""
    options = {"regex": rf"(.*) {code} (.*)", "renamePattern": f"$1 {name} $2"}
    return board_models.DataTransformerConfig("renameByRegex", options=options)


def _bars(panel: Panel, language: str) -> timeseries.Panel:
    made = _lines(panel, language).draw_style(models.GraphDrawStyle.BARS).fill_opacity(60)
    # where all counts are small the axis would have steps between whole numbers, and nothing to write there
    return made.axis_soft_max(5) if panel.unit == "none" else made


def _table(panel: Panel, language: str) -> table.Panel:
    named = {name: _said(words, language) for name, words in COLUMNS.items()}
    link = {
        "title": _said(BOARDS["facility"], language),
        "url": f"/d/{uid('facility', language)}?var-facility=${{__value.raw}}&${{__url_time_range}}",
    }
    # one frame a query: merged they are one table
    changed = {"renameByName": named, "excludeByName": _hidden(panel), "indexByName": _order(panel, language)}
    changes = [("merge", {}), ("organize", changed)]
    made = (
        table.Panel()
        .filterable(True)
        .override_by_name(named["facility"], [board_models.DynamicConfigValue("links", [link])])
    )
    for name, unit, decimals in (("complete", "percentunit", 1), ("coverage", "percentunit", 1)):
        made = made.override_by_name(
            named[name],
            [board_models.DynamicConfigValue("unit", unit), board_models.DynamicConfigValue("decimals", decimals)],
        )
    for name in _order(panel, language):
        if name in WIDTHS:
            width = board_models.DynamicConfigValue("custom.width", WIDTHS[name])
            made = made.override_by_name(named[name], [width])
        if name in COUNTS:
            made = made.override_by_name(named[name], [board_models.DynamicConfigValue("decimals", 0)])
    # decimals of the figures would be fractions of a second here
    made = made.override_by_name(named["Time"], [board_models.DynamicConfigValue("unit", _MINUTE)])
    open_yet = [{"type": "special", "options": {"match": "null", "result": {"text": "–"}}}]
    made = made.override_by_name(
        named["closed_ms"],
        [board_models.DynamicConfigValue("unit", _MINUTE), board_models.DynamicConfigValue("mappings", open_yet)],
    )
    # the unit of a ratio is 1, which would stand in the column as a figure
    ratio = [{"type": "value", "options": {"1": {"text": "–"}}}]
    made = made.override_by_name(named["unit"], [board_models.DynamicConfigValue("mappings", ratio)])
    if panel.sort:
        made = made.sort_by([common.TableSortByFieldState().display_name(named[panel.sort]).desc(True)])
    values = {value: board_models.ValueMappingResult(text=_said(words, language)) for value, words in VALUES.items()}
    made = made.mappings([board_models.ValueMap(options=values)])
    return made.transformations([board_models.DataTransformerConfig(name, options=how) for name, how in changes])


def _hidden(panel: Panel) -> dict[str, bool]:
    """Hide the time where the rows have none of their own: what a sum, a count or a mean says of the whole range."""
    return {"Time": True} if panel.queries[0].text.startswith(("SELECT count(", "SELECT sum(", "SELECT mean(")) else {}


def _order(panel: Panel, language: str) -> dict[str, int]:
    """Say the order of the columns: Grafana's data source puts the tags of GROUP BY in another one at every query."""
    names = ["Time"]
    for query in panel.queries:
        text = query.text.replace("{lang}", language)
        columns, _, _ = text.removeprefix("SELECT ").partition(" FROM ")
        _, grouped, tags = text.rpartition(" GROUP BY ")
        names += re.findall(r'"(\w+)"', tags) if grouped else []
        names += [re.findall(r'"(\w+)"', column)[-1] for column in columns.split(", ")]
    return {name: place for place, name in enumerate(dict.fromkeys(names))}


class _Annotation(board_models.AnnotationQuery):
    """An annotation out of InfluxQL: older versions of the data source read it beside the model's own keys."""

    def __init__(self, query: str, language: str) -> None:
        self._own: dict[str, Any] = {
            "query": query,
            "fromAnnotations": True,
            "textColumn": f"title_{language}",
            "tagsColumn": "severity,facility,clause",
        }
        name = _said(BOARDS["breaches"], language)
        target = _Influx(form="table", alias="", ref="annotation", **self._own)
        super().__init__(name=name, datasource=SOURCE, enable=True, icon_color="red", hide=False, target=target)

    def to_json(self) -> dict[str, object]:
        """Return the model's keys and the data source's."""
        return super().to_json() | self._own


class _Annotated(Builder[board_models.AnnotationQuery]):
    def __init__(self, query: Query, language: str) -> None:
        self._made = _Annotation(query.text, language)

    def build(self) -> board_models.AnnotationQuery:
        return self._made


def _variables(board: Board, language: str) -> list[Any]:
    division = (
        dashboard.QueryVariable("division")
        .label(_said(VARIABLES["division"], language))
        .datasource(SOURCE)
        .query('SHOW TAG VALUES FROM "facilities" WITH KEY = "division"')
        .refresh(board_models.VariableRefresh.ON_DASHBOARD_LOAD)
        .include_all(True)
        .all_value(".*")
        .current(board_models.VariableOption(text="All", value="$__all"))
    )
    sectors = [key for key in SECTORS if not board.sector or key == board.sector]
    sector = (
        dashboard.CustomVariable("sector")
        .label(_said(VARIABLES["sector"], language))
        .values(", ".join(f"{_said(SECTORS[key], language)} : {key}" for key in sectors))
    )
    if board.sector:
        sector = sector.current(
            board_models.VariableOption(text=_said(SECTORS[board.sector], language), value=board.sector)
        )
    else:
        sector = sector.include_all(True).all_value(".*")
        sector = sector.current(board_models.VariableOption(text="All", value="$__all"))
    facility = (
        dashboard.QueryVariable("facility")
        .label(_said(VARIABLES["facility"], language))
        .datasource(SOURCE)
        .query(
            f'SELECT "label_{language}" FROM "facilities" WHERE "registered" = 1'
            ' AND "division" =~ /^$division$/ AND "kind" =~ /^$sector$/'
        )
        .regex(_LABEL)
        .refresh(board_models.VariableRefresh.ON_DASHBOARD_LOAD)
        .sort(board_models.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .current(board_models.VariableOption(text=["All"], value=["$__all"]))
    )
    return [division, sector, facility]


def _links(language: str) -> dashboard.DashboardLink:
    return (
        dashboard.DashboardLink("PeakWatch")
        .type(board_models.DashboardLinkType.DASHBOARDS)
        .tags(["peakwatch", language])
        .as_dropdown(False)
        .keep_time(True)
        .include_vars(True)
    )
