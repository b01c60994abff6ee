"""
What Grafana should hold, as steps: dashboards and alert rules out of the files of deploy/grafana, and annotations.

The usual way into Grafana is its own provisioning of the same files, which needs none of this.
"""

import json
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import polars as pl

from ingest.errors import ConfigurationError, Problem
from pipelines.grafana.session import Step

TAG = "peakwatch"
# that of the alert rules, and one a language
_FOLDERS = {TAG: "PeakWatch", f"{TAG}-zh": "PeakWatch 中文 (zh)", f"{TAG}-en": "PeakWatch English (en)"}


def folders(*, alerts: bool = True) -> Iterator[Step]:
    """Yield the folders: one a language, and one for the alert rules."""
    for uid, title in _FOLDERS.items():
        if uid == TAG and not alerts:
            continue
        yield Step(
            f"folder {title}",
            f"/folders/{uid}",
            {"uid": uid, "title": title},
            ("POST", "/folders", {"uid": uid, "title": title}),
            ("PUT", f"/folders/{uid}", {"title": title, "overwrite": True}),
        )


def dashboards(folder: Path, names: Collection[str] = ()) -> Iterator[Step]:
    """
    Yield the dashboards of the generated files.

    Args:
        folder: of the files.
        names: of the dashboards; all of them where there is none.

    Raises:
        ConfigurationError: the folder holds none, or one cannot be read.
    """
    files = sorted(folder.glob("dashboards/*/*.json"))
    if not files:
        raise ConfigurationError([Problem(f"--folder {folder}", "no dashboards/*/*.json", "the folder deploy/grafana")])
    for file in files:
        if names and file.stem not in names:
            continue
        board, place = _read(file, json.loads, "uid", "title"), f"peakwatch-{file.parent.name}"
        body = {"dashboard": board | {"id": None}, "folderUid": place, "overwrite": True, "message": "peakwatch"}
        yield Step(
            f"dashboard {board['title']} ({file.parent.name})",
            f"/dashboards/uid/{quote(board['uid'], safe='')}",
            {"dashboard": board, "meta": {"folderUid": place}},
            ("POST", "/dashboards/db", body),
        )


def alert_rules(folder: Path) -> Iterator[Step]:
    """
    Yield the groups of alert rules, as the provisioning API wants what the file says.

    Raises:
        ConfigurationError: the file cannot be read.
    """
    for group in _read(folder / "provisioning/alerting/rules.yml", _yaml, "groups")["groups"]:
        route = f"/v1/provisioning/folder/{TAG}/rule-groups/{quote(group['name'], safe='')}"
        own = {"folderUID": TAG, "ruleGroup": group["name"]}
        rules = [rule | own for rule in group["rules"]]
        wanted = {"title": group["name"], "folderUid": TAG, "interval": int(group["interval"].removesuffix("s"))}
        body = wanted | {"rules": rules}
        yield Step(f"alert rules {group['name']}", route, body, ("PUT", route, body))


def annotations(events: pl.DataFrame, known: set[str]) -> Iterator[Step]:
    """
    Yield an annotation for each breach event that has none.

    Args:
        events: BREACH_EVENTS rows.
        known: ids of the events that are annotated.
    """
    for event in events.sort("at", "event_id").iter_rows(named=True):
        if event["event_id"] in known:
            continue
        body = {
            "time": int(event["end"].timestamp() * 1000),
            "tags": [TAG, event["kind"], event["severity"], event["facility"], _event_tag(event["event_id"])],
            "text": f"{event['facility']} {event['rule']} {event['kind']}: {event['value']:g} {event['unit']}, "
            f"{event['comparison']} {event['limit']:g}. {event['document']} {event['clause']}",
        }
        what = f"annotation {event['kind']} {event['event_id']}"
        yield Step(what, None, body, ("POST", "/annotations", body))


def _event_tag(event: str) -> str:
    return f"event:{event}"


def _read(file: Path, parse: Callable[[str], Any], *keys: str) -> Any:
    wanted = "a file that deploy/grafana/generate.py wrote"
    try:
        read = parse(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError([Problem(str(file), str(error), wanted)]) from None
    if not isinstance(read, dict) or not set(keys) <= read.keys():
        raise ConfigurationError([Problem(str(file), f"no {' and no '.join(keys)}", wanted)])
    return read


def _yaml(text: str) -> Any:
    import yaml  # noqa: PLC0415 - of the extra

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None
