"""A frozen month: nothing changes it silently; what would change waits, and is applied or dismissed with a reason."""

import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from ingest import registry as registries
from ingest.model import Period
from ingest.schema import READINGS
from ingest.store.lake.adapter import Lake
from pipelines import cli
from pipelines.factors import catalogue as factors
from pipelines.jobs import compute, judge
from pipelines.jobs.context import Context
from pipelines.jobs.table import JOBS, run
from pipelines.notify.mail import connect
from rules import catalogue

SHANGHAI = ZoneInfo("Asia/Shanghai")
DAY = timedelta(days=1)
BREACH = {"rule": "gd-13-pue", "interval": "12mo", "severity": "breach"}

CENTRE = """
id = "{name}"
name = {{ zh = "示例", en = "Sample" }}
kind = "data_centre"
division = "440781"
industry = "6450"
timezone = "Asia/Shanghai"
key_energy_user = true
[data_centre]
scale = "large"
hub_node = false
approved = 2024-05-01
pue_category = 2
[[meter]]
id = "E"
carrier = "electricity"
role = "total"
kind = "interval"
unit = "kWh"
period = "1d"
stamp = "start"
valid_from = 2025-10-01
[[meter]]
id = "IT"
carrier = "electricity"
role = "it"
kind = "interval"
unit = "kWh"
period = "1d"
stamp = "start"
valid_from = 2025-10-01
"""

Call = Callable[..., tuple[int, str, str]]


def midnight(year: int, month: int, day: int = 1) -> datetime:
    return datetime(year, month, day, tzinfo=SHANGHAI)


YEAR = Period(midnight(2025, 10), midnight(2026, 10))
NOW = midnight(2026, 10) + timedelta(hours=9)
SEPTEMBER = Period(midnight(2026, 9), YEAR.end)


def readings(name: str, first: datetime, days: int, *, total: float, it: float, received: datetime) -> pl.DataFrame:
    """One reading a day and meter: kWh of the day that begins."""
    rows = [
        (name, meter, (first + n * DAY).astimezone(UTC), value, "kWh", 0, "g", received.astimezone(UTC))
        for n in range(days)
        for meter, value in (("E", total), ("IT", it))
    ]
    return pl.DataFrame(rows, schema=READINGS.schema, orient="row")


def world(folder: Path) -> Context:
    known = registries.load(folder / "registry")
    post = connect(f"file:{folder / 'outbox'}")
    return Context(Lake(folder / "data"), known, factors.load(), catalogue.load(), post, "peakwatch@example.org")


@pytest.fixture(scope="module")
def computed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve months of two centres at PUE 131 / 100, computed and judged."""
    folder = tmp_path_factory.mktemp("computed")
    (folder / "registry").mkdir()
    for name in ("centre", "other"):
        (folder / "registry" / f"{name}.toml").write_text(CENTRE.format(name=name), "utf-8")
    context = world(folder)
    for name in ("centre", "other"):
        context.store.write("readings", readings(name, YEAR.start, 365, total=131.0, it=100.0, received=YEAR.start))
    for job in ("compute", "judge"):
        assert run(JOBS[job], context, NOW) is not None
    return folder


@pytest.fixture
def folder(computed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(computed, tmp_path / "year"))


@pytest.fixture
def peakwatch(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run a command at a moment; gives exit code, standard output in one line, standard error."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "100")

    def call(at: datetime, *arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(cli, "clock", lambda: at)
        monkeypatch.setattr(sys, "argv", ["peakwatch", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), " ".join(said.out.split()), said.err

    return call


SIGNED = ("--by", "Li", "--why", "meter card")


def month_of(context: Context, month: Period, **match: str) -> pl.DataFrame:
    return context.store.read("indicators", month, facility=["centre"], interval=["1mo"], indicator=["pue"])


def tables(context: Context, facility: str) -> dict[str, pl.DataFrame]:
    return {name: context.store.read(name, facility=[facility]) for name in ("energy", "unattributed", "indicators")}


def kinds(context: Context) -> list[str]:
    return (
        context.store.read("breach_events", facility=["centre"])
        .filter(**BREACH)
        .sort("at", "event_id")["kind"]
        .to_list()
    )


def test_a_late_reading_in_a_frozen_month_waits_until_it_is_applied(peakwatch: Call, folder: Path) -> None:
    assert peakwatch(NOW, "freeze", "--month", "2026-09", "--facility", "centre", *SIGNED)[0] == 0
    context = world(folder)
    before, other = tables(context, "centre"), tables(context, "other")
    # September's main meter was read too high: 110 kWh a day, and the year stands at (335 x 131 + 30 x 110) / 36,500
    late = NOW + timedelta(hours=1)
    context.store.write("readings", readings("centre", SEPTEMBER.start, 30, total=110.0, it=100.0, received=late))
    for job in ("compute", "judge"):
        assert run(JOBS[job], context, NOW + timedelta(hours=2)) is not None
    for name, rows in before.items():
        assert context.store.read(name, facility=["centre"]).equals(rows), name
    assert kinds(context) == ["opened"]
    waiting = context.store.read("corrections", state=["pending"])
    month = waiting.filter(row="E 1mo 2026-08-31T16:00:00Z", figure="quantity").row(0, named=True)
    # 30 x 131 kWh as frozen, 30 x 110 kWh as read now
    assert (month["old"], month["new"], month["unit"]) == (pytest.approx(3930.0), pytest.approx(3300.0), "kWh")
    year = waiting.filter(row="pue 12mo 2025-09-30T16:00:00Z", figure="value").row(0, named=True)
    assert (year["old"], year["new"]) == (pytest.approx(1.31), pytest.approx((335 * 131 + 30 * 110) / 36500))
    code, said, _ = peakwatch(NOW + timedelta(hours=2), "corrections", "list")
    assert code == 0
    assert "E 1mo 2026-08-31T16:00:00Z" in said
    assert "3,930 3,300" in said

    moment = NOW + timedelta(hours=3)
    code, said, _ = peakwatch(moment, "corrections", "apply", "--month", "2026-09", "--facility", "centre", *SIGNED)
    assert code == 0
    assert run(JOBS["judge"], context, NOW + timedelta(hours=4)) is not None
    assert month_of(context, SEPTEMBER)["value"].to_list() == [pytest.approx(1.1)]
    assert kinds(context) == ["opened", "withdrawn"]
    applied = context.store.read("corrections")
    assert applied["state"].unique().to_list() == ["applied"]
    assert applied.select("by", "why").unique().rows() == [("Li", "meter card")]
    assert applied.select("old", "new").equals(waiting.select("old", "new"))
    # as if the month had never been frozen, to the last bit
    fresh = replace(context, store=Lake(folder / "fresh"))
    fresh.store.write("readings", context.store.read("readings"))
    assert run(JOBS["compute"], fresh, moment) is not None
    for name, rows in tables(fresh, "centre").items():
        assert tables(context, "centre")[name].equals(rows), name
    for name, rows in other.items():
        assert context.store.read(name, facility=["other"]).equals(rows), name


def test_what_is_dismissed_does_not_come_up_again_and_what_comes_back_is_withdrawn(
    peakwatch: Call, folder: Path
) -> None:
    peakwatch(NOW, "freeze", "--month", "2026-09", "--facility", "centre", *SIGNED)
    context = world(folder)
    one_day = readings("centre", SEPTEMBER.start, 1, total=150.0, it=100.0, received=NOW + timedelta(hours=1))
    context.store.write("readings", one_day)
    run(JOBS["compute"], context, NOW + timedelta(hours=2))
    moment = NOW + timedelta(hours=2)
    assert peakwatch(moment, "corrections", "dismiss", "--month", "2026-09", "--facility", "centre", *SIGNED)[0] == 0
    run(JOBS["compute"], context, NOW + timedelta(hours=3))
    assert context.store.read("corrections")["state"].unique().to_list() == ["dismissed"]
    # another value is another question
    for hours, total, state in ((4, 160.0, "pending"), (6, 131.0, "withdrawn")):
        received = NOW + timedelta(hours=hours)
        again = readings("centre", SEPTEMBER.start, 1, total=total, it=100.0, received=received)
        context.store.write("readings", again)
        run(JOBS["compute"], context, received + timedelta(hours=1))
        rows = context.store.read("corrections").filter(row="E 1mo 2026-08-31T16:00:00Z", figure="quantity")
        assert rows.sort("since")["state"].to_list() == ["dismissed", state]
    code, _, complaint = peakwatch(NOW, "corrections", "apply", "--month", "2026-09", "--facility", "all", *SIGNED)
    assert code == 2
    assert "nothing pending for all in 2026-09" in complaint


def test_windows_of_twelve_months_that_end_later_use_the_frozen_figures(peakwatch: Call, folder: Path) -> None:
    peakwatch(NOW, "freeze", "--month", "2026-08", "--facility", "centre", *SIGNED)
    context = world(folder)
    august = readings("centre", midnight(2026, 8), 31, total=10.0, it=100.0, received=NOW)
    context.store.write("readings", august)
    september = readings("centre", SEPTEMBER.start, 30, total=168.0, it=100.0, received=NOW)
    context.store.write("readings", september)
    compute.over(context, YEAR, NOW + DAY)
    year = context.store.read("indicators", facility=["centre"], interval=["12mo"], indicator=["pue"])
    # September as it is now, August as it was frozen
    assert year.filter(start=YEAR.start)["numerator"].to_list() == [pytest.approx(335 * 131 + 30 * 168)]


def test_freeze_says_what_it_finds(peakwatch: Call, folder: Path) -> None:
    frozen = ("freeze", "--month", "2026-09", *SIGNED)
    assert peakwatch(NOW, *frozen, "--facility", "all")[1] == "centre: 2026-09 is frozen other: 2026-09 is frozen"
    before = Lake(folder / "data").read("freezes")
    code, said, _ = peakwatch(NOW + DAY, *frozen, "--facility", "centre")
    assert (code, said) == (0, "centre: 2026-09 is frozen already, since 2026-10-01 01:00Z by Li")
    assert Lake(folder / "data").read("freezes").equals(before)
    for arguments, wanted in (
        (("--month", "2026-10", "--facility", "all"), "one over for six hours"),
        (("--month", "2025-07", "--facility", "all"), "a month that was computed"),
        (("--month", "2026-13", "--facility", "all"), "a month, e.g. 2026-10"),
        (("--month", "2026-09", "--facility", "nobody"), "all, centre, other"),
    ):
        code, _, complaint = peakwatch(NOW, "freeze", *arguments, *SIGNED)
        assert code == 2
        assert wanted in complaint
    code, _, complaint = peakwatch(NOW, *frozen[:3], "--facility", "all", "--by", " ", "--why", "")
    assert code == 2
    assert complaint.count("found nothing; wanted a text") == 2


def test_judging_twice_after_a_correction_says_nothing_twice(peakwatch: Call, folder: Path) -> None:
    peakwatch(NOW, "freeze", "--month", "2026-09", "--facility", "centre", *SIGNED)
    context = world(folder)
    context.store.write("readings", readings("centre", SEPTEMBER.start, 30, total=130.0, it=100.0, received=NOW))
    compute.over(context, SEPTEMBER, NOW + DAY)
    peakwatch(NOW + DAY, "corrections", "apply", "--month", "2026-09", "--facility", "centre", *SIGNED)
    for hours in (1, 2):
        judge.over(context, YEAR, NOW + DAY + timedelta(hours=hours))
    # (335 x 131 + 30 x 130) / 36,500 = 1.309: the breach is confirmed, nothing new is said
    assert kinds(context) == ["opened"]
