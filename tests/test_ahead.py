from __future__ import annotations

import threading
import time

import pytest

from selectit.inference.ahead import ahead


def test_items_come_in_their_order_and_are_made_while_others_are_worked_on():
    made: list[int] = []

    def counted():
        for number in range(8):
            made.append(number)
            yield number

    found = []
    for item in ahead(counted()):
        patience = time.monotonic() + 10
        while len(made) < min(item + 2, 8):  # the next one is made though nobody has asked for it
            assert time.monotonic() < patience
            time.sleep(0.001)
        found.append(item)
    assert found == list(range(8))


def test_no_more_are_made_than_asked_for_and_a_closed_iterator_leaves_no_thread():
    made, before = [], threading.active_count()

    def counted():
        for number in range(1000):
            made.append(number)
            yield number

    items = ahead(counted(), num_ahead=3)
    assert threading.active_count() == before  # processes that are forked now have no thread
    assert next(items) == 0
    time.sleep(0.1)
    assert len(made) <= 6
    items.close()
    assert threading.active_count() == before


def test_an_error_comes_where_its_item_would_have():
    def fails():
        yield from (1, 2)
        raise ValueError("no third")

    items, found = ahead(fails()), []
    with pytest.raises(ValueError, match="no third"):
        for item in items:
            found.append(item)
    assert found == [1, 2]
