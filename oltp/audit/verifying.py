"""Recomputes the chain from the rows, compares it with the signed checkpoints, names what broke.

One snapshot is read, so writers and the sealer go on meanwhile; the checkpoints are read before it,
so none of them may be ahead of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import psycopg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from oltp.audit import evidence
from oltp.audit.canonical import CHANGE, GENESIS, link
from oltp.audit.checkpoints import DATABASE, Checkpoint, problem

MOST_FINDINGS = 20
TOTAL = "select coalesce(max(seq), 0) from audit.chain"
ENTRIES = f"""
select n.seq, n.hash, n.txid::text, n.change_id, n.occurred_at::text, {CHANGE}::text,
    c.change_id is null, c.txid = n.txid
from audit.chain n
left join audit.changes c on c.change_id = n.change_id and c.occurred_at = n.occurred_at
order by n.seq
"""  # noqa: S608


class Kind(StrEnum):
    """What happened to the audit."""

    EDITED = "edited"
    DELETED = "deleted"
    REORDERED = "re-ordered"
    INSERTED = "inserted"
    TRUNCATED = "tail cut"
    REWRITTEN = "chain rewritten"
    CHECKPOINT = "checkpoint"
    BACKLOG = "not sealed"


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it was. `seq` is where in the chain, `change_id` which change."""

    kind: Kind
    seq: int | None
    change_id: int | None
    detail: str


@dataclass
class Report:
    """What was verified, and what was found, the first broken entry first."""

    entries: int = 0
    head: bytes = GENESIS
    checkpoints: int = 0
    waiting: int = 0
    oldest_waiting_s: float = 0.0
    findings: list[Finding] = field(default_factory=list)

    @property
    def first(self) -> Finding | None:
        """The first broken entry, or None."""
        return self.findings[0] if self.findings else None


@dataclass
class _Walk:
    """Where the walk along the chain is."""

    report: Report
    wanted: dict[int, bytes]  # the entries that checkpoints are about
    last: tuple[int, int] = (0, 0)
    # After a missing entry the hash before is not known: one entry cannot be recomputed.
    previous: bytes | None = GENESIS

    def found(self, kind: Kind, seq: int | None, change_id: int | None, detail: str) -> None:
        if len(self.report.findings) < MOST_FINDINGS:
            self.report.findings.append(Finding(kind, seq, change_id, detail))


def verify(
    connection: psycopg.Connection,
    checkpoints: Sequence[Checkpoint],
    key: Ed25519PublicKey | None,
    *,
    backlog_s: float = 3600.0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """Verify the whole chain; `checkpoints` must have been loaded before.

    `connection` is one of canonical.connect() as auditor. Changes of finished transactions that
    have waited longer than `backlog_s` to be sealed are a finding; younger ones are only counted.
    """
    report = Report(checkpoints=len(checkpoints))
    walk = _Walk(report, {checkpoint.count: b"" for checkpoint in checkpoints})
    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    connection.read_only = True
    with connection.transaction():
        connection.execute("set local cursor_tuple_fraction = 1")
        _walk_chain(connection, walk, progress)
        _check_checkpoints(connection, walk, checkpoints, key)
        _check_outside(connection, walk, backlog_s)
    report.findings.sort(key=lambda f: f.seq if f.seq is not None else report.entries + 1)
    return report


def _walk_chain(
    connection: psycopg.Connection, walk: _Walk, progress: Callable[[int, int], None]
) -> None:
    (total,) = connection.execute("select coalesce(max(seq), 0) from audit.chain").fetchone() or (
        0,
    )
    with connection.cursor("chain") as entries:
        entries.itersize = 5_000
        for seq, hash_, txid, change_id, occurred_at, change, gone, same in entries.execute(
            ENTRIES
        ):
            entry = evidence.Entry(seq, hash_, txid, change_id, occurred_at)
            if seq != walk.report.entries + 1:
                walk.found(
                    Kind.DELETED, walk.report.entries + 1, None,
                    f"entries {walk.report.entries + 1} to {seq - 1} are missing from the chain",
                )  # fmt: skip
                walk.previous = None
            if walk.previous is not None:
                whole = not gone and same and link(walk.previous, seq, change) == hash_
                if not whole or (int(txid), change_id) <= walk.last:
                    _name(connection, walk, entry, gone)
            elif gone:
                _name(connection, walk, entry, gone)
            walk.last = (int(txid), change_id)
            walk.previous = walk.report.head = hash_
            walk.report.entries = seq
            if seq in walk.wanted:
                walk.wanted[seq] = hash_
            if seq % 5_000 == 0 or seq == total:
                progress(seq, total)


def _name(connection: psycopg.Connection, walk: _Walk, entry: evidence.Entry, gone: bool) -> None:
    """Say what kind of change broke an entry."""
    place = (entry.seq, entry.change_id)
    if (int(entry.txid), entry.change_id) <= walk.last:
        # It comes after one that it should precede; told once, where the order breaks first.
        if not any(f.kind is Kind.REORDERED for f in walk.report.findings):
            walk.found(Kind.REORDERED, *place, "it stands after a later change")
    elif evidence.next_is_earlier(connection, entry):
        walk.found(Kind.REORDERED, *place, "it stands before an earlier change")
    elif walk.previous is not None and (
        other := evidence.whose_content(connection, entry, walk.previous)
    ):
        walk.found(Kind.REORDERED, *place, f"what it said is now said by change {other}")
    elif gone and not evidence.elsewhere(connection, entry):
        walk.found(Kind.DELETED, *place, "the change is gone from audit.changes")
    else:
        walk.found(Kind.EDITED, *place, "the change is not what was sealed")


def _check_checkpoints(
    connection: psycopg.Connection,
    walk: _Walk,
    checkpoints: Sequence[Checkpoint],
    key: Ed25519PublicKey | None,
) -> None:
    (database,) = connection.execute(DATABASE).fetchone() or ("",)
    previous = None
    good = 0
    for number, checkpoint in enumerate(checkpoints, 1):
        told = f"checkpoint {number} of {checkpoint.at}"
        wrong = problem(checkpoint, previous, key) if key else ""
        if not wrong and checkpoint.database != database:
            wrong = f"it is of database {checkpoint.database}, this is {database}"
        previous = checkpoint
        if wrong:
            walk.found(Kind.CHECKPOINT, None, None, f"{told}: {wrong}")
        elif checkpoint.count > walk.report.entries:
            walk.found(
                Kind.TRUNCATED, walk.report.entries + 1, None,
                f"{told} has {checkpoint.count} entries, the chain {walk.report.entries}",
            )  # fmt: skip
            return
        elif walk.wanted[checkpoint.count].hex() != checkpoint.head:
            walk.found(
                Kind.REWRITTEN, good + 1, None,
                f"{told} has another hash of entry {checkpoint.count}:"
                f" written anew somewhere in {good + 1} to {checkpoint.count}",
            )  # fmt: skip
            return
        else:
            good = checkpoint.count
    if walk.report.entries and not checkpoints:
        walk.found(
            Kind.CHECKPOINT, None, None,
            "there is none: a cut tail or a chain written anew could not be seen",
        )  # fmt: skip


def _check_outside(connection: psycopg.Connection, walk: _Walk, backlog_s: float) -> None:
    """Changes that no entry is about: newer ones wait, older ones were put in by hand."""
    broken = any(f.kind is not Kind.CHECKPOINT for f in walk.report.findings)
    if not broken and (strange := evidence.unchained(connection, walk.last)):
        change_id, count = strange
        walk.found(
            Kind.INSERTED, None, change_id,
            f"{count} changes of sealed transactions are in no entry, this is the first",
        )  # fmt: skip
    waiting = evidence.waiting(connection, walk.last)
    walk.report.waiting, walk.report.oldest_waiting_s = waiting.count, waiting.oldest_s
    if waiting.oldest_finished_s > backlog_s:
        walk.found(
            Kind.BACKLOG, None, None,
            f"{waiting.count} changes wait, the oldest for {waiting.oldest_finished_s:,.0f} s:"
            " does the sealer run?",
        )  # fmt: skip
