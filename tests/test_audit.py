"""The audit of the locked packages: what it asks, what it says, and that it needs no network."""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "deploy" / "audit.py"


def audit(url: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, SCRIPT], capture_output=True, text=True, check=False, env={"PEAKWATCH_AUDIT_URL": url}
    )


class Database(HTTPServer):
    """Answers as the batch query of OSV does: a result for each query, in order."""

    bad: dict[str, str]
    asked: list[dict[str, Any]]


class Answer(BaseHTTPRequestHandler):
    server: Database

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["queries"]
        self.server.asked += asked
        names = [query["package"]["name"] for query in asked]
        results = [{"vulns": [{"id": self.server.bad[name]}]} if name in self.server.bad else {} for name in names]
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"results": results}).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def database() -> Iterator[Database]:
    server = Database(("127.0.0.1", 0), Answer)
    server.bad, server.asked = {}, []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_every_locked_package_is_asked_about(database: Database) -> None:
    done = audit(f"http://127.0.0.1:{database.server_port}")
    asked = {(query["package"]["name"], query["version"]) for query in database.asked}
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    assert len(asked) == sum("==" in line.split(";")[0] and not line.startswith((" ", "#")) for line in lines)
    assert "polars" in {name for name, _ in asked}
    assert (done.returncode, done.stdout) == (0, f"audit: {len(asked)} packages, 0 with known vulnerabilities\n")


def test_a_known_vulnerability_fails_with_its_id(database: Database) -> None:
    database.bad = {"jinja2": "GHSA-0000-0000-0000"}
    done = audit(f"http://127.0.0.1:{database.server_port}")
    assert done.returncode == 1
    assert done.stdout.startswith("audit: jinja2 3.")
    assert "GHSA-0000-0000-0000" in done.stdout


def test_without_the_database_it_says_so_and_passes() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        done = audit(f"http://127.0.0.1:{closed.getsockname()[1]}")
    assert done.returncode == 0
    assert "gives no answer" in done.stdout
    assert "not audited" in done.stdout
