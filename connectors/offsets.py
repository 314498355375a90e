"""What Connect has stored about how far the connector got, and how to make it forget that."""

from __future__ import annotations

import httpx

from connectors import config


def stored_lsn(connect_url: str) -> int | None:
    """The position up to which everything is in Kafka; None when Connect cannot say.

    The slot is told only afterwards, so it can never rightly stand beyond it.
    """
    return _furthest(connect_url, "lsn_commit", "lsn_proc")


def stored_transaction(connect_url: str) -> int | None:
    """The low 32 bits of the last transaction that was captured."""
    return _furthest(connect_url, "txId")


def _furthest(connect_url: str, *names: str) -> int | None:
    try:
        answer = httpx.get(f"{connect_url}/connectors/{config.NAME}/offsets", timeout=10)
    except httpx.TransportError:
        return None
    if answer.is_error:
        return None
    known = [
        int(entry["offset"][name])
        for entry in answer.json().get("offsets", ())
        for name in names
        if entry.get("offset") and entry["offset"].get(name) is not None
    ]
    return max(known, default=None)
