"""
The topics of the public interface: `peakwatch/v1/{facility}/{gateway}/{kind}`.

    text -> parse() -> Topic, or None where the text is no such topic
"""

from functools import lru_cache
from typing import NamedTuple

PREFIX = "peakwatch/v1"
KINDS = ("readings", "activity", "status")


class Topic(NamedTuple):
    """A topic taken apart; `kind` is one of KINDS."""

    facility: str
    gateway: str
    kind: str

    def __str__(self) -> str:
        return f"{PREFIX}/{self.facility}/{self.gateway}/{self.kind}"


@lru_cache(maxsize=4096)
def parse(topic: str) -> Topic | None:
    """Take a topic apart; None where it is none of ours."""
    match topic.split("/"):
        case ["peakwatch", "v1", str(facility), str(gateway), ("readings" | "activity" | "status") as kind] if (
            facility and gateway and not {"+", "#"} & {*facility, *gateway}
        ):
            return Topic(facility, gateway, kind)
    return None
