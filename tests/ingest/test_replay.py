"""Recordings to messages: the styles people record in, and one sentence for each thing that is wrong."""

import json
from datetime import UTC, datetime

import pytest

from ingest.collect import mapping as mappings
from ingest.collect.replay import publications
from ingest.errors import ConfigurationError

MAPPING = """
facility = "dc-a"
time = "date"
format = ["%d-%m-%Y %H:%M", "%Y/%m/%d %H:%M"]
timezone = "Asia/Shanghai"
[[column]]
name = "kWh"
meter = "E-main"
unit = "kWh"
[[column]]
name = "PV"
meter = "E-pv"
unit = "kWh"
scale = -1.0
"""


@pytest.fixture
def mapped(tmp_path):
    """Write a mapping (changed by pairs of old and new text) and load it."""

    def write(**changes):
        text = MAPPING
        for key, line in changes.items():
            old = next(one for one in MAPPING.splitlines() if one.startswith(f"{key} ="))
            text = text.replace(old, line)
        (tmp_path / "mapping.toml").write_text(text, "utf-8")
        return mappings.load(tmp_path / "mapping.toml")

    return write


@pytest.fixture
def csv(tmp_path):
    def write(text: str | bytes, name: str = "recorded.csv"):
        file = tmp_path / name
        file.write_bytes(text.encode() if isinstance(text, str) else text)
        return file

    return write


def entries(messages) -> list[tuple[str, str, float]]:
    return [
        (entry["meter"], entry["time"], entry["value"])
        for message in messages
        for entry in json.loads(message.payload)["readings"]
    ]


def problems(*files, mapping=None) -> list[str]:
    with pytest.raises(ConfigurationError) as raised:
        publications(files, mapping)
    return [str(problem).partition("recorded.csv")[2] for problem in raised.value.problems]


def test_two_styles_of_time_an_empty_cell_a_bom_and_commas_at_the_end(csv, mapped):
    file = csv(
        "\ufeffdate,kWh,PV,note,\n02-01-2026 00:15,1.5,-2,x,\n2026/1/2 0:30, 2 ,,,,,\n\n,,,\n02-01-2026 00:45,.5e1,0\n"
    )
    messages = list(publications([file], mapped()))
    assert entries(messages) == [
        ("E-main", "2026-01-01T16:15:00Z", 1.5),
        ("E-pv", "2026-01-01T16:15:00Z", 2.0),
        ("E-main", "2026-01-01T16:30:00Z", 2.0),
        ("E-main", "2026-01-01T16:45:00Z", 5.0),
        ("E-pv", "2026-01-01T16:45:00Z", 0.0),
    ]
    assert [message.topic for message in messages] == ["peakwatch/v1/dc-a/replay/readings"]
    assert b"-0" not in messages[0].payload.replace(b"-01-01", b"")


def test_the_midnight_row_of_the_day_it_ends(csv, mapped):
    file = csv("date,kWh,PV\n01-01-2026 23:45,1,\n01-01-2026 00:00,2,\n")
    ended = publications([file], mapped(timezone='timezone = "Asia/Shanghai"\nmidnight = "end_of_day"'))
    assert entries(ended) == [("E-main", "2026-01-01T15:45:00Z", 1.0), ("E-main", "2026-01-01T16:00:00Z", 2.0)]
    assert entries(publications([file], mapped()))[0] == ("E-main", "2025-12-31T16:00:00Z", 2.0)


def test_a_message_holds_about_a_hundred_readings_in_the_order_of_time(csv, mapped):
    rows = [f"{day:02d}-01-2026 {hour:02d}:00,{hour},1" for day in range(31, 0, -1) for hour in range(24)]
    messages = list(publications([csv("date,kWh,PV\n" + "\n".join(rows))], mapped()))
    sizes = [len(json.loads(message.payload)["readings"]) for message in messages]
    assert sizes == [100] * 14 + [88]
    times = [time for _, time, _ in entries(messages)]
    assert times == sorted(times)


def test_every_problem_of_a_table_is_told_with_line_and_column(csv, mapped):
    file = csv(
        "date,kWh,PV\n01-01-2026 00:15,1.2.3,1\nyesterday,1,1\n,1,1\n01-01-2026 00:45,nan,inf\n01-01-2026 01:00,1e999,1"
    )
    wanted = "wanted a time like %d-%m-%Y %H:%M or %Y/%m/%d %H:%M"
    assert problems(file, mapping=mapped()) == [
        f": line 3, column 'date': found 'yesterday'; {wanted}",
        f": line 4, column 'date': found nothing; {wanted}",
        ": line 2, column 'kWh': found '1.2.3'; wanted a number or nothing",
        ": line 5, column 'kWh': found 'nan'; wanted a number or nothing",
        ": line 6, column 'kWh': found '1e999'; wanted a number or nothing",
        ": line 5, column 'PV': found 'inf'; wanted a number or nothing",
    ]


def test_the_hours_a_change_of_clocks_skips_or_shows_twice(csv, mapped):
    file = csv("date,kWh,PV\n08-03-2026 02:30,1,1\n01-11-2026 01:30,1,1\n08-03-2026 03:30,1,1")
    skipped, twice = problems(file, mapping=mapped(timezone='timezone = "America/Denver"'))
    assert skipped.startswith(
        ": line 2, column 'date': found '08-03-2026 02:30', a time that the clocks of America/Denver skip"
    )
    assert twice.startswith(
        ": line 3, column 'date': found '01-11-2026 01:30', a time that the clocks of America/Denver show twice"
    )
    standard = publications([file], mapped(timezone='timezone = "Etc/GMT+7"'))
    assert entries(standard)[0] == ("E-main", "2026-03-08T09:30:00Z", 1.0)


def test_thousands_of_problems_are_told_in_twenty_lines(csv, mapped):
    told = problems(csv("date,kWh,PV\n" + "x,1,1\n" * 5000), mapping=mapped())
    assert len(told) == 21
    assert told[-1] == ": found 4980 more problems; wanted none"


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "wanted a readable table with a header"),
        (b"date,kWh\n1,2\n", "found no column 'PV'; wanted one of date, kWh"),
        (b"date,kWh,PV\n\xff\xfe,1,1\n", "wanted a readable table with a header, in UTF-8"),
    ],
)
def test_a_file_that_is_no_such_table(csv, mapped, content, found):
    [problem] = problems(csv(content), mapping=mapped())
    assert found in problem


def test_problems_of_all_files_are_told_and_nothing_is_handed_out(csv, mapped, tmp_path):
    good = csv("date,kWh,PV\n01-01-2026 00:15,1,1\n", "good.csv")
    bad = csv("date,kWh,PV\nx,1,1\n", "bad.csv")
    with pytest.raises(ConfigurationError) as raised:
        publications([good, bad, tmp_path / "none.csv", tmp_path / "table.xlsx", tmp_path / "none.jsonl"], mapped())
    where = [problem.where for problem in raised.value.problems]
    assert where == [
        f"{bad}: line 2, column 'date'",
        *(str(tmp_path / name) for name in ("none.csv", "table.xlsx", "none.jsonl")),
    ]


def test_a_table_needs_a_mapping(csv):
    assert problems(csv("date\n")) == [": found a table without a mapping; wanted a mapping of columns to meters"]


def test_json_lines_go_out_as_they_are(csv, mapped):
    lines = [
        b'{"topic": "peakwatch/v1/mill-b/gw-9/activity", "activity": []}',
        b"",
        b'{"meter": "E-main", "time": 0, "value": 1}',
        b'{"activity": [{"product": "clinker"}]}',
    ]
    messages = list(publications([csv(b"\n".join(lines), "recorded.jsonl")], mapped()))
    assert [(message.topic, message.payload) for message in messages] == [
        ("peakwatch/v1/mill-b/gw-9/activity", lines[0]),
        ("peakwatch/v1/dc-a/replay/readings", lines[2]),
        ("peakwatch/v1/dc-a/replay/activity", lines[3]),
    ]


def test_bad_json_lines_are_told_by_number(csv):
    file = csv(b'{"a": \n[1]\n{"meter": "E-main"}\n{"topic": "a/#"}\n{"topic": 5}\n\xff', "recorded.jsonl")
    with pytest.raises(ConfigurationError) as raised:
        publications([file])
    assert [str(problem).removeprefix(f"{file}: ") for problem in raised.value.problems] == [
        "line 1: found Input data was truncated; wanted a JSON object in UTF-8",
        "line 2: found Expected `object`, got `array`; wanted a JSON object in UTF-8",
        "line 3: found no topic; wanted a topic in the line, or a mapping with a facility",
        "line 4: topic: found 'a/#'; wanted peakwatch/v1/FACILITY/GATEWAY/readings",
        "line 5: topic: found 5; wanted peakwatch/v1/FACILITY/GATEWAY/readings",
        "line 6: found JSON is malformed: invalid character (byte 0); wanted a JSON object in UTF-8",
    ]


def test_every_problem_of_a_mapping_is_told(tmp_path):
    file = tmp_path / "mapping.toml"
    file.write_text(
        'facility = "DC A"\ntime = ""\nformat = []\ntimezone = "Mars"\nmidnight = "noon"\nunknwn = 1\n'
        '[[column]]\nname = "kWh"\nmeter = "E-main"\nunit = "kwh"\nscale = inf\n'
        '[[column]]\nname = "PV"\nmeter = "E-main"\nunit = "kWh"\n',
        "utf-8",
    )
    with pytest.raises(ConfigurationError) as raised:
        mappings.load(file)
    told = [str(problem) for problem in raised.value.problems]
    for number, key in enumerate(
        ["facility", "time", "format", "timezone", "midnight", "column.0.unit", "column.0.scale", "unknwn"]
    ):
        assert told[number].startswith(f"{file}: {key}"), told
    assert told[3] == f"{file}: timezone: found 'Mars'; wanted an IANA time zone, e.g. Asia/Shanghai"


def test_a_meter_may_stand_in_one_column_only(mapped):
    with pytest.raises(ConfigurationError, match=r"column: .* wanted each meter once"):
        mapped(meter='meter = "E-pv"')


def test_a_format_that_is_none(csv, mapped):
    [problem] = problems(csv("date,kWh,PV\n01,1,1\n"), mapping=mapped(format='format = ["%Q"]'))
    assert "wanted a time like %Q" in problem


def test_the_time_kept_is_exact(csv, mapped):
    file = csv("date,kWh,PV\n2026-01-01 00:00:00.123456,1,\n")
    [(_, time, _)] = entries(publications([file], mapped(format='format = ["%Y-%m-%d %H:%M:%S%.f"]')))
    assert datetime.fromisoformat(time) == datetime(2025, 12, 31, 16, 0, 0, 123456, tzinfo=UTC)
