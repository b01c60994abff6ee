"""The registry: every problem of every file at once, each as a sentence; and the frames the hot paths join with."""

import copy
import shutil
import tomllib
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ingest.errors import ConfigurationError
from ingest.registry import Facility, load, problems_of

CASES = Path(__file__).parent / "registry_cases"
GOOD = [CASES / "good" / "every-key.toml", CASES / "good" / "least.toml"]
SAMPLE = Path(__file__).parents[2] / "deploy" / "registry"


def copied(folder: Path, *files: Path) -> Path:
    for file in files:
        shutil.copy(file, folder)
    return folder


def problems(folder: Path) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load(folder)
    return [str(problem).replace(f"{folder}/", "") for problem in caught.value.problems]


def stands_on_top(file: Path) -> list[str]:
    """The comment lines a bad file begins with: the sentences expected of it."""
    lines = file.read_text("utf-8").splitlines()
    end = next(place for place, line in enumerate(lines) if not line.startswith("# "))
    return [line.removeprefix("# ") for line in lines[:end]]


@pytest.mark.parametrize("file", sorted((CASES / "bad").glob("*.toml")), ids=lambda file: file.stem)
def test_a_bad_file_says_what_where_found_and_wanted(file: Path, tmp_path: Path) -> None:
    expected = [f"{file.name}: {sentence}" for sentence in stands_on_top(file)]
    assert expected
    assert problems(copied(tmp_path, file)) == expected


@pytest.mark.parametrize("file", sorted((CASES / "good").glob("*.toml")), ids=lambda file: file.stem)
def test_a_good_file_loads(file: Path, tmp_path: Path) -> None:
    registry = load(copied(tmp_path, file))
    assert list(registry.facilities) == [tomllib.loads(file.read_text("utf-8"))["id"]]


def test_all_problems_of_all_files_come_together(tmp_path: Path) -> None:
    files = sorted((CASES / "bad").glob("*.toml"))
    copied(tmp_path, *files)
    found = problems(tmp_path)
    for file in files:
        for sentence in stands_on_top(file):
            assert f"{file.name}: {sentence}" in found


def test_two_files_with_one_id(tmp_path: Path) -> None:
    good = CASES / "good" / "least.toml"
    shutil.copy(good, tmp_path / "a.toml")
    shutil.copy(good, tmp_path / "b.toml")
    assert problems(tmp_path) == ["b.toml: id: found 'least'; wanted another id: a.toml has this one already"]


def test_two_files_with_one_id_are_told_apart_even_where_both_are_wrong(tmp_path: Path) -> None:
    bad = (CASES / "bad" / "no-meter.toml").read_text("utf-8")
    (tmp_path / "a.toml").write_text(bad, "utf-8")
    (tmp_path / "b.toml").write_text(bad, "utf-8")
    assert problems(tmp_path) == [
        "a.toml: meter: found nothing; wanted a value: the key is required",
        "b.toml: id: found 'plant'; wanted another id: a.toml has this one already",
        "b.toml: meter: found nothing; wanted a value: the key is required",
    ]


@pytest.mark.parametrize(
    "content",
    [b"\xff\xfe\x00", b"a = " + b"[" * 50_000, b"a = " + b"9" * 5_000, b"\x00", b"[[meter]]\n[meter]\n"],
    ids=["not UTF-8", "deep", "endless number", "control character", "table twice"],
)
def test_a_file_that_is_no_toml(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_bytes(content)
    (sentence,) = problems(tmp_path)
    assert sentence.startswith("x.toml: found ")
    assert sentence.endswith("; wanted a readable TOML file in UTF-8")


def test_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "x.toml").mkdir()
    (sentence,) = problems(tmp_path)
    assert "directory" in sentence


def test_no_folder_and_an_empty_one(tmp_path: Path) -> None:
    wanted = "found no registry file; wanted a folder with one TOML file per facility"
    with pytest.raises(ConfigurationError, match=wanted):
        load(tmp_path / "nowhere")
    with pytest.raises(ConfigurationError, match=wanted):
        load(tmp_path)


def test_a_byte_order_mark_is_harmless(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes(b"\xef\xbb\xbf" + (CASES / "good" / "least.toml").read_bytes())
    assert list(load(tmp_path).facilities) == ["least"]


def test_frame_of_meters(tmp_path: Path) -> None:
    meters = load(copied(tmp_path, *GOOD)).meters
    assert meters.filter(~pl.col("meter").is_in(["PV", "S"])).rows(named=True) == [
        {
            "facility": "dc-sample",
            "meter": "E-main",
            "carrier": "electricity",
            "role": "total",
            "kind": "register",
            "unit": "kWh",
            "period": timedelta(minutes=15),
            "stamp": "end",
            "multiplier": 1.0,
            "modulus": 1e8,
            "rated": 5000.0,
            "parent": "",
            "scope": "",
            # midnight in Shanghai is 16:00 of the day before in UTC
            "valid_from": datetime(2024, 12, 31, 16, tzinfo=UTC),
            "timezone": "Asia/Shanghai",
            "division": "440781",
            "canonical_unit": "kWh",
            "to_canonical": 1.0,
        },
        {
            "facility": "least",
            "meter": "G.1_a-B",
            "carrier": "natural_gas",
            "role": "process",
            "kind": "interval",
            "unit": "m3",
            "period": timedelta(days=1),
            "stamp": "end",
            "multiplier": 1.0,
            "modulus": None,
            "rated": None,
            "parent": "",
            "scope": "",
            "valid_from": datetime(2024, 12, 31, 16, tzinfo=UTC),
            "timezone": "Asia/Shanghai",
            "division": "440781",
            "canonical_unit": "m3",
            "to_canonical": 1.0,
        },
    ]


def test_frames_of_exchanges_products_and_facts(tmp_path: Path) -> None:
    registry = load(copied(tmp_path, *GOOD))
    at = datetime(2026, 3, 2, 2, tzinfo=UTC)
    assert registry.exchanges.rows() == [("dc-sample", "E-main", at, 99812.4, 12.0)]
    assert registry.products.rows() == [("dc-sample", "clinker", "t", "CEM-1")]
    centre = ("dc-sample", "data_centre", "440781", "6450", "Asia/Shanghai", True, 12000.0, 350)
    assert registry.facts.rows() == [
        (*centre, "large", False, date(2024, 5, 1), 2),
        ("least", "industrial", "440781", "C30", "Asia/Shanghai", False, *[None] * 6),
    ]


def test_frames_of_virtual_meters_and_of_what_carriers_are_worth(tmp_path: Path) -> None:
    registry = load(copied(tmp_path, *GOOD))
    tree = {row["meter"]: row for row in registry.tree.rows(named=True)}
    assert [name for name, row in tree.items() if row["virtual"]] == ["E-rest"]
    assert (tree["PV"]["class"], tree["PV"]["class_assumed"], tree["PV"]["renewable"]) == (0.5, False, True)
    # a large user of electricity, 0.5; gas, 2 (GB 17167-2006)
    assert [(tree[name]["class"], tree[name]["class_assumed"]) for name in ("E-main", "G.1_a-B")] == [
        (0.5, True),
        (2.0, True),
    ]
    # the virtual meter stands above what it adds; generation stands beside its main meter, not below it
    assert (tree["E-main"]["above"], tree["PV"]["above"]) == (["E-rest"], [])
    assert (tree["E-rest"]["above"], tree["E-rest"]["subtracted"]) == ([], ["PV"])
    assert (tree["E-rest"]["scope"], tree["E-rest"]["valid_from"]) == ("hall", tree["E-main"]["valid_from"])
    parts = registry.virtual_parts.sort("meter").rows()
    assert parts == [("dc-sample", "E-rest", "E-main", 1.0), ("dc-sample", "E-rest", "PV", -1.0)]
    # 1 MPa and 250 degrees C: 2943.2 kJ/kg, less 436.0 of water at 104 degrees C
    (heat,) = registry.calorific.rows()
    assert heat[1] == "S"
    assert heat[2] == pytest.approx(2507.2, abs=0.3)
    assert heat[5] == f"steam={heat[2]:.1f}kJ@1MPa,250C"
    assert registry.source_equivalents.rows() == [("dc-sample", 0.3, date(2026, 1, 1), date(2026, 12, 31))]
    (green,) = registry.green_power.rows()
    # from midnight of 1 January to midnight after 31 December, of Shanghai
    bounds = (datetime(2025, 12, 31, 16, tzinfo=UTC), datetime(2026, 12, 31, 16, tzinfo=UTC))
    assert green == ("dc-sample", 100000.0, *bounds, "GEC-1")


def test_select_keeps_the_frames_of_the_chosen_only(tmp_path: Path) -> None:
    registry = load(copied(tmp_path, *GOOD))
    chosen = registry.select(["least", "unknown"])
    assert list(chosen.facilities) == ["least"]
    assert chosen.meters["facility"].to_list() == ["least"]
    assert chosen.exchanges.schema == registry.exchanges.schema
    assert chosen.exchanges.is_empty()


def base() -> dict[str, object]:
    return tomllib.loads((CASES / "good" / "every-key.toml").read_text("utf-8"))


def test_check_digit_of_the_credit_code() -> None:
    # 91350100M000100Y4, worked by hand after GB 32100: the character's number in 0-9, A-Y without I O S V Z, times its
    # weight 1 3 9 27 19 26 16 17 20 29 25 13 8 24 10 30 28; M is 21 and Y is 30
    total = 9 * 1 + 1 * 3 + 3 * 9 + 5 * 27 + 1 * 26 + 21 * 20 + 1 * 8 + 30 * 30 + 4 * 28
    assert total == 1640 == 52 * 31 + 28
    # 31 - 28 = 3
    assert Facility.model_validate(base() | {"uscc": "91350100M000100Y43"}).uscc == "91350100M000100Y43"
    for last in "012456789ABCDEFGHJKLMNPQRTUWXY":
        with pytest.raises(ValidationError, match="the check digit 3 at the end"):
            Facility.model_validate(base() | {"uscc": f"91350100M000100Y4{last}"})


@given(place=st.integers(0, 17), character=st.sampled_from("0123456789ABCDEFGHJKLMNPQRTUWXY"))
def test_one_wrong_character_of_the_credit_code_never_passes(place: int, character: str) -> None:
    code = "91350100M000100Y43"
    wrong = code[:place] + character + code[place + 1 :]
    if wrong != code:
        with pytest.raises(ValidationError):
            Facility.model_validate(base() | {"uscc": wrong})


def places(value: object) -> list[list[object]]:
    """Every key path of a document."""
    keys: list[object] = []
    if isinstance(value, dict | list):
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    return [path for key in keys for path in ([key], *([key, *deep] for deep in places(value[key])))]  # type: ignore[index]


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.dates()
    | st.datetimes()
    | st.datetimes(timezones=st.just(UTC))
    | st.times(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=400)
@given(path=st.sampled_from(places(base())), value=anything)
def test_whatever_stands_at_a_key_it_is_taken_or_explained(path: list[object], value: object) -> None:
    document = copy.deepcopy(base())
    table = document
    for key in path[:-1]:
        table = table[key]  # type: ignore[index, assignment]
    table[path[-1]] = value  # type: ignore[index]
    try:
        Facility.model_validate(document)
    except ValidationError as error:
        found = list(problems_of(error, "x.toml", model=Facility))
        assert found
        assert all(problem.wanted and "pydantic" not in str(problem) for problem in found)
        # every sentence is ours: pydantic's own begin like this
        assert not any("should" in problem.wanted or "invalid" in problem.wanted for problem in found)


def test_a_mistyped_key_without_its_model_has_no_nearest_match() -> None:
    with pytest.raises(ValidationError) as caught:
        Facility.model_validate(base() | {"langauge": "zh"})
    assert [str(problem) for problem in problems_of(caught.value, "somewhere")] == [
        "somewhere: langauge: found unknown key 'langauge'; wanted no such key"
    ]


def test_the_sample_registry_says_that_it_is_invented() -> None:
    registry = load(SAMPLE)
    assert len(registry.facilities) == 5
    for facility in registry.facilities.values():
        assert "示例" in facility.name.zh
        assert "Sample" in facility.name.en
        assert facility.division.startswith("44")
        assert facility.uscc is None
        assert {contact.role for contact in facility.contact} == {"operator", "regulator"}
        assert all(contact.email.endswith("@example.org") for contact in facility.contact)


def test_the_sample_registry_meters_its_data_centres_in_parts() -> None:
    meters = load(SAMPLE).meters.filter(pl.col("facility").str.starts_with("dc-"))
    roles = meters.group_by("facility").agg(pl.col("role").sort()).sort("facility")["role"].to_list()
    assert roles == [["cooling", "it", "it", "lighting", "power_distribution", "total"]] * 2
