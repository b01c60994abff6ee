"""The jobs over a lake: watermarks, late data, a mail server that is away; and that running twice changes nothing."""

import shutil
import threading
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from ingest import registry as registries
from ingest.errors import MailError, MailUnavailable, StoreUnavailable
from ingest.model import Period
from ingest.schema import READINGS, RUNS
from ingest.store.lake.adapter import Lake
from pipelines.factors import catalogue as factors
from pipelines.jobs import announce, compute, judge, view, windows
from pipelines.jobs.context import Context, Done, Job
from pipelines.jobs.table import JOBS, run, watermark
from pipelines.reports.overview import standing
from pipelines.scheduler import Turns, schedule
from rules import catalogue
from rules.lifecycle import open_breaches

SHANGHAI = ZoneInfo("Asia/Shanghai")
DAY = timedelta(days=1)

CENTRE = """
id = "centre"
name = { zh = "示例", en = "Sample" }
kind = "data_centre"
division = "440781"
industry = "6450"
timezone = "Asia/Shanghai"
language = "en"
key_energy_user = true
[data_centre]
scale = "large"
hub_node = false
approved = 2024-05-01
pue_category = 2
[[contact]]
role = "operator"
name = "Duty desk"
email = "duty@example.org"
[[contact]]
role = "regulator"
name = "Regulator"
email = "regulator@example.org"
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


@dataclass
class Post:
    """A mail server that can be away, or refuse for good."""

    fault: MailError | None = None
    sent: list[EmailMessage] = field(default_factory=list)

    def send(self, message: EmailMessage) -> None:
        if self.fault:
            raise self.fault
        self.sent.append(message)


def midnight(year: int, month: int, day: int = 1) -> datetime:
    return datetime(year, month, day, tzinfo=SHANGHAI)


YEAR = Period(midnight(2025, 10), midnight(2026, 10))
NOW = midnight(2026, 10) + timedelta(hours=9)


def readings(first: datetime, days: int, *, total: float, it: float, received: datetime) -> pl.DataFrame:
    """One reading a day and meter: kWh of the day that begins."""
    rows = [
        ("centre", meter, (first + n * DAY).astimezone(UTC), value, "kWh", 0, "g", received.astimezone(UTC))
        for n in range(days)
        for meter, value in (("E", total), ("IT", it))
    ]
    return pl.DataFrame(rows, schema=READINGS.schema, orient="row")


@pytest.fixture
def post() -> Post:
    return Post()


def world(folder: Path, post: Post) -> Context:
    lake = Lake(folder / "lake")
    return Context(lake, registries.load(folder), factors.load(), catalogue.load(), post, "peakwatch@example.org")


@pytest.fixture
def context(tmp_path: Path, post: Post) -> Context:
    (tmp_path / "centre.toml").write_text(CENTRE, "utf-8")
    return world(tmp_path, post)


@pytest.fixture(scope="module")
def computed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve months at PUE 138 / 100 = 1.38, received in time and computed: each test gets a copy."""
    folder = tmp_path_factory.mktemp("computed")
    (folder / "centre.toml").write_text(CENTRE, "utf-8")
    context = world(folder, Post())
    context.store.write("readings", readings(YEAR.start, 365, total=138.0, it=100.0, received=YEAR.start))
    compute.over(context, YEAR, NOW)
    return folder


@pytest.fixture
def year(computed: Path, tmp_path: Path, post: Post) -> Context:
    return world(Path(shutil.copytree(computed, tmp_path / "year")), post)


def tell(context: Context, at: datetime) -> None:
    judge.over(context, YEAR, at)
    announce.due(context, YEAR, at)


def events(context: Context, **match: str) -> list[tuple[str, str, str]]:
    rows = context.store.read("breach_events").filter(**match).sort("at", "start", "kind")
    return [(kind, rule, interval) for kind, rule, interval in rows.select("kind", "rule", "interval").iter_rows()]


def test_a_year_over_the_limit_opens_one_breach_and_tells_the_operator_once(year: Context, post: Post) -> None:
    tell(year, NOW)
    assert events(year, severity="breach") == [("opened", "gd-13-pue", "12mo")]
    breach = open_breaches(year.store.read("breach_events")).filter(severity="breach").row(0, named=True)
    assert breach["value"] == pytest.approx(1.38)
    assert (breach["start"], breach["end"]) == (YEAR.start, YEAR.end)
    # 365 days of 138 kWh over 365 days of 100 kWh
    assert (breach["numerator"], breach["denominator"]) == (pytest.approx(50370.0), pytest.approx(36500.0))
    # one mail for the year, one early warning for the first month, none to the regulator
    assert [message["To"] for message in post.sent] == ["Duty desk <duty@example.org>"] * 2


def test_everything_again_changes_nothing(year: Context, post: Post) -> None:
    tell(year, NOW)
    tables = ("energy", "indicators", "breach_events", "notices")
    before = {name: year.store.read(name) for name in tables}
    compute.over(year, YEAR, NOW + timedelta(hours=1))
    tell(year, NOW + timedelta(hours=1))
    for name in tables:
        assert year.store.read(name).equals(before[name]), name
    assert len(post.sent) == 2


TREE = """
[[meter]]
id = "{}"
carrier = "electricity"
role = "it"
kind = "interval"
unit = "kWh"
period = "1d"
stamp = "start"
class = "1"
parent = "E"
valid_from = 2025-10-01
"""
REST = """
[[virtual]]
id = "REST"
carrier = "electricity"
role = "building"
unit = "kWh"
add = ["E"]
subtract = ["IT-1"]
"""


def test_compute_writes_virtual_meters_and_the_balance_and_withdraws_what_lost_its_energy(
    tmp_path: Path, post: Post
) -> None:
    centre = CENTRE.split('[[meter]]\nid = "IT"', maxsplit=1)[0]
    (tmp_path / "centre.toml").write_text(centre + TREE.format("IT-1") + TREE.format("IT-2") + REST, "utf-8")
    context = world(tmp_path, post)
    first = midnight(2026, 3)
    rows = readings(first, 2, total=100.0, it=60.0, received=first).with_columns(pl.col("meter").replace("IT", "IT-1"))
    second = rows.filter(meter="IT-1").with_columns(meter=pl.lit("IT-2"), value=pl.lit(40.0))
    context.store.write("readings", pl.concat([rows, second]))
    period = Period(first, first + 2 * DAY)
    compute.over(context, period, NOW)
    found = context.store.read("balance")
    assert found["interval"].to_list() == ["1d"] * 2
    assert found["difference"].to_list() == pytest.approx([0, 0], abs=1e-9)
    assert found["status"].to_list() == ["ok"] * 2
    # sqrt(2^2 (class assumed) + 0.6^2 + 0.4^2)
    assert found["tolerance"].to_list() == pytest.approx([2.12603] * 2)
    rest = context.store.read("energy", facility=["centre"], interval=["1d"]).filter(meter="REST")
    assert rest["quantity"].to_list() == pytest.approx([40.0] * 2)
    again = compute.over(context, period, NOW)
    assert again.rows == 0
    # a registry without the tree leaves no stored figure standing
    (tmp_path / "centre.toml").write_text(centre, "utf-8")
    compute.over(world(tmp_path, post), period, NOW)
    found = context.store.read("balance")
    assert found["status"].to_list() == ["not_assessable"] * 2
    assert found["difference"].to_list() == [None] * 2
    gone = context.store.read("energy", interval=["1d"]).filter(meter="REST")
    assert gone["quantity"].to_list() == [None] * 2


def test_where_a_facility_stands_names_the_tightest_limit(year: Context) -> None:
    tell(year, NOW)
    row = standing(year, YEAR, NOW).row(0, named=True)
    assert (row["indicator"], row["limit"], row["verdict"], row["open"]) == ("pue", 1.3, "breach", 2)


def test_a_year_that_is_not_over_is_not_judged(year: Context) -> None:
    tell(year, YEAR.end + timedelta(hours=1))
    assert events(year, interval="12mo") == []


def test_a_correction_withdraws_what_no_longer_holds(year: Context, post: Post) -> None:
    tell(year, NOW)
    # the main meter was read in the wrong ratio: 118 kWh a day, PUE 1.18
    year.store.write("readings", readings(YEAR.start, 365, total=118.0, it=100.0, received=NOW))
    compute.over(year, YEAR, NOW + DAY)
    tell(year, NOW + DAY)
    assert events(year, interval="12mo", severity="breach") == [
        ("opened", "gd-13-pue", "12mo"),
        ("withdrawn", "gd-13-pue", "12mo"),
    ]
    assert open_breaches(year.store.read("breach_events")).is_empty()
    assert len(post.sent) == 4


def test_a_mail_server_that_is_away_delays_the_notice_and_loses_none(year: Context, post: Post) -> None:
    post.fault = MailUnavailable("mail server is away")
    tell(year, NOW)
    notices = year.store.read("notices")
    assert notices["status"].to_list() == ["failed"] * 2
    assert notices["error"].to_list() == ["mail server is away"] * 2
    post.fault = None
    announce.due(year, YEAR, NOW + DAY)
    announce.due(year, YEAR, NOW + 2 * DAY)
    assert len(post.sent) == 2
    notices = year.store.read("notices")
    assert notices["status"].to_list() == ["sent"] * 2
    assert notices["tries"].to_list() == [2, 2]
    assert notices["at"].to_list() == [NOW, NOW]


def test_a_refused_notice_is_given_up_and_the_others_are_sent(year: Context, post: Post) -> None:
    post.fault = MailError("550 no such user")
    tell(year, NOW)
    post.fault = None
    announce.due(year, YEAR, NOW + DAY)
    assert post.sent == []
    assert year.store.read("notices")["status"].to_list() == ["refused"] * 2


def test_a_notice_the_process_died_over_is_sent_again_as_the_same_mail(year: Context, post: Post) -> None:
    class Dies(Post):
        def send(self, message: EmailMessage) -> None:
            super().send(message)
            raise KeyboardInterrupt

    dying = Dies()
    with pytest.raises(KeyboardInterrupt):
        tell(replace(year, mailer=dying), NOW)
    assert year.store.read("notices")["status"].to_list() == ["sending"]
    announce.due(year, YEAR, NOW + DAY)
    again = [message for message in post.sent if message["Message-ID"] == dying.sent[0]["Message-ID"]]
    assert [message.as_bytes() for message in again] == [dying.sent[0].as_bytes()]


def test_a_slot_whose_reading_was_corrected_away_is_emptied(context: Context) -> None:
    few = Period(YEAR.start, YEAR.start + 2 * DAY)
    context.store.write("readings", readings(YEAR.start, 2, total=138.0, it=100.0, received=NOW))
    compute.over(context, few, NOW)
    nothing = readings(YEAR.start, 1, total=float("nan"), it=float("nan"), received=NOW)
    context.store.write("readings", nothing)
    compute.over(context, few, NOW)
    days = context.store.read("energy", interval=["1d"], meter=["E"])
    assert days["quantity"].to_list() == [None, pytest.approx(138.0)]
    assert days["coverage"].to_list() == [0.0, 1.0]


def test_how_much_is_worked_on_at_once_changes_no_figure(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = midnight(2025, 10, 29)
    days = readings(first, 5, total=138.0, it=100.0, received=NOW)
    period = Period(first, first + 5 * DAY)
    for file in range(2):
        name = f"twin-{file}"
        (tmp_path / f"{name}.toml").write_text(CENTRE.replace('id = "centre"', f'id = "{name}"'), "utf-8")
    found = []
    for most in (10_000, 5, 1):
        monkeypatch.setattr(windows, "_MOST", most)
        lake = Lake(tmp_path / f"lake-{most}")
        lake.write("readings", pl.concat([days, days.with_columns(facility=pl.lit("twin-1"))]))
        compute.over(replace(context, store=lake, registry=registries.load(tmp_path)), period, NOW)
        found.append((lake.read("energy"), lake.read("indicators")))
    assert all(energy.equals(found[0][0]) and rows.equals(found[0][1]) for energy, rows in found[1:])


def test_the_scheduled_jobs_follow_the_readings_and_their_own_watermarks(context: Context, post: Post) -> None:
    at = midnight(2026, 9)
    context.store.write("readings", readings(YEAR.start, 335, total=138.0, it=100.0, received=at))
    for name in ("compute", "judge", "announce"):
        assert run(JOBS[name], context, at + timedelta(hours=9)) is not None
    assert events(context, interval="12mo") == []
    late = NOW - timedelta(hours=1)
    context.store.write("readings", readings(midnight(2026, 9), 30, total=138.0, it=100.0, received=late))
    for name in ("compute", "judge", "announce"):
        assert run(JOBS[name], context, NOW) is not None
        assert watermark(context.store, name, NOW) == NOW
    assert events(context, interval="12mo") == [("opened", "gd-13-pue", "12mo")]
    assert len(post.sent) == 2
    # nothing new: the next turn is done at once and says nothing
    for name in ("compute", "judge", "announce"):
        assert run(JOBS[name], context, NOW + timedelta(minutes=15)) is not None
    assert len(post.sent) == 2


def test_a_copy_that_hangs_keeps_no_job_waiting(context: Context, post: Post) -> None:
    ran = {"job": "compute", "at": NOW - DAY, "since": NOW - 2 * DAY, "until": NOW - DAY, "outcome": "done"}
    context.store.write("runs", pl.DataFrame([ran], schema=RUNS.schema))
    going, goes_on = threading.Event(), threading.Event()

    def hang(*_: object) -> Done:
        going.set()
        assert goes_on.wait(60)
        return Done(0)

    copy = Job("copy-centre", hang, cron="0 0 1 1 *")
    turns = Turns([copy])
    scheduler = schedule(context, lambda: NOW, turns, [copy])
    scheduler.start()
    try:
        assert going.wait(60)
        end = time.monotonic() + 60
        while not all(succeeded(turns)[name] for name in JOBS):
            assert time.monotonic() < end, succeeded(turns)
            time.sleep(0.05)
        assert succeeded(turns)["copy-centre"] == 0
    finally:
        goes_on.set()
        scheduler.shutdown()
    assert succeeded(turns)["copy-centre"] == NOW.timestamp()


def succeeded(turns: Turns) -> dict[str, float]:
    family = next(one for one in turns.families() if one.name == "peakwatch_job_last_success_timestamp_seconds")
    return {sample.labels["job_name"]: sample.value for sample in family.samples}


def test_a_day_without_readings_has_its_coverage_told(context: Context) -> None:
    at = midnight(2026, 9, 2)
    run(JOBS["compute"], context, at)
    run(JOBS["compute"], context, at + 3 * DAY)
    rows = context.store.read("indicators", Period(at, at + 3 * DAY), interval=["1d"], indicator=["coverage"])
    assert rows["value"].to_list() == [0.0, 0.0, 0.0]


def test_a_failed_run_is_recorded_and_looked_at_again(year: Context) -> None:
    def fail(*_: object) -> None:
        raise StoreUnavailable("lake is full")

    broken = replace(JOBS["judge"], run=fail)
    assert run(broken, year, NOW) is None
    row = year.store.read("runs").row(0, named=True)
    assert (row["outcome"], row["error"]) == ("failed", "lake is full")
    done = run(JOBS["judge"], year, NOW + timedelta(minutes=15))
    assert done is not None
    assert done.rows > 0


def test_maintenance_leaves_what_is_read(year: Context) -> None:
    tell(year, NOW)
    before = year.store.read("energy")
    done = run(JOBS["maintain"], year, NOW)
    assert done is not None
    assert done.rows > 0
    assert year.store.read("energy").equals(before)


def test_the_verdicts_are_stored_with_their_limit_and_passes_too(year: Context) -> None:
    judge.over(year, YEAR, NOW)
    rows = year.store.read("verdicts", rule=["gd-13-pue"], interval=["12mo"]).filter(end=YEAR.end)
    (row,) = rows.iter_rows(named=True)
    assert (row["status"], row["limit"], row["enforceable"], row["min_coverage"]) == ("breach", 1.3, 1, 0.9)
    assert (row["start"], row["end"], row["clause"]) == (YEAR.start, YEAR.end, "重点任务 13")
    assert set(year.store.read("verdicts")["status"]) == {"breach", "pass", "not_assessable"}
    before = year.store.read("verdicts")
    judge.over(year, YEAR, NOW + DAY)
    assert year.store.read("verdicts").equals(before)


def test_a_verdict_of_a_rule_that_binds_no_more_is_void_and_another_period_keeps_its_own(year: Context) -> None:
    judge.over(year, YEAR, NOW)
    kept = {name: rule for name, rule in year.catalogue.rules.items() if name != "gd-13-pue"}
    judge.over(replace(year, catalogue=replace(year.catalogue, rules=kept)), Period(midnight(2026, 9), YEAR.end), NOW)
    rows = year.store.read("verdicts", rule=["gd-13-pue"], interval=["1mo"]).sort("start")
    assert rows["status"].to_list()[-2:] == ["breach", "void"]
    assert rows["limit"].to_list()[-2:] == [1.3, None]
    assert rows["enforceable"].to_list()[-1] == 0


def test_what_grafana_reads_follows_from_registry_readings_and_events(year: Context) -> None:
    judge.over(year, YEAR, NOW)
    assert view.due(year, YEAR, NOW).rows > 0
    (facility,) = year.store.read("facilities").iter_rows(named=True)
    assert (facility["label_zh"], facility["division"], facility["key_energy_user"]) == ("示例 (centre)", "440781", 1)
    (connection,) = year.store.read("connections").iter_rows(named=True)
    # the newest reading is of yesterday's midnight and its meters speak once a day
    assert (connection["connected"], connection["online"], connection["lag"]) == (1, 1, 33 * 3600)
    assert connection["coverage"] == pytest.approx(1.0)
    stands = year.store.read("breaches", severity=["breach"])
    (breach,) = stands.iter_rows(named=True)
    assert (breach["state"], breach["rule"], breach["end"], breach["closed"]) == ("open", "gd-13-pue", YEAR.end, None)
    assert (breach["name_zh"], breach["limit"]) == ("示例", 1.3)
    assert breach["title_zh"] == year.catalogue.rules["gd-13-pue"].title.zh
    assert view.due(year, YEAR, NOW).rows == 0


def test_a_facility_is_off_line_after_twice_its_slowest_meter_s_period_and_silent_after_32_days(year: Context) -> None:
    newest = midnight(2026, 9, 30)
    for hours, online, connected in ((48, 1, 1), (49, 0, 1), (24 * 33, 0, 0)):
        (row,) = view.connections(year.store, year.registry, newest + timedelta(hours=hours)).iter_rows(named=True)
        assert (row["online"], row["connected"]) == (online, connected), hours


def test_a_facility_that_leaves_the_registry_is_registered_no_more(year: Context) -> None:
    view.due(year, YEAR, NOW)
    stored = year.store.read("facilities")
    gone = view.facilities(year.registry.select([]), stored, NOW + DAY)
    assert gone["registered"].to_list() == [0]
    assert view.facilities(year.registry, gone, NOW + DAY)["registered"].to_list() == [1]
