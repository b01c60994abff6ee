"""A live InfluxDB 1: what it refuses, what it breaks off, and what its restart leaves."""

import os
import subprocess
import threading
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from ingest.errors import RowsRefused, StoreError, StoreUnavailable
from ingest.model import Period
from ingest.schema import CORRECTIONS, ENERGY, QUARANTINE, READINGS
from ingest.settings import Settings
from ingest.store.connect import connect
from pipelines.credentials.certificates import Authority, authority

pytestmark = pytest.mark.server

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def readings(count, *, start=NOON, facility="f"):
    """Readings of one meter, one a second."""
    return pl.DataFrame(
        {
            "facility": facility,
            "meter": "E-main",
            "time": [start + n * SECOND for n in range(count)],
            "value": [float(n) for n in range(count)],
            "unit": "kWh",
            "flags": 0,
            "gateway": "gw",
            "received": NOON,
        },
        schema=READINGS.schema,
    )


@pytest.fixture
def open_store():
    """Open a database of a server; everything is closed at the end."""
    opened = []

    def open_one(server, database, password=None):
        settings = Settings(store_password=server.password if password is None else password)
        opened.append(connect(server.url(database), settings))
        return opened[-1]

    yield open_one
    for store in opened:
        store.close()


def test_each_table_is_a_measurement_with_few_tags(influxd, open_store):
    database = influxd.database()
    open_store(influxd, database).write("readings", readings(3))
    told = influxd.ask('SELECT * FROM "raw"."readings" LIMIT 1', db=database, epoch="ns")
    series = told["results"][0]["series"][0]
    assert series["columns"] == ["time", "facility", "flags", "gateway", "meter", "received", "unit", "value"]
    tags = influxd.ask('SHOW TAG KEYS FROM "readings"', db=database)["results"][0]["series"][0]["values"]
    assert tags == [["facility"], ["meter"]]


def test_a_type_conflict_refuses_the_rows_with_the_words_of_the_server(influxd, open_store):
    database = influxd.database()
    influxd.send(database, "raw", b'readings,facility=f,meter=E-main value="text" 1795176000000000000')
    with pytest.raises(RowsRefused, match=r'field type conflict: input field "value".* already exists as type string'):
        open_store(influxd, database).write("readings", readings(2))


def test_a_row_the_server_refuses_takes_no_other_row_with_it(influxd, open_store):
    database = influxd.database()
    store = open_store(influxd, database)
    series_key_too_long = readings(1, facility="x" * 70_000)
    with pytest.raises(RowsRefused, match="max key length exceeded"):
        store.write("readings", pl.concat([readings(3), series_key_too_long]))
    assert store.write("readings", readings(3)) == 3  # they may be stored already, and count when they are acked
    assert store.read("readings").height == 3


def test_a_reading_older_than_the_policy_keeps_is_refused(influxd, open_store):
    store = open_store(influxd, influxd.database(raw="1w"))
    with pytest.raises(RowsRefused, match="points beyond retention policy"):
        store.write("readings", readings(1, start=datetime(2001, 1, 1, tzinfo=UTC)))


def test_a_request_too_large_is_halved_until_it_fits(start_influxd, open_store):
    server = start_influxd(http="max-body-size = 2000")
    store = open_store(server, server.database())
    assert store.write("readings", readings(300)) == 300
    assert store.read("readings").height == 300
    row = dict.fromkeys(QUARANTINE.schema) | {"id": "a", "received": NOON, "payload": b"x" * 4000}
    with pytest.raises(RowsRefused, match="413"):
        store.write("quarantine", pl.DataFrame([row], schema=QUARANTINE.schema))


def test_a_query_that_is_killed_is_an_error_not_a_shorter_answer(start_influxd, open_store):
    server = start_influxd()
    store = open_store(server, server.database("kept"))
    store.write("readings", readings(100_000))
    server.stop()
    server.configure(coordinator='query-timeout = "1ms"')
    server.start()
    with pytest.raises(StoreUnavailable, match=r"timeout|interrupted|killed"):
        open_store(server, "kept").read("readings")


def test_a_payload_of_a_mebibyte_is_kept_in_parts(influxd, open_store):
    store = open_store(influxd, influxd.database())
    payload = os.urandom(1 << 20)
    row = dict.fromkeys(QUARANTINE.schema) | {"id": "a", "received": NOON, "payload": payload}
    store.write("quarantine", pl.DataFrame([row], schema=QUARANTINE.schema))
    assert store.read("quarantine", columns=["payload"])["payload"].to_list() == [payload]
    row |= {"id": "b", "payload": payload + payload}
    with pytest.raises(RowsRefused, match="`payload` is longer than 1080000 bytes in 1 of them"):
        store.write("quarantine", pl.DataFrame([row], schema=QUARANTINE.schema))
    row |= {"payload": None, "sentence": "x" * 65_536}
    with pytest.raises(RowsRefused, match="`sentence` is longer than 65535 bytes in 1 of them"):
        store.write("quarantine", pl.DataFrame([row], schema=QUARANTINE.schema))


def test_many_refusals_of_one_microsecond_lie_beside_each_other(influxd, open_store):
    store = open_store(influxd, influxd.database())
    row = dict.fromkeys(QUARANTINE.schema) | {"received": NOON}
    rows = pl.DataFrame([row | {"id": f"00fff{n:05}"} for n in range(900)], schema=QUARANTINE.schema)
    assert store.write("quarantine", rows[:500]) == 500
    assert store.write("quarantine", rows) == 400
    assert store.read("quarantine")["id"].to_list() == sorted(rows["id"])
    more = rows.with_columns(id=pl.concat_str(pl.lit("00"), pl.int_range(pl.len())))
    with pytest.raises(RowsRefused, match="more than 1000 rows of one microsecond"):
        store.write("quarantine", more)


def corrections(count, *, month=datetime(2026, 9, 1, tzinfo=UTC), facility="f", state="pending"):
    """Figures of one frozen month, each of another row."""
    plain = dict.fromkeys(CORRECTIONS.schema) | {"facility": facility, "of": "energy", "figure": "kwh", "since": NOON}
    rows = [plain | {"row": f"E-main 15m {n}", "start": month, "state": state} for n in range(count)]
    return pl.DataFrame(rows, schema=CORRECTIONS.schema)


def test_corrections_of_a_month_are_one_series_however_many_there_are(influxd, open_store):
    database = influxd.database()
    store = open_store(influxd, database)
    assert store.write("corrections", corrections(3_000)) == 3_000
    assert store.write("corrections", corrections(4_000, state="applied")) == 4_000
    assert store.write("corrections", corrections(4_000, state="applied")) == 0
    month, october = datetime(2026, 9, 1, tzinfo=UTC), datetime(2026, 10, 1, tzinfo=UTC)
    store.write("corrections", corrections(1, month=october, facility="g"))
    found = store.read("corrections", Period(month, month + SECOND / 2))
    assert found.equals(corrections(4_000, state="applied").sort("row"))
    assert store.read("corrections", Period(month + SECOND / 2, october)).is_empty()
    series = influxd.ask('SHOW SERIES FROM "corrections"', db=database)["results"][0]["series"][0]["values"]
    assert len(series) == 2
    with pytest.raises(RowsRefused, match="`start` is no whole second in 1 of them"):
        store.write("corrections", corrections(1, month=month + SECOND / 2))


@pytest.mark.parametrize("password", ["wrong", ""])
def test_a_wrong_password_stops_with_one_sentence(influxd, open_store, password):
    store = open_store(influxd, influxd.database(), password)
    for call in (lambda: store.write("readings", readings(1)), lambda: store.read("readings")):
        with pytest.raises(StoreError, match=r"401 .*wanted the right token, or user and password") as refusal:
            call()
        assert type(refusal.value) is StoreError


def test_a_missing_database_or_policy_stops_with_one_sentence(influxd, open_store):
    nowhere = open_store(influxd, "nowhere")
    for call in (lambda: nowhere.write("readings", readings(1)), lambda: nowhere.read("readings")):
        with pytest.raises(StoreError, match=r"influxdb .*/nowhere: .*database not found: nowhere") as refusal:
            call()
        assert not refusal.value.retryable
    influxd.ask('CREATE DATABASE "half"')
    with pytest.raises(StoreError, match="retention policy not found: raw") as refusal:
        open_store(influxd, "half").write("readings", readings(1))
    assert not refusal.value.retryable


def test_a_server_that_is_away_can_be_asked_again(start_influxd, open_store):
    server = start_influxd()
    store = open_store(server, server.database("kept"))
    store.write("readings", readings(2))
    server.stop()
    for call in (lambda: store.write("readings", readings(3)), lambda: store.read("readings")):
        with pytest.raises(StoreUnavailable, match="Connection refused"):
            call()
    server.start()
    assert store.write("readings", readings(3)) == 1
    assert store.read("readings").height == 3


def test_a_kill_in_mid_write_loses_nothing_and_doubles_nothing(start_influxd, open_store):
    server = start_influxd()
    store = open_store(server, server.database("kept"))
    batches = [readings(20_000, facility=f"f{n}") for n in range(8)]
    taken, away = [], threading.Event()

    def restart():
        away.wait(20)
        server.kill()
        server.start()

    killer = threading.Thread(target=restart)
    killer.start()
    for number, batch in enumerate(batches):
        if number == 2:
            away.set()
        while True:
            try:
                taken.append(store.write("readings", batch))
                break
            except StoreUnavailable:
                time.sleep(0.05)
    killer.join()
    assert taken == [20_000] * 8
    assert store.read("readings").equals(pl.concat(batches))
    again = open_store(server, "kept")  # a restart of the collector: it knows how far each meter reaches
    assert [again.write("readings", batch) for batch in batches] == [0] * 8


def fill(store):
    for number in range(60):
        store.write("readings", readings(20_000, facility=f"f{number}"))


def test_a_full_disk_can_be_tried_again(start_influxd, open_store, tmp_path):
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", tmp_path], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("a small disk cannot be mounted: " + mounted.stderr.decode().strip())
    server = start_influxd(folder=tmp_path)
    try:
        store = open_store(server, server.database("kept"))
        with pytest.raises(StoreUnavailable, match="no space left on device"):
            fill(store)
    finally:
        server.stop()
        subprocess.run(["umount", tmp_path], check=True)


def test_a_replaced_row_leaves_nothing_behind_for_grafana(influxd, open_store):
    database = influxd.database()
    store = open_store(influxd, database)
    plain = dict.fromkeys(ENERGY.schema) | {"facility": "f", "meter": "m", "interval": "1d", "start": NOON}
    for carrier, kwh in (("coal", 1.0), ("gas", 2.0), ("gas", None)):
        row = plain | {"carrier": carrier, "kwh": kwh, "role": "total"}
        assert store.write("energy", pl.DataFrame([row], schema=ENERGY.schema)) == 1
    told = influxd.ask('SELECT "kwh", "role", "carrier" FROM "energy"', db=database)["results"][0]["series"]
    assert [row[1:] for row in told[0]["values"]] == [[None, "total", "gas"]]


def test_a_private_authority_is_trusted_and_another_is_not(start_influxd, tmp_path):
    now = datetime.now(UTC)  # certificates are checked against the clock of the machine
    ours, other = authority(now), authority(now)
    for name, pair in {"ours": ours, "other": other, "server": Authority.load(ours).server(["127.0.0.1"], now)}.items():
        (tmp_path / f"{name}.pem").write_text(pair.certificate)
        (tmp_path / f"{name}.key").write_text(pair.key)
    https = f"""
https-enabled = true
https-certificate = "{tmp_path}/server.pem"
https-private-key = "{tmp_path}/server.key"
"""
    server = start_influxd(ca=tmp_path / "ours.pem", http=https)
    url = server.url(server.database("kept"))
    trusting = Settings(store_password=server.password, store_ca=tmp_path / "ours.pem")
    with closing(connect(url, trusting)) as store:
        assert store.write("readings", readings(3)) == 3
        assert store.read("readings").equals(readings(3))
    for settings in (
        trusting.model_copy(update={"store_ca": tmp_path / "other.pem"}),
        trusting.model_copy(update={"store_ca": None}),
    ):
        with closing(connect(url, settings)) as store:
            for call in (lambda: store.write("readings", readings(4)), lambda: store.read("readings")):
                with pytest.raises(StoreUnavailable, match="certificate verify failed"):
                    call()
            with pytest.raises(StoreUnavailable, match="certificate verify failed"):
                store._connection.write("raw", pl.Series(["readings value=1"]))
