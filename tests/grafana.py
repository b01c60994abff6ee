"""
A real Grafana, to try the files and the commands on. None can be had from a package registry, so it is brought by hand:

PEAKWATCH_TEST_GRAFANA            folder of one that is installed or built: bin/grafana, conf/defaults.ini, public
PEAKWATCH_TEST_GRAFANA_URL        one that runs already, with PEAKWATCH_TEST_GRAFANA_PASSWORD of its administrator

The first is started on loopback with the provisioning and the environment of the stack, and can be asked for all.
In the second, what is made is made in organisations of the tests' own, and removed. It must reach this machine.
"""

import os
import re
import shutil
import socket
import subprocess
import time
from base64 import b64encode
from pathlib import Path
from typing import Any

import urllib3
import yaml

ROOT = Path(__file__).parents[1]
FILES = ROOT / "deploy" / "grafana"
PASSWORD = "the administrator's"
_PATIENCE = 90  # [s]: the first start makes the database
_NOT_OURS = "public/build|assets-manifest|provisioning.notifiers"
# nothing is to leave this machine, and no certificate is at hand
_ALONE = {
    "GF_SERVER_PROTOCOL": "http",
    "GF_SERVER_HTTP_ADDR": "127.0.0.1",
    "GF_SECURITY_COOKIE_SECURE": "false",
    "GF_SNAPSHOTS_EXTERNAL_ENABLED": "false",
}


class Grafana:
    """One Grafana; `ask` speaks to its HTTP API."""

    def __init__(self, url: str, password: str) -> None:
        self.url, self.password = url.rstrip("/"), password
        self._pool = urllib3.PoolManager()

    def ask(
        self, method: str, route: str, body: Any = None, *, login: tuple[str, str] | None = None, org: int | None = None
    ) -> tuple[int, Any]:
        """Send a request as the administrator, or another login; return status and answer."""
        name, password = login or ("admin", self.password)
        headers = {"Authorization": f"Basic {b64encode(f'{name}:{password}'.encode()).decode()}"}
        headers |= {} if org is None else {"X-Grafana-Org-Id": str(org)}
        url = f"{self.url}/api{route}"
        answer = self._pool.request(method, url, json=body, headers=headers, retries=False, timeout=30)
        return answer.status, answer.json() if answer.data else None

    def done(self, method: str, route: str, body: Any = None, **how: Any) -> Any:
        """Send a request that has to succeed."""
        status, answer = self.ask(method, route, body, **how)
        assert status in (200, 201, 202), (method, route, status, answer)
        return answer


class Started(Grafana):
    """A Grafana of our own, started with our files; ended by its process id."""

    def __init__(self, home: Path, folder: Path, source: dict[str, Any]) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1]
        super().__init__(f"http://127.0.0.1:{port}", PASSWORD)
        self._log, self._command = folder / "log", [home / "bin" / "grafana", "server", "--homepath", home]
        places = {f"GF_PATHS_{name.upper()}": str(folder / name) for name in ("data", "logs", "plugins")}
        places["GF_PATHS_PROVISIONING"] = str(_provisioning(folder / "provisioning", source))
        own = {"GF_SERVER_HTTP_PORT": str(port), "GF_SECURITY_ADMIN_PASSWORD": PASSWORD}
        self._environment = {"PATH": os.environ["PATH"]} | _stack() | _ALONE | places | own
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, dashboards: int) -> None:
        """Start it and wait until it has read its dashboards, which it does after it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, env=self._environment, stdout=log, stderr=log)
        end = time.monotonic() + _PATIENCE
        while not self._answers() or len(self.done("GET", "/search?type=dash-db")) < dashboards:
            assert self._process.poll() is None, "Grafana ended at once: " + self._log.read_text()[-2000:]
            assert time.monotonic() < end, "Grafana is not ready: " + self._log.read_text()[-2000:]
            time.sleep(0.2)
        # at its first start Grafana 9 moves secrets and loses the name of the database over it
        self.done("POST", "/admin/provisioning/datasources/reload")

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)

    def complaints(self) -> list[str]:
        """Return what it logged as an error; a frontend that was not built and a folder of Grafana 9 are none."""
        lines = self._log.read_text("utf-8").splitlines()
        return [line for line in lines if re.search("level=(error|crit)", line) and not re.search(_NOT_OURS, line)]

    def _answers(self) -> bool:
        try:
            return self.ask("GET", "/health")[0] == 200
        except urllib3.exceptions.HTTPError:
            return False


def _stack() -> dict[str, str]:
    """Return the environment the stack starts Grafana with; secrets and certificates of the stack are not here."""
    stack = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
    given = stack["services"]["grafana"]["environment"]
    return {
        name: re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", str(value))
        for name, value in given.items()
        if not name.endswith(("__FILE", "_CERT_FILE", "_CERT_KEY"))
    }


def _provisioning(folder: Path, source: dict[str, Any]) -> Path:
    """Copy the provisioning of the stack, with the places of this machine and another data source in it."""
    shutil.copytree(FILES / "provisioning", folder)
    boards = folder / "dashboards" / "peakwatch.yml"
    boards.write_text(boards.read_text("utf-8").replace("/etc/grafana/peakwatch", str(FILES)), "utf-8")
    file = folder / "datasources" / "peakwatch.yml"
    told = yaml.safe_load(file.read_text("utf-8"))
    told["datasources"] = [one | source for one in told["datasources"]]
    file.write_text(yaml.safe_dump(told, allow_unicode=True), "utf-8")
    return folder
