"""
The place of an operator in Grafana: an organisation that knows the facility's own database and nothing else.

    organisation -> data source, with the token of that database -> dashboards -> a viewer of that organisation alone

A viewer can send any statement to the data sources of its organisation, so the database has to hold no row of others.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from ingest.errors import ConfigurationError, GrafanaError, Problem
from ingest.registry.facility import Facility
from ingest.store.connect import of_facility, parse
from ingest.store.influx.setup import GRAFANA, Vault, secrets_of
from ingest.store.influx.target import Target
from pipelines.credentials import files, passwords
from pipelines.grafana.session import Json, Session, Step, done, out

# the others ask for rows that no facility has, or compare facilities
BOARDS = ("facility", "data-centre", "breaches")

_ROLE = "Viewer"


class Server(NamedTuple):
    """Where Grafana is, and its administrator's login; see `Session`."""

    url: str
    login: tuple[str, str]
    ca: Path | None


@dataclass(frozen=True, slots=True)
class Place:
    """
    What the operator of one facility (用能单位) is to have.

    Attributes:
        facility: its id: name of the organisation, and login of the viewer.
        name: of the facility, shown beside the login.
        source: the data source.
        password: file for the viewer's password.
    """

    facility: str
    name: str
    source: Step
    password: Path


def place(facility: Facility, secrets: Path, store: str, ca: Path | None) -> Place:
    """
    Say what an operator is to have; speaks to nobody.

    Args:
        facility: whose operator.
        secrets: folder of `peakwatch store init --facility`.
        store: URL of the store of all facilities, as Grafana reaches it.
        ca: certificates of the authorities Grafana is to trust at the store.

    Raises:
        ConfigurationError: the store is a lake, or the facility's database has no secret yet.
    """
    target = parse(of_facility(store, facility.id))
    if not isinstance(target, Target):
        raise ConfigurationError([Problem("setting store", repr(store), "an InfluxDB; Grafana reads no lake")])
    folder = secrets_of(secrets, facility.id)
    token, password = Vault(folder, "token").get(GRAFANA), Vault(folder, "password").get(GRAFANA)
    if token is not None:
        secret = {"httpHeaderValue1": f"Token {token}"}
    elif password is not None:
        secret = {"password": password}
    else:
        made = f"what `peakwatch store init --facility {facility.id} --secrets {secrets}` makes"
        raise ConfigurationError([Problem(str(folder / GRAFANA.name), "no secret", made)])
    if ca is not None:
        secret["tlsCACert"] = files.read(ca)
    return Place(facility.id, facility.name.zh, _source(target, secret), folder / "viewer_password")


def give(server: Server, place: Place, steps: Sequence[Step], *, dry_run: bool) -> int:
    """
    Bring a place about; what is there already stays.

    Args:
        server: with the login of an administrator of all Grafana.
        place: of the operator.
        steps: dashboards and their folders.
        dry_run: only show what would be done.

    Returns:
        How many things were, or would be, new or changed.

    Raises:
        GrafanaError: it refused, or the viewer there can see more than this organisation.
        GrafanaUnavailable: it cannot be reached.
    """
    session, name = Session(*server), {"name": place.facility}
    route = f"/orgs/name/{quote(place.facility, safe='')}"
    organisation = Step(f"organisation {place.facility}", route, name, ("POST", "/orgs", name))
    changed = int(done(session, organisation, dry_run=dry_run))
    found = session.read(route)
    number = None if found is None else int(found["id"])
    within = None if number is None else Session(*server, organisation=number)
    changed += sum(done(within, step, dry_run=dry_run) for step in (place.source, *steps))
    return changed + _viewer(session, place, number, dry_run=dry_run)


def _source(target: Target, secret: dict[str, str]) -> Step:
    """
    Make the step of the data source.

    Grafana never tells a secret again: by the digest of the secrets, which are random, a new one is found to differ.
    """
    digest = hashlib.sha256(json.dumps(secret, sort_keys=True).encode()).hexdigest()[:16]
    details: Json = {"version": "InfluxQL", "dbName": target.database, "httpMode": "POST", "peakwatchDigest": digest}
    if "tlsCACert" in secret:
        details["tlsAuthWithCACert"] = True
    if "httpHeaderValue1" in secret:
        details["httpHeaderName1"] = "Authorization"
    wanted: Json = {
        "name": "PeakWatch",
        "uid": "peakwatch",
        "type": "influxdb",
        "access": "proxy",
        "url": target.url,
        # read here by Grafana before 10, in jsonData by newer ones
        "database": target.database,
        "user": GRAFANA.login(target.database) if "password" in secret else "",
        "isDefault": True,
        "jsonData": details,
    }
    body, route = wanted | {"secureJsonData": secret}, "/datasources/uid/peakwatch"
    what = f"data source of {target.database}"
    return Step(what, route, wanted, ("POST", "/datasources", body), ("PUT", route, body))


def _viewer(session: Session, place: Place, organisation: int | None, *, dry_run: bool) -> bool:
    """Make the login where it is not there, and see that it can see one organisation only."""
    route = f"/users/lookup?loginOrEmail={quote(place.facility, safe='')}"
    found = session.read(route)
    missing = found is None
    if missing:
        said = f"+ viewer {place.facility}, password in {place.password}"
        out.print(said, highlight=False, markup=False, soft_wrap=True)
        if dry_run:
            return True
        # the file first: a login whose password is nowhere is of no use
        if not place.password.exists():
            files.write(place.password, passwords.drawn())
        login = {"name": place.name, "login": place.facility, "OrgId": organisation}
        session.send("POST", "/admin/users", login | {"password": files.read(place.password)})
        found = session.read(route)
    _alone(session, place.facility, found, organisation)
    return missing


def _alone(session: Session, login: str, found: Json, organisation: int | None) -> None:
    sees = {(one["orgId"], one["role"]) for one in session.read(f"/users/{found['id']}/orgs") or []}
    if sees != {(organisation, _ROLE)} or found.get("isGrafanaAdmin"):
        told = ", ".join(f"{role} of organisation {number}" for number, role in sorted(sees)) or "of no organisation"
        told += ", administrator of all Grafana" if found.get("isGrafanaAdmin") else ""
        wanted = f"{_ROLE} of organisation {organisation or login} alone: change it in Grafana, or remove the login"
        raise GrafanaError(f"Grafana, login {login}: found {told}; wanted {wanted}")
