"""From the settings to what a command works with: store, registry, catalogues, the way out for mail."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import structlog
from pydantic import SecretStr

from ingest import registry as registries
from ingest import settings as all_settings
from ingest.settings import Settings
from ingest.store import own as own_stores
from ingest.store.connect import opened
from pipelines.factors import catalogue as factor_catalogue
from pipelines.factors.catalogue import Factors
from pipelines.jobs import own
from pipelines.jobs.context import Context, Job
from pipelines.notify.mail import Mailer
from pipelines.notify.mail import connect as connect_mail
from rules import catalogue as rule_catalogue
from rules.catalogue import Catalogue

log = structlog.get_logger()


@contextmanager
def world(config: Path | None) -> Iterator[tuple[Settings, Context]]:
    """Build what the jobs need from the settings, and let go of it at the end."""
    settings = all_settings.load(config)
    registry = registries.load(settings.registry)
    catalogue, factors = catalogues(settings)
    outgoing = mailer(settings)
    with closing(opened(settings)) as store:
        yield settings, Context(store, registry, factors, catalogue, outgoing, settings.sender)


def copies(settings: Settings, context: Context) -> list[Job]:
    """
    Make the jobs that fill the databases of single facilities, where there are such.

    Raises:
        ConfigurationError: they are named and the store has none.
    """
    named = own_stores.facilities(settings)
    for facility in named:
        if facility not in context.registry.facilities:
            log.warning("no copy: the registry does not name the facility", facility=facility)
    known = [facility for facility in named if facility in context.registry.facilities]
    return [own.job(facility, partial(own_stores.opened, settings, facility)) for facility in known]


def catalogues(settings: Settings) -> tuple[Catalogue, Factors]:
    """Read rules and factors, with what the operator has confirmed of them."""
    carriers = [name.removeprefix("factor:") for name in settings.confirmed if name.startswith("factor:")]
    rules = [name for name in settings.confirmed if not name.startswith("factor:")]
    return rule_catalogue.load(rules), factor_catalogue.load(carriers)


def mailer(settings: Settings) -> Mailer:
    """Make the way out for mail."""
    password = secret(settings.mail_password)
    return connect_mail(settings.mail, user=settings.mail_user, password=password, ca=settings.mail_ca)


def secret(value: SecretStr | None) -> str | None:
    """Unwrap a secret where it is handed to an adapter."""
    return None if value is None else value.get_secret_value()
