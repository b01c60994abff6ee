"""
A session with a Grafana that is running, and the steps that bring something there.

    wanted -> compared with what is there -> done, or shown as a difference

A thing is sent only where it is not there or differs in a key of ours. Nothing is ever deleted.
"""

import difflib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from rich.console import Console
from rich.markup import escape

from ingest.errors import ConfigurationError, GrafanaError, GrafanaUnavailable, Problem

out = Console(emoji=False)

_TIMEOUT = 30.0  # [s]
_LOCAL = ("localhost", "127.0.0.1", "::1")
_FORBIDDEN, _NOT_FOUND = 403, 404

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

    def __init__(
        self, url: str, login: str | tuple[str, str], ca: Path | None = None, *, organisation: int | None = None
    ) -> None:
        """
        Open nothing yet: Grafana is first spoken to by the first call.

        Args:
            url: of Grafana.
            login: a token, or name and password.
            ca: certificates of the authorities to trust, instead of the system's.
            organisation: in which to work; None for the login's own.

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
            login,
            host=parts.netloc,
            protocol=parts.scheme,
            url_path_prefix=f"{parts.path.strip('/')}/".lstrip("/"),
            verify=True if ca is None else str(ca),
            timeout=_TIMEOUT,
        )
        self._place = f"{parts.scheme}://{parts.netloc}"
        # what is pushed stays editable in Grafana, as a person's own would
        self._headers = {"X-Disable-Provenance": "true"}
        if organisation is not None:
            self._headers["X-Grafana-Org-Id"] = str(organisation)

    def read(self, route: str) -> Any:
        """Read a route; None where there is nothing."""
        return self._call("GET", route, None)

    def send(self, method: str, route: str, body: Json) -> Any:
        """Send a body and return the answer."""
        answer = self._call(method, route, body)
        if answer is None:
            raise GrafanaError(f"Grafana at {self._place} knows no {method} {route}")
        return answer

    def _call(self, method: str, route: str, body: Json | None) -> Any:
        from grafana_api.grafana_api import GrafanaClientError, GrafanaServerError  # noqa: PLC0415
        from requests import RequestException  # noqa: PLC0415

        where = f"Grafana at {self._place}, {method} {route}"
        try:
            return getattr(self._api, method)(route, json=body, headers=self._headers)
        except GrafanaClientError as error:
            # an editor is forbidden to read a folder that is not there; what is there and forbidden refuses to be sent
            if error.status_code == _NOT_FOUND or (method == "GET" and error.status_code == _FORBIDDEN):
                return None
            raise GrafanaError(f"{where}: {error.message}") from None
        except (GrafanaServerError, RequestException) as error:
            raise GrafanaUnavailable(f"{where}: {error}") from None
        except ValueError:
            raise GrafanaError(f"{where}: the answer is no JSON; is that a Grafana?") from None


def done(session: Session | None, step: Step, *, dry_run: bool) -> bool:
    """
    Do a step, or show its difference.

    Args:
        session: None where the place it belongs to is not there yet, which happens in a dry run alone.
        step: to do.
        dry_run: only show it.

    Returns:
        Whether there was anything to do.
    """
    answer = None if session is None or step.read is None else session.read(step.read)
    there = None if answer is None else _ours(answer, step.wanted)
    if there == step.wanted:
        return False
    out.print(f"{'~' if there is not None else '+'} {escape(step.what)}", highlight=False)
    if dry_run or session is None:
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
