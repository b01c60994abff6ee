"""Which database of which InfluxDB."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Target:
    """
    A database of InfluxDB 1, or an organisation's pair of buckets of InfluxDB 2.

    Attributes:
        url: of the server, `http://host:8086`.
        database: name; with the retention policy, `database/policy`, the name of a bucket.
        org: organisation of InfluxDB 2.
        user: of InfluxDB 1.
    """

    url: str
    database: str
    org: str = ""
    user: str = ""

    def __str__(self) -> str:
        return f"influxdb {self.url}/{self.database}"
