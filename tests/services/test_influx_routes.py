"""
The routes of InfluxDB 2, by exchanges as its API documents them: a server on loopback answers what was noted down.

Whether InfluxDB 2 behaves so is tried by the shared suite on the server that PEAKWATCH_TEST_INFLUX_URL names.
"""

import json
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, urlsplit

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.errors import ConfigurationError, RowsRefused, StoreError, StoreUnavailable
from ingest.schema import ENERGY, READINGS
from ingest.settings import Settings
from ingest.store.connect import connect, parse
from ingest.store.influx.query import quoted

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
NONE = (200, {}, b'{"results":[{"statement_id":0}]}\n')


class Recorded:
    """Answers requests in turn, and keeps them."""

    def __init__(self, *answers):
        self.answers, self.requests = list(answers), []
        recorded = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                recorded.requests.append((urlsplit(self.path), dict(self.headers), body))
                status, headers, answer = recorded.answers.pop(0)
                self.send_response_only(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", headers.get("Length", str(len(answer))))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *arguments):
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        self.port = self._server.server_port

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


@pytest.fixture
def recorded():
    """Open a store on recorded answers."""
    opened = []

    def answering(*answers):
        server = Recorded(*answers)
        store = connect(f"influxdb://127.0.0.1:{server.port}/peakwatch?org=city", Settings(store_token="tök"))
        opened.extend((store, server))
        return store, server

    yield answering
    for one in opened:
        one.close()


def one_reading(value=1.5):
    row = dict.fromkeys(READINGS.schema)
    row |= {"facility": "dc a", "meter": "E=1", "time": NOON, "value": value, "unit": 'k"Wh', "flags": 0}
    return pl.DataFrame([row], schema=READINGS.schema)


def test_a_write_goes_to_the_bucket_of_its_policy_in_nanoseconds(recorded):
    store, server = recorded(NONE, (204, {}, b""))
    assert store.write("readings", one_reading()) == 1
    (look_up, headers, _), (url, write_headers, body) = server.requests
    assert look_up.path == "/query"
    assert url.path == "/api/v2/write"
    wanted = {"bucket": ["peakwatch/raw"], "org": ["city"], "precision": ["ns"]}
    assert {name: parse_qs(url.query)[name] for name in wanted} == wanted
    assert body == b'readings,facility=dc\\ a,meter=E\\=1 value=1.5,unit="k\\"Wh",flags=0i 1795176000000000000'
    assert headers["Authorization"] == write_headers["Authorization"]


def refusal(code, message):
    return json.dumps({"code": code, "message": message}).encode()


@pytest.mark.parametrize(
    ("answer", "kind", "sentence", "wait"),
    [
        ((400, {}, refusal("invalid", "unable to parse 'x'")), RowsRefused, "400 unable to parse 'x'", None),
        ((422, {}, refusal("unprocessable entity", "field type conflict")), RowsRefused, "422 field type", None),
        ((413, {}, refusal("request too large", "too large")), RowsRefused, "413 too large", None),
        ((400, {}, refusal("invalid", "Please provide either orgID or org")), StoreError, "wanted .org=ORG in", None),
        ((404, {}, refusal("not found", 'organization name "x" not found')), StoreError, "404 organization", None),
        ((401, {}, refusal("unauthorized", "unauthorized access")), StoreError, "401 unauthorized access; want", None),
        ((403, {}, refusal("forbidden", "no write")), StoreError, "403 no write; wanted a token", None),
        ((408, {}, b""), StoreUnavailable, "408", None),
        ((429, {"Retry-After": "7"}, refusal("too many requests", "slow")), StoreUnavailable, "429 slow", 7.0),
        ((503, {"Retry-After": "1e9"}, b""), StoreUnavailable, "503", None),
        ((503, {"Retry-After": "999999"}, b"<html>"), StoreUnavailable, "503 <html>", 3600.0),
        ((500, {}, refusal("internal error", "engine: disk")), StoreUnavailable, "500 engine: disk", None),
        ((500, {}, b'{"error":"retention policy not found: raw"}'), StoreError, "not found: raw", None),
        ((302, {"Location": "http://127.0.0.1:1/"}, b""), StoreError, "302", None),
    ],
)
def test_each_answer_to_a_write_is_an_error_of_its_kind(recorded, answer, kind, sentence, wait):
    store, _ = recorded(NONE, answer)
    with pytest.raises(StoreError, match=sentence) as refused:
        store.write("readings", one_reading())
    assert type(refused.value) is kind or kind is RowsRefused
    assert isinstance(refused.value, kind)
    assert refused.value.retry_after == wait


def test_an_error_is_told_when_no_request_is_under_way_any_more(recorded):
    many = pl.concat([one_reading().with_columns(meter=pl.lit(f"E-{n}")) for n in range(3)])
    many = many.join(pl.DataFrame({"step": range(10_000)}), how="cross")
    many = many.with_columns(pl.col("time") + pl.duration(seconds=pl.col("step"))).drop("step")
    full = (503, {"Retry-After": "7"}, refusal("unavailable", "busy"))
    store, server = recorded(NONE, full, full)
    with pytest.raises(StoreUnavailable, match="busy") as refused:
        store.write("readings", many)
    assert refused.value.retry_after == 7.0
    assert len(server.requests) == 3  # the look-up and two parts, which were both under way
    # nothing is assumed of what was sent: the rows come again, and are looked up where they may be known
    server.answers[:] = [(204, {}, b"")] * 3
    assert store.write("readings", many) == 30_000
    assert [url.path for url, _, _ in server.requests[3:]] == ["/api/v2/write"] * 3


def test_what_is_wrong_with_a_query_is_told_once_with_the_wait_the_server_wants(recorded):
    store, _ = recorded((429, {"Retry-After": "7"}, refusal("too many requests", "slow")))
    with pytest.raises(StoreUnavailable, match=r"^influxdb http://127\.0\.0\.1:\d+/peakwatch: 429 slow$") as refused:
        store.read("readings")
    assert refused.value.retry_after == 7.0


def test_a_wait_until_a_moment_is_counted_from_the_servers_own_clock(recorded):
    told = {"Retry-After": "Fri, 20 Nov 2026 12:00:30 GMT", "Date": "Fri, 20 Nov 2026 12:00:00 GMT"}
    store, _ = recorded(NONE, (429, told, b""))
    with pytest.raises(StoreUnavailable) as refused:
        store.write("readings", one_reading())
    assert refused.value.retry_after == 30.0


def test_a_missing_bucket_is_named_and_not_asked_for_by_the_old_route(recorded):
    missing = refusal("not found", 'bucket "peakwatch/raw" not found')
    store, server = recorded(NONE, (404, {}, missing))
    with pytest.raises(StoreError, match=r'404 bucket "peakwatch/raw" not found; wanted a database') as refused:
        store.write("readings", one_reading())
    assert not refused.value.retryable
    assert [url.path for url, _, _ in server.requests] == ["/query", "/api/v2/write"]


def test_a_row_that_turns_null_is_deleted_by_the_route_of_influxdb_2(recorded):
    columns = ["time", "role", "quantity", "unit", "kwh", "kgce", "kg_co2", "coverage", "estimated"]
    names = ["time", "role", "scope", "end", *columns[2:], "factor_version", "special"]
    values = [1795176000000000000, "total", "", None, 1.0, "kWh", 1.0, None, None, None, None, None, None]
    tags = {"facility": "f", "meter": 'm"1', "carrier": "-", "interval": "1d"}
    stored = {"results": [{"series": [{"name": "energy", "tags": tags, "columns": names, "values": [values]}]}]}
    store, server = recorded((200, {}, json.dumps(stored).encode()), (204, {}, b""), (204, {}, b""))
    row = dict.fromkeys(ENERGY.schema)
    row |= {"facility": "f", "meter": 'm"1', "carrier": "", "interval": "1d", "start": NOON, "role": "total"}
    assert store.write("energy", pl.DataFrame([row], schema=ENERGY.schema)) == 1
    url, _, body = server.requests[1]
    assert (url.path, parse_qs(url.query)) == ("/api/v2/delete", {"org": ["city"], "bucket": ["peakwatch/autogen"]})
    moment = "2026-11-20T12:00:00.000000000Z"
    assert json.loads(body) == {
        "start": moment,
        "stop": moment,
        "predicate": '"_measurement" = "energy" AND "facility" = "f" AND "meter" = "m\\"1" AND "carrier" = "-" '
        'AND "interval" = "1d"',
    }


SERIES = {"name": "readings", "columns": ["time", "unit", "value", "special"], "values": [[1, "kWh", 1.5, None]]}


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "incomplete: it is empty"),
        (b'{"results":[{"partial":true}]}\n', "incomplete: more was to come"),
        (json.dumps({"results": [{"series": [SERIES | {"partial": True}]}]}).encode(), "more was to come"),
        (b'{"error":"timeout"}\n', "the query failed: timeout"),
        (b'{"results":[{"statement_id":0}]}\n{"results":[{"error":"query killed"}]}\n', "failed: query killed"),
        (b'{"results":[{"statement_id":0}', "cannot be read"),
        (json.dumps({"results": [{"series": [SERIES | {"values": [[1, "kWh", "x", None]]}]}]}).encode(), "Expected"),
        (json.dumps({"results": [{"series": [SERIES | {"columns": ["time", "a"]}]}]}).encode(), "has columns time, a"),
        (b"<html>proxy</html>", "cannot be read"),
    ],
)
def test_an_answer_that_is_not_whole_is_an_error(recorded, body, sentence):
    store, _ = recorded((200, {}, body))
    with pytest.raises(StoreError, match=sentence):
        store.read("readings", columns=["time", "value"])


def test_an_answer_that_is_cut_off_is_an_error(recorded):
    store, _ = recorded((200, {"Length": "5000"}, b""))
    with pytest.raises(StoreError, match=r"influxdb http://127.0.0.1"):
        store.read("readings")


# ----- quoting


@given(st.text())
def test_a_quoted_text_ends_only_where_it_was_meant_to(text):
    if {"\0", "\r"} & set(text):
        with pytest.raises(StoreError, match="cannot stand in a query"):
            quoted(text, "'")
        return
    for mark in ("'", '"'):
        said = quoted(text, mark)
        assert said[0] == said[-1] == mark
        assert unquoted(said[1:-1], mark) == text
        assert "\n" not in said


def unquoted(said, mark):
    """Read a text as InfluxQL's scanner does; a bare mark would end it."""
    read, characters = [], iter(said)
    for character in characters:
        assert character != mark
        if character == "\\":
            character = {"n": "\n", "\\": "\\", '"': '"', "'": "'"}[next(characters)]  # noqa: PLW2901
        read.append(character)
    return "".join(read)


# ----- the URL


@pytest.mark.parametrize(
    "url",
    [
        "influxdb:",
        "influxdb://",
        "influxdb://host",
        "influxdb://host/",
        "influxdb://host/a/b",
        "influxdb://host:port/a",
        "influxdb://host/a?org=b&token=c",
        "influxdb://host/a?org",
        "influxdb://host/a#b",
        "influxdb:///a",
    ],
)
def test_a_url_that_names_no_database_is_a_problem_of_the_settings(url):
    with pytest.raises(ConfigurationError, match="setting store: found "):
        parse(url)


def test_a_password_in_the_url_is_refused_and_not_repeated():
    with pytest.raises(ConfigurationError, match=r"found a password in 'influxdb://me:\*\*\*@host/a'") as refused:
        parse("influxdb://me:se@cret@host/a")
    assert "cret" not in str(refused.value)


def test_a_user_without_a_password_and_a_ca_that_is_none_are_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="user 'me' without a password; wanted PEAKWATCH_STORE_PASSWORD"):
        connect("influxdb://me@host/a", Settings())
    with pytest.raises(ConfigurationError, match=r"setting store_ca: found .*a file of certificates"):
        connect("influxdbs://host/a", Settings(store_ca=tmp_path))


def test_a_url_names_scheme_port_organisation_and_user():
    assert str(parse("influxdbs://[::1]/a?org=my%20city")) == "influxdb https://[::1]:8086/a"
    target = parse("influxdb://me%40x@host:1/peak.watch?org=city")
    assert (target.url, target.database, target.org, target.user) == ("http://host:1", "peak.watch", "city", "me@x")
