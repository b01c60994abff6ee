"""
A collector as the commands run it: its quarantine bounded, its counts kept in the store and told to Prometheus.

    subscription -> Collector -> Watched -> Bounded -> store
                        |           |          |
                        +-----------+----------+--> counts -> Ledger, metrics
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import datetime, timedelta

from prometheus_client.core import Metric

from ingest.collect.collector import Collector
from ingest.collect.ledger import Ledger
from ingest.collect.metrics import Count, Watched, families, serving
from ingest.collect.quarantine import Bounded
from ingest.collect.subscription import Subscription
from ingest.screen import EVER
from ingest.settings import Settings
from pipelines.jobs.context import Context


@contextmanager
def collector(
    settings: Settings,
    context: Context,
    subscription: Subscription,
    *,
    clock: Callable[[], datetime],
    group: str,
    metrics: str,
) -> Iterator[Collector]:
    """
    Make a collector whose counts are kept while the context lasts.

    Args:
        settings: name of the collector and allowance of the quarantine.
        context: store and registry.
        subscription: where messages come from; its context is the caller's.
        clock: tells the time.
        group: the collectors that share the messages; empty where this one gets all.
        metrics: where metrics are served, PORT or HOST:PORT; nowhere where it is empty.

    Raises:
        ConfigurationError: the metrics cannot be served there.
        StoreError: the store cannot be read.
    """
    mib = settings.quarantine_mib_per_facility
    bounded = Bounded(context.store, context.registry.facilities, mib=mib, at=clock())
    store = Watched(bounded)
    ahead, behind = (
        EVER if span is None else timedelta(seconds=span) for span in (settings.ahead_s, settings.behind_s)
    )
    one = Collector(store, context.registry, subscription, ahead=ahead, behind=behind)
    shared = bool(group)

    def count() -> Count:
        return Count(one.tally, one.gateways, bounded.overflow)

    def told() -> Iterable[Metric]:
        return families(count(), dict(store.newest), seconds=store.seconds, shared=shared)

    with (
        serving(metrics, told) if metrics else nullcontext(),
        Ledger(context.store, settings.client_id, count, clock=clock, shared=shared),
    ):
        yield one
