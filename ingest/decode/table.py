"""
The one list of formats, and the gateways that speak them.

    registry -> Gateways -> open(topic, message) -> Opened, state, what to ask the device

What a device calls its values and which of them are readings is the registry's to say.
"""

from collections.abc import Callable
from functools import partial

from ingest.decode import flat, national, shelly, tasmota
from ingest.decode.entries import Opened
from ingest.decode.said import Reader, Source, opened, source_of
from ingest.decode.topics import Topic
from ingest.errors import ConfigurationError, Problem
from ingest.model import Message, Publication
from ingest.registry import Registry


def _sparkplug(source: Source) -> Reader:
    try:
        from ingest.decode import sparkplug  # noqa: PLC0415 - an extra, and few sites need it
    except ImportError:
        wanted = "the extra `sparkplug` installed (pip install 'peakwatch[sparkplug]')"
        raise ConfigurationError([Problem("a gateway of format sparkplug_b", "no package protobuf", wanted)]) from None
    return sparkplug.Reader(source)


FORMATS: dict[str, Callable[[Source], Reader]] = {
    "flat": lambda source: partial(flat.read, source=source),
    "tasmota": lambda source: partial(tasmota.read, source=source),
    "shelly": lambda source: partial(shelly.read, source=source),
    "sparkplug_b": _sparkplug,
    "national": lambda source: partial(national.read, source=source),
}


class Gateways:
    """
    The gateways of other formats than ours.

    They remember what the births of Sparkplug nodes said, so the messages of one gateway belong to one of these.

    Raises:
        ConfigurationError: a format needs an extra that is not installed.
    """

    def __init__(self, registry: Registry) -> None:
        self._gateways: dict[tuple[str, str], tuple[Source, Reader]] = {}
        for facility in registry.facilities.values():
            for gateway in facility.gateway:
                if gateway.format in FORMATS:
                    source = source_of(facility, gateway)
                    self._gateways[facility.id, gateway.id] = source, FORMATS[gateway.format](source)

    def __len__(self) -> int:
        return len(self._gateways)

    def __contains__(self, topic: Topic) -> bool:
        """Tell whether a topic is that of a gateway of another format; its last will may be ours."""
        return topic[:2] in self._gateways and topic.kind != "status"

    def open(self, topic: Topic, message: Message) -> tuple[Opened, str, Publication | None]:
        """
        Read one message.

        Returns:
            What it holds; `online`, `offline` or `unknown` where it tells that of its gateway; what to publish if it
            cannot be read until its device has said more.
        """
        source, read = self._gateways[topic[:2]]
        said = read(topic.kind, message.payload)
        ask = said.ask and Publication(str(topic._replace(kind=said.ask.topic)), said.ask.payload)
        return opened(said, message, source), said.state, ask
