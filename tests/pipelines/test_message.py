"""The notice: what it says is true of the event, in both languages, whatever names and figures it is given."""

import re
import tomllib
from datetime import UTC, date, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from html.parser import HTMLParser
from importlib import resources
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.errors import WorkError
from ingest.model import Text
from ingest.registry import Contact, Facility
from ingest.schema import BREACH_EVENTS
from pipelines.notify import figures
from pipelines.notify.message import compose
from rules.model import Document, Rule

AT = datetime(2026, 10, 1, 6, 6, tzinfo=UTC)
PUE = Text(zh="电能利用效率 PUE", en="PUE")
DOCUMENT = Document(
    id="plan",
    title=Text(zh="广东省碳达峰实施方案", en="Guangdong carbon-peak plan"),
    number="粤府〔2022〕56号",
    number_confidence="RECALLED",
    source="plan",
    confidence="V",
    revised=date(2026, 11, 1),
)
RULE = Rule(
    id="gd-13-pue",
    document="plan",
    clause=Text(zh="第13项", en="item 13"),
    title=Text(zh="新建大型数据中心 PUE", en="PUE of new large data centres"),
    text=Text(zh="PUE 不高于 1.3。", en="PUE not above 1.3."),
    action=Text(zh="三十日内提交整改方案。", en="Hand in a plan within thirty days."),
    indicator="pue",
    interval="12mo",
    early_warning="1mo",
    comparison="<=",
    limit=1.3,
    unit="1",
    severity="breach",
    min_coverage=0.9,
    valid_from=date(2023, 2, 7),
    source="plan, item 13",
    confidence="V",
)
# twelve months of Shanghai time (UTC+8): 2025-10-01 00:00 is 2025-09-30 16:00 UTC; 96,600,000 / 70,000,000 = 1.38
EVENT: dict[str, Any] = {
    "breach_id": "b7f3a1c09d2e4f55",
    "event_id": "e1c09d2e4f55b7f3",
    "kind": "opened",
    "at": AT,
    "facility": "dc-sample",
    "rule": "gd-13-pue",
    "severity": "breach",
    "indicator": "pue",
    "scope": "",
    "interval": "12mo",
    "start": datetime(2025, 9, 30, 16, tzinfo=UTC),
    "end": datetime(2026, 9, 30, 16, tzinfo=UTC),
    "value": 1.38,
    "comparison": "<=",
    "limit": 1.3,
    "unit": "1",
    "numerator": 96_600_000.0,
    "denominator": 70_000_000.0,
    "coverage": 0.9997,
    "meters": "E-main / E-it1, E-it2",
    "document": "广东省碳达峰实施方案",
    "clause": "第13项",
    "catalogue_version": "2026-11-20+3f2a",
    "factor_version": "2026-11-20+91bc",
}
SEPTEMBER = {"interval": "1mo", "start": datetime(2026, 8, 31, 16, tzinfo=UTC)}


def facility(language: str = "zh", **over: Any) -> Facility:
    return Facility.model_validate(
        {
            "id": "dc-sample",
            "name": {"zh": "示例数据中心", "en": "Sample data centre"},
            "kind": "data_centre",
            "division": "440781",
            "industry": "6450",
            "language": language,
            "key_energy_user": True,
            "data_centre": {"scale": "large", "hub_node": False, "approved": date(2024, 5, 1), "pue_category": 2},
            "meter": [
                {
                    "id": "E-main",
                    "carrier": "electricity",
                    "role": "total",
                    "kind": "register",
                    "unit": "kWh",
                    "period": "15m",
                    "valid_from": date(2025, 1, 1),
                }
            ],
        }
        | over
    )


def contact(name: str = "Duty desk", email: str = "duty@example.org") -> Contact:
    return Contact(role="operator", name=name, email=email)


def written(
    *, site: Facility | None = None, rule: Rule = RULE, to: Contact | None = None, title: Text = PUE, **event: Any
) -> EmailMessage:
    return compose(
        EVENT | event,
        facility=site or facility(),
        rule=rule,
        document=DOCUMENT,
        indicator=title,
        sender="peakwatch@example.org",
        recipient=to or contact(),
        at=AT,
    )


def body(message: EmailMessage, kind: str = "plain") -> str:
    part = message.get_body((kind,))
    assert part is not None
    return part.get_content().replace("\r\n", "\n")


def first_line(message: EmailMessage) -> str:
    return body(message).split("\n")[0]


def test_the_event_of_these_tests_is_a_row_of_the_table() -> None:
    assert list(EVENT) == BREACH_EVENTS.schema.names()


def test_the_first_line_and_the_subject_say_what_happened() -> None:
    # (1.38 - 1.30) / 1.30 = 0.0615...
    zh = "【超限】示例数据中心：电能利用效率 PUE 1.38，高于限值 1.30（高出 6.2 %）"
    en = "[Breach] Sample data centre: PUE 1.38, above the limit of 1.30 (by 6.2 %)"
    assert (written()["Subject"], first_line(written())) == (zh, zh)
    assert (written(site=facility("en"))["Subject"], first_line(written(site=facility("en")))) == (en, en)


@pytest.mark.parametrize(
    "line",
    [
        "  用能单位：示例数据中心（dc-sample）",
        "  数值：1.38",
        "  限值：1.30（要求：不高于）",
        "  与限值之差：+0.08（6.2 %）",
        "  期间：2025-10-01 至 2026-09-30（含首尾两日，共 12 个月；时区 Asia/Shanghai）",
        "  三十日内提交整改方案。",
        "  以后某一期间符合要求时，将另发关闭通知。",
        "  文件：广东省碳达峰实施方案 粤府〔2022〕56号（文号未核实）",
        "  条款：第13项",
        "  要求：PUE 不高于 1.3。",
        "  核实程度：已与引用该文件的公开文本（二手来源）核对，未与官方原文核对；采取措施前请核对官方原文。",
        "  计算：96,600,000 kWh / 70,000,000 kWh = 1.38",
        "  计量器具：E-main / E-it1, E-it2",
        "  数据完整率：99.9 %（要求至少 90.0 %）",
        "  折算因子版本：2026-11-20+91bc",
        "  规则目录版本：2026-11-20+3f2a",
        "  判定时间：2026-10-01 14:06 (Asia/Shanghai)",
        "  超限编号：b7f3a1c09d2e4f55",
        "  事件编号：e1c09d2e4f55b7f3",
    ],
)
def test_a_breach_is_defended_line_by_line(line: str) -> None:
    assert line in body(written()).split("\n")


@pytest.mark.parametrize(
    "line",
    [
        "  Period: 2025-10-01 to 2026-09-30, both days included: 12 months (time zone Asia/Shanghai)",
        "  Document: Guangdong carbon-peak plan 粤府〔2022〕56号 (number not verified)",
        "  As issued (Chinese): 广东省碳达峰实施方案 第13项",
        "  Requirement: PUE not above 1.3.",
        "  Requirement (Chinese): PUE 不高于 1.3。",
        "  Limit: 1.30 (the value must not be above it)",
    ],
)
def test_an_english_notice_names_the_chinese_document(line: str) -> None:
    assert line in body(written(site=facility("en"))).split("\n")


def test_a_breach_says_nothing_of_a_warning() -> None:
    assert "预警" not in body(written())
    assert "warning" not in body(written(site=facility("en")))


def test_an_early_warning_says_that_it_is_no_breach() -> None:
    message = written(severity="warning", **SEPTEMBER)
    assert first_line(message).startswith("【预警，不是超限】")
    assert "这是预警，不是超限：超限按 12 个月期间判定。" in body(message)
    assert "2026-09-01 至 2026-09-30（含首尾两日，共 1 个月" in body(message)
    assert "预警编号：b7f3a1c09d2e4f55" in body(message)
    assert "超限编号" not in body(message)
    only = written(severity="warning", rule=RULE.model_copy(update={"severity": "warning"}), site=facility("en"))
    assert "This is an early warning, not a breach." in body(only)


def test_closed_says_closed_and_asks_for_nothing() -> None:
    message = written(kind="closed", value=1.27)
    # (1.30 - 1.27) / 1.30 = 0.0231
    assert first_line(message) == (
        "【超限已关闭】示例数据中心：电能利用效率 PUE 1.27，低于限值 1.30（低 2.3 %），符合要求"
    )
    assert "本次超限已关闭" in body(message)
    assert "三十日内" not in body(message)


def test_closed_at_the_very_limit_is_as_required() -> None:
    assert first_line(written(kind="closed", value=1.3)).endswith("PUE 1.30，等于限值 1.30，符合要求")


def test_withdrawn_says_so_and_why() -> None:
    message = written(kind="withdrawn", value=1.29, site=facility("en"))
    assert message["Subject"].startswith("[Breach notice withdrawn] ")
    assert "an earlier notice is withdrawn; judged again, PUE is 1.29, below the limit of 1.30" in body(message)
    assert "After that notice the data (or the rule catalogue) were corrected" in body(message)
    assert "Hand in a plan" not in body(message)


@pytest.mark.parametrize("event", [{"value": None}, {"value": float("nan")}, {"coverage": 0.5}, {"coverage": None}])
def test_withdrawn_for_lack_of_data_claims_no_value(event: dict[str, Any]) -> None:
    message = written(kind="withdrawn", **event)
    assert first_line(message).endswith("重新判定后，电能利用效率 PUE 不可判定")
    assert "1.38" not in body(message) + body(message, "html")


def test_a_breach_without_a_value_is_refused() -> None:
    with pytest.raises(WorkError, match=r"e1c09d2e4f55b7f3 \(opened\): found no value"):
        written(value=None)


@pytest.mark.parametrize(
    ("event", "said"),
    [
        # 1.304 - 1.300 = 0.004; 0.004 / 1.3 = 0.31 %
        ({"value": 1.304}, "1.304，高于限值 1.300（高出 0.3 %）"),
        ({"value": 1.30001}, "1.30001，高于限值 1.30000（高出 < 0.1 %）"),
        # a limit with three decimals is never rounded
        ({"value": 1.4, "limit": 1.305}, "1.400，高于限值 1.305（高出 7.3 %）"),
        ({"value": 12345.67, "limit": 10000.0, "unit": "tce"}, "12,346 tce，高于限值 10,000 tce（高出 23.5 %）"),
        ({"value": 10000.2, "limit": 10000.0, "unit": "tce"}, "10,000.2 tce，高于限值 10,000.0 tce（高出 < 0.1 %）"),
        ({"value": 7.6, "limit": 7.0, "unit": "kgce/m2"}, "7.60 kgce/m²，高于限值 7.00 kgce/m²（高出 8.6 %）"),
        ({"value": 0.87, "limit": 0.9, "comparison": ">="}, "0.87，低于限值 0.90（低 3.3 %）"),
        # a share of nothing is not a number
        ({"value": 0.0, "limit": 0.0, "comparison": ">"}, "0.00，等于限值 0.00，要求高于限值"),
        ({"value": 0.1, "limit": 0.0}, "0.10，高于限值 0.00"),
        ({"value": 1.25, "limit": 1.25, "comparison": "<"}, "1.25，等于限值 1.25，要求低于限值"),
        # limits of GB 21256 may be negative: -10 is 20 / 30 above -30
        ({"value": -10.0, "limit": -30.0, "unit": "kgce/t"}, "-10.00 kgce/t，高于限值 -30.00 kgce/t（高出 66.7 %）"),
    ],
)
def test_figures_are_as_exact_as_it_takes(event: dict[str, Any], said: str) -> None:
    assert first_line(written(**event)).endswith(said)


def test_a_product_is_named_with_the_parts_of_its_intensity() -> None:
    # 2,280,000 kgce / 10,000 t = 228 kgce/t
    message = written(
        title=Text(zh="单位产品综合能耗", en="intensity"),
        indicator="intensity",
        scope="tube",
        unit="kgce/t",
        value=228.0,
        limit=220.0,
        numerator=2_280_000.0,
        denominator=10_000.0,
    )
    assert "单位产品综合能耗（tube） 228.00 kgce/t，高于限值 220.00 kgce/t（高出 3.6 %）" in first_line(message)
    assert "  计算：2,280,000 kgce / 10,000 t = 228.00 kgce/t" in body(message).split("\n")


@pytest.mark.parametrize("parts", [(12.0, None), (12.0, 0.0), (None, 2.0), (12.0, 2.0)])
def test_what_is_no_quotient_of_its_parts_has_no_calculation(parts: tuple[float | None, float | None]) -> None:
    numerator, denominator = parts
    assert "计算" not in body(written(numerator=numerator, denominator=denominator))


@pytest.mark.parametrize(
    ("event", "said"),
    [
        ({"interval": "1d", "start": datetime(2026, 9, 29, 16, tzinfo=UTC)}, "2026-09-30 全天（1 天；"),
        # no whole days: both ends to the minute
        (
            {"interval": "1h", "start": datetime(2026, 9, 30, 15, tzinfo=UTC)},
            "2026-09-30 23:00 至 2026-10-01 00:00（不含止时刻，共 1 小时；",
        ),
    ],
)
def test_both_ends_of_a_period_are_said_plainly(event: dict[str, Any], said: str) -> None:
    assert f"  期间：{said}" in body(written(**event))


def test_dates_are_those_of_the_facility_also_when_the_clocks_change() -> None:
    # Sydney goes from UTC+10 to UTC+11 on 2026-10-04: October is 2026-09-30 14:00 to 2026-10-31 13:00 UTC
    october = {"start": datetime(2026, 9, 30, 14, tzinfo=UTC), "end": datetime(2026, 10, 31, 13, tzinfo=UTC)}
    message = written(site=facility("en", timezone="Australia/Sydney"), interval="1mo", **october)
    assert "2026-10-01 to 2026-10-31, both days included: 1 month (time zone Australia/Sydney)" in body(message)


@pytest.mark.parametrize(
    ("confidence", "said"),
    [
        ("V1", "已与转录文本核对"),
        ("V", "二手来源"),
        ("S", "未核实：仅见于一个较弱的来源"),
        ("RECALLED", "未核实：未找到来源文本"),
    ],
)
def test_a_notice_is_as_sure_as_its_weaker_source(confidence: str, said: str) -> None:
    document = DOCUMENT.model_copy(update={"confidence": "V1"})
    message = compose(
        EVENT,
        facility=facility(),
        rule=RULE.model_copy(update={"confidence": confidence}),
        document=document,
        indicator=PUE,
        sender="peakwatch@example.org",
        recipient=contact(),
        at=AT,
    )
    assert said in body(message)
    assert "采取措施前请核对官方原文" in body(message)


def test_the_credit_code_stands_beside_the_facility() -> None:
    # weights 3^i mod 31 over 91440781MA4UQ1X05; the check digit is verified by the registry
    assert "统一社会信用代码 91350100M000100Y43" in body(written(site=facility(uscc="91350100M000100Y43")))


def test_headers_are_those_of_an_automatic_mail() -> None:
    message = written()
    assert message["From"] == "PeakWatch <peakwatch@example.org>"
    assert message["To"] == "Duty desk <duty@example.org>"
    assert message["Date"] == "Thu, 01 Oct 2026 14:06:00 +0800"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Content-Language"] == "zh-CN"
    assert message.get_content_type() == "multipart/alternative"
    assert re.fullmatch(r"<[0-9a-f]{40}@example\.org>", message["Message-ID"])


def test_a_second_try_is_the_same_mail_and_every_other_mail_is_another() -> None:
    assert written().as_bytes() == written().as_bytes()
    ids = {written(**event)["Message-ID"] for event in ({}, {"at": datetime(2026, 10, 2, tzinfo=UTC)})}
    ids |= {written(event_id="another")["Message-ID"], written(to=contact(email="other@example.org"))["Message-ID"]}
    assert len(ids) == 3


class Page(HTMLParser):
    """Collects what a mail client would act on."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.data: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.data.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.data).split())


def test_the_html_says_the_same_and_fetches_nothing() -> None:
    html = body(written(), "html")
    page = Page(html)
    assert page.tags == {"html", "head", "meta", "title", "body", "table", "tr", "td", "div"}
    assert not {"src", "href", "background", "class", "onclick"} & page.attributes
    assert "url(" not in html
    assert "://" not in html
    for line in body(written()).split("\n"):
        for part in line.strip().split("：", 1) if line.startswith("  ") else []:
            assert part in page.text


HOSTILE = [
    "Desk\r\nBcc: everyone@example.org",
    "Desk\nX-Evil: 1",
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{ 7 * 7 }}{% raise %}{0.__class__}{facility}",
    '"duty" <evil@example.org>,',
    "a\u2028b\u202ec\x00d\x85e",
    "名" * 5000,
]


def check(message: EmailMessage) -> None:
    """A message is seven-bit, parses without defects into the headers it was given, and its HTML into our tags."""
    raw = message.as_bytes()
    assert raw.isascii()
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    parsed = message_from_bytes(raw, policy=policy.SMTP)
    assert set(parsed.keys()) == {
        *("From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "Content-Language", "MIME-Version"),
        "Content-Type",
    }
    assert [address.addr_spec for address in parsed["To"].addresses] == ["duty@example.org"]
    assert Page(body(message, "html")).tags == {"html", "head", "meta", "title", "body", "table", "tr", "td", "div"}


def hostile(name: str, text: str) -> EmailMessage:
    """The registry and the catalogue refuse such text today; the notice does not rely on it."""
    site = facility()
    site = site.model_copy(update={"name": site.name.model_copy(update={"zh": name})})
    rule = RULE.model_copy(update={"text": Text.model_construct(zh=text, en=text), "source": text})
    return written(to=contact().model_copy(update={"name": name}), site=site, rule=rule, meters=text)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_injects_neither_header_nor_markup(name: str) -> None:
    message = hostile(name, name)
    check(message)
    assert "49" not in first_line(message)


names = st.text(st.characters(exclude_categories=[]), min_size=1, max_size=80)


@given(name=names, text=names)
def test_no_name_at_all_injects_anything(name: str, text: str) -> None:
    check(hostile(name, text))


@given(
    value=st.floats(-1e12, 1e12, allow_subnormal=False),
    limit=st.decimals(-1_000_000, 1_000_000, places=5).map(float),
)
def test_what_is_shown_stands_as_what_is(value: float, limit: float) -> None:
    standing = figures.beside(value, limit)
    shown, bound = (float(text.replace(",", "")) for text in (standing.value, standing.limit))
    assert bound == limit
    assert {"above": shown > bound, "below": shown < bound, "equal": shown == bound}[standing.side]
    assert (standing.side == "equal") == (abs(value - limit) <= 1e-9 * max(abs(value), abs(limit)))


def test_coverage_is_never_rounded_up_to_all() -> None:
    assert [figures.percent_at_least(share) for share in (1.0, 0.99999, 0.9, 0.0)] == [
        "100.0 %",
        "99.9 %",
        "90.0 %",
        "0.0 %",
    ]


def test_both_languages_say_the_same_with_the_same_values() -> None:
    words = tomllib.loads(resources.files("pipelines.notify").joinpath("templates/words.toml").read_text("utf-8"))
    for group in words.values():
        for text in group.values():
            zh, en = (sorted(re.findall(r"\{\w+\}", text[language])) for language in ("zh", "en"))
            assert zh == en
            assert not re.search(r"[,:;()]", text["zh"]), "Chinese punctuation in a Chinese sentence"
