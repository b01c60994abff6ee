"""
Every error PeakWatch raises on purpose, in one small tree.

    PeakWatchError
    ├── ConfigurationError    the call, a file or a setting is wrong; carries every problem found (exit code 2)
    └── WorkError             the work failed (exit code 1)
        ├── StoreError        the store refused: a permanent fault
        │   ├── RowsRefused         the store refused these rows and may take others
        │   └── StoreUnavailable    the store cannot be reached or is full: try again
        ├── BrokerError       the broker refused: wrong login, no right to subscribe
        │   └── BrokerUnavailable   the broker cannot be reached: try again
        ├── MailError         the mail server refused the message or the recipient
        │   └── MailUnavailable     the mail server cannot be reached or asked to come back later: try again
        └── GrafanaError      Grafana refused: wrong token, no right
            └── GrafanaUnavailable  Grafana cannot be reached: try again

`retryable` says whether the same call may succeed later; `retry_after` how many seconds the other side asked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a file or a setting: where, what was found, what is wanted."""

    where: str
    found: str
    wanted: str

    def __str__(self) -> str:
        return f"{self.where}: found {self.found}; wanted {self.wanted}"


class PeakWatchError(Exception):
    """Root of the tree: everything PeakWatch raises on purpose."""

    retryable: ClassVar[bool] = False
    retry_after: float | None = None


class ConfigurationError(PeakWatchError):
    """The call, a file or a setting is wrong. `problems` holds all of them, never only the first."""

    def __init__(self, problems: Sequence[Problem] | str) -> None:
        self.problems: tuple[Problem, ...] = () if isinstance(problems, str) else tuple(problems)
        super().__init__(problems if isinstance(problems, str) else "\n".join(map(str, problems)))


class WorkError(PeakWatchError):
    """The work failed although the configuration is right."""

    def __init__(self, sentence: str, *, retry_after: float | None = None) -> None:
        super().__init__(sentence)
        self.retry_after = retry_after


class StoreError(WorkError):
    """The store refused the call."""


class RowsRefused(StoreError):  # noqa: N818 - as they are, not by mistake
    """The store refused these rows, one or more of them; it may take others. Sending them again is harmless."""


class StoreUnavailable(StoreError):  # noqa: N818 - a state that passes, not a mistake
    """The store cannot be reached, is full or is read-only: the same call may succeed later."""

    retryable = True


class BrokerError(WorkError):
    """The broker refused the login or the subscription."""


class BrokerUnavailable(BrokerError):  # noqa: N818
    """The broker cannot be reached."""

    retryable = True


class MailError(WorkError):
    """The mail server refused the sender, the recipient or the message."""


class MailUnavailable(MailError):  # noqa: N818
    """The mail server cannot be reached or asked to come back later."""

    retryable = True


class GrafanaError(WorkError):
    """Grafana refused the call, or what answered is no Grafana."""


class GrafanaUnavailable(GrafanaError):  # noqa: N818
    """Grafana cannot be reached or failed itself."""

    retryable = True
