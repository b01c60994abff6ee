"""
Golden cases: a folder in, a folder out. A bug that was mended becomes a folder.

    registry/*.toml, readings.csv with map.toml, case.toml (from, to, at) -> the whole line but the broker -> expected/

expected/ holds any of TABLE.csv and mails.txt. `make accept` writes those that are there anew (a new one starts empty);
the difference is read before it is committed.
"""

import email
import email.policy
import os
import tomllib
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest

from ingest import registry as registries
from ingest.collect.mapping import load as load_mapping
from ingest.collect.replay import publications
from ingest.decode.payload import decode
from ingest.model import Message, Period
from ingest.schema import TABLES
from ingest.screen import AHEAD, screen
from ingest.store.base import Store
from ingest.store.lake.adapter import Lake
from pipelines.factors import catalogue as factors
from pipelines.jobs import announce, compute, judge
from pipelines.jobs.context import Context
from pipelines.notify.mail import connect as connect_mail
from rules import catalogue

CASES = sorted(file.parent for file in Path(__file__).parent.glob("*/case.toml"))

# versions change with every new source of a figure, and say nothing of the case
_LEFT_OUT = ("catalogue_version", "factor_version", "event_id", "received", "gateway", "flags", "document")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case: Path, tmp_path: Path) -> None:
    found = play(case, tmp_path)
    expected = {file.name: file.read_text("utf-8") for file in (case / "expected").iterdir()}
    assert expected, f"{case.name} expects nothing"
    if os.environ.get("PEAKWATCH_ACCEPT"):
        for name in expected:
            (case / "expected" / name).write_text(found[name], "utf-8")
        return
    for name, text in expected.items():
        assert found[name] == text, f"{name} of {case.name}"


def play(case: Path, folder: Path) -> dict[str, str]:
    """Run a case; gives every table as CSV and the e-mails as text, by file name."""
    settings = tomllib.loads((case / "case.toml").read_text("utf-8"))
    at: datetime = settings["at"]
    lake, registry = Lake(folder / "lake"), registries.load(case / "registry")
    mailer = connect_mail(f"file:{folder / 'outbox'}")
    context = Context(lake, registry, factors.load(), catalogue.load(), mailer, "peakwatch@example.org")
    sent = publications([case / "readings.csv"], load_mapping(case / "map.toml"))
    screened = screen(decode([Message(*one, received=at) for one in sent]), registry, ahead=AHEAD)
    lake.write("readings", screened.readings)
    lake.write("quarantine", screened.quarantine)
    period = Period(settings["from"], settings["to"])
    compute.over(context, period, at)
    judge.over(context, period, at)
    announce.due(context, period, at)
    return {f"{name}.csv": as_csv(lake, name) for name in TABLES} | {"mails.txt": mails(folder / "outbox")}


def as_csv(store: Store, table: str) -> str:
    rows = store.read(table)
    kept = rows.select(pl.exclude(*_LEFT_OUT)).select(pl.exclude(pl.Binary))
    return kept.sort(kept.columns).write_csv(float_precision=6, datetime_format="%Y-%m-%dT%H:%MZ")


def mails(outbox: Path) -> str:
    if not outbox.exists():
        return ""
    read = (email.message_from_bytes(file.read_bytes(), policy=email.policy.default) for file in outbox.glob("*.eml"))
    return "".join(sorted(f"{mail['To']}\n{mail['Subject']}\n\n" for mail in read))
