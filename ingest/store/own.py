"""
The databases that hold the rows of one facility alone: which there are, and how the one who fills them opens one.

`store init --facility` makes such a database and leaves the secret of who fills it in a folder of the facility. That
folder is the whole configuration: with it the database is kept filled, without it nobody writes there.
"""

from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from pydantic import SecretStr

from ingest.errors import ConfigurationError, Problem
from ingest.settings import Settings
from ingest.store.base import WholeStore
from ingest.store.connect import connect, of_facility, parse
from ingest.store.influx.setup import FACILITY_ROLES, Vault
from ingest.store.influx.target import Target

_COPY, _ = FACILITY_ROLES


def facilities(settings: Settings) -> list[str]:
    """
    Name the facilities that have a database of their own to be filled, sorted.

    Raises:
        ConfigurationError: there are such secrets, and the store is none that has such databases.
    """
    folder = settings.facility_secrets
    if folder is None:
        return []
    named = sorted(path.parent.name for path in folder.glob(f"*/{_COPY.name}"))
    place = parse(settings.store)
    if isinstance(place, Target):
        return [name for name in named if _vault(folder / name, place).path(_COPY).is_file()]
    if named:
        wanted = "an InfluxDB: a lake has no database for one facility"
        found = f"{', '.join(named)}, with the store {settings.store!r}"
        raise ConfigurationError([Problem("setting facility_secrets", found, wanted)])
    return []


def opened(settings: Settings, facility: str) -> WholeStore:
    """
    Open the database of a facility as the one who fills it; its secret is read anew each time.

    Raises:
        ConfigurationError: there is no such secret.
        StoreError: the secret cannot be read.
    """
    place = parse(settings.store)
    if isinstance(place, Path) or settings.facility_secrets is None:
        raise ConfigurationError([Problem("setting facility_secrets", "none", "the folder of facilities' secrets")])
    vault, url = _vault(settings.facility_secrets / facility, place), of_facility(settings.store, facility)
    secret = vault.get(_COPY)
    if secret is None:
        wanted = f"the secret of `peakwatch store init --facility {facility}`"
        raise ConfigurationError([Problem(str(vault.path(_COPY)), "none", wanted)])
    if place.user:
        url = _as(url, _COPY.login(f"{place.database}-{facility}"))
    own = dict.fromkeys(("store_token", "store_password"), SecretStr(secret))
    return connect(url, settings.model_copy(update=own))


def _vault(folder: Path, place: Target) -> Vault:
    # InfluxDB 1 knows users, InfluxDB 2 tokens: as the store of the settings, so its neighbours
    return Vault(folder, "password" if place.user else "token")


def _as(url: str, user: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{user}@{parts.netloc.rpartition('@')[2]}"))
