"""A real influxd on loopback, with authentication: a free port and a folder of its own, ended by its process id."""

import os
import shutil
import socket
import subprocess
import time
from base64 import b64encode
from itertools import count
from pathlib import Path

import urllib3

ROOT = Path(__file__).parents[1]
USER, PASSWORD = "peakwatch", "sécret:with \"signs'"
_NAMES = count()

SETTINGS = """
reporting-disabled = true
bind-address = "127.0.0.1:{inner}"
[meta]
dir = "{folder}/meta"
[data]
dir = "{folder}/data"
wal-dir = "{folder}/wal"
query-log-enabled = false
[coordinator]
{coordinator}
[http]
bind-address = "127.0.0.1:{port}"
auth-enabled = true
log-enabled = false
{http}
[monitor]
store-enabled = false
[continuous_queries]
enabled = false
[logging]
level = "error"
"""


def program() -> Path | None:
    """The influxd to try: another version where PEAKWATCH_TEST_INFLUXD names one."""
    if other := os.environ.get("PEAKWATCH_TEST_INFLUXD"):
        return Path(other)
    unpacked = ROOT / ".servers/usr/bin/influxd"
    found = unpacked if unpacked.exists() else shutil.which("influxd")
    return Path(found) if found else None


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


class Influxd:
    """One server; it can be stopped and started again on the same port and folder."""

    password = PASSWORD

    def __init__(self, command: Path, folder: Path, *, ca: Path | None = None, **sections: str) -> None:
        self.port, self.folder = free_port(), folder
        self._scheme = "influxdbs" if ca else "influxdb"
        self.address = f"{'https' if ca else 'http'}://127.0.0.1:{self.port}"
        self._command = [str(command), "run", "-config", str(folder / "influxdb.conf")]
        self.configure(**sections)
        self._process: subprocess.Popen[bytes] | None = None
        self._pool = urllib3.PoolManager(ca_certs=str(ca) if ca else None)

    def configure(self, *, coordinator: str = "", http: str = "") -> None:
        places = {"inner": free_port(), "folder": self.folder, "port": self.port}
        (self.folder / "influxdb.conf").write_text(SETTINGS.format(**places, coordinator=coordinator, http=http))

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        end = time.monotonic() + 30
        while not self._answers():
            assert self._process.poll() is None, "influxd ended at once: " + (self.folder / "log").read_text()
            assert time.monotonic() < end, "influxd does not answer"
            time.sleep(0.02)

    def first_start(self) -> None:
        self.start()
        self.ask(f"CREATE USER {USER} WITH PASSWORD '{_said(PASSWORD)}' WITH ALL PRIVILEGES", anonymous=True)

    def stop(self) -> None:
        self._end("terminate")

    def kill(self) -> None:
        self._end("kill")

    def _end(self, how: str) -> None:
        if self._process is not None:
            getattr(self._process, how)()
            self._process.wait(20)
            self._process = None

    def _answers(self) -> bool:
        try:
            return self._pool.request("GET", f"{self.address}/ping", retries=False, timeout=2).status == 204
        except urllib3.exceptions.HTTPError:
            return False

    def ask(self, statement: str, *, anonymous: bool = False, **fields: str) -> dict:
        headers = {} if anonymous else _login()
        answer = self._pool.request_encode_body(
            "POST", f"{self.address}/query", fields={"q": statement, **fields}, headers=headers, encode_multipart=False
        ).json()
        assert "error" not in str(answer), answer
        return answer

    def send(self, database: str, policy: str, lines: bytes) -> None:
        """Write lines past the adapter."""
        url = f"{self.address}/write?db={database}&rp={policy}&precision=ns"
        answer = self._pool.request("POST", url, body=lines, headers=_login())
        assert answer.status == 204, answer.data

    def database(self, name: str = "", *, raw: str = "INF") -> str:
        """Make an empty database with both retention policies and return its name."""
        name = name or f"test{os.getpid()}_{next(_NAMES)}"
        shard = " SHARD DURATION 1000w" if raw == "INF" else ""
        self.ask(f'CREATE DATABASE "{name}"')
        self.ask(f'CREATE RETENTION POLICY "raw" ON "{name}" DURATION {raw} REPLICATION 1{shard}')
        self.ask(f'ALTER RETENTION POLICY "autogen" ON "{name}" SHARD DURATION 1000w')
        return name

    def url(self, database: str) -> str:
        return f"{self._scheme}://{USER}@127.0.0.1:{self.port}/{database}"


def _login() -> dict[str, str]:
    return {"Authorization": f"Basic {b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}"}


def _said(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'")
