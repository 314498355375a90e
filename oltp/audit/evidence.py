"""Questions to the database that tell one kind of tampering from another."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg

from oltp.audit.canonical import CHANGE, link

NEAR = 2_000  # how many entries around a broken one are looked at for its content
NEXT_IS_EARLIER = """
select coalesce((
    select (n.txid, n.change_id) < (%s::xid8, %s) from audit.chain n where n.seq > %s
    order by n.seq limit 1), false)
"""
NUMBERED_AS_THIS = CHANGE.replace("c.change_id", "%(change_id)s::bigint")
NAMED_AS_THIS = NUMBERED_AS_THIS.replace("c.txid", "%(txid)s::text::xid8").replace(
    "c.occurred_at", "%(occurred_at)s::timestamptz"
)
# The content of other changes under this one's names: all of them, or the number alone.
AS_THIS = f"""
select c.change_id, {NAMED_AS_THIS}::text, {NUMBERED_AS_THIS}::text
from audit.changes c
where c.change_id <> %(change_id)s
    and c.change_id in (
        select n.change_id from audit.chain n
        where n.seq between %(seq)s - {NEAR} and %(seq)s + {NEAR})
"""  # noqa: S608
UNCHAINED = """
select min(c.change_id), count(*) from audit.changes c
where (c.txid, c.change_id) <= (%s::text::xid8, %s)
    and not exists (select from audit.chain n where n.change_id = c.change_id)
"""
WAITING = """
select count(*), coalesce(extract(epoch from now() - min(c.occurred_at)), 0)::float8,
    coalesce(extract(epoch from now() - min(c.occurred_at)
        filter (where c.txid < pg_snapshot_xmin(pg_current_snapshot()))), 0)::float8
from audit.changes c
where (c.txid, c.change_id) > (%s::text::xid8, %s)
"""


@dataclass(frozen=True)
class Entry:
    """One row of audit.chain."""

    seq: int
    hash: bytes
    txid: str
    change_id: int
    occurred_at: str


@dataclass(frozen=True)
class Waiting:
    """Changes that are not sealed: how many, and since when, in seconds."""

    count: int
    oldest_s: float
    oldest_finished_s: float


def next_is_earlier(connection: psycopg.Connection, entry: Entry) -> bool:
    """Whether the entry after this one is about an earlier change."""
    row = connection.execute(NEXT_IS_EARLIER, (entry.txid, entry.change_id, entry.seq)).fetchone()
    return bool(row and row[0])


def whose_content(connection: psycopg.Connection, entry: Entry, previous: bytes) -> int | None:
    """The change that now has the content that this entry was sealed with."""
    names = {
        "seq": entry.seq,
        "change_id": entry.change_id,
        "txid": entry.txid,
        "occurred_at": entry.occurred_at,
    }
    for change_id, *texts in connection.execute(AS_THIS, names):
        if any(link(previous, entry.seq, text) == entry.hash for text in texts):
            return int(change_id)
    return None


def elsewhere(connection: psycopg.Connection, entry: Entry) -> bool:
    """Whether the change is still there, under another time."""
    row = connection.execute(
        "select from audit.changes where change_id = %s", (entry.change_id,)
    ).fetchone()
    return row is not None


def unchained(connection: psycopg.Connection, last: tuple[int, int]) -> tuple[int, int] | None:
    """The first of the changes before the head that are in no entry, and how many they are."""
    first, count = connection.execute(UNCHAINED, (str(last[0]), last[1])).fetchone() or (None, 0)
    return (first, count) if count else None


def waiting(connection: psycopg.Connection, last: tuple[int, int]) -> Waiting:
    """The changes after the head."""
    row = connection.execute(WAITING, (str(last[0]), last[1])).fetchone()
    return Waiting(*row) if row else Waiting(0, 0.0, 0.0)
