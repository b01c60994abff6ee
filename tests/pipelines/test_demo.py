"""The demonstration as a newcomer runs it: the whole line over MQTT, with figures that are the same everywhere."""

import email
import email.policy
from pathlib import Path

import pytest

from ingest.store.lake.adapter import Lake


def test_every_reading_is_accounted_for(played: tuple[Path, str]) -> None:
    folder, said = played
    stored = Lake(folder / "data").read("readings").height + Lake(folder / "data").read("activity").height
    assert f"{stored + 48:,} received = {stored:,} stored + 48 duplicate + 0 quarantined + 0 pending" in said


@pytest.mark.parametrize(
    ("facility", "indicator", "value"),
    [
        ("dc-sample", "pue", 1.38),
        ("dc-green-sample", "pue", 1.24),
        ("ceramics-sample", "intensity", 7.6),
        ("copper-sample", "intensity", 228.1),
    ],
)
def test_the_figures_of_the_year(played: tuple[Path, str], facility: str, indicator: str, value: float) -> None:
    rows = Lake(played[0] / "data").read("indicators", facility=[facility], indicator=[indicator], interval=["12mo"])
    known = rows.filter(status="ok").sort("start")
    assert known["value"].to_list() == [pytest.approx(value, rel=0.005)] * 2
    assert known["coverage"].min() > 0.99


def test_two_facilities_are_over_their_limits_and_their_operators_are_told(played: tuple[Path, str]) -> None:
    lake = Lake(played[0] / "data")
    events = lake.read("breach_events").filter(severity="breach").sort("facility")
    assert list(events.select("facility", "rule", "kind").iter_rows()) == [
        ("ceramics-sample", "gb-21252-2023-level3", "opened"),
        ("dc-sample", "gd-13-pue", "opened"),
    ]
    mails = [
        email.message_from_bytes(file.read_bytes(), policy=email.policy.default)
        for file in (played[0] / "outbox").glob("*.eml")
    ]
    breaches = sorted(mail["Subject"] for mail in mails if "【超限】" in mail["Subject"])
    assert len(mails) == 4
    assert ["PUE" in subject for subject in breaches] == [False, True]
    assert "1.38，高于限值 1.30（高出 6.2 %）" in breaches[1]
    assert lake.read("notices")["status"].to_list() == ["sent"] * 4


def test_the_page_opens_from_disk(played: tuple[Path, str]) -> None:
    page = (played[0] / "index.html").read_text("utf-8")
    assert page.count("<svg") == 5
    assert "<script" not in page
    assert "http://" not in page.replace("http://www.w3.org/", "")


def test_one_mail_stands_on_the_screen(played: tuple[Path, str]) -> None:
    assert "重点任务 13" in played[1]
    assert "E-main / E-it-1, E-it-2" in played[1]
