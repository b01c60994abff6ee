"""
Files with a secret: written whole or not at all, and read by nobody they are not meant for.

A file has mode 600 and belongs to whoever owns its folder, also when root writes it: a container reads only what its
own user owns. Where the group of its folder may read there, it may read the file too: a folder of mode 2750 hands its
group down, so a service of another user comes to its own secret.
"""

import os
from pathlib import Path
from tempfile import mkstemp

_FILE, _GROUP = 0o600, 0o040


def write(path: Path, secret: str) -> None:
    """
    Write a file, safe on disk; a crash leaves the old one or the new one.

    Raises:
        OSError: it cannot be written.
    """
    handle, part = mkstemp(dir=path.parent, prefix=".part-")  # mode 600
    try:
        folder = path.parent.stat()
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(secret)
            file.flush()
            os.fsync(file.fileno())
        if os.geteuid() == 0:
            os.chown(part, folder.st_uid, folder.st_gid)
        Path(part).chmod(_FILE | folder.st_mode & _GROUP)
        Path(part).replace(path)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise
