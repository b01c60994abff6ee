"""What waits to be taken: bounded in messages and bytes, in order, and nobody waits for ever."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.collect.inbox import Arrival, Inbox


def arrival(number: int, size: int = 1) -> Arrival:
    return Arrival(str(number), b"x" * size, retained=False, connection=1, mid=number)


def putting(inbox: Inbox, arrivals: list[Arrival]) -> threading.Thread:
    thread = threading.Thread(target=lambda: [inbox.put(one) for one in arrivals])
    thread.start()
    return thread


@given(st.lists(st.integers(0, 50), max_size=40), st.integers(1, 8), st.integers(1, 100), st.integers(1, 12))
def test_all_come_out_once_and_in_order_and_never_more_than_fit(sizes, messages, size, limit):
    inbox = Inbox(messages=messages, size=size)
    sent = [arrival(number, many) for number, many in enumerate(sizes)]
    thread = putting(inbox, sent)
    taken: list[Arrival] = []
    while len(taken) < len(sent):
        hand = inbox.take(limit, 0.01)
        # the message that fills it may be larger than what was left
        assert sum(len(one.payload) for one in hand[:-1]) < size
        assert len(hand) <= min(limit, messages)
        taken += hand
    thread.join()
    assert taken == sent
    assert inbox.take(1, 0.0) == []


@pytest.mark.parametrize("bounds", [{"messages": 3, "size": 1000}, {"messages": 1000, "size": 3}])
def test_full_it_lets_nobody_put_until_some_is_taken(bounds):
    inbox = Inbox(**bounds)
    thread = putting(inbox, [arrival(number) for number in range(5)])
    thread.join(0.2)
    assert thread.is_alive()
    assert len(inbox.take(10, 5.0)) == 3
    thread.join(5)
    assert not thread.is_alive()
    assert len(inbox.take(10, 0.0)) == 2


def test_closed_it_lets_nobody_wait_and_takes_nothing_in():
    inbox = Inbox(messages=1, size=1000)
    thread = putting(inbox, [arrival(0), arrival(1)])
    inbox.close()
    thread.join(5)
    assert not thread.is_alive()
    assert inbox.take(10, 60.0) in ([arrival(0)], [])
    assert inbox.take(10, 60.0) == []
