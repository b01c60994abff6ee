"""
Titles and descriptions of dashboards and panels, in Chinese and English; columns and codes stand in labels.py.

A panel has two entries, its title and what it shows and by which clause.
"""

from typing import NamedTuple


class Words(NamedTuple):
    """One text in both languages."""

    zh: str
    en: str


class Panel(NamedTuple):
    """Title and description of a panel."""

    title: Words
    shows: Words


_GUANGDONG_12 = Words("广东省碳达峰实施方案任务12", "Guangdong carbon-peak plan, task 12")
_GUANGDONG_13 = Words("广东省碳达峰实施方案任务13", "Guangdong carbon-peak plan, task 13")
_GUANGDONG_36 = Words("广东省碳达峰实施方案任务36", "Guangdong carbon-peak plan, task 36")
_OWN = Words("PeakWatch 自身运行", "PeakWatch's own running; no clause")
_EVIDENCE = Words("条款见各行“条款”列", "the clause stands in the column `clause`")
_RULES = Words("规则目录所列条款", "the clauses of the rule catalogue")


def _panel(zh: str, en: str, shows_zh: str, shows_en: str, clause: Words = _EVIDENCE) -> Panel:
    return Panel(Words(zh, en), Words(f"{shows_zh}。依据：{clause.zh}。", f"{shows_en}. Basis: {clause.en}."))


BOARDS = {
    "overview": Words("监管总览", "Regulator's overview"),
    "facility": Words("用能单位", "Facility"),
    "data-centre": Words("数据中心", "Data centres"),
    "quality": Words("数据质量", "Data quality"),
    "breaches": Words("超限案件", "Breach cases"),
    "health": Words("系统运行", "Pipeline health"),
}

VARIABLES = {
    "division": Words("行政区划", "Division"),
    "sector": Words("类别", "Sector"),
    "facility": Words("用能单位", "Facility"),
}

SECTORS = {
    "industrial": Words("工业", "Industry"),
    "data_centre": Words("数据中心", "Data centre"),
    "public_building": Words("公共建筑", "Public building"),
    "public_institution": Words("公共机构", "Public institution"),
    "power_plant": Words("电厂", "Power plant"),
}

PANELS = {
    "obliged": _panel(
        "重点用能单位",
        "Key energy users",
        "登记册中的重点用能单位数",
        "Key energy users of the registry",
        _GUANGDONG_12,
    ),
    "connected": _panel(
        "已接入",
        "Connected",
        "其中32天内有读数的单位数",
        "Of these, facilities with a reading of the last 32 days",
        _GUANGDONG_12,
    ),
    "online": _panel(
        "在线",
        "On-line",
        "其中最新读数不早于1小时（或计量周期两倍）的单位数",
        "Of these, facilities whose newest reading is no older than an hour, or twice a meter's period",
        _GUANGDONG_12,
    ),
    "complete": _panel(
        "昨日完整率",
        "Completeness of yesterday",
        "重点用能单位昨日在线监测数据完整率的平均值",
        "Mean completeness of yesterday's data of the key energy users",
        _GUANGDONG_12,
    ),
    "open_by_severity": _panel(
        "未关闭超限", "Open breaches", "未关闭的超限与预警数", "Breaches and warnings that are open", _RULES
    ),
    "open_by_age": _panel(
        "未关闭超限的时长",
        "Open breaches by age",
        "按首个超限期间结束以来的时间分组",
        "By the time since the end of the period that opened them",
        _RULES,
    ),
    "ranking": _panel(
        "指标与限额排名",
        "Ranking against the limit",
        "最近一个已判定的12个月期间：指标值、限额与结论",
        "Newest judged twelve months: value, limit and verdict",
    ),
    "divisions": _panel(
        "分区划统计",
        "By division",
        "各区划的重点用能单位数、接入数、在线数与昨日完整率",
        "Key energy users, connected, on-line and yesterday's completeness of each division",
        _GUANGDONG_12,
    ),
    "divisions_open": _panel(
        "分区划未关闭超限",
        "Open breaches by division",
        "各区划未关闭的超限与预警数",
        "Open breaches and warnings of each division",
        _RULES,
    ),
    "tce": _panel(
        "综合能耗（月）",
        "Energy consumption, monthly",
        "GB/T 2589 综合能耗",
        "Comprehensive energy consumption, GB/T 2589",
        Words("GB/T 2589", "GB/T 2589"),
    ),
    "carriers": _panel(
        "各总表分品种能耗（月）",
        "Coal equivalent by carrier and main meter, monthly",
        "角色为 total 的计量器具；下级总表已含在上级中，不可相加",
        "Meters of role total; one below another is part of it, so the lines must not be added up",
        Words("GB/T 2589", "GB/T 2589"),
    ),
    "co2": _panel(
        "二氧化碳排放（月，基于位置）",
        "CO2, monthly, location based",
        "按注明日期的排放因子计算",
        "By dated emission factors",
        Words("广东省碳达峰实施方案任务10", "Guangdong carbon-peak plan, task 10"),
    ),
    "peak_demand": _panel(
        "最大需量（日）",
        "Maximum demand, daily",
        "每日15分钟平均功率的最大值；含估算的时段不计",
        "Largest mean power over 15 minutes of each day; what was spread over a gap does not count",
        _OWN,
    ),
    "co2_market": _panel(
        "二氧化碳排放（月，基于市场）",
        "CO2, monthly, market based",
        "扣除已登记的绿电、绿证，其余用电按剩余电网因子；与基于位置的数值并列，互不抵扣",
        "Less registered green power, the rest at the factor of the remaining grid; beside the location-based figure",
        Words("广东省碳达峰实施方案任务10", "Guangdong carbon-peak plan, task 10"),
    ),
    "intensity": _panel(
        "单位产品能耗与限额（月）",
        "Energy per unit of product and its limit, monthly",
        "虚线为判定时适用的限额",
        "Dashed: the limit that held when it was judged",
        _GUANGDONG_12,
    ),
    "intensity_year": _panel(
        "单位产品能耗与限额（12个月）",
        "Energy per unit of product and its limit, twelve months",
        "按期间起点绘制；虚线为判定时适用的限额",
        "Drawn at the start of the twelve months; dashed: the limit that held when it was judged",
        _GUANGDONG_12,
    ),
    "verdicts": _panel(
        "判定结果",
        "Verdicts",
        "最近的判定，含合格与无法评估的原因",
        "Newest verdicts, with passes and why one could not be judged",
    ),
    "pue_year": _panel(
        "PUE（12个月）",
        "PUE, twelve months",
        "ISO/IEC 30134-2 年度 PUE，按期间起点绘制；虚线为限值",
        "Annual PUE of ISO/IEC 30134-2, drawn at the start of the twelve months; dashed: the limit",
        _GUANGDONG_13,
    ),
    "pue_month": _panel(
        "PUE（月）",
        "PUE, monthly",
        "阶段 PUE，用于预警；虚线为限值",
        "Interim PUE (iPUE), an early warning; dashed: the limit",
        _GUANGDONG_13,
    ),
    "pue_now": _panel(
        "最近12个月 PUE",
        "PUE of the newest twelve months",
        "最近一个已判定期间的 PUE、限值与结论",
        "PUE, limit and verdict of the newest judged period",
        _GUANGDONG_13,
    ),
    "it_load": _panel(
        "信息设备平均功率",
        "Mean IT load",
        "每小时信息设备电量除以1小时",
        "IT energy of each hour over one hour",
        _GUANGDONG_13,
    ),
    "shares": _panel(
        "用电构成（月）",
        "Electricity by role, monthly",
        "信息设备、制冷、配电与照明各计量器具的电量；下级已含在上级中",
        "Electricity of each meter of IT, cooling, power distribution and lighting; one below another is part of it",
        _GUANGDONG_13,
    ),
    "coverage": _panel(
        "日完整率", "Coverage, daily", "在线监测数据完整率", "Completeness of the monitoring data", _GUANGDONG_12
    ),
    "estimated": _panel(
        "分摊电量占比（日）",
        "Estimated share, daily",
        "因数据缺口分摊得到的数量占比，各计量器具的平均值",
        "Share of the quantity that was spread over a gap, mean of the meters",
        _GUANGDONG_36,
    ),
    "balance": _panel(
        "总表与分表平衡（日）",
        "Balance of main and sub-meters, daily",
        "差值为总表减分表之和，允许偏差按准确度等级得出；单位为该能源品种的单位",
        "difference: main meter less its sub-meters; tolerance: what their classes allow; in the carrier's unit",
        _GUANGDONG_36,
    ),
    "beyond_tolerance": _panel(
        "平衡超差",
        "Balance beyond tolerance",
        "总表与分表之差超过允许偏差的日子；差值为正也可能是未装分表的用能；是线索，不是结论",
        "Days on which main and sub-meters differ by more than their classes allow; above zero it may be use without "
        "a sub-meter: a lead, not a finding",
        _GUANGDONG_36,
    ),
    "odd_steps": _panel(
        "异常读数（日）",
        "Odd steps, daily",
        "按类型统计的异常步数",
        "Steps of the meters that were odd, by kind",
        _GUANGDONG_36,
    ),
    "unattributed": _panel(
        "异常与未归属量",
        "What was odd and what was not attributed",
        "每块表每日的异常：未归入任何时段的数量、已归入的数量与说明；是线索，不是结论",
        "What was odd of each meter and day: quantity attributed to no slot, quantity attributed, and what was done; "
        "a lead, not a finding",
        _GUANGDONG_36,
    ),
    "not_assessable": _panel(
        "无法评估", "Not assessable", "无法判定的期间与原因", "Periods that could not be judged, and why"
    ),
    "refused": _panel(
        "隔离条目（日）",
        "Refused entries, daily",
        "被拒收并隔离的条目数",
        "Entries that were refused and kept in quarantine",
        _GUANGDONG_36,
    ),
    "refusals": _panel(
        "最近隔离记录", "Newest refusals", "主题、原因与说明", "Topic, reason and sentence", _GUANGDONG_36
    ),
    "cases": _panel(
        "案件",
        "Cases",
        "每起超限的当前状态与最近一次立案证据",
        "Every breach as it stands, with the evidence of its last opening",
    ),
    "events": _panel(
        "案件过程", "Steps of the cases", "立案、结案与撤销的全部记录", "Every opening, closing and withdrawal"
    ),
    "rate": _panel(
        "每秒读数",
        "Readings per second",
        "各采集进程每秒新存入的读数（五分钟平均）",
        "Readings newly stored a second by each collector, over five minutes",
        _OWN,
    ),
    "lag": _panel("最新读数的滞后", "Age of the newest reading", "各单位最新读数的时间差", "By facility", _OWN),
    "loss": _panel(
        "损失等式差额",
        "Loss equation",
        "收到 − 已存 − 重复 − 隔离 − 待存，应为0",
        "Received less stored, duplicate, quarantined and pending: must be 0",
        _OWN,
    ),
    "collectors": _panel("采集进程", "Collectors", "各采集进程的计数", "What each collector process counted", _OWN),
    "jobs": _panel("作业", "Jobs", "各作业最近一次运行", "Newest run of each job", _OWN),
    "seconds": _panel("作业耗时", "Duration of the jobs", "每次运行的秒数", "Of each run", _OWN),
}
