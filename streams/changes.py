"""Row changes as capture sends them: an envelope becomes a Change with its place in order.

Changes of one key are ordered by (commit LSN, streamed, LSN), never by time or arrival: a snapshot
row counts as of the snapshot's LSN and loses to a streamed one. Tombstones carry nothing and are
passed over; a truncate is passed over too, for only people may empty a table of money.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiokafka import ConsumerRecord

from streams.codec import Codec, Undecodable

log = logging.getLogger(__name__)

SNAPSHOT_ROW, DELETE = "r", "d"
ROW_OPERATIONS = frozenset({"c", "u", SNAPSHOT_ROW, DELETE})


@dataclass(frozen=True)
class Change:
    """One committed change of one row. `after` is none for a delete."""

    topic: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    # Sorts as text in the order of commits, so that Redis can compare it.
    position: str
    lsn: int
    changed_at_ms: int
    # The low 32 bits of its transaction; a snapshot row may have none.
    tx_id: int | None = None


def decode(codec: Codec, record: ConsumerRecord) -> Change | None:
    """The change in a record of a CDC topic; none for what carries no row."""
    if record.value is None:
        return None
    envelope = codec.decode(record.value, f"{record.topic}.Envelope")
    return parse(record.topic, envelope)


def parse(topic: str, envelope: Mapping[str, Any]) -> Change | None:
    """The change an envelope tells of."""
    operation = envelope.get("op")
    if operation not in ROW_OPERATIONS:
        log.warning("%s: operation %r changes no row here", topic, operation)
        return None
    try:
        source = envelope["source"]
        streamed = operation != SNAPSHOT_ROW
        commit_lsn, lsn = _place(source["lsn"], source.get("sequence"), streamed)
        row = envelope["before"] if operation == DELETE else envelope["after"]
        if row is None:
            raise Undecodable("change", f"operation {operation} without its row")
        return Change(
            topic=topic,
            before=envelope.get("before"),
            after=None if operation == DELETE else row,
            position=position(commit_lsn, streamed, lsn),
            lsn=lsn,
            changed_at_ms=int(source["ts_ms"]),
            tx_id=source.get("txId"),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise Undecodable("change", f"not an envelope of ours: {error!r}") from error


def position(commit_lsn: int, streamed: bool, lsn: int) -> str:
    """(commit LSN, streamed, LSN) as text of fixed width: log positions exceed a Lua number."""
    return f"{commit_lsn:020d}.{int(streamed)}.{lsn:020d}"


def _place(lsn: Any, sequence: str | None, streamed: bool) -> tuple[int, int]:
    """The last commit before the change, and its own place; none is known at the very start.

    A row of an incremental snapshot has no LSN of its own: Debezium's pair is that of the mark
    which closed its chunk, behind everything that the row already shows.
    """
    commit, own = (json.loads(sequence) if sequence else None) or (None, None)
    if lsn is None:
        lsn = own or 0
    elif not streamed:
        return int(lsn), int(lsn)
    return int(commit if commit is not None else lsn), int(lsn)
