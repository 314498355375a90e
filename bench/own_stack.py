"""A stack that a benchmark has for itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from millrace.stack import Stack


@contextmanager
def own_stack(*parts: str) -> Iterator[Stack]:
    """These parts, with what they need, in a folder that is gone afterwards with all of them."""
    home = Path(mkdtemp(prefix="millrace-bench-"))
    # Postgres does not run as root, and has to get in.
    home.chmod(0o755)
    stack = Stack(home)
    try:
        stack.up(parts)
        yield stack
    finally:
        stack.down(purge=True)
