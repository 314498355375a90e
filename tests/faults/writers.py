"""Threads that write as long as a block runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

STOP_WITHIN_S = 90


@contextmanager
def writing(write: Callable[[threading.Event, int], None], writers: int) -> Iterator[None]:
    """So many of them, each with its number, until the end of the block sets the event."""
    over = threading.Event()
    threads = [threading.Thread(target=write, args=(over, n), daemon=True) for n in range(writers)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join(timeout=STOP_WITHIN_S)
