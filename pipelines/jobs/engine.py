"""
Where the shares of a job run: here, a few at once.

Polars and the stores let go of Python's lock while they work: one share is computed while another is read or written.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Share = TypeVar("Share")
Result = TypeVar("Result")

# shares in memory at the same time, whatever the number of cores: each holds about a gigabyte
AT_ONCE = 2


def run(work: Callable[[Share], Result], shares: Iterable[Share]) -> list[Result]:
    """
    Work on shares that do not depend on each other.

    Args:
        work: called once for each, from several threads.
        shares: what to work on.

    Returns:
        What `work` returned, in the order of the shares. What it raises is raised here, after the shares under way.
    """
    with ThreadPoolExecutor(AT_ONCE) as threads:
        return list(threads.map(work, shares))
