"""Makes the next items in a thread while the present ones are worked on: texts are tokenised while others are rated."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from typing import TypeVar

Item = TypeVar("Item")
ITEMS_AHEAD = 16
"""Batches: seconds of rating on any device, where a chunk of some thousand texts is tokenised in about one."""
STOP_SECONDS = 0.2


def ahead(items: Iterator[Item], num_ahead: int = ITEMS_AHEAD) -> Generator[Item, None, None]:
    """The same items in the same order. The thread starts with the first that is asked for, so that processes that are
    forked before have none, and ends when this iterator is closed.

    Raises: what the making of an item raises, where that item would have come.
    """
    made: queue.Queue[tuple[Item | None, BaseException | None]] = queue.Queue(num_ahead)
    stop = threading.Event()

    def put(item: Item | None, error: BaseException | None = None) -> None:
        while not stop.is_set():
            try:
                made.put((item, error), timeout=STOP_SECONDS)
                return
            except queue.Full:
                continue

    def make() -> None:
        try:
            for item in items:
                put(item)
                if stop.is_set():
                    return
            put(None)
        except BaseException as error:
            put(None, error)

    thread = threading.Thread(target=make, daemon=True)
    thread.start()
    try:
        while True:
            item, error = made.get()
            if error is not None:
                raise error
            if item is None:
                return
            yield item
    finally:
        stop.set()
        thread.join()
