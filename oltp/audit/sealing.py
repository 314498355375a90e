"""Chains the changes of finished transactions, batch by batch, one sealer at a time.

A transaction whose number is below the snapshot's xmin has ended, and none with a lower number can
appear any more. So (transaction, change) is an order that never changes behind the last sealed
entry: a long transaction holds the chain back, and is sealed in its place when it ends; one that
rolled back left no changes, and no gap, because entries are numbered here.

One batch is one transaction: a sealer that is killed leaves whole batches. A second sealer waits at
the lock and goes on from where the first one came to.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import psycopg

from oltp.audit.canonical import CHANGE, GENESIS, link

LOCK = "select pg_advisory_xact_lock(hashtext('audit.chain'))"
HEAD = "select seq, hash, txid::text, change_id from audit.chain order by seq desc limit 1"
# The index has the order; without statistics yet, a sort of everything that waits would look cheap.
IN_ORDER = "set local enable_sort = off; set local enable_bitmapscan = off"
FINISHED = f"""
select c.change_id, c.txid::text, c.occurred_at::text, {CHANGE}::text
from (
    select * from audit.changes
    where (txid, change_id) > (%s::text::xid8, %s)
        and txid < pg_snapshot_xmin(pg_current_snapshot())
    order by txid, change_id
    limit %s
) c
order by c.txid, c.change_id
"""  # noqa: S608
ADD = "copy audit.chain (seq, hash, change_id, txid, occurred_at) from stdin"


def seal(
    connection: psycopg.Connection,
    batch: int = 10_000,
    progress: Callable[[int], None] = lambda sealed: None,
) -> int:
    """Chain everything that can be chained now; how many changes that was.

    `connection` is one of canonical.connect() as audit_sealer. Idempotent: what is sealed stays.
    """
    sealed = 0
    for _ in itertools.count():
        done = _batch(connection, batch)
        sealed += done
        progress(sealed)
        if done < batch:
            return sealed
    return sealed


def _batch(connection: psycopg.Connection, most: int) -> int:
    with connection.transaction(), connection.cursor() as cursor:
        # Each statement sees what was committed before it, so the head is read after the wait.
        cursor.execute(LOCK)
        cursor.execute(IN_ORDER)
        seq, previous, txid, change_id = cursor.execute(HEAD).fetchone() or (0, GENESIS, "0", 0)
        rows = cursor.execute(FINISHED, (txid, change_id, most)).fetchall()
        if not rows:
            return 0
        with cursor.copy(ADD) as copy:
            lines = []
            for number, (change_id, txid, occurred_at, change) in enumerate(rows, seq + 1):
                previous = link(previous, number, change)
                lines.append(
                    f"{number}\t\\\\x{previous.hex()}\t{change_id}\t{txid}\t{occurred_at}\n"
                )
            copy.write("".join(lines))
    return len(rows)
