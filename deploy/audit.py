"""
Asks the OSV database whether a locked package has a known vulnerability: `.venv/bin/python deploy/audit.py`.

Exit codes: 0 none, or the database cannot be reached (it says so), 1 some. Needs nothing but Python. Only names and
versions of constraints.txt leave this machine.
"""

import json
import os
import re
import sys
import urllib.request
from pathlib import Path

_LOCK = Path(__file__).parents[1] / "constraints.txt"
_DATABASE = "https://api.osv.dev"
_LOCKED = re.compile(r"^([A-Za-z0-9._-]+)==([^ \\;]+)", re.MULTILINE)
_PATIENCE = 20.0  # [s]


def locked(text: str) -> list[tuple[str, str]]:
    """Return name and version of every package of a constraints file."""
    return _LOCKED.findall(text)


def known(packages: list[tuple[str, str]], database: str) -> list[str]:
    """
    Ask for the vulnerabilities of packages, all in one call.

    Returns:
        One line for each package that has some: name, version, ids.

    Raises:
        OSError: the database cannot be reached.
        ValueError: it gives no answer for each package.
    """
    queries = [{"package": {"name": name, "ecosystem": "PyPI"}, "version": version} for name, version in packages]
    request = urllib.request.Request(  # noqa: S310 - https, or the loopback of a test
        f"{database}/v1/querybatch",
        data=json.dumps({"queries": queries}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=_PATIENCE) as answer:  # noqa: S310
        results = json.load(answer)["results"]
    return [
        f"{name} {version}: {', '.join(found['id'] for found in result['vulns'])}"
        for (name, version), result in zip(packages, results, strict=True)
        if result.get("vulns")
    ]


def main() -> int:
    """Audit the lock file; say what was found in one line each."""
    packages = locked(_LOCK.read_text("utf-8"))
    database = os.environ.get("PEAKWATCH_AUDIT_URL", _DATABASE)
    try:
        found = known(packages, database)
    except (OSError, ValueError, KeyError, TypeError) as error:
        sys.stdout.write(f"audit: {database} gives no answer ({error}); {len(packages)} packages not audited\n")
        return 0
    for line in found:
        sys.stdout.write(f"audit: {line}\n")
    sys.stdout.write(f"audit: {len(packages)} packages, {len(found)} with known vulnerabilities\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
