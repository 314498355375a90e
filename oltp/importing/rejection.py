"""A row that was left out: where it stands, which value broke which rule."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rejection:
    """`shown` is the value, masked when its column is personal; `original` the row's bytes."""

    file: str
    line: int
    column: str
    rule: str
    reason: str
    shown: str | None = None
    table: str | None = None
    original: bytes | None = None

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}"
        of = f" ({self.table})" if self.table else ""
        value = f"{self.shown!r} " if self.shown is not None else ""
        return f"{where}: {value}{self.reason}{of} [{self.rule}]"


def masked(text: str) -> str:
    """What may be shown of a personal value: that it was there, and how long."""
    return f"*** ({len(text)} characters)"
