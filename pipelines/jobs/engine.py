"""
Where the shares of a job run: here, a few at once.

Polars and the stores let go of Python's lock while they work: one share is computed while another is read or written.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

Share = TypeVar("Share")
Result = TypeVar("Result")

# shares in memory at the same time, whatever the number of cores: each holds about a gigabyte
AT_ONCE = 2

# kept from one turn to the next: new threads would not use again the memory that the last ones left
_THREADS = ThreadPoolExecutor(AT_ONCE)


def run(work: Callable[[Share], Result], shares: Iterable[Share]) -> list[Result]:
    """
    Work on shares that do not depend on each other.

    Args:
        work: called once for each, from several threads; works on no shares itself.
        shares: what to work on.

    Returns:
        What `work` returned, in the order of the shares. What it raises is raised here, after the shares under way;
        those that wait are given up.
    """
    each = [_THREADS.submit(work, share) for share in shares]
    try:
        wait(each, return_when=FIRST_EXCEPTION)
    finally:
        for waiting in each:
            waiting.cancel()
    wait(each)
    return [done.result() for done in each]
