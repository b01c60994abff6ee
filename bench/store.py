"""
What does each store add to its floor? `.venv/bin/python bench/store.py`

InfluxDB: writing beside a bare loader that sends the same ready-made lines in the same order to the same server in
requests of the same size; reading a million rows beside a bare download of the same answer. The two take turns, each
time in a database of its own, and the ratio is the median of the turns' ratios: the machine may be shared. The lake
does the same work. One million readings of 1,000 meters. Needs the influxd of `make servers`; two minutes.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from runpy import run_path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Any, NamedTuple

import polars as pl

from ingest.schema import READINGS, TIME
from ingest.settings import Settings
from ingest.store.base import Store
from ingest.store.connect import connect
from ingest.store.influx.http import Connection
from ingest.store.influx.layout import LAYOUTS
from ingest.store.influx.lines import lines, ordered
from ingest.store.influx.query import columns_of, select
from ingest.store.influx.target import Target

LAYOUT = LAYOUTS["readings"]
METERS, STAMPS, ROUNDS = 1_000, 1_000, 5
BATCH, REQUEST = 50_000, 10_000


class Took(NamedTuple):
    """What one call took: by the clock, and CPU of this process. [s]"""

    wall: float
    cpu: float


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


def seconds(work: Callable[[], object]) -> Took:
    """Time one call."""
    start, used = perf_counter(), process_time()
    work()
    return Took(perf_counter() - start, process_time() - used)


def ready_made(rows: pl.DataFrame) -> Iterator[bytes]:
    """The requests the adapter sends for these rows."""
    for part in ordered(LAYOUT, rows.with_columns(LAYOUT.place())).iter_slices(REQUEST):
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


def influx(module: dict[str, Any], folder: Path, rows: list[pl.DataFrame]) -> tuple[dict[str, list[Took]], float]:
    """Time InfluxDB and its floors in turn, a new database each time; and say how many bytes a reading takes."""
    took: dict[str, list[Took]] = {"write": [], "bare loader": [], "read": [], "bare download": []}
    server = module["Influxd"](module["program"](), folder)
    server.first_start()
    requests = [request for batch in rows for request in ready_made(batch)]
    secrets = Settings(store_password=server.password)  # type: ignore[arg-type]
    try:
        for number in range(ROUNDS):
            bare, full = server.database(), server.database()
            connection = Connection(Target(server.address, full, user=module["USER"]), server.password)
            store = connect(server.url(full), secrets)
            writes = {
                "bare loader": lambda to=bare: load(server, requests, to),
                "write": lambda to=store: store_all(to, rows),
            }
            reads = {
                "bare download": lambda by=connection: download(by),
                "read": lambda of=store: of.read("readings"),
            }
            for pair in (writes, reads):
                for name in sorted(pair, reverse=number % 2 == 1):
                    took[name].append(seconds(pair[name]))
            connection.close()
            store.close()
    finally:
        server.stop()
    return took, size(folder / "data") / (2 * ROUNDS * METERS * STAMPS)


def lake(folder: Path, rows: list[pl.DataFrame]) -> tuple[dict[str, list[Took]], float]:
    """Time the lake, a new one each time; and say how many bytes a reading takes."""
    took: dict[str, list[Took]] = {"write": [], "read": []}
    for number in range(ROUNDS):
        store = connect(f"lake:{folder / str(number)}")
        took["write"].append(seconds(lambda to=store: store_all(to, rows)))
        took["read"].append(seconds(lambda of=store: of.read("readings")))
    return took, size(folder) / (ROUNDS * METERS * STAMPS)


def line(title: str, took: list[Took], floor: list[Took] | None = None) -> str:
    """One line of the table: medians, and the median of the turns' ratios to their floor."""
    wall, cpu = median(one.wall for one in took), median(one.cpu for one in took)
    ratio = median(one.wall / bare.wall for one, bare in zip(took, floor, strict=True)) if floor else None
    told = "" if ratio is None else f"{ratio:8.2f}"
    return f"{title:24}{wall:8.2f}{cpu:8.2f}{METERS * STAMPS / wall:12,.0f}{told}"


def main() -> None:
    """Print the table."""
    module = run_path(str(Path(__file__).parents[1] / "tests" / "influx.py"))
    rows = list(batches())
    with TemporaryDirectory() as folder:
        served, local = Path(folder, "influx"), Path(folder, "lake")
        served.mkdir()
        (server, influx_bytes), (embedded, lake_bytes) = influx(module, served, rows), lake(local, rows)
    print(f"{'1,000,000 readings':24}{'s':>8}{'CPU s':>8}{'rows/s':>12}{'ratio':>8}")
    for name, floor in (("write", "bare loader"), ("read", "bare download")):
        for part in (floor, name):
            print(line(f"InfluxDB: {part}", server[part], server[floor]))
        print(line(f"lake: {name}", embedded[name]))
    print(f"bytes a reading: InfluxDB {influx_bytes:.1f}, lake {lake_bytes:.1f}")
    print(f"load of the machine at the end: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
