"""Secret files (`ingest.secret_files`) in folders that only their owner can enter; every fault in one sentence."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ingest import secret_files
from ingest.errors import ConfigurationError, Problem

_FOLDER, _FILE = 0o700, 0o600
_OTHERS = 0o077


def folder(path: Path) -> None:
    """
    Make a folder that only its owner can enter; one that is there has to be so already.

    Raises:
        ConfigurationError: others can enter it, or it cannot be made.
    """
    with explained(path):
        if not path.parent.exists():
            folder(path.parent)
        path.mkdir(mode=_FOLDER, exist_ok=True)
    own(path)


def own(path: Path) -> None:
    """
    See that nobody but its owner can use a file or a folder.

    Raises:
        ConfigurationError: others can.
    """
    with explained(path):
        mode = path.stat().st_mode & 0o777
    if mode & _OTHERS:
        wanted = f"nobody but its owner (chmod {_FOLDER if path.is_dir() else _FILE:o} {path})"
        raise ConfigurationError([Problem(str(path), f"mode {mode:o}, so others can use it", wanted)])


def write(path: Path, content: str) -> None:
    """
    Write a file whole or not at all, for the owner of its folder alone.

    Raises:
        ConfigurationError: it cannot be written.
    """
    with explained(path):
        secret_files.write(path, content)


def read(path: Path) -> str:
    """
    Read a file.

    Raises:
        ConfigurationError: it cannot be read.
    """
    with explained(path):
        return path.read_text("utf-8")


def keep(files: Mapping[Path, str]) -> None:
    """Write files that belong together; the folders of all of them exist before the first is written."""
    for path in files:
        folder(path.parent)
    for path, content in files.items():
        write(path, content)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Say in one sentence which file the system refused, and why."""
    try:
        yield
    except UnicodeDecodeError:
        raise ConfigurationError([Problem(str(path), "bytes that are no text", "a text file")]) from None
    except OSError as error:
        wanted = "a file or folder that you may read and write"
        raise ConfigurationError([Problem(str(path), error.strerror or str(error), wanted)]) from None
