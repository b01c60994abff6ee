"""
What does each store add to its floor? `.venv/bin/python bench/store.py`

InfluxDB: writing beside a bare loader that sends the same ready-made lines to the same server in requests of the same
size; reading a million rows beside a bare download of the same answer. The lake does the same work. One million
readings of 1,000 meters. Needs the influxd of `make servers`; takes about half a minute.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from runpy import run_path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import polars as pl

from ingest.schema import READINGS, TIME
from ingest.settings import Settings
from ingest.store.base import Store
from ingest.store.connect import connect
from ingest.store.influx_http import Connection, Target
from ingest.store.influx_layout import LAYOUTS, NS
from ingest.store.influx_lines import lines
from ingest.store.influx_query import columns_of, select

LAYOUT = LAYOUTS["readings"]
METERS, STAMPS, ROUNDS = 1_000, 1_000, 1
BATCH, REQUEST = 50_000, 10_000


def batches() -> Iterator[pl.DataFrame]:
    """A million readings in the order of time, a batch at once."""
    meters = pl.DataFrame({"n": range(METERS)}).select(
        facility=pl.format("facility-{}", pl.col("n") // 20), meter=pl.format("E-{}", pl.col("n") % 20)
    )
    stamps = pl.DataFrame({"minute": range(STAMPS)})
    for part in stamps.iter_slices(BATCH // METERS):
        time = (pl.lit(1_795_176_000_000_000) + pl.col("minute") * 900_000_000).cast(TIME)
        yield (
            part.join(meters, how="cross")
            .select(
                "facility",
                "meter",
                time=time,
                value=pl.int_range(pl.len()) * 1.37 + pl.col("minute"),
                unit=pl.lit("kWh"),
                flags=pl.lit(0, pl.Int32),
                gateway=pl.lit("gw"),
                received=time,
            )
            .select(READINGS.schema.names())
        )


def seconds(work: Callable[[], object]) -> float:
    """Time one call."""
    start = perf_counter()
    work()
    return perf_counter() - start


def ready_made(rows: pl.DataFrame) -> Iterator[bytes]:
    """The requests the adapter sends for these rows."""
    placed = rows.with_columns(LAYOUT.place())
    for part in placed.sort(*LAYOUT.series, NS).iter_slices(REQUEST):
        yield str(lines(LAYOUT, part).str.join("\n").item()).encode()


def load(server: Any, requests: list[bytes], database: str) -> None:
    """Send requests and do nothing else."""
    for request in requests:
        server.send(database, "raw", request)


def store_all(store: Store, rows: list[pl.DataFrame]) -> None:
    """Write batch by batch."""
    for batch in rows:
        store.write("readings", batch)


def download(connection: Connection) -> None:
    """Ask what the adapter asks, and drop the answer."""
    for _ in connection.query(select(LAYOUT, columns_of(LAYOUT, READINGS.schema), [])):
        pass


def size(folder: Path) -> int:
    """Bytes of all files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def influx(module: dict[str, Any], folder: Path, rows: list[pl.DataFrame]) -> dict[str, list[float]]:
    """Time InfluxDB and its floors in turn, a new database each time."""
    took: dict[str, list[float]] = {"write": [], "bare loader": [], "read": [], "bare download": []}
    server = module["Influxd"](module["program"](), folder)
    server.first_start()
    requests = [request for batch in rows for request in ready_made(batch)]
    secrets = Settings(store_password=server.password)  # type: ignore[arg-type]
    try:
        for _ in range(ROUNDS):
            bare, full = server.database(), server.database()
            took["bare loader"].append(seconds(lambda name=bare: load(server, requests, name)))
            store = connect(server.url(full), secrets)
            took["write"].append(seconds(lambda to=store: store_all(to, rows)))
            connection = Connection(Target(server.address, full, user=module["USER"]), server.password)
            took["bare download"].append(seconds(lambda by=connection: download(by)))
            took["read"].append(seconds(lambda of=store: of.read("readings")))
            connection.close()
            store.close()
    finally:
        server.stop()
    took["bytes"] = [size(folder / "data") / (2 * ROUNDS * METERS * STAMPS)]
    return took


def lake(folder: Path, rows: list[pl.DataFrame]) -> dict[str, list[float]]:
    """Time the lake."""
    took: dict[str, list[float]] = {"write": [], "read": []}
    for number in range(ROUNDS):
        store = connect(f"lake:{folder / str(number)}")
        took["write"].append(seconds(lambda to=store: store_all(to, rows)))
        took["read"].append(seconds(lambda of=store: of.read("readings")))
    return took | {"bytes": [size(folder) / (ROUNDS * METERS * STAMPS)]}


def main() -> None:
    """Print the table."""
    module = run_path(str(Path(__file__).parents[1] / "tests" / "influx.py"))
    rows = list(batches())
    with TemporaryDirectory() as folder:
        served, local = Path(folder, "influx"), Path(folder, "lake")
        served.mkdir()
        server, embedded = influx(module, served, rows), lake(local, rows)
    count = METERS * STAMPS
    print(f"{'1,000,000 readings':24}{'s':>8}{'rows/s':>12}{'ratio':>8}")
    for name, floor in (("write", "bare loader"), ("read", "bare download")):
        for part in (floor, name):
            best = median(server[part])
            print(f"InfluxDB: {part:14}{best:8.2f}{count / best:12,.0f}{best / median(server[floor]):8.2f}")
        print(f"lake: {name:18}{median(embedded[name]):8.2f}{count / median(embedded[name]):12,.0f}")
    print(f"bytes a reading: InfluxDB {server['bytes'][0]:.1f}, lake {embedded['bytes'][0]:.1f}")
    print(f"load of the machine at the end: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
