"""
The topics of the public interface: `peakwatch/v1/{facility}/{gateway}/{kind}`.

    text -> parse() -> Topic, or None where the text is no such topic

Below a gateway of another format the device has topics of its own: there `split` gives all that stands below as `kind`.
"""

from functools import lru_cache
from typing import NamedTuple

from ingest.registry import Registry

PREFIX = "peakwatch/v1"
KINDS = ("readings", "activity", "status")

# what a gateway of another format publishes below its own level
BELOW = {
    "flat": ("#",),
    "tasmota": ("tele/SENSOR", "stat/STATUS8", "stat/STATUS10", "tele/LWT"),
    "shelly": ("online", "info", "relay/+/+", "light/+/+", "roller/+/+", "emeter/+/+", "status/+", "events/rpc"),
    "sparkplug_b": (
        "spBv1.0/+/NBIRTH/+",
        "spBv1.0/+/NDATA/+",
        "spBv1.0/+/NDEATH/+",
        "spBv1.0/+/DBIRTH/+/+",
        "spBv1.0/+/DDATA/+/+",
    ),
    "national": ("#",),
}

# what our own format is published on
OURS = tuple(f"{PREFIX}/+/+/{kind}" for kind in KINDS)


class Topic(NamedTuple):
    """A topic taken apart; `kind` is one of KINDS, or what stands below a gateway of another format."""

    facility: str
    gateway: str
    kind: str

    def __str__(self) -> str:
        return f"{PREFIX}/{self.facility}/{self.gateway}/{self.kind}"


@lru_cache(maxsize=4096)
def split(topic: str) -> Topic | None:
    """Take a topic below the prefix apart, whatever stands below the gateway; None where it is not below it."""
    match topic.split("/", 4):
        case ["peakwatch", "v1", str(facility), str(gateway), str(below)] if (
            facility and gateway and below and not {"+", "#"} & {*facility, *gateway}
        ):
            return Topic(facility, gateway, below)
    return None


def parse(topic: str) -> Topic | None:
    """Take a topic of our own format apart; None where it is none."""
    found = split(topic)
    return found if found and found.kind in KINDS else None


def for_all(topic_filter: str) -> bool:
    """Tell whether every collector of a group needs these messages: last wills, and the births of Sparkplug nodes."""
    return topic_filter.endswith("/+/+/status") or not {"NBIRTH", "DBIRTH"}.isdisjoint(topic_filter.split("/"))


def filters(registry: Registry) -> list[str]:
    """Return the topic filters of all that is to be collected: ours, and those of each gateway of another format."""
    return [*OURS] + [
        f"{PREFIX}/{facility.id}/{gateway.id}/{below}"
        for facility in registry.facilities.values()
        for gateway in facility.gateway
        for below in BELOW.get(gateway.format, ())
    ]
