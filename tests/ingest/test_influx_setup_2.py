"""`store init` on InfluxDB 2: what is asked and sent, against answers of its documented API on a local server."""

import json
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from ingest.errors import ConfigurationError, StoreError, StoreUnavailable
from ingest.settings import Settings
from ingest.store.connect import administered
from ingest.store.influx.setup import Finding, prepare

ORG = {"id": "0a00000000000001", "name": "peakwatch"}
IDS = {"peakwatch/raw": "0b00000000000001", "peakwatch/autogen": "0b00000000000002"}
BUCKET = {"orgID": ORG["id"], "rp": "0"}  # `rp` comes from influxdb-client
TOKENS = {"peakwatch-collector": "tok-c==", "peakwatch-jobs": "tok-j==", "peakwatch-grafana": "tok-g=="}


class Recorded(ThreadingHTTPServer):
    """An InfluxDB 2 with an organisation and nothing in it; it keeps what is made, and every request that makes."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.version = "v2.7.12"
        self.numbers = count()
        self.seen = True
        self.fault: tuple[int, dict[str, str]] | None = None
        self.sent: list[tuple[str, str, Any]] = []
        self.buckets: dict[str, dict[str, Any]] = {}
        self.mappings: list[dict[str, Any]] = []
        self.tokens: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"influxdb://127.0.0.1:{self.server_address[1]}/peakwatch?org=peakwatch"

    def get(self, path: str, asked: dict[str, str]) -> dict[str, Any]:
        if path == "/api/v2/orgs":
            return {"orgs": [ORG] if self.seen else []}
        if path == "/api/v2/buckets":
            return {"links": {"self": "/api/v2/buckets"}, "buckets": list(self.buckets.values())}
        if path == "/api/v2/dbrps":
            stored = [one for one in self.mappings if one["retention_policy"] == asked["rp"]]
            name = f"{asked['db']}/{asked['rp']}"
            made_up = {"id": IDS[name], "bucketID": IDS[name], "virtual": True} if name in self.buckets else None
            return {"content": stored or ([self._mapping(made_up, asked)] if made_up else [])}
        assert path == "/api/v2/authorizations"
        # the newer ones tell no token again
        return {"authorizations": [{key: one[key] for key in one if key != "token"} for one in self.tokens]}

    def post(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if path == "/api/v2/buckets":
            self.buckets[body["name"]] = body | {"id": IDS[body["name"]]}
            return 201, self.buckets[body["name"]]
        if path == "/api/v2/dbrps":
            self.mappings.append(body | {"id": f"0c{next(self.numbers):014}", "virtual": False})
            return 201, self.mappings[-1]
        assert path == "/api/v2/authorizations"
        made = {"id": f"0d{next(self.numbers):014}", "token": TOKENS[body["description"]], "status": "active"}
        self.tokens.append(body | made)
        return 201, self.tokens[-1]

    @staticmethod
    def _mapping(one: dict[str, Any], asked: dict[str, str]) -> dict[str, Any]:
        named = {"orgID": ORG["id"], "database": asked["db"], "retention_policy": asked["rp"], "default": False}
        return one | named


class Answers(BaseHTTPRequestHandler):
    server: Recorded

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        split = urlsplit(self.path)
        if split.path == "/ping":
            return self.answer(204, None)
        asked = {name: values[0] for name, values in parse_qs(split.query).items()}
        return self.answer(*(self.server.fault or (200, self.server.get(split.path, asked))))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.startswith("/query"):
            known = self.headers["Authorization"].removeprefix("Token ") in TOKENS.values()
            told = {"results": [{"statement_id": 0}]} if known else {"code": "unauthorized", "message": "no"}
            return self.answer(200 if known else 401, told)
        self.keep(json.loads(body))
        return self.answer(*self.server.post(self.path, json.loads(body)))

    def do_PATCH(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.keep(body)
        name = next(name for name, number in IDS.items() if self.path == f"/api/v2/buckets/{number}")
        self.server.buckets[name] |= body
        self.answer(200, self.server.buckets[name])

    def do_DELETE(self) -> None:
        self.keep(None)
        number = urlsplit(self.path).path.rpartition("/")[2]
        kept = self.server.tokens if "authorizations" in self.path else self.server.mappings
        kept[:] = [one for one in kept if one["id"] != number]
        self.answer(204, None)

    def keep(self, body: Any) -> None:
        self.server.sent.append((self.command, urlsplit(self.path).path, body))

    def answer(self, status: int, body: Any) -> None:
        text = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("X-Influxdb-Version", self.server.version)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


@pytest.fixture
def server() -> Iterator[Recorded]:
    with Recorded() as one:
        thread = threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield one
        one.shutdown()
        thread.join()


def init(server: Recorded, folder: Path, *, raw_days: int = 1100, apply: bool = False) -> list[Finding]:
    with closing(administered(Settings(store=server.url, store_admin_token="operator"))) as one:
        return list(prepare(one, folder, raw_days=raw_days, apply=apply))


def told(findings: list[Finding]) -> dict[str, str]:
    return {finding.what: finding.state for finding in findings}


def rights(number: str, *actions: str) -> list[dict[str, Any]]:
    return [{"action": action, "resource": {"type": "buckets", "id": number, "orgID": ORG["id"]}} for action in actions]


def test_the_first_run_asks_for_what_the_documents_say(server: Recorded, tmp_path: Path) -> None:
    assert set(told(init(server, tmp_path)).values()) == {"made"}
    raw, autogen = IDS.values()
    rules = [{"type": "expire", "everySeconds": 95_040_000}]  # 1100 x 86 400
    assert server.sent[:4] == [
        ("POST", "/api/v2/buckets", {**BUCKET, "name": "peakwatch/raw", "retentionRules": rules}),
        ("POST", "/api/v2/buckets", {**BUCKET, "name": "peakwatch/autogen", "retentionRules": []}),
        (
            "POST",
            "/api/v2/dbrps",
            {
                "orgID": ORG["id"],
                "bucketID": raw,
                "database": "peakwatch",
                "retention_policy": "raw",
                "default": False,
            },
        ),
        (
            "POST",
            "/api/v2/dbrps",
            {
                "orgID": ORG["id"],
                "bucketID": autogen,
                "database": "peakwatch",
                "retention_policy": "autogen",
                "default": True,
            },
        ),
    ]
    permissions = {body["description"]: body["permissions"] for _, _, body in server.sent[4:]}
    assert permissions == {
        "peakwatch-collector": rights(raw, "read", "write") + rights(autogen, "read", "write"),
        "peakwatch-jobs": rights(raw, "read") + rights(autogen, "read", "write"),
        "peakwatch-grafana": rights(autogen, "read"),
    }
    for role in ("collector", "jobs", "grafana"):
        file = tmp_path / role / "peakwatch_store_token"
        assert file.read_text() == TOKENS[f"peakwatch-{role}"]
        assert file.stat().st_mode & 0o777 == 0o600


def test_the_second_run_changes_nothing(server: Recorded, tmp_path: Path) -> None:
    init(server, tmp_path)
    server.sent.clear()
    assert set(told(init(server, tmp_path)).values()) == {"found"}
    assert server.sent == []


def test_what_differs_is_told_and_changed_only_when_it_is_to_be(server: Recorded, tmp_path: Path) -> None:
    init(server, tmp_path)
    server.mappings[0]["bucketID"] = IDS["peakwatch/autogen"]
    server.tokens[0]["permissions"] = server.tokens[0]["permissions"][:1]
    server.tokens[1]["status"] = "inactive"
    (tmp_path / "grafana" / "peakwatch_store_token").write_text("guess")
    server.sent.clear()
    found = {one.what: one.told for one in init(server, tmp_path, raw_days=30) if one.state == "differs"}
    assert found == {
        "bucket peakwatch/raw": "keeps 1100 days; wanted: keeps 30 days",
        "mapping peakwatch/raw": f"leads to bucket {IDS['peakwatch/autogen']}",
        "token peakwatch-collector": "has other rights",
        "token peakwatch-jobs": "is inactive",
        "token peakwatch-grafana": f"the token of the file is refused: {tmp_path}/grafana/peakwatch_store_token",
    }
    assert server.sent == []
    assert list(told(init(server, tmp_path, raw_days=30, apply=True)).values()).count("changed") == 5
    assert set(told(init(server, tmp_path, raw_days=30)).values()) == {"found"}


def test_a_token_whose_file_is_lost_is_made_anew_and_the_old_one_is_void(server: Recorded, tmp_path: Path) -> None:
    init(server, tmp_path)
    (tmp_path / "jobs" / "peakwatch_store_token").unlink()
    server.tokens.append(server.tokens[2] | {"id": "0dffffffffffffff"})
    found = {one.what: one.told for one in init(server, tmp_path) if one.state == "differs"}
    assert found["token peakwatch-jobs"].startswith("is in no file: ")
    assert found["token peakwatch-grafana"] == "2 tokens of that name"
    init(server, tmp_path, apply=True)
    assert len(server.tokens) == 3
    assert set(told(init(server, tmp_path)).values()) == {"found"}


@pytest.mark.parametrize(
    ("fault", "error", "sentence"),
    [
        (401, StoreError, "401 no such token; wanted the operator's token"),
        (503, StoreUnavailable, "503 no such token"),
    ],
)
def test_a_fault_is_told_in_the_servers_words(
    server: Recorded, tmp_path: Path, fault: int, error: type[StoreError], sentence: str
) -> None:
    server.fault = fault, {"code": "x", "message": "no such token"}
    with pytest.raises(StoreError, match=sentence) as refusal:
        init(server, tmp_path)
    assert type(refusal.value) is error


def test_a_token_that_sees_no_organisation_is_told(server: Recorded, tmp_path: Path) -> None:
    server.seen = False
    with pytest.raises(StoreError, match="no organisation 'peakwatch' is to be seen; wanted its name and a token"):
        init(server, tmp_path)


@pytest.mark.parametrize(
    ("settings", "error", "sentence"),
    [
        ({"store_admin_token": None}, ConfigurationError, "store_admin_token: found none"),
        ({"store": "?"}, ConfigurationError, "the organisation of InfluxDB 2 too"),
    ],
)
def test_what_is_missing_is_a_problem_of_the_settings(
    server: Recorded, settings: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    if "store" in settings:
        settings = {"store": server.url.partition("?")[0]}
    with pytest.raises(error, match=sentence):
        administered(Settings(**{"store": server.url, "store_admin_token": "operator"} | settings))


def test_another_version_is_told(server: Recorded) -> None:
    server.version = "3.1.0"
    with pytest.raises(StoreError, match=r"is InfluxDB 3.1.0; wanted version 1 or 2"):
        administered(Settings(store=server.url, store_admin_token="operator"))
