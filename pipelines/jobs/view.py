"""
View: what a reader of the store needs that has no registry and folds no events, as Grafana.

    registry          -> facilities     what each one is called, where it lies, who is obliged
    readings, ...     -> connections    who is connected and on-line at this moment
    breach_events     -> breaches       how each breach stands

Everything here is derived: it can be lost and made again, and the same state makes the same rows.
"""

from datetime import UTC, datetime, timedelta

import polars as pl

from ingest.model import Period
from ingest.registry import Registry
from ingest.schema import BREACH_EVENTS, BREACHES, CONNECTIONS, FACILITIES, GATEWAYS
from ingest.store.base import Store
from pipelines.jobs import connected
from pipelines.jobs.context import Context, Done
from rules import lifecycle
from rules.catalogue import Catalogue

# a facility is on-line while its newest reading is no older than this, or than twice its slowest meter's period
_RECENT = timedelta(hours=1)


def due(context: Context, news: Period, at: datetime) -> Done:
    """
    Write all three tables as they stand at a moment.

    Returns:
        Rows written or changed.
    """
    del news
    store, registry = context.store, context.registry
    history = store.read(BREACH_EVENTS.name, facility=list(registry.facilities))
    written = [
        store.write(FACILITIES.name, facilities(registry, store.read(FACILITIES.name), at)),
        store.write(CONNECTIONS.name, connections(store, registry, at)),
        store.write(BREACHES.name, breaches(history, registry, context.catalogue)),
    ]
    return Done(sum(written))


def facilities(registry: Registry, stored: pl.DataFrame, at: datetime) -> pl.DataFrame:
    """
    Say what the registry says, and of what is stored which facilities it names no more.

    Args:
        registry: all facilities.
        stored: FACILITIES rows, as an earlier turn wrote them.
        at: now.

    Returns:
        FACILITIES rows.
    """
    named = _named(registry).with_columns(
        *(pl.format("{} ({})", f"name_{language}", "facility").alias(f"label_{language}") for language in ("zh", "en")),
        registered=pl.lit(1, pl.Int64),
    )
    gone = stored.join(named, on="facility", how="anti").with_columns(registered=pl.lit(0, pl.Int64))
    now = pl.lit(at.astimezone(UTC), FACILITIES.schema["since"])
    return pl.concat(rows.with_columns(since=now).select(FACILITIES.schema.names()) for rows in (named, gone))


def connections(store: Store, registry: Registry, at: datetime) -> pl.DataFrame:
    """
    Say who is connected and on-line.

    Args:
        store: holds the readings, the gateways and the coverage of yesterday.
        registry: all facilities.
        at: now.

    Returns:
        CONNECTIONS rows, one a facility.
    """
    periods = registry.meters.group_by("facility").agg(period=pl.max("period"))
    heard = (
        connected.gateways(store.read(GATEWAYS.name))
        .group_by("facility")
        .agg(gateways=pl.len().cast(pl.Int64), gateways_offline=(pl.col("state") == "offline").sum().cast(pl.Int64))
    )
    age = pl.duration(microseconds=pl.col("lag") * 1e6)
    return (
        _named(registry)
        .join(connected.facilities(store, registry, at), on="facility", how="left")
        .join(periods, on="facility", how="left")
        .join(heard, on="facility", how="left")
        .with_columns(
            pl.col("gateways", "gateways_offline").fill_null(0),
            at=pl.lit(at.astimezone(UTC), CONNECTIONS.schema["at"]),
            connected=pl.col("newest").is_not_null().cast(pl.Int64),
            online=(age <= pl.max_horizontal(pl.col("period") * 2, pl.lit(_RECENT)))
            .fill_null(value=False)
            .cast(pl.Int64),
        )
        .select(CONNECTIONS.schema.names())
    )


def breaches(history: pl.DataFrame, registry: Registry, catalogue: Catalogue) -> pl.DataFrame:
    """
    Say how each breach stands.

    Args:
        history: BREACH_EVENTS rows of the registry's facilities, all of them.
        registry: names the facilities.
        catalogue: names the rules.

    Returns:
        BREACHES rows.
    """
    titles = pl.DataFrame(
        [(rule.id, rule.title.zh, rule.title.en) for rule in catalogue.rules.values()],
        schema=dict.fromkeys(("rule", "title_zh", "title_en"), pl.String),
        orient="row",
    )
    return (
        lifecycle.standing(history)
        .rename({"at": "opened"})
        .join(_named(registry), on="facility")
        .join(titles, on="rule", how="left")
        .with_columns(pl.col("title_zh", "title_en").fill_null(pl.col("rule")))
        .select(BREACHES.schema.names())
    )


def _named(registry: Registry) -> pl.DataFrame:
    """One row a facility: facility, name_zh, name_en, kind, division, industry, key_energy_user (1 or 0)."""
    names = pl.DataFrame(
        [(one.id, one.name.zh, one.name.en) for one in registry.facilities.values()],
        schema=dict.fromkeys(("facility", "name_zh", "name_en"), pl.String),
        orient="row",
    )
    facts = registry.facts.select("facility", "kind", "division", "industry", pl.col("key_energy_user").cast(pl.Int64))
    return names.join(facts, on="facility")
