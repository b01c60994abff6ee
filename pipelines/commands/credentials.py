"""
The commands of the credentials: `init` makes all secrets of the stack, `device` those of a facility's devices.

The clock comes with the call (`ctx.obj`): only cli.py reads it. No secret is shown unless `--show` asks for it.
"""

import ipaddress
import re
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ingest import registry as registries
from ingest import settings as all_settings
from ingest.errors import ConfigurationError, Problem
from pipelines.credentials import devices, stack

app = typer.Typer()
device = typer.Typer(no_args_is_help=True, help="The credentials of the facilities' devices.")
app.add_typer(device, name="device")
out = Console(emoji=False, soft_wrap=True)

ConfigFile = Annotated[Path | None, typer.Option("--config", help="Settings file; default: peakwatch.toml, if there.")]
Folder = Annotated[Path, typer.Option("--folder", help="The folder of secrets, made by `peakwatch init`.")]

_HOST = re.compile(
    r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*|[0-9a-f:]+:[0-9a-f.]*"
)
_SECRETS = Path("secrets")
_FOLLOWS = (
    "The broker follows at SIGHUP: docker compose exec mosquitto sh -c 'kill -HUP 1'. "
    "A revoked password ends its connections at once; a connection that stands on a revoked certificate lasts until "
    "the broker starts again: docker compose restart mosquitto."
)


@app.command()
def init(
    ctx: typer.Context,
    folder: Annotated[Path, typer.Option(help="Where the secrets lie.")] = _SECRETS,
    hosts: Annotated[
        list[str] | None, typer.Option("--host", help="Name or address devices and people reach the servers by.")
    ] = None,
) -> None:
    """Make all secrets and certificates of the stack as files; what is there is kept."""
    if wrong := [host for host in hosts or () if not _is_host(host)]:
        wanted = "a host name or an address, e.g. broker.example.org"
        raise ConfigurationError([Problem("--host", repr(host), wanted) for host in wrong])
    kept = stack.make(folder, [host.lower() for host in hosts or ()], ctx.obj())
    for one in kept:
        said = f"{'made ' if one.made else 'found'}  {one.path}" + (f"  ({one.note})" if one.note else "")
        out.print(said, highlight=False, markup=False)
    made = sum(one.made for one in kept)
    out.print(f"{made} files and folders made, {len(kept) - made} found and kept as they were", highlight=False)


@device.command("add")
def add(
    ctx: typer.Context,
    facility: Annotated[str, typer.Argument(help="Id of the facility, as in the registry.")],
    *,
    certificate: Annotated[
        bool, typer.Option("--certificate", help="A client certificate in place of a password.")
    ] = False,
    show: Annotated[bool, typer.Option("--show", help="Show the password once, and write it nowhere.")] = False,
    folder: Folder = _SECRETS,
    config: ConfigFile = None,
) -> None:
    """Make a password for the devices of a facility, or a certificate for one of them."""
    if certificate and show:
        raise ConfigurationError([Problem("--show", "it together with --certificate", "one of them: keys are files")])
    known = registries.load(all_settings.load(config).registry).facilities
    if certificate:
        place = devices.add_certificate(folder, facility, ctx.obj(), facilities=known)
        out.print(f"{place}: certificate and key of a device of {facility}, for port 8884", highlight=False)
        return
    password = devices.add_password(folder, facility, facilities=known)
    if show:
        typer.echo(password)
    else:
        out.print(
            f"{devices.carry(folder, facility, password)}: password of {facility}, for port 8883", highlight=False
        )
    typer.echo("The broker lets it in after SIGHUP: docker compose exec mosquitto sh -c 'kill -HUP 1'", err=True)


@device.command("revoke")
def revoke(
    ctx: typer.Context,
    facility: Annotated[str, typer.Argument(help="As `list` shows it, in the registry or not.")],
    folder: Folder = _SECRETS,
) -> None:
    """Take back the password and every certificate of a facility's devices."""
    had = devices.revoke(folder, facility, ctx.obj())
    serials = sum(not revoked for _, _, revoked in had.certificates)
    out.print(f"{facility}: revoked {int(had.password)} password, {serials} certificates", highlight=False)
    out.print(_FOLLOWS, highlight=False)


@device.command("list")
def list_devices(folder: Folder = _SECRETS) -> None:
    """List which facilities' devices may come in, and with what."""
    for one in devices.listed(folder):
        out.print(f"{one.facility}: {'a password' if one.password else 'no password'}", highlight=False)
        for serial, ends, revoked in one.certificates:
            state = "revoked" if revoked else f"valid until {ends:%Y-%m-%d}"
            out.print(f"    certificate {serial:040x} {state}", highlight=False)


def _is_host(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return _HOST.fullmatch(text) is not None
    return True
