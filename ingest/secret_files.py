"""
Files with a secret: written whole or not at all, and read by nobody they are not meant for.

A file has mode 600 and belongs to whoever owns its folder, also when root writes it: a container reads only what its
own user owns. A folder that hands its group down and lets it read (mode 2750) does so with the file: a service of
another user comes to its own secret that way, and by no other.
"""

import os
from pathlib import Path
from stat import S_ISGID
from tempfile import mkstemp

_FILE, _GROUP = 0o600, 0o040
_SHARED = S_ISGID | _GROUP


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
        if folder.st_mode & _SHARED == _SHARED:
            Path(part).chmod(_FILE | _GROUP)
        Path(part).replace(path)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise
