"""A store from its URL: `lake:PATH`."""

from pathlib import Path

from ingest.errors import ConfigurationError, Problem
from ingest.store.base import Store
from ingest.store.lake import Lake


def parse(url: str) -> Path:
    """
    Read the folder out of `lake:./data` (relative or absolute); touches no disk.

    Raises:
        ConfigurationError: the URL names no store.
    """
    scheme, _, folder = url.partition(":")
    if scheme != "lake" or not folder:
        raise ConfigurationError([Problem("setting store", repr(url), "lake:PATH, e.g. lake:./data")])
    return Path(folder)


def connect(url: str) -> Store:
    """
    Open the store a URL names.

    Raises:
        ConfigurationError: the URL names no store.
        StoreUnavailable: the store cannot be opened.
    """
    return Lake(parse(url))
