"""Verdicts: who is bound and when, how a value stands to its bound, and what cannot be judged says why."""

from datetime import date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.schema import INDICATORS
from rules.catalogue import load
from rules.evaluate import verdicts
from rules.model import VERDICTS

FOLDER = Path(__file__).with_name("catalogue_cases") / "good"
CATALOGUE = load(folder=FOLDER)
SHANGHAI = ZoneInfo("Asia/Shanghai")

FACTS = {
    "facility": "dc",
    "kind": "data_centre",
    "division": "440781",
    "industry": "6450",
    "timezone": "Asia/Shanghai",
    "key_energy_user": True,
    "floor_area_m2": None,
    "persons": None,
    "scale": "large",
    "hub_node": False,
    "approved": date(2024, 5, 1),
    "pue_category": 2,
}
PRODUCTS = {"facility": "dc", "product": "tile", "unit": "m2", "limit": "T-1"}
PUE = {
    "facility": "dc",
    "indicator": "pue",
    "scope": "",
    "interval": "12mo",
    "start": datetime(2025, 1, 1, tzinfo=SHANGHAI),
    "end": datetime(2026, 1, 1, tzinfo=SHANGHAI),
    "value": 1.38,
    "unit": "1",
    "numerator": 138.0,
    "denominator": 100.0,
    "coverage": 0.98,
    "status": "ok",
    "reason": "",
    "meters": "E-main / E-it",
    "catalogue_version": "factors-1",
    "unverified": "",
}
INTENSITY = PUE | {"indicator": "intensity", "scope": "tile", "unit": "kgce/m2", "value": 7.6}
COVERAGE = PUE | {
    "indicator": "coverage",
    "interval": "1d",
    "start": datetime(2025, 1, 1, tzinfo=SHANGHAI),
    "end": datetime(2025, 1, 2, tzinfo=SHANGHAI),
    "value": 0.95,
    "coverage": 0.95,
}


def midnight(day, zone):
    return datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone))


def frame(schema, *rows):
    rows = [
        {**row, **{key: row[key].astimezone(ZoneInfo("UTC")) for key in ("start", "end") if key in row}} for row in rows
    ]
    return pl.DataFrame(rows, schema=schema, orient="row")


def judge(*indicators, facts=(), products=(), catalogue=CATALOGUE):
    facts = pl.DataFrame(
        facts or [FACTS],
        schema_overrides={
            "approved": pl.Date,
            "scale": pl.String,
            "hub_node": pl.Boolean,
            "key_energy_user": pl.Boolean,
        },
    )
    products = pl.DataFrame(products or [PRODUCTS])
    return verdicts(catalogue, frame(INDICATORS.schema, *indicators), facts=facts, products=products)


def only(judged, rule):
    (row,) = judged.filter(pl.col("rule") == rule).to_dicts()
    return row


def test_a_breach_carries_its_evidence():
    row = only(judge(PUE), "plan-pue")
    assert row == {
        "rule": "plan-pue",
        "facility": "dc",
        "scope": "",
        "indicator": "pue",
        "interval": "12mo",
        "start": PUE["start"],
        "end": PUE["end"],
        "value": 1.38,
        "comparison": "<=",
        "limit": 1.3,
        "unit": "1",
        "numerator": 138.0,
        "denominator": 100.0,
        "coverage": 0.98,
        "meters": "E-main / E-it",
        "status": "breach",
        "reason": "",
        "severity": "breach",
        "enforceable": True,
        "document": "方案",
        "clause": "十三",
        "catalogue_version": CATALOGUE.version,
        "factor_version": "factors-1",
    }


def test_early_warning_judges_the_month_by_the_same_rule():
    month = PUE | {"interval": "1mo", "end": datetime(2025, 2, 1, tzinfo=SHANGHAI)}
    judged = judge(PUE, month, PUE | {"interval": "1d"})
    assert judged.select("rule", "interval", "severity", "status").rows() == [
        ("plan-pue", "12mo", "breach", "breach"),
        ("plan-pue", "1mo", "warning", "breach"),
    ]


@pytest.mark.parametrize(
    ("value", "status"),
    [
        (1.3, "pass"),
        (1.2999, "pass"),
        (sum([0.1] * 13), "pass"),  # 1.3000000000000003
        (1.3 * (1 + 1e-10), "pass"),
        (1.3 * (1 + 1e-8), "breach"),
        (1.3004, "breach"),
    ],
)
def test_at_most(value, status):
    assert only(judge(PUE | {"value": value}), "plan-pue")["status"] == status


@pytest.mark.parametrize(
    ("value", "complete", "connected"),
    [(0.0, "breach", "breach"), (1e-6, "breach", "pass"), (0.9, "pass", "pass"), (0.8999, "breach", "pass")],
)
def test_at_least_and_above(value, complete, connected):
    judged = judge(COVERAGE | {"value": value, "coverage": value})
    assert only(judged, "plan-complete")["status"] == complete
    assert only(judged, "plan-connected")["status"] == connected


@pytest.mark.parametrize("value", [1.25, 1.25 * (1 - 1e-10)])
def test_below_does_not_hold_at_the_bound(value):
    catalogue = load()
    hub = FACTS | {"hub_node": True, "approved": date(2024, 1, 1)}
    judged = judge(PUE | {"value": value}, facts=[hub], catalogue=catalogue)
    assert only(judged, "gd-13-pue-hub")["status"] == "pass"
    other = only(judged, "gd-13-pue-hub-below")
    assert (other["status"], other["enforceable"]) == ("breach", False)
    assert other["reason"] == "rule gd-13-pue-hub-below is not verified: the operator has to confirm it"


@pytest.mark.parametrize(
    "fact",
    [
        {"kind": "industrial"},
        {"scale": "medium"},
        {"hub_node": True},
        {"division": "450781"},
        {"approved": date(2023, 2, 6)},
        {"approved": date(2024, 7, 1)},
        {"kind": "industrial", "scale": None, "hub_node": None, "approved": None},
    ],
)
def test_facility_out_of_scope_is_not_bound(fact):
    assert judge(PUE, facts=[FACTS | fact]).is_empty()


@pytest.mark.parametrize("approved", [date(2023, 2, 7), date(2024, 6, 30)])
def test_days_of_approval_are_included(approved):
    assert only(judge(PUE, facts=[FACTS | {"approved": approved}]), "plan-pue")["status"] == "breach"


def test_a_missing_fact_is_shown():
    row = only(judge(PUE, facts=[FACTS | {"scale": None}]), "plan-pue")
    assert row["status"] == "not_assessable"
    assert row["reason"] == "the registry does not say scale, which the rule asks for"


def test_any_of_several_divisions():
    assert "plan-complete" in judge(COVERAGE)["rule"]
    assert "plan-complete" in judge(COVERAGE, facts=[FACTS | {"division": "440305"}])["rule"]
    assert "plan-complete" not in judge(COVERAGE, facts=[FACTS | {"division": "440105"}])["rule"]


@pytest.mark.parametrize(
    ("start", "end", "bound"),
    [
        (date(2023, 2, 7), date(2024, 2, 7), True),
        (date(2023, 2, 6), date(2024, 2, 6), False),
        (date(2030, 1, 1), date(2031, 1, 1), True),
        (date(2030, 1, 2), date(2031, 1, 2), False),
    ],
)
@pytest.mark.parametrize("zone", ["Asia/Shanghai", "America/Santiago"])
def test_period_lies_wholly_between_the_days_of_the_rule(start, end, bound, zone):
    row = PUE | {"start": midnight(start, zone), "end": midnight(end, zone)}
    judged = judge(row, facts=[FACTS | {"timezone": zone}])
    assert judged.is_empty() != bound


def test_facilities_of_two_zones_are_judged_by_their_own_days():
    year = (date(2023, 2, 7), date(2024, 2, 7))
    here, there = (
        dict(zip(("start", "end"), (midnight(day, zone) for day in year), strict=True))
        for zone in ("Asia/Shanghai", "Europe/Berlin")
    )
    facts = [FACTS, FACTS | {"facility": "far", "timezone": "Europe/Berlin"}]
    judged = judge(PUE | here, PUE | there | {"facility": "far"}, facts=facts)
    assert judged["facility"].to_list() == ["dc", "far"]
    # 7 February begins in Shanghai while Berlin has still the 6th
    assert judge(PUE | here | {"facility": "far"}, facts=facts).is_empty()


def test_product_is_judged_by_its_row():
    row = only(judge(INTENSITY), "gb-1-level3")
    assert (row["status"], row["limit"], row["unit"], row["enforceable"]) == ("breach", 7.0, "kgce/m2", True)
    assert row["document"] == "限额 GB 1-2023"
    assert only(judge(INTENSITY | {"value": 7.0}), "gb-1-level3")["status"] == "pass"


def test_a_limit_in_oil_equivalent_is_compared_in_coal_equivalent():
    row = INTENSITY | {
        "indicator": "intensity_source_electricity",
        "unit": "kgce/t",
        "start": datetime(2026, 1, 1, tzinfo=SHANGHAI),
        "end": datetime(2027, 1, 1, tzinfo=SHANGHAI),
    }
    ethylene = PRODUCTS | {"unit": "t", "limit": "ETH-1"}
    judged = [
        only(judge(row | {"value": value}, products=[ethylene], catalogue=load()), "gb-30251-2024-level3")
        for value in (914.3, 914.4)
    ]
    # level 3: 640 kgoe/t x 1.4286 = 914.304 kgce/t
    assert [one["status"] for one in judged] == ["pass", "breach"]
    assert (judged[1]["limit"], judged[1]["unit"], judged[1]["enforceable"]) == (pytest.approx(914.304), "kgce/t", True)


def test_product_without_a_limit_and_unknown_facility_are_not_bound():
    assert judge(INTENSITY, products=[PRODUCTS | {"limit": ""}]).is_empty()
    assert judge(PUE | {"facility": "other"}).is_empty()


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        ("T-ENTRY", "limit T-ENTRY has no level 3"),
        ("T-POWER", "limit T-POWER is about electricity_intensity, the indicator is intensity"),
    ],
)
def test_row_that_cannot_be_judged(limit, reason):
    row = only(judge(INTENSITY, products=[PRODUCTS | {"limit": limit}]), "gb-1-level3")
    assert (row["status"], row["reason"]) == ("not_assessable", reason)


def test_row_out_of_force_does_not_bind():
    assert judge(INTENSITY, products=[PRODUCTS | {"limit": "T-ENDED"}]).is_empty()


@pytest.mark.parametrize("limit", ["T-RECALLED", "T-REF"])
def test_doubtful_row_is_judged_and_not_enforceable_before_it_is_confirmed(limit):
    products = [PRODUCTS | {"limit": limit}]
    row = only(judge(INTENSITY, products=products), "gb-1-level3")
    assert (row["status"], row["enforceable"]) == ("breach", False)
    assert row["reason"].startswith(f"limit {limit} is not verified, or holds only at a reference condition")
    confirmed = load([limit], folder=FOLDER)
    row = only(judge(INTENSITY, products=products, catalogue=confirmed), "gb-1-level3")
    assert (row["status"], row["enforceable"], row["reason"]) == ("breach", True, "")


def test_a_value_that_rests_on_unverified_factors_is_judged_and_not_enforceable():
    row = only(judge(INTENSITY | {"unverified": "water (RECALLED)"}), "gb-1-level3")
    assert (row["status"], row["enforceable"]) == ("breach", False)
    assert row["reason"].startswith("it rests on factors that are not verified: water (RECALLED);")


def test_undated_row_is_not_judged_before_it_is_confirmed():
    products, row = [PRODUCTS | {"limit": "SOD-1-L", "unit": "t"}], INTENSITY | {"unit": "kgce/t", "value": 371.0}
    found = only(judge(row, products=products, catalogue=load()), "gb-29140-2024-level3")
    assert found["status"] == "not_assessable"
    assert found["reason"].startswith("it is not known since when limit SOD-1-L is in force")
    found = only(judge(row, products=products, catalogue=load(["SOD-1-L"])), "gb-29140-2024-level3")
    assert (found["status"], found["limit"], found["enforceable"]) == ("breach", 370.0, True)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"status": "not_assessable", "value": None, "reason": "no reading of E-it"}, "no reading of E-it"),
        ({"status": "not_assessable", "value": None}, "the indicator is not assessable"),
        ({"value": None}, "the indicator has no value"),
        ({"value": float("nan")}, "the indicator has no value"),
        ({"value": float("inf")}, "the indicator has no value"),
        ({"coverage": None}, "the indicator has no coverage"),
        ({"coverage": float("nan")}, "the indicator has no coverage"),
        ({"coverage": 0.4321}, "coverage 43.21 % is below the 90 % the rule asks for"),
        ({"coverage": 0.89999}, "coverage 89.99 % is below the 90 % the rule asks for"),
        ({"unit": "kWh/kWh"}, "the indicator is in kWh/kWh, the limit in 1"),
    ],
)
def test_not_assessable_says_why(change, reason):
    row = only(judge(PUE | change), "plan-pue")
    assert (row["status"], row["reason"]) == ("not_assessable", reason)


def test_minimum_coverage_itself_is_enough():
    assert only(judge(PUE | {"coverage": 0.9}), "plan-pue")["status"] == "breach"


def test_nothing_in_nothing_out():
    judged = verdicts(
        CATALOGUE,
        pl.DataFrame(schema=INDICATORS.schema),
        facts=pl.DataFrame([FACTS]).clear(),
        products=pl.DataFrame([PRODUCTS]).clear(),
    )
    assert judged.schema == VERDICTS
    assert judged.is_empty()


@given(
    value=st.floats(allow_nan=True, allow_infinity=True) | st.none(),
    coverage=st.floats(allow_nan=True, allow_infinity=True) | st.none(),
)
def test_exactly_one_verdict_and_never_one_without_its_figures(value, coverage):
    row = only(judge(PUE | {"value": value, "coverage": coverage}), "plan-pue")
    assert row["status"] in {"pass", "breach", "not_assessable"}
    assert (row["status"] == "not_assessable") == (row["reason"] != "")
    if row["status"] == "pass":
        assert value <= 1.3 * (1 + 1e-9)
        assert coverage >= 0.9 - 1e-9
    if row["status"] == "breach":
        assert value > 1.3
        assert coverage >= 0.9 - 1e-9
