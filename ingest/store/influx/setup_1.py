"""
InfluxDB 1: a database with two retention policies, and a user for each role, all by InfluxQL.

A right of InfluxDB 1 is of a whole database, so the jobs may write readings too, and Grafana may read them.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from secrets import token_urlsafe
from typing import Any, Literal

import msgspec

from ingest.errors import StoreError, StoreUnavailable
from ingest.store.influx.http import Connection
from ingest.store.influx.query import NAME, VALUE, quoted
from ingest.store.influx.setup import Finding, Role, Vault, kept
from ingest.store.influx.target import Target

_DURATION = re.compile(r"(\d+)h0m0s")


class Influx1:
    """
    InfluxDB 1, as its administrator sees it.

    Args:
        target: the database, with the administrator as its user; without a user where the server asks for none.
        password: the administrator's.
        ca: certificates of the authorities to trust, instead of the system's.
    """

    secret: Literal["password", "token"] = "password"  # noqa: S105 - what a secret is called

    def __init__(self, target: Target, password: str | None, ca: Path | None = None) -> None:
        self._target, self._ca = target, ca
        self._connection = Connection(target, password, ca)
        self._database = quoted(target.database, NAME)

    def places(self, raw_days: int, *, apply: bool) -> Iterator[Finding]:
        """Make the database and its retention policies. See `prepare`."""
        name = self._target.database
        yield from self._authentication()
        made = name not in {row["name"] for row in self._ask("SHOW DATABASES")}
        if made:
            self._ask(f"CREATE DATABASE {self._database}")
        yield Finding(f"database {name}", "made" if made else "found")
        policies = {row["name"]: row for row in self._ask(f"SHOW RETENTION POLICIES ON {self._database}")}
        yield self._policy("raw", raw_days, policies.get("raw"), apply=apply)
        # made with the database
        yield self._policy(
            "autogen", 0, None if made and "autogen" not in policies else policies.get("autogen"), apply=apply
        )

    def login(self, role: Role, vault: Vault, *, apply: bool) -> Finding:
        """Make the user of a role. See `prepare`."""
        user = role.login(self._target.database)
        what, secret = f"user {user}", vault.get(role)
        users = {row["user"]: row["admin"] for row in self._ask("SHOW USERS")}
        if user not in users:
            self._password("CREATE USER {user} WITH PASSWORD {password}", user, role, vault, secret)
            self._grant(user, role)
            return Finding(what, "made", f"may {_rights(role)} {self._target.database}")
        wrong = self._wrong(user, role, admin=users[user])
        lost = self._lost(user, secret)
        told = "; ".join([*wrong, *([f"{lost}: {vault.path(role)}"] if lost else [])])
        if not told:
            return Finding(what, "found", f"may {_rights(role)} {self._target.database}")
        if not apply:
            return Finding(what, "differs", told)
        if users[user]:
            self._ask(f"REVOKE ALL PRIVILEGES FROM {quoted(user, NAME)}")
        if lost:
            self._password("SET PASSWORD FOR {user} = {password}", user, role, vault, None)
        self._grant(user, role)
        return Finding(what, "changed", told)

    def close(self) -> None:
        """Let go of the connections."""
        self._connection.close()

    def _authentication(self) -> Iterator[Finding]:
        """Tell of a server that asks nobody who he is: every right on it is anybody's."""
        with closing(Connection(replace(self._target, user=""), None, self._ca)) as anybody:
            try:
                list(anybody.query("SHOW DATABASES"))
            except StoreUnavailable:
                raise
            except StoreError:
                return
        yield Finding("authentication", "differs", "is off: anybody may read and write; set auth-enabled = true")

    def _policy(self, name: str, days: int, found: Mapping[str, Any] | None, *, apply: bool) -> Finding:
        what, wanted = f"retention policy {name}", f"{days * 24}h0m0s" if days else "0s"
        duration = f"{days}d" if days else "INF"
        on = f"RETENTION POLICY {quoted(name, NAME)} ON {self._database} DURATION {duration}"
        if found is None:
            self._ask(f"CREATE {on} REPLICATION 1")
            return Finding(what, "made", kept(days))
        if found["duration"] == wanted:
            return Finding(what, "found", kept(days))
        if apply:
            self._ask(f"ALTER {on}")
        return Finding(what, "changed" if apply else "differs", f"{_kept(found['duration'])}; wanted: {kept(days)}")

    def _wrong(self, user: str, role: Role, *, admin: bool) -> list[str]:
        """Say what a user may that its role may not, or may not that it has to."""
        grants = {row["database"]: row["privilege"] for row in self._ask(f"SHOW GRANTS FOR {quoted(user, NAME)}")}
        found = grants.get(self._target.database, "NO PRIVILEGES")
        wrong = ["is an administrator"] if admin else []
        return wrong if found == _privilege(role) else [*wrong, f"has {found}; wanted: {_privilege(role)}"]

    def _lost(self, user: str, secret: str | None) -> str:
        """Say what is wrong with a password; nothing where it opens the server."""
        if secret is None:
            return "its password is in no file"
        with closing(Connection(replace(self._target, user=user), secret, self._ca)) as tried:
            try:
                list(tried.query("SHOW DATABASES"))
            except StoreUnavailable:
                raise
            except StoreError:
                return "the password of the file is refused"
        return ""

    def _password(self, statement: str, user: str, role: Role, vault: Vault, secret: str | None) -> None:
        # the file first: a user whose password is nowhere would be of no use, a file without a user harms nothing
        password = secret or token_urlsafe(32)
        vault.put(role, password)
        self._ask(statement.format(user=quoted(user, NAME), password=quoted(password, VALUE)))

    def _grant(self, user: str, role: Role) -> None:
        right = "ALL" if "write" in role.autogen else "READ"
        self._ask(f"GRANT {right} ON {self._database} TO {quoted(user, NAME)}")

    def _ask(self, statement: str) -> list[dict[str, Any]]:
        """Send a statement of administration and return the rows of its answer."""
        answers = [msgspec.json.decode(document) for document in self._connection.query(statement)]
        results = [result for answer in answers for result in [answer, *answer.get("results", [])]]
        if told := next((result["error"] for result in results if "error" in result), None):
            raise StoreError(f"{self._target}: {told}")
        series = [one for result in results for one in result.get("series", [])]
        return [dict(zip(one["columns"], row, strict=True)) for one in series for row in one.get("values", [])]


def _privilege(role: Role) -> str:
    return "ALL PRIVILEGES" if "write" in role.autogen else "READ"


def _rights(role: Role) -> str:
    return "read and write" if "write" in role.autogen else "read"


def _kept(duration: str) -> str:
    found = _DURATION.fullmatch(duration)
    whole = found is not None and int(found[1]) % 24 == 0
    return (
        "keeps for ever" if duration == "0s" else kept(int(found[1]) // 24) if found and whole else f"keeps {duration}"
    )
