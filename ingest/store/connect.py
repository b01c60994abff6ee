"""A store from its URL: `lake:PATH`."""

from pathlib import Path

from ingest.errors import ConfigurationError, Problem
from ingest.store.base import Store
from ingest.store.lake import Lake


def connect(url: str) -> Store:
    """
    Open the store a URL names.

    Args:
        url: `lake:./data` (relative or absolute folder).

    Raises:
        ConfigurationError: the URL names no store.
        StoreUnavailable: the store cannot be opened.
    """
    scheme, _, rest = url.partition(":")
    if scheme == "lake" and rest:
        return Lake(Path(rest))
    raise ConfigurationError([Problem("setting store", repr(url), "lake:PATH, e.g. lake:./data")])
