"""
Requests to InfluxDB 1.6 to 2.x, and what their answers mean.

Writing goes by `/api/v2/write` of influxdb-client, and by `/write` where the server does not know that route. A fault
is told by its kind: what may pass is `StoreUnavailable`, bad rows are `RowsRefused`, all else `StoreError`.
"""

import json
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlencode

import polars as pl
import urllib3
from influxdb_client.client.exceptions import InfluxDBError
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.domain.write_precision import WritePrecision
from influxdb_client.rest import ApiException

from ingest.errors import RowsRefused, StoreError, StoreUnavailable
from ingest.store.influx.answer import LASTING
from ingest.store.influx.target import Target

_CONNECT, _ANSWER = 10.0, 120.0  # [s]
_LONGEST_WAIT = 3600.0  # [s]
_CHUNK = 1 << 20
_WORDS = 600
_POINTS = 10_000  # in one document of an answer
# InfluxDB 1.6 says so of the routes of InfluxDB 2, which says it otherwise of a bucket or an organisation
_NO_ROUTE = "page not found"
_NO_ORG = "Please provide either orgID or org"
_PASSING = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}
_ROWS = {HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.REQUEST_ENTITY_TOO_LARGE}


class Connection:
    """Requests of one process to one database; threads may share it."""

    def __init__(self, target: Target, secret: str | None, ca: Path | None = None) -> None:
        """
        Prepare; nothing is sent.

        Args:
            target: where to.
            secret: the token, or the password where the target names a user.
            ca: certificates of the authorities to trust, instead of the system's.
        """
        self.target = target
        token = f"{target.user}:{secret}" if target.user else secret
        self._client = InfluxDBClient(
            target.url,
            token or "",
            org=target.org,
            timeout=(_CONNECT * 1000, _ANSWER * 1000),
            ssl_ca_cert=str(ca) if ca else None,
            auth_basic=bool(target.user),  # InfluxDB 1.8 reads no password with a space out of a token
        )
        self._writer = self._client.write_api(write_options=SYNCHRONOUS)
        self._pool: urllib3.PoolManager = self._client.api_client.rest_client.pool_manager
        self._headers = _authorization(target.user, secret)
        self._old = False  # whether the server knows only `/write`

    def write(self, policy: str, lines: pl.Series) -> None:
        """Send lines; by halves where they are too many for the server."""
        try:
            self._write(policy, lines.str.join("\n").cast(pl.Binary).item())
        except _TooLarge as error:
            if len(lines) == 1:
                raise RowsRefused(str(error)) from error
            half = len(lines) // 2
            self.write(policy, lines[:half])
            self.write(policy, lines[half:])

    def query(self, statement: str) -> Iterator[bytes]:
        """Send a statement that reads; the documents of its answer, as they come."""
        form = {"q": statement, "chunked": "true", "chunk_size": str(_POINTS)}
        with self._faults(), self._query(form, preload_content=False) as response:
            if response.status != HTTPStatus.OK:
                raise self._fault(response.status, response.headers, response.read(_CHUNK))
            yield from _split(response.stream(_CHUNK))

    def delete(self, policy: str, points: Sequence[tuple[str, str, int]]) -> None:
        """
        Delete single points.

        Args:
            policy: of their table.
            points: predicate of their series, statement that deletes them in InfluxDB 1, and time [ns].
        """
        for predicate, statement, time in points:
            if self._old or not self._delete_new(policy, predicate, time):
                self._delete_old(statement)

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()  # type: ignore[no-untyped-call]
        self._pool.clear()

    def _write(self, policy: str, body: bytes) -> None:
        with self._faults():
            if not self._old and self._write_new(policy, body):
                return
            arguments = {"db": self.target.database, "rp": policy, "precision": "ns"}
            response = self._request(f"/write?{urlencode(arguments)}", body)
            if response.status != HTTPStatus.NO_CONTENT:
                raise self._fault(response.status, response.headers, response.data)
            self._old = True

    def _write_new(self, policy: str, body: bytes) -> bool:
        """Write by the route of InfluxDB 2; False where there is none."""
        bucket = f"{self.target.database}/{policy}"
        try:
            self._writer.write(bucket, self.target.org, body, write_precision=WritePrecision.NS)  # type: ignore[arg-type]
        except ApiException as error:
            if error.status == HTTPStatus.NOT_FOUND and _NO_ROUTE in str(error.body):
                return False
            if not error.status:  # influxdb-client says so of a certificate
                raise StoreUnavailable(f"{self.target}: {_words(error.reason)}") from error
            raise self._fault(error.status, error.headers, error.body) from error
        return True

    def _delete_new(self, policy: str, predicate: str, time: int) -> bool:
        """Delete by the route of InfluxDB 2; False where there is none."""
        moment = _rfc3339(time)
        body = json.dumps({"start": moment, "stop": moment, "predicate": predicate}).encode()
        arguments = {"org": self.target.org, "bucket": f"{self.target.database}/{policy}"}
        with self._faults():
            response = self._request(
                f"/api/v2/delete?{urlencode(arguments)}", body, {"Content-Type": "application/json"}
            )
        if response.status == HTTPStatus.NOT_FOUND and _NO_ROUTE in str(response.data):
            return False
        if response.status != HTTPStatus.NO_CONTENT:
            raise self._fault(response.status, response.headers, response.data)
        return True

    def _delete_old(self, statement: str) -> None:
        with self._faults():
            response = self._query({"q": statement}, preload_content=True)
        if response.status != HTTPStatus.OK:
            raise self._fault(response.status, response.headers, response.data)
        if b'"error"' in response.data:
            told = _words(response.data)
            raise StoreUnavailable(f"{self.target}: a row that is replaced cannot be deleted: {told}")

    def _query(self, form: Mapping[str, str], *, preload_content: bool) -> urllib3.BaseHTTPResponse:
        body = urlencode({"db": self.target.database, "epoch": "ns", **form}).encode()
        kind = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        return self._request("/query", body, kind, preload_content=preload_content)

    def _request(
        self, path: str, body: bytes, headers: Mapping[str, str] | None = None, *, preload_content: bool = True
    ) -> urllib3.BaseHTTPResponse:
        return self._pool.request(
            "POST",
            self.target.url + path,
            body=body,
            headers={**self._headers, **(headers or {})},
            timeout=urllib3.Timeout(connect=_CONNECT, read=_ANSWER),
            retries=False,
            redirect=False,
            preload_content=preload_content,
        )

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """Say every fault of the network in one sentence of our own."""
        try:
            yield
        except (urllib3.exceptions.HTTPError, InfluxDBError, OSError) as error:
            raise StoreUnavailable(f"{self.target}: {_cause(error)}") from error

    def _fault(self, status: int, headers: Mapping[str, str], body: bytes | str) -> StoreError:
        """Return the error an answer means, with the server's own words."""
        told = _words(body)
        sentence = f"{self.target}: {status} {told}".rstrip()
        if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return _TooLarge(sentence)
        if told.startswith(_NO_ORG):
            return StoreError(f"{sentence}; wanted ?org=ORG in the URL of the store")
        if status in _ROWS:
            return RowsRefused(sentence)
        lasting = any(words in told for words in LASTING)
        if status in _PASSING or (status >= HTTPStatus.INTERNAL_SERVER_ERROR and not lasting):
            return StoreUnavailable(sentence, retry_after=_retry_after(headers))
        return StoreError(f"{sentence}{_ADVICE.get(status, '')}")


_ADVICE: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: "; wanted the right token, or user and password",
    HTTPStatus.FORBIDDEN: "; wanted a token (or a user) with the right to read and write the database",
    HTTPStatus.NOT_FOUND: "; wanted a database, or buckets with a mapping, of that name",
}


class _TooLarge(RowsRefused):
    """The server takes shorter requests only."""


def _authorization(user: str, secret: str | None) -> dict[str, str]:
    if user:
        return {"Authorization": f"Basic {b64encode(f'{user}:{secret}'.encode()).decode()}"}
    return {"Authorization": f"Token {secret}"} if secret else {}


def _split(parts: Iterator[bytes]) -> Iterator[bytes]:
    """Cut a stream at its newlines."""
    rest: list[bytes] = []
    for part in parts:
        head, *tail = part.split(b"\n")
        rest.append(head)
        for line in tail:
            if document := b"".join(rest):
                yield document
            rest = [line]
    if document := b"".join(rest):
        yield document


def _words(body: bytes | str) -> str:
    """Return the sentence of an error's body, which is JSON in most versions."""
    try:
        answer = json.loads(body)
        told = answer.get("error") or answer.get("message") or next(r["error"] for r in answer["results"])
    except (ValueError, AttributeError, KeyError, TypeError, StopIteration):
        told = body.decode(errors="replace") if isinstance(body, bytes) else body
    words = " ".join(str(told).split())
    # a line that was refused may stand in the middle, and the reason after it
    return words if len(words) <= _WORDS else f"{words[: _WORDS // 2]} ... {words[-_WORDS // 2 :]}"


def _cause(error: BaseException) -> str:
    """Say the innermost reason: that of the operating system, where there is one."""
    reason = getattr(error, "reason", None)
    return _cause(reason) if isinstance(reason, Exception) else str(error).rpartition(">: ")[2] or type(error).__name__


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Read how long the server wants to be left alone: seconds, or a moment beside its own `Date`. [s]"""
    told = headers.get("Retry-After", "")
    try:
        seconds = float(told) if told.replace(".", "", 1).isdigit() else _apart(headers.get("Date", ""), told)
    except ValueError:
        return None
    return min(seconds, _LONGEST_WAIT) if seconds > 0 else None


def _apart(now: str, then: str) -> float:
    return (parsedate_to_datetime(then) - parsedate_to_datetime(now)).total_seconds()


def _rfc3339(time: int) -> str:
    seconds, nanoseconds = divmod(time, 1_000_000_000)
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{nanoseconds:09}Z"
