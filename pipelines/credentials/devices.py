"""
The credentials of a facility's devices: a password, or certificates, and how they are taken back.

    secrets/mosquitto/passwords, revoked.pem     what the broker reads: at its start, and at SIGHUP
    secrets/authority/issued/                    every certificate a device ever got, `facility.serial.pem`
    secrets/devices/FACILITY/                    what is carried to the device, and can be deleted here then

The user of a login, and the common name of a certificate, is the id of the facility: the broker's access list lets it
write below that name alone.
"""

import shutil
from collections.abc import Collection
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from ingest.errors import ConfigurationError, Problem
from pipelines.credentials import certificates, files, passwords
from pipelines.credentials.stack import (
    AUTHORITY,
    BROKER,
    CERTIFICATE,
    COLLECTOR,
    DEVICES,
    KEY,
    PASSWORDS,
    REVOKED,
    TRUSTED,
    authority,
)

_ISSUED = "issued"


class Device(NamedTuple):
    """What the devices of one facility may come in with. `certificates`: serial number, end, whether revoked."""

    facility: str
    password: bool
    certificates: tuple[tuple[int, datetime, bool], ...]


def add_password(root: Path, facility: str, *, facilities: Collection[str]) -> str:
    """
    Draw a password and let the broker know its hash.

    Returns:
        The password, which is written nowhere.

    Raises:
        ConfigurationError: no such facility, it has a password already, or a file cannot be read or written.
    """
    users = _users(root)
    _known(facility, facilities)
    if facility in users:
        wanted = f"none: `peakwatch device revoke {facility}` first, it takes all its credentials back"
        raise ConfigurationError([Problem(f"device {facility}", "a password already", wanted)])
    password = passwords.drawn()
    files.write(root / BROKER / PASSWORDS, passwords.dumped({**users, facility: passwords.hashed(password)}))
    return password


def add_certificate(root: Path, facility: str, at: datetime, *, facilities: Collection[str]) -> Path:
    """
    Sign a certificate for a device; a facility may have several.

    Returns:
        The folder with certificate, key and the authority's certificate, to be carried to the device.

    Raises:
        ConfigurationError: no such facility, no authority, or a file cannot be read or written.
    """
    _users(root)
    _known(facility, facilities)
    pair = authority(root).device(facility, at)
    serial = certificates.loaded(pair.certificate).serial_number
    place = root / DEVICES / facility / f"{serial:040x}"
    issued = {
        # the record first: a certificate that nobody could take back must not exist
        root / AUTHORITY / _ISSUED / f"{facility}.{serial:040x}.pem": pair.certificate,
        place / KEY: pair.key,
        place / CERTIFICATE: pair.certificate,
        place / TRUSTED: files.read(root / AUTHORITY / CERTIFICATE),
    }
    files.keep(issued)
    return place


def carry(root: Path, facility: str, password: str) -> Path:
    """Write a password into the folder that is carried to the device; returns the file."""
    place = root / DEVICES / facility
    files.keep({place / "password": password, place / TRUSTED: files.read(root / AUTHORITY / CERTIFICATE)})
    return place / "password"


def revoke(root: Path, facility: str, at: datetime) -> Device:
    """
    Take back everything the devices of a facility may come in with; the broker follows at SIGHUP.

    Returns:
        What they had.

    Raises:
        ConfigurationError: they have nothing, or a file cannot be read or written.
    """
    had = next((one for one in listed(root) if one.facility == facility), None)
    open_serials = [] if had is None else [serial for serial, _, revoked in had.certificates if not revoked]
    if had is None or not (had.password or open_serials):
        raise ConfigurationError([Problem("device", repr(facility), "one of `peakwatch device list`, not yet revoked")])
    if open_serials:
        gone = {*_revoked(root), *open_serials}
        files.write(root / BROKER / REVOKED, authority(root).revoked(gone, at))
    users = _users(root)
    if users.pop(facility, None) is not None:
        files.write(root / BROKER / PASSWORDS, passwords.dumped(users))
    carried = root / DEVICES / facility
    if carried.exists():  # what no longer opens anything need not lie about
        with files.explained(carried):
            shutil.rmtree(carried)
    return had


def listed(root: Path) -> list[Device]:
    """
    Return every facility whose devices have, or had, something to come in with.

    Raises:
        ConfigurationError: a file cannot be read.
    """
    users, gone = _users(root), _revoked(root)
    issued: dict[str, list[tuple[int, datetime, bool]]] = {}
    for file in sorted((root / AUTHORITY / _ISSUED).glob("*.pem")):
        try:
            certificate = certificates.loaded(files.read(file))
        except ValueError:
            raise ConfigurationError([Problem(str(file), "something else", "a certificate, PEM")]) from None
        serial, ends = certificate.serial_number, certificate.not_valid_after_utc
        issued.setdefault(file.name.split(".")[0], []).append((serial, ends, serial in gone))
    names = sorted({*users, *issued} - {COLLECTOR})
    return [Device(name, name in users, tuple(issued.get(name, ()))) for name in names]


def _known(facility: str, facilities: Collection[str]) -> None:
    if facility not in facilities:
        raise ConfigurationError([Problem("device", repr(facility), f"one of {', '.join(facilities)}")])
    if facility == COLLECTOR:
        wanted = "another id: the collector logs in under this one, and reads everything"
        raise ConfigurationError([Problem("device", repr(facility), wanted)])


def _users(root: Path) -> dict[str, str]:
    path = root / BROKER / PASSWORDS
    if not path.exists():
        raise ConfigurationError([Problem(str(root), f"no {BROKER}/{PASSWORDS}", "a folder made by `peakwatch init`")])
    return passwords.load(path)


def _revoked(root: Path) -> set[int]:
    path = root / BROKER / REVOKED
    try:
        return certificates.serials(files.read(path))
    except ValueError:
        wanted = "a list of revoked certificates, PEM"
        raise ConfigurationError([Problem(str(path), "something else", wanted)]) from None
