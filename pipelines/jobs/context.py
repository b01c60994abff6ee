"""What every job is given: the store, the registry, the catalogues, the way out for mail. Built once, by the shell."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from ingest.model import Period
from ingest.registry import Registry
from ingest.store.base import Store
from pipelines.factors.catalogue import Factors
from pipelines.notify.mail import Mailer
from rules.catalogue import Catalogue

# the name under which is recorded what a person had computed: it moves no watermark, and is no turn of compute
BY_HAND = "compute-by-hand"


def _quiet(_: int) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True, slots=True)
class Context:
    """The world of a job. `advance` is told of every unit of work done, for a progress bar."""

    store: Store
    registry: Registry
    factors: Factors
    catalogue: Catalogue
    mailer: Mailer
    sender: str
    advance: Callable[[int], None] = _quiet


@dataclass(frozen=True, slots=True)
class Done:
    """What a job did: rows it wrote or changed, and the span of measured time they lie in."""

    rows: int
    touched: Period | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """
    One job: its name, what it does with what is new, and when (a cron line in UTC).

    `run(context, news, at)` works on what is new in the half-open period `news`, as seen at the moment `at`.
    """

    name: str
    run: Callable[[Context, Period, datetime], Done]
    cron: str
