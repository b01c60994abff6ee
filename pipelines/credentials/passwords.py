"""
Passwords, and mosquitto's file of them: one line `user:$7$iterations$salt$hash` for each user, PBKDF2 with SHA-512.

Every password is drawn here with 256 bits. Nobody guesses such a one, however fast the hash: so the hash takes only the
101 rounds that mosquitto takes itself, for the broker works them out at every login, and its one thread serves all.
"""

import hashlib
import re
import secrets
from base64 import b64decode, b64encode
from collections.abc import Mapping
from hmac import compare_digest
from pathlib import Path

from ingest.errors import ConfigurationError, Problem
from pipelines.credentials import files

_ROUNDS = 101
_SALT_BYTES = 12
_LINE = re.compile(r"([^:\s]+):(\$7\$\d+\$[A-Za-z0-9+/=]+\$[A-Za-z0-9+/=]+)")


def drawn() -> str:
    """Draw a password: 32 random bytes as 43 letters, digits, `-` and `_`."""
    return secrets.token_urlsafe(32)


def hashed(password: str) -> str:
    """Hash a password as mosquitto 2 does (mosquitto-passwd(5))."""
    return _hashed(password, secrets.token_bytes(_SALT_BYTES), _ROUNDS)


def matches(password: str, hash_: str) -> bool:
    """Tell whether a password is the one of a hash that `hashed` or mosquitto_passwd made."""
    _, _, rounds, salt, _ = hash_.split("$")
    try:
        return compare_digest(_hashed(password, b64decode(salt), int(rounds)), hash_)
    except ValueError:  # no base64, or no number of rounds: nobody's hash
        return False


def load(file: Path) -> dict[str, str]:
    """
    Read mosquitto's password file.

    Returns:
        User to hash.

    Raises:
        ConfigurationError: it cannot be read, or a line is none of `user:$7$...`; the line is not repeated.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(files.read(file).splitlines(), 1):
        match = _LINE.fullmatch(line)
        if match is None:
            wanted = "user:$7$rounds$salt$hash, as mosquitto 2 writes it"
            raise ConfigurationError([Problem(f"{file}: line {number}", "something else", wanted)])
        found[match[1]] = match[2]
    return found


def dumped(users: Mapping[str, str]) -> str:
    """Write users and hashes as mosquitto reads them."""
    return "".join(f"{user}:{hash_}\n" for user, hash_ in users.items())


def _hashed(password: str, salt: bytes, rounds: int) -> str:
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, rounds)
    return f"$7${rounds}${b64encode(salt).decode()}${b64encode(digest).decode()}"
