"""Where shares are worked on: a few at once, in order, and none begun after one has failed."""

import threading

import pytest

from pipelines.jobs import engine


def test_what_comes_back_is_in_the_order_of_the_shares() -> None:
    first_waits = threading.Event()

    def work(share: int) -> int:
        if share == 0:
            first_waits.wait(5)
        first_waits.set()
        return share * 2

    assert engine.run(work, range(7)) == [0, 2, 4, 6, 8, 10, 12]
    assert engine.run(work, []) == []


def test_no_more_are_under_way_than_fit_into_memory() -> None:
    lock, now, most = threading.Lock(), [0], [0]

    def work(_: int) -> None:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        threading.Event().wait(0.01)
        with lock:
            now[0] -= 1

    engine.run(work, range(10))
    assert most == [engine.AT_ONCE]


def test_a_failure_is_raised_after_the_shares_under_way_and_those_that_wait_are_given_up() -> None:
    begun, ended = [], []

    def work(share: int) -> None:
        begun.append(share)
        if share == 1:
            raise ValueError(f"share {share}")
        threading.Event().wait(0.05)
        ended.append(share)

    with pytest.raises(ValueError, match="share 1"):
        engine.run(work, range(100))
    assert sorted(ended) == sorted(set(begun) - {1})
    assert len(begun) < 100
