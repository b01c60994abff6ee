"""A store from its URL: `lake:PATH`, or `influxdb://[USER@]HOST[:PORT]/DATABASE[?org=ORG]` (`influxdbs:` for TLS)."""

import re
import ssl
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

from ingest.errors import ConfigurationError, Problem, StoreError
from ingest.settings import Settings
from ingest.store.archived import Archived
from ingest.store.base import WholeStore
from ingest.store.influx.setup import Server
from ingest.store.influx.target import Target
from ingest.store.lake.adapter import Lake

_WANTED = "lake:PATH, e.g. lake:./data, or influxdb://HOST:8086/DATABASE?org=ORG (influxdbs: for TLS)"
_SCHEMES = {"influxdb": "http", "influxdbs": "https"}
_PORT = 8086
_FROM = "PEAKWATCH_STORE_PASSWORD in the environment, or a file of that name, in small letters, in PEAKWATCH_SECRETS"
# a slash in it would name another bucket
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def parse(url: str) -> Path | Target:
    """
    Read the folder of a lake, relative or absolute, or the database of an InfluxDB out of a URL; touches nothing.

    Raises:
        ConfigurationError: the URL names no store, or holds a password.
    """
    scheme, _, rest = url.partition(":")
    if scheme == "lake" and rest:
        return Path(rest)
    if scheme in _SCHEMES:
        return _target(url)
    raise _problem(repr(url), _WANTED)


def check(url: str, settings: Settings) -> Path | Target:
    """
    Check what the settings say of the store a URL names, as far as nothing is touched but the file of certificates.

    Raises:
        ConfigurationError: the URL names no store, a user has no password, or the certificates cannot be read.
    """
    place = parse(url)
    if isinstance(place, Target) and place.user and settings.store_password is None:
        raise ConfigurationError([Problem("setting store", f"user {place.user!r} without a password", _FROM)])
    if isinstance(place, Target):
        _authorities(settings)
    return place


def connect(url: str, settings: Settings | None = None) -> WholeStore:
    """
    Open the store a URL names; an InfluxDB is first spoken to by the first call.

    Args:
        url: of the store.
        settings: where the token or the password comes from, and the authorities to trust.

    Raises:
        ConfigurationError: see `check`.
        StoreUnavailable: the lake cannot be opened.
    """
    place = check(url, settings) if settings else parse(url)
    if isinstance(place, Path):
        return Lake(place)
    from ingest.store.influx.adapter import Influx  # noqa: PLC0415 - its client is slow to import, and a lake needs none

    if settings is None:
        return Influx(place)
    secret = settings.store_password if place.user else settings.store_token
    return Influx(place, secret.get_secret_value() if secret else None, settings.store_ca)


def opened(settings: Settings) -> WholeStore:
    """Open the store of the settings, with the archive where there is one. See `connect`."""
    store = connect(settings.store, settings)
    return Archived(store, connect(settings.archive)) if settings.archive else store


def of_facility(url: str, facility: str) -> str:
    """Name the database that holds the rows of one facility alone, beside that of a URL."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"{parts.path}-{facility}"))


def administered(settings: Settings) -> Server:
    """
    Open the InfluxDB of the settings as its administrator.

    Raises:
        ConfigurationError: the store is none, names no organisation, or the administrator's secret is not set.
        StoreUnavailable: cannot be reached.
        StoreError: the server is of another version.
    """
    from ingest.store.influx.setup_1 import Influx1  # noqa: PLC0415 - as above
    from ingest.store.influx.setup_2 import Influx2, version  # noqa: PLC0415

    place = parse(settings.store)
    if isinstance(place, Path):
        raise _problem(repr(settings.store), "an InfluxDB; a lake needs nothing made")
    told = version(place, ca := _authorities(settings))
    if told.startswith("1."):
        password = settings.store_admin_password
        return Influx1(
            replace(place, user=settings.store_admin_user), password.get_secret_value() if password else None, ca
        )
    if told.startswith("3."):
        raise StoreError(f"{place}: is InfluxDB {told}; wanted version 1 or 2")
    if not place.org:
        raise _problem(repr(settings.store), "the organisation of InfluxDB 2 too: ...?org=ORG")
    if settings.store_admin_token is None:
        raise ConfigurationError([Problem("setting store_admin_token", "none", "the operator's token of InfluxDB 2")])
    return Influx2(replace(place, user=""), settings.store_admin_token.get_secret_value(), ca)


def _authorities(settings: Settings) -> Path | None:
    """Return the file of certificates to trust, where there is one; it can be read."""
    ca = settings.store_ca
    try:
        ssl.create_default_context(cafile=ca)
    except OSError as error:
        wanted = "a file of certificates (PEM)"
        raise ConfigurationError([Problem("setting store_ca", f"{str(ca)!r} ({error})", wanted)]) from None
    return ca


def _target(url: str) -> Target:
    try:
        parts = urlsplit(url)
        port = parts.port or _PORT
        options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except ValueError as error:
        raise _problem(f"{_told(url)} ({error})", _WANTED) from None
    if parts.password is not None:
        raise _problem(f"a password in {_told(url)}", f"none there; {_FROM}")
    database = parts.path.removeprefix("/")
    if not parts.hostname or not _NAME.fullmatch(database) or set(options) - {"org"} or parts.fragment:
        raise _problem(_told(url), _WANTED)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return Target(
        f"{_SCHEMES[parts.scheme]}://{host}:{port}", database, options.get("org", ""), unquote(parts.username or "")
    )


def _told(url: str) -> str:
    """Return the URL without what may be a password."""
    return repr(re.sub(r"(//[^:/@]*):.*@", r"\1:***@", url))


def _problem(found: str, wanted: str) -> ConfigurationError:
    return ConfigurationError([Problem("setting store", found, wanted)])
