"""Something that goes on beside a test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event


@contextmanager
def beside(*acts: Callable[[], object], every_s: float = 0.0) -> Iterator[None]:
    """Each act again and again, in a thread of its own, until the block ends.

    What an act raises ends it, and is raised again when the block has ended well.
    """
    stop = Event()

    def go_on(act: Callable[[], object]) -> None:
        while not stop.wait(every_s):
            act()

    with ThreadPoolExecutor(len(acts)) as pool:
        going = [pool.submit(go_on, act) for act in acts]
        try:
            yield
        finally:
            stop.set()
    for each in going:
        each.result()
