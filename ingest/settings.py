"""
Settings: `peakwatch.toml`, or `PEAKWATCH_*` in the environment, which wins.

Secrets never stand in the settings file: they come from the environment (`PEAKWATCH_BROKER_PASSWORD`) or from a file
of that name, in small letters, in the folder that `PEAKWATCH_SECRETS` names (`/run/secrets` in a container). It may
name several, parted as in `PATH` (`/run/secrets:/run/store`); of files of one name that of the last folder counts.
"""

import os
import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from ingest.errors import ConfigurationError, Problem
from ingest.registry import problems_of
from ingest.registry.types import Email

FILE = Path("peakwatch.toml")


Seconds = Annotated[float, Field(ge=0, le=1e11)]


class Settings(BaseSettings):
    """Every setting with its default: the embedded line on this machine, no server needed."""

    model_config = SettingsConfigDict(env_prefix="PEAKWATCH_", extra="forbid", frozen=True, hide_input_in_errors=True)

    registry: Path = Path("registry")
    store: str = "lake:./data"
    # a lake that holds what the store no longer keeps; both are read as one
    archive: Annotated[str, Field(pattern=r"^(lake:.+)?$")] = ""
    broker: str = "embedded"
    mail: str = "file:./outbox"
    engine: Literal["local"] = "local"

    client_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")] = "peakwatch-collector"
    quarantine_mib_per_facility: Annotated[int, Field(ge=1)] = 64
    # how far the time of a reading may lie after and before its receipt; what waits in the broker grows older [s]
    ahead_s: Seconds = 600.0
    behind_s: Seconds | None = None
    sender: Email = "peakwatch@example.org"
    # rules, limits and factors the operator has checked: their ids and codes, and factor:CARRIER
    confirmed: tuple[str, ...] = ()

    store_token: SecretStr | None = None
    store_password: SecretStr | None = None
    store_ca: Path | None = None
    # of the jobs alone: the folder `facilities` of the secrets of `store init --facility`; what is in it is kept filled
    facility_secrets: Path | None = None
    # of `peakwatch store init` alone
    store_admin_user: str = ""
    store_admin_token: SecretStr | None = None
    store_admin_password: SecretStr | None = None
    # of `peakwatch copy` alone: for the store that is not that of the settings
    copy_token: SecretStr | None = None
    copy_password: SecretStr | None = None
    broker_user: str = ""
    broker_password: SecretStr | None = None
    broker_ca: Path | None = None
    mail_user: str = ""
    mail_password: SecretStr | None = None
    mail_ca: Path | None = None
    grafana_token: SecretStr | None = None
    # of `peakwatch grafana users` alone: who may make organisations and users
    grafana_admin_user: str = "admin"
    grafana_admin_password: SecretStr | None = None
    grafana_ca: Path | None = None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment before secret files before the settings file (which arrives as the initial values)."""
        del settings_cls, dotenv_settings
        return env_settings, file_secret_settings, init_settings


def load(file: Path | None) -> Settings:
    """
    Read the settings.

    Args:
        file: the settings file; None for `peakwatch.toml` in the working directory, where there is one.

    Raises:
        ConfigurationError: with all problems of the file and the environment.
    """
    path = file or FILE
    values = _read(path) if file or path.exists() else {}
    secrets = [key for key in values if key.endswith(("_password", "_token"))]
    if secrets:
        wanted = "it in the environment or in a file of the folder PEAKWATCH_SECRETS names, never in the settings file"
        raise ConfigurationError([Problem(f"{path}: {key}", "a secret", wanted) for key in secrets])
    return _made(values, f"settings ({path} or PEAKWATCH_*)")


def of_environment() -> Settings:
    """
    Read the settings of the environment and the secret files alone, whatever settings file there is.

    Raises:
        ConfigurationError: with all problems of the environment.
    """
    return _made({}, "settings (PEAKWATCH_*)")


def _made(values: dict[str, object], where: str) -> Settings:
    folders = [folder for folder in os.environ.get("PEAKWATCH_SECRETS", "").split(os.pathsep) if folder]
    try:
        return Settings(_secrets_dir=folders, **values)  # type: ignore[arg-type]
    except ValidationError as error:
        raise ConfigurationError(list(problems_of(error, where, model=Settings))) from None


def _read(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError([Problem(str(path), str(error), "a readable TOML file in UTF-8")]) from None
