"""
Push against recorded exchanges of Grafana's documented HTTP API: a small server on loopback keeps what it is sent.

It answers as the documentation says a Grafana does, with the keys a Grafana adds; it is no Grafana.
"""

import json
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import polars as pl
import pytest

from ingest.schema import BREACH_EVENTS
from ingest.store.lake.adapter import Lake
from pipelines import cli
from pipelines.demo import NOW

FILES = Path(__file__).parents[2] / "deploy" / "grafana"
TOKEN = "glsa_sample"

Call = Callable[..., tuple[int, str, str]]


class Recorded(ThreadingHTTPServer):
    """Folders, dashboards, rule groups and annotations by their keys, and every call that changed something."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.kept: dict[str, dict] = {}
        self.annotations: list[dict] = []
        self.changes: list[tuple[str, str]] = []
        self.headers: dict[str, str] = {}
        self.failing = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/monitor"


class Handler(BaseHTTPRequestHandler):
    def _answer(self, status: int, body: object) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _handle(self) -> None:
        server, parts = self.server, urlsplit(self.path)
        server.headers = dict(self.headers)
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        route = parts.path.removeprefix("/monitor/api")
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            return self._answer(401, {"message": "Invalid API key"})
        if server.failing:
            return self._answer(server.failing, {"message": "database is locked"})
        if route == "/annotations" and self.command == "GET":
            wanted = set(parse_qs(parts.query)["tags"])
            return self._answer(200, [one for one in server.annotations if wanted <= set(one["tags"])])
        if self.command == "GET":
            kept = server.kept.get(route)
            return self._answer(200, kept) if kept else self._answer(404, {"message": "not found"})
        server.changes.append((self.command, route))
        return self._answer(200, self._keep(route, body))

    def _keep(self, route: str, body: dict) -> dict:
        server = self.server
        if route == "/folders":
            server.kept[f"/folders/{body['uid']}"] = body | {"id": 7, "version": 1, "url": "/dashboards/f/x"}
        elif route == "/dashboards/db":
            board = body["dashboard"] | {"id": 11, "version": 3}
            uid = f"/dashboards/uid/{board['uid']}"
            server.kept[uid] = {"dashboard": board, "meta": {"folderUid": body["folderUid"]}}
        elif route == "/annotations":
            server.annotations.append(body)
        elif route.startswith("/folders/"):
            server.kept[route] |= body
        else:
            rules = [rule | {"id": n, "updated": "2026-11-01T00:00:00Z"} for n, rule in enumerate(body["rules"])]
            server.kept[route] = body | {"rules": rules}
        return {"message": "ok"}

    do_GET = do_POST = do_PUT = _handle  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def grafana() -> Iterator[Recorded]:
    server = Recorded()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def push(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PEAKWATCH_GRAFANA_TOKEN", TOKEN)

    def call(*arguments: str, folder: Path = FILES) -> tuple[int, str, str]:
        said = ["peakwatch", "grafana", "push", "--folder", str(folder), *arguments]
        monkeypatch.setattr(sys, "argv", said)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        output = capsys.readouterr()
        return int(ended.value.code or 0), output.out, output.err

    return call


def test_everything_is_pushed_once_and_again_changes_nothing(push: Call, grafana: Recorded) -> None:
    code, said, _ = push("--url", grafana.url)
    assert (code, said.splitlines()[-1]) == (0, "16 of 16 new or changed")
    assert grafana.changes[:3] == [("POST", "/folders")] * 3
    assert grafana.changes[3:-1] == [("POST", "/dashboards/db")] * 12
    assert grafana.changes[-1] == ("PUT", "/v1/provisioning/folder/peakwatch/rule-groups/PeakWatch")
    assert grafana.headers["X-Disable-Provenance"] == "true"
    rules = grafana.kept[grafana.changes[-1][1]]["rules"]
    assert {(rule["folderUID"], rule["ruleGroup"]) for rule in rules} == {("peakwatch", "PeakWatch")}
    grafana.changes.clear()
    assert push("--url", grafana.url)[1] == "0 of 16 new or changed\n"
    assert grafana.changes == []


def test_a_dry_run_shows_the_difference_and_sends_nothing(push: Call, grafana: Recorded) -> None:
    code, said, _ = push("--url", grafana.url, "--dry-run")
    assert (code, said.splitlines()[-1], grafana.changes) == (0, "16 of 16 would change", [])
    push("--url", grafana.url)
    grafana.changes.clear()
    grafana.kept["/dashboards/uid/peakwatch-overview-zh"]["dashboard"]["title"] = "mine"
    grafana.kept["/folders/peakwatch"]["title"] = "old"
    said = push("--url", grafana.url, "--dry-run")[1]
    assert '-    "title": "mine"' in said
    assert '+    "title": "PeakWatch 1 监管总览"' in said
    assert (said.splitlines()[-1], grafana.changes) == ("2 of 16 would change", [])
    push("--url", grafana.url)
    assert grafana.changes == [("PUT", "/folders/peakwatch"), ("POST", "/dashboards/db")]
    grafana.changes.clear()
    grafana.kept["/dashboards/uid/peakwatch-health-en"]["meta"]["folderUid"] = "elsewhere"
    assert push("--url", grafana.url)[1].splitlines()[-1] == "1 of 16 new or changed"


def test_breach_events_are_annotated_once(push: Call, grafana: Recorded, tmp_path: Path) -> None:
    text = {name: "x" for name, dtype in BREACH_EVENTS.schema.items() if dtype == pl.String}
    event = text | {"event_id": "ab-0", "kind": "opened", "facility": "dc", "value": 1.38, "limit": 1.3}
    moments = dict.fromkeys(("at", "start", "end"), NOW)
    Lake(tmp_path / "data").write("breach_events", pl.DataFrame([event | moments], schema=BREACH_EVENTS.schema))
    assert push("--url", grafana.url, "--from", "2026-10-01")[1].splitlines()[-1] == "17 of 17 new or changed"
    (annotation,) = grafana.annotations
    assert annotation["time"] == NOW.timestamp() * 1000
    assert annotation["tags"] == ["peakwatch", "opened", "x", "dc", "event:ab-0"]
    assert "1.38" in annotation["text"]
    assert push("--url", grafana.url, "--from", "2026-10-01")[1] == "0 of 16 new or changed\n"
    assert len(grafana.annotations) == 1


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("http://grafana.example.org", "'http://grafana.example.org'"),
        ("https://admin:secret@grafana.example.org", "'grafana.example.org'"),
        ("grafana", "'grafana'"),
        ("https://[::1", "'https://[::1'"),
        ("https://a:99999", "'https://a:99999'"),
    ],
)
def test_an_address_the_token_would_not_be_safe_at_is_refused(push: Call, url: str, found: str) -> None:
    code, said, error = push("--url", url)
    assert (code, said) == (2, "")
    assert error.startswith(f"✗ --url: found {found}; wanted https://HOST")
    assert "secret" not in error


def test_the_token_comes_from_a_file_and_what_is_no_token_is_told(
    push: Call, grafana: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PEAKWATCH_GRAFANA_TOKEN")
    code, _, error = push("--url", grafana.url)
    assert (code, error[:23]) == (2, "✗ --token: found none; ")
    file = tmp_path / "token"
    code, _, error = push("--url", grafana.url, "--token", str(file))
    assert (code, "No such file" in error) == (2, True)
    file.write_text("two\nlines")
    assert "found no token of one line" in push("--url", grafana.url, "--token", str(file))[2]
    file.write_text("wrong\n")
    code, _, error = push("--url", grafana.url, "--token", str(file))
    assert (code, "Unauthorized" in error, "wrong" in error) == (1, True, False)
    file.write_text(f"{TOKEN}\n")
    assert push("--url", grafana.url, "--token", str(file), "--dry-run")[0] == 0


def test_a_grafana_that_fails_or_is_away_is_told_in_one_sentence(push: Call, grafana: Recorded) -> None:
    grafana.failing = 503
    code, _, error = push("--url", grafana.url)
    assert (code, len(error.splitlines()), "database is locked" in error) == (1, 1, True)
    code, _, error = push("--url", "http://127.0.0.1:9")
    assert (code, len(error.splitlines()), "GET /folders/peakwatch" in error) == (1, 1, True)


def test_a_folder_without_the_files_is_told(push: Call, grafana: Recorded, tmp_path: Path) -> None:
    code, _, error = push("--url", grafana.url, folder=tmp_path)
    assert (code, "found no dashboards" in error) == (2, True)
    (tmp_path / "dashboards" / "zh").mkdir(parents=True)
    board = tmp_path / "dashboards" / "zh" / "a.json"
    for content in ("{", "[]", "{}"):
        board.write_text(content)
        code, _, error = push("--url", grafana.url, folder=tmp_path)
        assert (code, error.startswith(f"✗ {board}: found ")) == (2, True)
    assert grafana.changes == []
