"""
What an InfluxDB has to have before PeakWatch can use it: two places for rows, and a login for each role.

    what is there? -> found | made | differs (and changed, where it is to be)

A second run finds everything and changes nothing. The server's two kinds are `setup_1` and `setup_2`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from ingest import secret_files
from ingest.errors import StoreError

Right = Literal["read", "write"]
State = Literal["found", "made", "differs", "changed"]


@dataclass(frozen=True, slots=True)
class Role:
    """
    Who logs in, and the least it needs.

    Attributes:
        name: of the role.
        raw: rights to the readings.
        autogen: rights to everything else: results and events, but also activity, quarantine and counts.
        setting: which setting takes its secret, before `_token` or `_password`.
    """

    name: str
    raw: tuple[Right, ...]
    autogen: tuple[Right, ...]
    setting: str = "store"

    def login(self, database: str) -> str:
        """Name its user of InfluxDB 1, or describe its token of InfluxDB 2."""
        return f"{database}-{self.name}"


GRAFANA = Role("grafana", raw=(), autogen=("read",))
# who writes must read too: a row is compared with what is stored of its key
ROLES: tuple[Role, ...] = (
    Role("collector", raw=("read", "write"), autogen=("read", "write")),
    Role("jobs", raw=("read",), autogen=("read", "write")),
    GRAFANA,
)
# of the database that holds one facility's own rows: who fills it (`peakwatch copy`), and who shows it
FACILITY_ROLES: tuple[Role, ...] = (
    Role("copy", raw=("read", "write"), autogen=("read", "write"), setting="copy"),
    GRAFANA,
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing the server has to have: what, how it stands, and what is to be said of it."""

    what: str
    state: State
    told: str = ""


class Vault:
    """
    The secrets of the roles: one folder for each, with one file of the name the settings look for.

    Args:
        folder: of the folders; they are made with the first secret.
        secret: what a secret is, token or password.
    """

    def __init__(self, folder: Path, secret: Literal["password", "token"]) -> None:
        self._folder, self._secret = folder, secret

    def path(self, role: Role) -> Path:
        """Where the secret of a role lies."""
        return self._folder / role.name / f"peakwatch_{role.setting}_{self._secret}"

    def get(self, role: Role) -> str | None:
        """
        Read a secret, None where there is none.

        Raises:
            StoreError: the file cannot be read.
        """
        try:
            return self.path(role).read_text("utf-8").strip() or None
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise StoreError(f"secret {self.path(role)}: {error}") from error

    def put(self, role: Role, secret: str) -> None:
        """
        Write a secret. See `secret_files` for who may read it.

        Raises:
            StoreError: the file cannot be written.
        """
        path = self.path(role)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            secret_files.write(path, secret)
        except OSError as error:
            raise StoreError(f"secret {path}: {error.strerror}; wanted a folder that can be written") from error


def secrets_of(folder: Path, facility: str) -> Path:
    """Where the secrets of a facility's own database lie."""
    return folder / "facilities" / facility


class Server(Protocol):
    """One kind of InfluxDB, as its administrator sees it."""

    secret: Literal["password", "token"]

    def places(self, raw_days: int, *, apply: bool) -> Iterator[Finding]:
        """Make what rows are stored in. See `prepare`."""
        ...

    def login(self, role: Role, vault: Vault, *, apply: bool) -> Finding:
        """Make the login of a role and put its secret into the vault. See `prepare`."""
        ...

    def close(self) -> None:
        """Let go of the connections."""
        ...


def prepare(
    server: Server, folder: Path, *, raw_days: int, apply: bool, roles: Sequence[Role] = ROLES
) -> Iterator[Finding]:
    """
    Make what is missing and tell of all there is.

    Args:
        server: to prepare.
        folder: for the secrets.
        raw_days: how long readings are kept [days]; 0 for ever.
        apply: whether what differs is changed; otherwise it is only told.
        roles: who logs in.

    Raises:
        StoreUnavailable: the server cannot be reached.
        StoreError: it refused, or a secret cannot be kept.
    """
    vault = Vault(folder, server.secret)
    yield from server.places(raw_days, apply=apply)
    for role in roles:
        yield server.login(role, vault, apply=apply)


def kept(days: int) -> str:
    """Say how long rows are kept."""
    return f"keeps {days} days" if days else "keeps for ever"
