"""
InfluxDB 2: two buckets, each mapped to a database and retention policy, and a token for each role.

A right of InfluxDB 2 is of a whole bucket, so the collector may write results too, and Grafana may read the quarantine.
"""

# mypy: allow-untyped-calls
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any, Literal

import urllib3
from influxdb_client.client.exceptions import InfluxDBError
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.domain.authorization import Authorization
from influxdb_client.domain.bucket_retention_rules import BucketRetentionRules
from influxdb_client.domain.dbrp_create import DBRPCreate
from influxdb_client.domain.permission import Permission
from influxdb_client.domain.permission_resource import PermissionResource
from influxdb_client.service.dbr_ps_service import DBRPsService

from ingest.errors import StoreError, StoreUnavailable
from ingest.store.influx.http import Connection
from ingest.store.influx.setup import Finding, Role, Vault, kept
from ingest.store.influx.target import Target

_DAY = 86_400  # [s]
_POLICIES = ("raw", "autogen")


def version(target: Target, ca: Path | None = None) -> str:
    """
    Ask a server which version it is; no login is needed.

    Raises:
        StoreUnavailable: cannot be reached.
        StoreError: is no InfluxDB.
    """
    with _faults(target), closing(_client(target, None, ca)) as client:
        told = client.version()
    if not told:
        raise StoreError(f"{target}: the server tells no version; wanted an InfluxDB")
    return str(told).removeprefix("v")


class Influx2:
    """
    InfluxDB 2, as its operator sees it.

    Args:
        target: the pair of buckets and the organisation they belong to.
        token: with the right to make buckets and tokens there.
        ca: certificates of the authorities to trust, instead of the system's.
    """

    secret: Literal["password", "token"] = "token"  # noqa: S105 - what a secret is called

    def __init__(self, target: Target, token: str, ca: Path | None = None) -> None:
        self._target, self._ca = target, ca
        self._client = _client(target, token, ca)
        self._organisation = ""
        self._buckets: dict[str, str] = {}  # ids, by retention policy

    def places(self, raw_days: int, *, apply: bool) -> Iterator[Finding]:
        """Make the buckets and their mappings. See `prepare`."""
        with _faults(self._target):
            found = self._client.organizations_api().find_organizations(org=self._target.org)
            if not found:
                wanted = "wanted its name and a token with rights to it"
                raise StoreError(f"{self._target}: no organisation {self._target.org!r} is to be seen; {wanted}")
            self._organisation = found[0].id
            yield self._bucket("raw", raw_days, apply=apply)
            yield self._bucket("autogen", 0, apply=apply)
            for policy in _POLICIES:
                yield self._mapping(policy, apply=apply)

    def login(self, role: Role, vault: Vault, *, apply: bool) -> Finding:
        """Make the token of a role. See `prepare`."""
        name = role.login(self._target.database)
        what, rights = f"token {name}", f"may {_told(role)}"
        with _faults(self._target):
            told = self._client.authorizations_api().find_authorizations(org_id=self._organisation)
            found = [one for one in told if one.description == name]
            if not found:
                self._make(name, role, vault)
                return Finding(what, "made", rights)
            wrong = self._wrong(found, role, vault)
            if wrong and apply:
                for one in found:
                    self._client.authorizations_api().delete_authorization(one)
                self._make(name, role, vault)
        return Finding(what, ("changed" if apply else "differs") if wrong else "found", "; ".join(wrong) or rights)

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def _bucket(self, policy: str, days: int, *, apply: bool) -> Finding:
        name, seconds = f"{self._target.database}/{policy}", days * _DAY
        buckets = self._client.buckets_api()
        # asked for by its name, one that is not there is an error in some versions and none in others
        held = buckets.find_buckets_iter(org_id=self._organisation)
        bucket = next((one for one in held if one.name == name), None)
        if bucket is None:
            rules = [BucketRetentionRules(every_seconds=seconds)] if days else []
            bucket = buckets.create_bucket(bucket_name=name, org=self._organisation, retention_rules=rules)
            self._buckets[policy] = bucket.id
            return Finding(f"bucket {name}", "made", kept(days))
        self._buckets[policy] = bucket.id
        now = next((rule.every_seconds for rule in bucket.retention_rules), 0)
        if now == seconds:
            return Finding(f"bucket {name}", "found", kept(days))
        if apply:
            bucket.retention_rules = [BucketRetentionRules(every_seconds=seconds)]
            buckets.update_bucket(bucket)
        told = f"{kept(now // _DAY) if now % _DAY == 0 else f'keeps {now} s'}; wanted: {kept(days)}"
        return Finding(f"bucket {name}", "changed" if apply else "differs", told)

    def _mapping(self, policy: str, *, apply: bool) -> Finding:
        """Make the mapping that `/query` finds a bucket by; one the server makes up by the name counts as none."""
        what, service = f"mapping {self._target.database}/{policy}", DBRPsService(self._client.api_client)
        asked = {"org_id": self._organisation, "db": self._target.database, "rp": policy}
        found = [one for one in service.get_dbr_ps(**asked).content or [] if not one.virtual]
        if found and found[0].bucket_id == self._buckets[policy]:
            return Finding(what, "found")
        if found and not apply:
            return Finding(what, "differs", f"leads to bucket {found[0].bucket_id}")
        for one in found:
            service.delete_dbrpid(one.id, org_id=self._organisation)
        mapping = DBRPCreate(
            org_id=self._organisation,
            bucket_id=self._buckets[policy],
            database=self._target.database,
            retention_policy=policy,
            default=policy == "autogen",
        )
        service.post_dbrp(dbrp_create=mapping)
        return Finding(what, "changed" if found else "made")

    def _wrong(self, found: list[Any], role: Role, vault: Vault) -> list[str]:
        """Say how the tokens of a role differ from what it has to have."""
        wanted = {(right, self._buckets[policy]) for policy in _POLICIES for right in getattr(role, policy)}
        rights = {(one.action, one.resource.id) for token in found for one in token.permissions}
        wrong = [f"{len(found)} tokens of that name"] if len(found) > 1 else []
        wrong += ["has other rights"] if rights != wanted else []
        wrong += [f"is {found[0].status}"] if found[0].status != "active" else []
        secret = vault.get(role)
        if secret is None:
            return [*wrong, f"is in no file: {vault.path(role)}"]
        return wrong if self._accepted(secret) else [*wrong, f"the token of the file is refused: {vault.path(role)}"]

    def _accepted(self, token: str) -> bool:
        with closing(Connection(self._target, token, self._ca)) as tried:
            try:
                list(tried.query("SHOW MEASUREMENTS LIMIT 1"))
            except StoreUnavailable:
                raise
            except StoreError:
                return False
        return True

    def _make(self, name: str, role: Role, vault: Vault) -> None:
        permissions = [
            Permission(right, PermissionResource("buckets", id=self._buckets[policy], org_id=self._organisation))
            for policy in _POLICIES
            for right in getattr(role, policy)
        ]
        wanted = Authorization(org_id=self._organisation, permissions=permissions, description=name)
        made = self._client.authorizations_api().create_authorization(authorization=wanted)
        vault.put(role, made.token)


def _told(role: Role) -> str:
    rights = {policy: " and ".join(getattr(role, policy)) for policy in _POLICIES}
    return ", ".join(f"{right} {policy}" for policy, right in rights.items() if right)


def _client(target: Target, token: str | None, ca: Path | None) -> InfluxDBClient:
    return InfluxDBClient(target.url, token or "", org=target.org, ssl_ca_cert=str(ca) if ca else None)


@contextmanager
def _faults(target: Target) -> Iterator[None]:
    """Say every fault in one sentence of our own."""
    try:
        yield
    except InfluxDBError as error:
        status = getattr(error.response, "status", 0)
        told = f"{target}: {status} {error.message}"
        if status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise StoreUnavailable(told) from error
        advice = "; wanted the operator's token" if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN) else ""
        raise StoreError(f"{told}{advice}") from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise StoreUnavailable(f"{target}: {str(error).rpartition('>: ')[2].rstrip(')')}") from error
