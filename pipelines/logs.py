"""
Where logs go: to standard error, a line each.

A log that cannot be written, as on a full disk, is lost and ends nothing: the standard library's handler sees to that.
Foreign text is shown escaped, so that no value can forge a line.
"""

import logging
import sys

import structlog
from structlog.typing import Processor

_OURS = ("ingest", "rules", "pipelines")


def configure() -> None:
    """Send our logs, and the warnings of libraries, to standard error; in colour where that is a terminal."""
    before: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[*before, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler()
    last: list[Processor] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        # plain: a traceback with the values of variables would show passwords
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback),
    ]
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processors=last, foreign_pre_chain=before))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    for name in _OURS:
        logging.getLogger(name).setLevel(logging.INFO)
