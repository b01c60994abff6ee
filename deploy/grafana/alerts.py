"""
The alert rules as data, with who is told and when not. A further rule is a line of RULES.

A statement gives one series for each thing that can be wrong, and its tags are the labels. No `$` stands in what
Grafana reads from a file besides the statements: it would take it for a variable of its environment.
"""

from dataclasses import dataclass
from typing import Literal

from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import alerting, expr
from panels import SOURCE, Target, uid

FOLDER, FOLDER_UID, GROUP = "PeakWatch", "peakwatch", "PeakWatch"
INTERVAL = 300  # [s]
JOBS = ("compute", "judge", "view", "announce", "maintain")

_HOUR, _DAY = 3600, 86_400
_FACILITY = f"/d/{uid('facility', 'zh')}?var-facility={{{{ .Labels.facility }}}}"


@dataclass(frozen=True, slots=True)
class AlertRule:
    """
    One alert rule: it fires for each series whose newest value is `when` `than`.

    Attributes:
        key: the end of its uid.
        title: in Chinese.
        summary: one line for the list, with {{ .Labels.x }} and {{ .Values.x }}.
        text: what it means and what to do.
        statement: InfluxQL; every series it gives is judged.
        link: path of the dashboard to look at.
        severity: critical, warning or info: decides who is told.
        range: how far back the statement looks, where it looks at time at all. [s]
        pending: how long it must hold before it fires.
        no_data: what no row at all means.
        further: more statements whose values the texts name; their series have the same tags.
    """

    key: str
    title: str
    summary: str
    text: str
    statement: str
    link: str
    severity: Literal["critical", "warning", "info"]
    when: Literal["gt", "lt", "outside_range"] = "gt"
    than: tuple[float, ...] = (0,)
    range: int = _DAY
    pending: str = "0s"
    no_data: Literal["OK", "Alerting", "NoData"] = "OK"
    further: tuple[tuple[str, str], ...] = ()


# all that is a tag and that the law or the reader asks for
_CASE = (
    '"breach_id", "facility", "name_zh", "division", "rule", "title_zh", "scope", "interval", "unit", "document", '
    '"clause"'
)


def _open(key: str, title: str, of: str, severity: Literal["critical", "warning"]) -> AlertRule:
    where = f'FROM "breaches" WHERE "state" = \'open\' AND "severity" = \'{of}\' GROUP BY {_CASE}'
    return AlertRule(
        key,
        title,
        "{{ .Labels.name_zh }}（{{ .Labels.facility }}）{{ .Labels.title_zh }}："
        # Grafana would say every digit of the figure
        '{{ printf "%.3f" .Values.value_last.Value }}{{ if ne .Labels.unit "1" }} {{ .Labels.unit }}{{ end }}，'
        '限值 {{ printf "%.3f" .Values.limit_last.Value }}',
        "{{ .Labels.document }} {{ .Labels.clause }}。案件编号 {{ .Labels.breach_id }}，期间 {{ .Labels.interval }}。",
        f'SELECT count("value") {where}',
        f"/d/{uid('breaches', 'zh')}?var-facility={{{{ .Labels.facility }}}}",
        severity,
        further=(("value", f'SELECT last("value") {where}'), ("limit", f'SELECT last("limit") {where}')),
    )


RULES = (
    _open("breach-open", "超限未关闭", "breach", "critical"),
    _open("warning-open", "预警未关闭", "warning", "warning"),
    AlertRule(
        "offline",
        "重点用能单位离线",
        # without any row there is no facility to name
        "{{ if .Labels.facility }}{{ .Labels.name_zh }}（{{ .Labels.facility }}）离线"
        "{{ else }}没有任何重点用能单位的接入记录{{ end }}",
        "最新读数已超过1小时（或计量周期两倍）。请检查网关与网络。",
        'SELECT last("online") FROM "connections" WHERE "key_energy_user" = 1 AND $timeFilter'
        ' GROUP BY "facility", "name_zh", "division"',
        _FACILITY,
        "warning",
        when="lt",
        than=(1,),
        range=2 * _HOUR,
        pending="30m",
        no_data="Alerting",
    ),
    AlertRule(
        "coverage",
        "数据完整率不足",
        "{{ .Labels.facility }} 的完整率低于规则 {{ .Labels.rule }} 的要求",
        "期间 {{ .Labels.interval }} 无法评估：既不立案也不结案。要求的完整率见判定表。",
        'SELECT count("min_coverage") FROM "verdicts" WHERE "coverage" < "min_coverage" AND "interval" = \'1mo\''
        ' AND $timeFilter GROUP BY "facility", "rule", "interval"',
        f"/d/{uid('quality', 'zh')}?var-facility={{{{ .Labels.facility }}}}",
        "warning",
        range=62 * _DAY,
    ),
    AlertRule(
        "balance",
        "分表之和连续大于总表",
        "{{ .Labels.facility }} 的 {{ .Labels.meter }} 一周来每日小于其分表之和，且超出允许偏差",
        "分表之和连续7日大于总表，超过准确度等级允许的偏差。请核对表计、倍率与登记册中的上下级关系；是线索，不是结论。",
        # a main meter that counts more than its sub-meters may feed what has no meter of its own: that is on the board
        'SELECT count("difference") FROM "balance" WHERE "interval" = \'1d\' AND "status" = \'beyond_tolerance\''
        ' AND "difference" < 0 AND $timeFilter GROUP BY "facility", "meter"',
        f"/d/{uid('quality', 'zh')}?var-facility={{{{ .Labels.facility }}}}",
        "warning",
        than=(6,),
        # yesterday's row comes some hours after midnight: in eight days there are seven whole days or eight
        range=8 * _DAY,
    ),
    *(
        AlertRule(
            f"job-{job}",
            f"作业 {job} 未完成",
            f"作业 {job} 在2小时内没有成功运行",
            "请查看调度进程及其日志。",
            f'SELECT count("seconds") FROM "runs" WHERE "job" = \'{job}\' AND "outcome" = \'done\' AND $timeFilter',
            f"/d/{uid('health', 'zh')}",
            "critical",
            when="lt",
            than=(1,),
            range=2 * _HOUR,
            pending="10m",
            no_data="Alerting",
        )
        for job in JOBS
    ),
    AlertRule(
        "loss",
        "损失等式不成立",
        "采集器 {{ .Labels.collector }} 的损失等式相差 {{ .Values.series_last }} 条",
        "收到 = 已存 + 重复 + 隔离 + 待存 不成立：有数据去向不明。",
        'SELECT sum("items") - sum("stored") - sum("duplicate") - sum("quarantined") - sum("pending")'
        ' FROM "collectors" GROUP BY "collector"',
        f"/d/{uid('health', 'zh')}",
        "critical",
        when="outside_range",
        than=(0, 0),
        pending="10m",
    ),
    AlertRule(
        "quarantine",
        "隔离区增长",
        "最近1小时有 {{ .Values.series_last }} 条数据被拒收",
        "被拒收的数据已隔离保存，修正后可用 peakwatch quarantine replay 重放。",
        'SELECT sum("entries") FROM "quarantine" WHERE $timeFilter',
        f"/d/{uid('quality', 'zh')}",
        "warning",
        range=_HOUR,
        pending="15m",
    ),
)


def built(rule: AlertRule) -> alerting.Rule:
    """
    Make one rule: statement -> newest value of each series -> threshold.

    A statement that fails is an error of its own (DatasourceError), never an alert and never all is well.
    """
    data: list[alerting.Query] = []
    for name, statement in (("series", rule.statement), *rule.further):
        reduced = expr.TypeReduce(ref_id=f"{name}_last", expression=name, reducer="last")
        data.append(_query(name, Target(statement, ref=name).build(), SOURCE.uid, rule.range))
        data.append(_query(f"{name}_last", reduced))
    evaluator = expr.ExprTypeThresholdConditionsEvaluator(params=list(rule.than), type_val=rule.when)
    conditions = [expr.ExprTypeThresholdConditions(evaluator=evaluator)]
    data.append(_query("fires", expr.TypeThreshold(ref_id="fires", expression="series_last", conditions=conditions)))
    return alerting.Rule(
        uid=f"peakwatch-{rule.key}",
        title=rule.title,
        rule_group=GROUP,
        folder_uid=FOLDER_UID,
        org_id=1,
        condition="fires",
        data=data,
        for_val=rule.pending,
        no_data_state=rule.no_data,
        exec_err_state="Error",
        labels={"product": "peakwatch", "severity": rule.severity},
        annotations={"summary": rule.summary, "description": rule.text, "link": rule.link},
    )


def _query(name: str, model: Dataquery, source: str | None = "__expr__", back: int = 0) -> alerting.Query:
    return alerting.Query(
        datasource_uid=source, model=model, ref_id=name, relative_time_range=alerting.RelativeTimeRange(back, 0)
    )


def policies() -> dict[str, object]:
    """Say who is told, of what, and when not."""
    operations = {"receiver": "operations", "object_matchers": [["facility", "=", ""]]}
    return {
        "contactPoints": [
            _mail("regulator", "PEAKWATCH_REGULATOR_EMAIL"),
            _mail("operations", "PEAKWATCH_OPERATIONS_EMAIL"),
        ],
        "policies": [
            {
                "orgId": 1,
                "receiver": "regulator",
                "group_by": ["alertname", "facility"],
                "group_wait": "1m",
                "group_interval": "15m",
                "repeat_interval": "7d",
                "routes": [
                    operations,
                    {
                        "receiver": "regulator",
                        "object_matchers": [["severity", "=", "warning"]],
                        "mute_time_intervals": ["outside office hours"],
                    },
                ],
            }
        ],
        "muteTimes": [
            {
                "orgId": 1,
                "name": "outside office hours",
                "time_intervals": [
                    {"weekdays": ["saturday", "sunday"], "location": "Asia/Shanghai"},
                    {
                        "times": [
                            {"start_time": "00:00", "end_time": "08:30"},
                            {"start_time": "18:00", "end_time": "24:00"},
                        ],
                        "location": "Asia/Shanghai",
                    },
                ],
            }
        ],
    }


def _mail(name: str, variable: str) -> dict[str, object]:
    receiver = {"uid": f"peakwatch-{name}", "type": "email", "settings": {"addresses": f"${{{variable}}}"}}
    return {"orgId": 1, "name": name, "receivers": [receiver]}
