"""The catalogue loads strictly, says all that is wrong at once, and the packaged one holds what its sources say."""

import shutil
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from ingest.errors import ConfigurationError
from rules.catalogue import load
from rules.model import VERIFIED

CASES = Path(__file__).with_name("catalogue_cases")
BAD = sorted((CASES / "bad").glob("*.toml"))


def test_good_files_load_with_what_they_inherit():
    catalogue = load(folder=CASES / "good")
    assert sorted(catalogue.documents) == ["gb-1", "plan"]
    assert catalogue.rules["plan-pue"].document == "plan"
    assert catalogue.limits["T-1"].standard == "gb-1"
    assert catalogue.limits["T-1"].source == "transcription, table 1"
    assert catalogue.limits["T-RECALLED"].confidence == "RECALLED"
    assert str(catalogue.limits["T-ENDED"].valid_from) == "2020-01-01"


def test_early_warning_is_the_same_rule_over_a_shorter_interval():
    rules = load(folder=CASES / "good").rules
    assert rules["plan-pue"].severities == {"12mo": "breach", "1mo": "warning"}
    assert rules["plan-complete"].severities == {"1d": "warning"}


@pytest.mark.parametrize("file", BAD, ids=lambda file: file.stem)
def test_bad_file_is_refused_with_its_sentence(file, tmp_path):
    expected = file.read_text("utf-8").splitlines()[0].removeprefix("# ")
    shutil.copy(file, tmp_path)
    with pytest.raises(ConfigurationError) as refused:
        load(folder=tmp_path)
    assert any(str(problem).startswith(expected) for problem in refused.value.problems), refused.value


def test_problems_of_all_files_come_together(tmp_path):
    for name in ("comparison", "no_unit", "not_toml"):
        shutil.copy(CASES / "bad" / f"{name}.toml", tmp_path)
    with pytest.raises(ConfigurationError) as refused:
        load(folder=tmp_path)
    found = {problem.where.split(":")[0] for problem in refused.value.problems}
    assert found == {"comparison.toml", "no_unit.toml", "not_toml.toml"}


def test_two_files_with_one_document(tmp_path):
    for name in ("a.toml", "b.toml"):
        shutil.copy(CASES / "good" / "plan.toml", tmp_path / name)
    with pytest.raises(
        ConfigurationError, match=r"b\.toml: document\.id: found 'plan'; wanted another one: a.toml has"
    ):
        load(folder=tmp_path)


def test_file_that_is_no_utf_8(tmp_path):
    (tmp_path / "a.toml").write_bytes(b'[document]\nid = "\xff"\n')
    with pytest.raises(ConfigurationError, match=r"a\.toml: found .*wanted a readable TOML file in UTF-8"):
        load(folder=tmp_path)


def test_empty_folder(tmp_path):
    with pytest.raises(ConfigurationError, match="found no file; wanted a TOML file for each document"):
        load(folder=tmp_path)


def test_confirmed_must_exist():
    with pytest.raises(ConfigurationError) as refused:
        load({"plan-peu", "T-9", "T-1", "plan-pue"}, folder=CASES / "good")
    assert [str(problem) for problem in refused.value.problems] == [
        "settings: confirmed: found 'T-9'; wanted the id of a rule or the code of a limit",
        "settings: confirmed: found 'plan-peu'; wanted the id of a rule or the code of a limit",
    ]


def test_confirmed_makes_enforceable():
    before, after = load(folder=CASES / "good"), load(["plan-complete", "T-RECALLED", "T-REF"], folder=CASES / "good")
    rule = before.rules["plan-complete"]
    assert (before.enforceable(rule), after.enforceable(rule)) == (False, True)
    for code in ("T-RECALLED", "T-REF"):
        limit = before.limits[code]
        assert (before.limit_enforceable(limit), after.limit_enforceable(limit)) == (False, True)
    assert before.enforceable(before.rules["plan-pue"])
    assert before.limit_enforceable(before.limits["T-1"])


def test_rule_of_a_recalled_document_is_not_enforceable():
    catalogue = load(folder=CASES / "good")
    plan = catalogue.documents["plan"].model_copy(update={"confidence": "RECALLED"})
    assert not replace(catalogue, documents={"plan": plan}).enforceable(catalogue.rules["plan-pue"])


def test_version_is_the_newest_revision_and_follows_the_content(tmp_path):
    shutil.copytree(CASES / "good", tmp_path, dirs_exist_ok=True)
    first = load(folder=tmp_path).version
    assert first.startswith("2026-11-01-")
    assert first == load(folder=CASES / "good").version
    plan = tmp_path / "plan.toml"
    plan.write_text(plan.read_text("utf-8").replace("limit = 1.3", "limit = 1.4"), "utf-8")
    assert load(folder=tmp_path).version != first


def test_number_is_cited_only_where_it_is_verified():
    documents = load(folder=CASES / "good").documents
    assert documents["plan"].cited == "方案"
    assert documents["gb-1"].cited == "限额 GB 1-2023"


def test_product_with_an_unknown_limit_is_a_problem():
    products = pl.DataFrame(
        {"facility": ["f", "f", "f"], "product": ["a", "b", "c"], "unit": ["t"] * 3, "limit": ["T-1", "T-9", ""]}
    )
    assert [str(problem) for problem in load(folder=CASES / "good").problems(products)] == [
        "f: product b: limit: found 'T-9'; wanted a code of the limit catalogue, or none"
    ]


@pytest.mark.parametrize(
    ("code", "standard", "unit", "levels", "valid_from"),
    [
        ("CEM-1", "gb-16780-2021", "kgce/t", (100, 107, 117), "2022-11-01"),
        ("CER-1", "gb-21252-2023", "kgce/m2", (4.5, 5.5, 7.0), "2024-12-01"),
        ("CUP-T1", "gb-21350-2023", "kgce/t", (190, 200, 250), "2024-06-01"),
        ("CUP-T1-CAST", "gb-21350-2023", "kgce/t", (55, 60, 70), "2024-06-01"),
        ("CUP-T1-WORK", "gb-21350-2023", "kgce/t", (120, 130, 160), "2024-06-01"),
        ("STL-4", "gb-21256-2025", "kgce/t", (-30, -28, -12), "2026-07-01"),
        ("STL-5", "gb-21256-2025", "kgce/t", (61, None, 86), "2026-07-01"),
        ("PUL-1-M", "gb-31825-2024", "kgce/Adt", (300, 340, 380), "2025-05-01"),
        ("PWR-5", "gb-21258-2024", "gce/kWh", (303, 285, 312), "2025-04-01"),
        ("CU-1", "gb-25323-2023", "kgce/t", (210, 230, 340), "2024-06-01"),
        ("FIB-6", "gb-36889-2025", "kgce/t", (900, 1100, 1300), "2026-06-01"),
        ("SOD-2-H", "gb-29140-2024", "kgce/t", (185, 205, 250), "None"),
    ],
)
def test_packaged_limits(code, standard, unit, levels, valid_from):
    limit = load().limits[code]
    assert (limit.standard, limit.unit, str(limit.valid_from)) == (standard, unit, valid_from)
    assert (limit.level1, limit.level2, limit.level3) == levels


def test_packaged_rules():
    rules = load().rules
    bounds = {
        (rule.applies.hub_node, str(rule.applies.approved_from)): rule.limit
        for rule in rules.values()
        if rule.indicator == "pue" and rule.severity == "breach" and rule.applies.approved_from
    }
    assert bounds == {
        (False, "2023-02-07"): 1.3,
        (True, "2023-02-07"): 1.25,
        (False, "2024-07-01"): 1.25,
        (True, "2024-07-01"): 1.2,
    }
    assert (rules["gb-40879-2021-level3"].limit, str(rules["gb-40879-2021-level3"].valid_from)) == (1.5, "2022-11-01")
    annual = [rule for rule in rules.values() if rule.level or (rule.indicator, rule.severity) == ("pue", "breach")]
    assert len(annual) == 28
    assert all(rule.severities == {"12mo": "breach", "1mo": "warning"} for rule in annual)


def test_packaged_doubts_are_those_of_the_sources():
    catalogue = load()
    assert {rule.id for rule in catalogue.rules.values() if rule.confidence not in VERIFIED} == {
        "gd-13-pue-hub-below",
        "ts-7-complete",
    }
    assert catalogue.documents["guangdong-carbon-peak"].number_confidence == "RECALLED"
    assert {limit.confidence for limit in catalogue.limits.values()} == {"V1"}


def test_every_packaged_standard_with_rows_has_its_rule():
    catalogue = load()
    assert {rule.standard for rule in catalogue.rules.values()} - {""} == {
        limit.standard for limit in catalogue.limits.values()
    }
