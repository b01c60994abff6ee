"""
The place of an operator against recorded exchanges of Grafana's documented HTTP API: a small server on loopback.

Organisations, users and data sources are kept as the documentation says; it is no Grafana.
"""

import json
import re
import shutil
import sys
import threading
from base64 import b64decode
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from pipelines import cli
from pipelines.grafana.operators import BOARDS

ROOT = Path(__file__).parents[2]
FILES = ROOT / "deploy" / "grafana"
LOGIN = "admin:the administrator's"
STORE = "influxdbs://influxdb:8086/peakwatch?org=peakwatch"
MADE = 1 + 1 + 2 + 2 * len(BOARDS) + 1  # organisation, data source, folders, dashboards, viewer

Call = Callable[..., tuple[int, str, str]]


class Recorded(ThreadingHTTPServer):
    """Organisation 1 and its administrator; what each organisation holds, by route; every call that changed it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.orgs: dict[int, str] = {1: "Main Org."}
        self.users: dict[str, dict] = {"admin": {"id": 1, "isGrafanaAdmin": True, "orgs": {1: "Admin"}}}
        self.held: dict[int, dict[str, dict]] = {}
        self.secrets: dict[int, dict] = {}
        self.changes: list[tuple[str, str]] = []
        self.assign: Callable[[int], dict[int, str]] = lambda org: {org: "Viewer"}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def get(self, org: int, route: str, asked: dict[str, list[str]]) -> object | None:
        if route.startswith("/orgs/name/"):
            name = unquote(route.removeprefix("/orgs/name/"))
            return next(({"id": one, "name": found} for one, found in self.orgs.items() if found == name), None)
        if route == "/users/lookup":
            login = asked["loginOrEmail"][0]
            user = self.users.get(login)
            return user and {"id": user["id"], "login": login, "isGrafanaAdmin": user["isGrafanaAdmin"]}
        if found := re.fullmatch(r"/users/(\d+)/orgs", route):
            user = next(user for user in self.users.values() if user["id"] == int(found[1]))
            return [{"orgId": org, "name": self.orgs[org], "role": role} for org, role in user["orgs"].items()]
        return self.held.setdefault(org, {}).get(route)

    def keep(self, org: int, route: str, body: dict) -> dict:
        held = self.held.setdefault(org, {})
        if route == "/orgs":
            number = max(self.orgs) + 1
            self.orgs[number] = body["name"]
            self.users["admin"]["orgs"][number] = "Admin"
            return {"orgId": number, "message": "Organization created"}
        if route == "/admin/users":
            user = {"id": len(self.users) + 1, "isGrafanaAdmin": False, "orgs": self.assign(body["OrgId"])}
            self.users[body["login"]] = user | {"password": body["password"]}
        elif route.startswith("/datasources"):
            self.secrets[org] = body.pop("secureJsonData")
            read = {"id": 3, "orgId": org, "secureJsonFields": dict.fromkeys(self.secrets[org], True)}
            held[f"/datasources/uid/{body['uid']}"] = body | read
        elif route == "/folders":
            held[f"/folders/{body['uid']}"] = body | {"version": 1}
        else:
            assert route == "/dashboards/db"
            board = body["dashboard"]
            assert f"/folders/{body['folderUid']}" in held, "the folder is not there yet"
            held[f"/dashboards/uid/{board['uid']}"] = {"dashboard": board, "meta": {"folderUid": body["folderUid"]}}
        return {"message": "ok"}


class Handler(BaseHTTPRequestHandler):
    server: Recorded

    def _answer(self, status: int, body: object) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _handle(self) -> None:
        server, parts = self.server, urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        kind, _, login = self.headers["Authorization"].partition(" ")
        org, route = int(self.headers.get("X-Grafana-Org-Id", "1")), parts.path.removeprefix("/api")
        if kind != "Basic" or b64decode(login).decode() != LOGIN or org not in server.users["admin"]["orgs"]:
            return self._answer(401, {"message": "Invalid username or password"})
        if self.command == "GET":
            found = server.get(org, route, parse_qs(parts.query))
            return self._answer(404, {"message": "not found"}) if found is None else self._answer(200, found)
        server.changes.append((self.command, route))
        return self._answer(200, server.keep(org, route, body))

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
def users(tmp_path: Path, grafana: Recorded, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Call:
    """Run `grafana users` with the sample registry, and a token for each facility as `store init` leaves it."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "deploy" / "registry", tmp_path / "registry")
    monkeypatch.setenv("PEAKWATCH_GRAFANA_ADMIN_PASSWORD", LOGIN.partition(":")[2])
    monkeypatch.setenv("PEAKWATCH_STORE", STORE)
    for facility in ("dc-sample", "copper-sample"):
        token(tmp_path, facility, f"token of {facility}")

    def call(*arguments: str) -> tuple[int, str, str]:
        own = ["--url", grafana.url, "--secrets", "secrets", "--folder", str(FILES)]
        monkeypatch.setattr(sys, "argv", ["peakwatch", "grafana", "users", *own, *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return call


def token(root: Path, facility: str, secret: str) -> None:
    folder = root / "secrets" / "facilities" / facility / "grafana"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "peakwatch_store_token").write_text(secret)


def test_each_operator_gets_an_organisation_with_its_own_database_and_again_changes_nothing(
    users: Call, grafana: Recorded, tmp_path: Path
) -> None:
    code, said, _ = users("--facility", "dc-sample", "--facility", "copper-sample", "--facility", "dc-sample")
    told = [line for line in said.splitlines() if line[0] not in "+~"]
    assert (code, told) == (0, [f"{name}: {MADE} new or changed" for name in ("dc-sample", "copper-sample")])
    assert grafana.orgs == {1: "Main Org.", 2: "dc-sample", 3: "copper-sample"}
    for org, facility in ((2, "dc-sample"), (3, "copper-sample")):
        source = grafana.held[org]["/datasources/uid/peakwatch"]
        assert (source["url"], source["jsonData"]["dbName"]) == ("https://influxdb:8086", f"peakwatch-{facility}")
        assert source["jsonData"]["httpHeaderName1"] == "Authorization"
        assert grafana.secrets[org] == {"httpHeaderValue1": f"Token token of {facility}"}
        boards = {route for route in grafana.held[org] if route.startswith("/dashboards/uid/")}
        assert boards == {f"/dashboards/uid/peakwatch-{name}-{one}" for name in BOARDS for one in ("zh", "en")}
        assert grafana.users[facility]["orgs"] == {org: "Viewer"}
        file = tmp_path / "secrets/facilities" / facility / "viewer_password"
        assert (file.read_text(), file.stat().st_mode & 0o777) == (grafana.users[facility]["password"], 0o600)
        assert f"+ viewer {facility}, password in {file.relative_to(tmp_path)}" in said.splitlines()
    # nothing was put where the regulator looks, and no secret was said
    assert grafana.held.get(1, {}) == {}
    assert not any(secret in said for secret in ("token of", grafana.users["dc-sample"]["password"]))
    grafana.changes.clear()
    assert users("--facility", "dc-sample")[1] == "dc-sample: 0 new or changed\n"
    assert grafana.changes == []


def test_a_dry_run_changes_nothing(users: Call, grafana: Recorded, tmp_path: Path) -> None:
    code, said, _ = users("--facility", "dc-sample", "--dry-run")
    assert (code, said.splitlines()[-1]) == (0, f"dc-sample: {MADE} would change")
    assert (grafana.changes, list(tmp_path.rglob("viewer_password"))) == ([], [])
    users("--facility", "dc-sample")
    grafana.changes.clear()
    assert users("--facility", "dc-sample", "--dry-run")[1] == "dc-sample: 0 would change\n"
    assert grafana.changes == []


def test_a_new_token_is_brought_to_the_data_source(users: Call, grafana: Recorded, tmp_path: Path) -> None:
    users("--facility", "dc-sample")
    grafana.changes.clear()
    token(tmp_path, "dc-sample", "another")
    assert users("--facility", "dc-sample")[1].splitlines()[-1] == "dc-sample: 1 new or changed"
    assert grafana.changes == [("PUT", "/datasources/uid/peakwatch")]
    assert grafana.secrets[2] == {"httpHeaderValue1": "Token another"}


def test_a_password_that_was_drawn_and_not_used_is_used(users: Call, grafana: Recorded, tmp_path: Path) -> None:
    (tmp_path / "secrets/facilities/dc-sample/viewer_password").write_text("drawn before")
    users("--facility", "dc-sample")
    assert grafana.users["dc-sample"]["password"] == "drawn before"


@pytest.mark.parametrize(
    ("sees", "told"),
    [
        ({1: "Viewer", 2: "Viewer"}, "found Viewer of organisation 1, Viewer of organisation 2; wanted Viewer of"),
        ({2: "Editor"}, "found Editor of organisation 2; wanted Viewer of organisation 2 alone"),
        ({}, "found of no organisation; wanted Viewer"),
    ],
)
def test_a_login_that_sees_more_is_told(users: Call, grafana: Recorded, sees: dict[int, str], told: str) -> None:
    grafana.assign = lambda _: sees
    code, _, error = users("--facility", "dc-sample")
    assert (code, told in error, error.count("\n")) == (1, True, 1)


def test_an_administrator_of_all_grafana_is_no_operator(users: Call, grafana: Recorded) -> None:
    users("--facility", "dc-sample")
    grafana.users["dc-sample"]["isGrafanaAdmin"] = True
    code, _, error = users("--facility", "dc-sample")
    assert (code, "administrator of all Grafana" in error) == (1, True)


def test_influxdb_1_is_read_with_the_password_of_its_user(users: Call, grafana: Recorded, tmp_path: Path) -> None:
    folder = tmp_path / "secrets/facilities/dc-sample/grafana"
    (folder / "peakwatch_store_token").rename(folder / "peakwatch_store_password")
    users("--facility", "dc-sample", "--store", "influxdb://peakwatch-jobs@influxdb:8086/peakwatch")
    source = grafana.held[2]["/datasources/uid/peakwatch"]
    assert (source["url"], source["user"]) == ("http://influxdb:8086", "peakwatch-dc-sample-grafana")
    assert "httpHeaderName1" not in source["jsonData"]
    assert grafana.secrets[2] == {"password": "token of dc-sample"}


def test_what_is_missing_is_one_sentence_and_grafana_is_not_asked(
    users: Call, grafana: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    for arguments, told in (
        (("--facility", "../dc"), "--facility: found '../dc'; wanted one of ceramics-sample"),
        (("--facility", "ceramics-sample"), "wanted what `peakwatch store init --facility ceramics-sample"),
        (("--facility", "dc-sample", "--store", "lake:data"), "wanted an InfluxDB; Grafana reads no lake"),
    ):
        code, said, error = users(*arguments)
        assert (code, said, told in error, error.count("\n")) == (2, "", True, 1)
    monkeypatch.delenv("PEAKWATCH_GRAFANA_ADMIN_PASSWORD")
    code, _, error = users("--facility", "dc-sample")
    assert (code, "setting grafana_admin_password: found none" in error) == (2, True)
    monkeypatch.setenv("PEAKWATCH_GRAFANA_ADMIN_PASSWORD", "wrong")
    code, _, error = users("--facility", "dc-sample")
    assert (code, "Unauthorized" in error, "wrong" in error) == (1, True, False)
    assert grafana.changes == []
