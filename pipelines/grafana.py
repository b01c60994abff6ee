"""
Push dashboards, alert rules and annotations to a Grafana that is running; the files of deploy/grafana are what it gets.

    files (and breach events) -> wanted -> compared with what is there -> steps -> done, or shown as a difference

The usual way into Grafana is its own provisioning of the same files, which needs none of this. Pushing again changes
nothing: a thing is sent only where it is not there or differs in a key of ours. Nothing is ever deleted.
"""

import difflib
import json
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import SplitResult, quote, urlsplit

import polars as pl
import typer
from rich.console import Console
from rich.markup import escape

from ingest import settings as all_settings
from ingest.errors import ConfigurationError, GrafanaError, GrafanaUnavailable, Problem
from ingest.schema import BREACH_EVENTS
from ingest.settings import Settings
from ingest.store.connect import opened
from pipelines import typed
from pipelines.export import HOME

app = typer.Typer(no_args_is_help=True, help="Dashboards and alert rules of a running Grafana.")
out = Console(emoji=False)

FILES = Path("deploy/grafana")
_FOLDERS = {"peakwatch": "PeakWatch", "peakwatch-zh": "PeakWatch 中文", "peakwatch-en": "PeakWatch English"}
_TAG = "peakwatch"
_MOST = 100_000  # annotations asked for at once
_TIMEOUT = 30.0  # [s]
_LOCAL = ("localhost", "127.0.0.1", "::1")
_NOT_FOUND = 404
_LAST = "9999-12-31"

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Step:
    """
    One thing Grafana should hold.

    Attributes:
        what: for the reader.
        read: route it is read from; None where it is always sent.
        wanted: what the answer should hold; keys Grafana adds are not compared.
        send: method, route and body that bring it there.
        replace: the same where it is there and differs; None: as `send`.
    """

    what: str
    read: str | None
    wanted: Json
    send: tuple[str, str, Json]
    replace: tuple[str, str, Json] | None = None


class Session:
    """A session with one Grafana: any route, and every failure as one of our errors."""

    def __init__(self, url: str, token: str, ca: Path | None = None) -> None:
        """
        Open nothing yet: Grafana is first spoken to by the first call.

        Raises:
            ConfigurationError: the URL is none, or the extra is not installed.
        """
        try:
            from grafana_api.grafana_api import GrafanaAPI  # noqa: PLC0415 - an extra
        except ImportError:
            found, wanted = "no module grafana_api", "the extra: pip install 'peakwatch[grafana]'"
            raise ConfigurationError([Problem("peakwatch grafana", found, wanted)]) from None
        parts = _address(url)
        self._api = GrafanaAPI(
            token,
            host=parts.netloc,
            protocol=parts.scheme,
            url_path_prefix=f"{parts.path.strip('/')}/".lstrip("/"),
            verify=True if ca is None else str(ca),
            timeout=_TIMEOUT,
        )
        self._place = f"{parts.scheme}://{parts.netloc}"

    def read(self, route: str) -> Any:
        """Read a route; None where there is nothing."""
        return self._call("GET", route, None)

    def send(self, method: str, route: str, body: Json) -> None:
        """Send a body."""
        if self._call(method, route, body) is None:
            raise GrafanaError(f"Grafana at {self._place} knows no {method} {route}")

    def _call(self, method: str, route: str, body: Json | None) -> Any:
        from grafana_api.grafana_api import GrafanaClientError, GrafanaServerError  # noqa: PLC0415
        from requests import RequestException  # noqa: PLC0415

        where = f"Grafana at {self._place}, {method} {route}"
        # what is pushed stays editable in Grafana, as a person's own would
        headers = {"X-Disable-Provenance": "true"}
        try:
            return getattr(self._api, method)(route, json=body, headers=headers)
        except GrafanaClientError as error:
            if error.status_code == _NOT_FOUND:
                return None
            raise GrafanaError(f"{where}: {error.message}") from None
        except (GrafanaServerError, RequestException) as error:
            raise GrafanaUnavailable(f"{where}: {error}") from None
        except ValueError:
            raise GrafanaError(f"{where}: the answer is no JSON; is that a Grafana?") from None


@app.command()
def push(
    *,
    url: Annotated[str, typer.Option(help="Grafana's address, e.g. https://grafana.example.org.")],
    token: Annotated[
        Path | None, typer.Option(help="File with a service account token; default: PEAKWATCH_GRAFANA_TOKEN.")
    ] = None,
    folder: Annotated[Path, typer.Option(help="Folder of the generated files.")] = FILES,
    start: Annotated[str, typer.Option("--from", help="Annotate the breach events judged from here on, too.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")] = False,
    config: Annotated[Path | None, typer.Option("--config", help="Settings file; default: peakwatch.toml.")] = None,
) -> None:
    """Bring folders, dashboards and alert rules into a running Grafana; again changes nothing."""
    settings = all_settings.load(config)
    steps = [*folders(), *dashboards(folder), *alert_rules(folder)]
    session = Session(url, _token(token, settings), settings.grafana_ca)
    if start:
        steps += annotations(_events(settings, start), _annotated(session))
    changed = [step for step in steps if _done(session, step, dry_run=dry_run)]
    out.print(f"{len(changed)} of {len(steps)} {'would change' if dry_run else 'new or changed'}")


def folders() -> Iterator[Step]:
    """Yield the folders: one for the alert rules, one a language."""
    for uid, title in _FOLDERS.items():
        yield Step(
            f"folder {title}",
            f"/folders/{uid}",
            {"uid": uid, "title": title},
            ("POST", "/folders", {"uid": uid, "title": title}),
            ("PUT", f"/folders/{uid}", {"title": title, "overwrite": True}),
        )


def dashboards(folder: Path) -> Iterator[Step]:
    """
    Yield the dashboards of the generated files.

    Raises:
        ConfigurationError: the folder holds none, or one cannot be read.
    """
    files = sorted(folder.glob("dashboards/*/*.json"))
    if not files:
        raise ConfigurationError([Problem(f"--folder {folder}", "no dashboards/*/*.json", "the folder deploy/grafana")])
    for file in files:
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
        route = f"/v1/provisioning/folder/{_TAG}/rule-groups/{quote(group['name'], safe='')}"
        own = {"orgID": group["orgId"], "folderUID": _TAG, "ruleGroup": group["name"]}
        rules = [rule | own for rule in group["rules"]]
        wanted = {"title": group["name"], "folderUid": _TAG, "interval": int(group["interval"].removesuffix("s"))}
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
            "tags": [_TAG, event["kind"], event["severity"], event["facility"], _event_tag(event["event_id"])],
            "text": f"{event['facility']} {event['rule']} {event['kind']}: {event['value']:g} {event['unit']}, "
            f"{event['comparison']} {event['limit']:g}. {event['document']} {event['clause']}",
        }
        what = f"annotation {event['kind']} {event['event_id']}"
        yield Step(what, None, body, ("POST", "/annotations", body))


def _annotated(session: Session) -> set[str]:
    found = session.read(f"/annotations?type=annotation&tags={_TAG}&limit={_MOST}") or []
    return {tag.removeprefix("event:") for one in found for tag in one.get("tags", ()) if tag.startswith("event:")}


def _event_tag(event: str) -> str:
    return f"event:{event}"


def _events(settings: Settings, start: str) -> pl.DataFrame:
    judged = typed.period(start, _LAST, HOME)
    with closing(opened(settings)) as store:
        return store.read(BREACH_EVENTS.name, judged)


def _done(session: Session, step: Step, *, dry_run: bool) -> bool:
    """Do a step, or show its difference; whether there was anything to do."""
    answer = None if step.read is None else session.read(step.read)
    there = None if answer is None else _ours(answer, step.wanted)
    if there == step.wanted:
        return False
    out.print(f"{'~' if there is not None else '+'} {escape(step.what)}", highlight=False)
    if dry_run:
        out.print(escape("\n".join(_difference(there, step.wanted))), highlight=False, soft_wrap=True)
    else:
        session.send(*(step.send if there is None or step.replace is None else step.replace))
    return True


def _ours(found: Any, wanted: Any) -> Any:
    """Keep of what was found only the keys we want to say: Grafana adds versions, ids and defaults of its own."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        return {name: _ours(found[name], part) for name, part in wanted.items() if name in found}
    if isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        return [_ours(*pair) for pair in zip(found, wanted, strict=True)]
    return found


def _difference(there: Any, wanted: Any) -> Iterator[str]:
    before, after = (
        [] if part is None else json.dumps(part, ensure_ascii=False, indent=2, sort_keys=True).splitlines()
        for part in (there, wanted)
    )
    # of what is new the name is enough
    return iter(()) if there is None else difflib.unified_diff(before, after, "there", "wanted", lineterm="", n=1)


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


def _address(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        named = bool(parts.hostname) and parts.port != 0
    except ValueError:
        named = False
    if not named or parts.username or parts.query or not _safe(parts):
        wanted = "https://HOST[:PORT][/PATH] without a login; http: only on this machine, for the token goes with it"
        # a login may stand in it
        raise ConfigurationError([Problem("--url", repr(url.rpartition("@")[2]), wanted)])
    return parts


def _safe(parts: SplitResult) -> bool:
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOCAL)


def _token(file: Path | None, settings: Settings) -> str:
    if file is None and settings.grafana_token is not None:
        return settings.grafana_token.get_secret_value()
    wanted = "a service account token in PEAKWATCH_GRAFANA_TOKEN, or the file --token names"
    if file is None:
        raise ConfigurationError([Problem("--token", "none", wanted)])
    token = _read_token(file)
    if not token or not token.isascii() or not token.isprintable():
        raise ConfigurationError([Problem(f"--token {file}", "no token of one line", wanted)])
    return token


def _read_token(file: Path) -> str:
    try:
        return file.read_text("utf-8").strip()
    except (OSError, ValueError) as error:
        raise ConfigurationError([Problem(f"--token {file}", str(error), "a readable file with the token")]) from None
