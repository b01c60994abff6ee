"""
Where logs go: to standard error, a line each.

A log that cannot be written, as on a full disk, is lost and ends nothing: the standard library's handler sees to that.
Names of gateways, words of servers and sentences about payloads reach the log; whoever wrote them is not to be trusted,
so that no foreign text can forge a line or steer a terminal.
"""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog
from structlog.typing import Processor

_OURS = ("ingest", "rules", "pipelines")
# as structlog lays out a traceback it made itself; a line of it may break, but nothing else
_TRACEBACK = "exception"


def configure() -> None:
    """Send our logs, and the warnings of libraries, to standard error; in colour where that is a terminal."""
    before: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        printable,
    ]
    structlog.configure(
        processors=[*before, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    handler = logging.StreamHandler()
    last: list[Processor] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
    ]
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processors=last, foreign_pre_chain=before))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    for name in _OURS:
        logging.getLogger(name).setLevel(logging.INFO)


def printable(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace what cannot be printed in every text of a log line by an escape that says what it was."""
    for key, value in event.items():
        if isinstance(value, str):
            lines = value.split("\n") if key == _TRACEBACK else [value]
            event[key] = "\n".join(map(_escaped, lines))
    return event


def _escaped(text: str) -> str:
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
