"""
All secrets of the stack in docker-compose.yml, made once: a second run keeps what is there and adds what is missing.

    authority/      certificate.pem  key.pem             mounted nowhere
    mosquitto/      certificate.pem  key.pem  authority.pem  passwords  revoked.pem
    influxdb/       certificate.pem  key.pem  admin_password  admin_token
    grafana/        certificate.pem  key.pem  authority.pem  admin_password  smtp_password (empty: fill it in)
    peakwatch/      authority.pem  broker_password  client_id  client_id_2
                    store_admin_token  a copy, for `peakwatch store init`
    store/          collector/  jobs/  grafana/  empty: `peakwatch store init` puts a token into each
                    facilities/  empty: `peakwatch store init --facility` puts a folder for each into it
    devices/        one folder for each facility: what its devices need

One folder for each service, so that each can belong to the user its container runs as. The client id of a collector is
a secret too: whoever connects under it takes the collector's place, and the messages that wait for it are lost.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from ingest.errors import ConfigurationError, Problem
from ingest.store.influx.setup import ROLES
from pipelines.credentials import certificates, files, passwords
from pipelines.credentials.certificates import Authority, Pair

AUTHORITY, BROKER, STORE, DEVICES = "authority", "mosquitto", "store", "devices"
CERTIFICATE, KEY, TRUSTED, PASSWORDS, REVOKED = (
    "certificate.pem",
    "key.pem",
    "authority.pem",
    "passwords",
    "revoked.pem",
)
COLLECTOR, FACILITIES = "collector", "facilities"

_SERVERS = (BROKER, "influxdb", "grafana")
_HERE = ("localhost", "127.0.0.1")
_SOON = timedelta(days=30)

_DRAWN: dict[str, Callable[[], str]] = {
    "influxdb/admin_password": passwords.drawn,
    "influxdb/admin_token": passwords.drawn,
    "grafana/admin_password": passwords.drawn,
    # of the mail server, so nobody can draw it; without one Grafana sends without a login
    "grafana/smtp_password": str,
    "peakwatch/broker_password": passwords.drawn,
    "peakwatch/client_id": lambda: f"collector-{passwords.drawn()[:22]}",
    "peakwatch/client_id_2": lambda: f"collector-2-{passwords.drawn()[:22]}",
}
# copy to original: a service can read the files of its own folder alone
_COPIED = {
    f"{BROKER}/{TRUSTED}": f"{AUTHORITY}/{CERTIFICATE}",
    f"grafana/{TRUSTED}": f"{AUTHORITY}/{CERTIFICATE}",
    f"peakwatch/{TRUSTED}": f"{AUTHORITY}/{CERTIFICATE}",
    "peakwatch/store_admin_token": "influxdb/admin_token",
}


class Kept(NamedTuple):
    """One file or folder of the secrets: whether it was made now, and what is to be known of it."""

    path: Path
    made: bool
    note: str = ""


def make(root: Path, hosts: Sequence[str], at: datetime) -> list[Kept]:
    """
    Make every secret that is missing.

    Args:
        root: the folder of secrets.
        hosts: names and addresses by which devices and people reach the servers, besides those of the stack.
        at: now; certificates begin here.

    Returns:
        Each file and folder.

    Raises:
        ConfigurationError: others can use a file that is there, one cannot be read or written, or a pair is not whole.
    """
    files.folder(root)
    kept = _pair(root / AUTHORITY, lambda: certificates.authority(at), at)
    signer = authority(root)
    for server in _SERVERS:
        names = tuple(dict.fromkeys((server, *_HERE, *hosts)))
        kept += _pair(root / server, lambda names=names: signer.server(names, at), at, names)  # type: ignore[misc]
    kept += [_one(root / name, draw) for name, draw in _DRAWN.items()]
    kept += [_copy(root / copy, files.read(root / original)) for copy, original in _COPIED.items()]
    kept += [_collector(root), _one(root / BROKER / REVOKED, lambda: signer.revoked((), at))]
    stores = (*(role.name for role in ROLES), FACILITIES)
    return [*kept, *(_folder(root / STORE / name) for name in stores)]


def authority(root: Path) -> Authority:
    """
    Read the authority of a folder of secrets.

    Raises:
        ConfigurationError: there is none, or what is there is none.
    """
    place = root / AUTHORITY
    if not (place / CERTIFICATE).exists() or not (place / KEY).exists():
        wanted = f"{CERTIFICATE} and {KEY} of the authority (made by `peakwatch init`, or brought back to sign)"
        raise ConfigurationError([Problem(str(place), "not both files", wanted)])
    pair = Pair(files.read(place / CERTIFICATE), files.read(place / KEY))
    try:
        return Authority.load(pair)
    except ValueError:  # its words may quote the key
        wanted = "a certificate and the EC key that belongs to it, both PEM"
        raise ConfigurationError([Problem(str(place), "something else", wanted)]) from None


def _pair(place: Path, make_pair: Callable[[], Pair], at: datetime, names: Sequence[str] = ()) -> list[Kept]:
    certificate, key = place / CERTIFICATE, place / KEY
    there = [path for path in (certificate, key) if path.exists()]
    if len(there) == 1:
        wanted = f"{CERTIFICATE} and {KEY}, or neither: then both are made"
        raise ConfigurationError([Problem(str(place), f"{there[0].name} alone", wanted)])
    if there:
        for path in there:
            files.own(path)
        return [Kept(certificate, made=False, note=_note(certificate, at, names)), Kept(key, made=False)]
    pair = make_pair()
    files.keep({key: pair.key, certificate: pair.certificate})
    return [Kept(certificate, made=True, note=_note(certificate, at, names)), Kept(key, made=True)]


def _note(file: Path, at: datetime, names: Sequence[str]) -> str:
    """Say until when a certificate is valid, and what calls for another one."""
    try:
        certificate = certificates.loaded(files.read(file))
        missing = sorted(set(names) - certificates.hosts(certificate)) if names else []
    except ValueError:
        raise ConfigurationError([Problem(str(file), "no certificate of a server", "one, PEM")]) from None
    end = certificate.not_valid_after_utc
    again = f"; remove it and {KEY} beside it, and run this again"
    if missing:
        return f"not for {', '.join(missing)}{again}"
    return f"valid until {end:%Y-%m-%d}" + (again if end - at < _SOON else "")


def _one(path: Path, content: Callable[[], str]) -> Kept:
    if path.exists():
        files.own(path)
        return Kept(path, made=False)
    files.keep({path: content()})
    return Kept(path, made=True)


def _folder(path: Path) -> Kept:
    """Make a folder for one token; who may read one that is there is for the installer to say."""
    if path.is_dir():
        return Kept(path, made=False)
    files.folder(path)
    return Kept(path, made=True)


def _copy(path: Path, content: str) -> Kept:
    if path.exists() and files.read(path) == content:
        return _one(path, lambda: content)
    files.keep({path: content})
    return Kept(path, made=True)


def _collector(root: Path) -> Kept:
    """Let the collector in: its line of the password file follows its password."""
    path, password = root / BROKER / PASSWORDS, files.read(root / "peakwatch" / "broker_password")
    users = passwords.load(path) if path.exists() else {}
    if path.exists():
        files.own(path)
    if COLLECTOR in users and passwords.matches(password, users[COLLECTOR]):
        return Kept(path, made=False)
    files.keep({path: passwords.dumped({**users, COLLECTOR: passwords.hashed(password)})})
    return Kept(path, made=True)
