"""Asks the operational database for its proofs: the ledger's controls, the audit's chain."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import psycopg

from millrace.demo.report import Proof
from oltp.audit import canonical, checkpoints, verify
from oltp.ledger import controls


def proofs(env: Mapping[str, str], privileged: Mapping[str, str]) -> tuple[Proof, ...]:
    """Each of one snapshot, while traffic goes on."""
    return _ledger(env["MILLRACE_OLTP_DSN"]), _audit(privileged)


def _ledger(dsn: str) -> Proof:
    with psycopg.connect(dsn) as connection:
        connection.execute("set transaction isolation level repeatable read")
        found = tuple(controls.check(connection))
        row = connection.execute("select count(*) from ledger.postings").fetchone()
    broken = tuple(f"{f.promise}: {f.count}" for f in found if f.count)
    postings = row[0] if row else 0
    return Proof("double entry", f"{len(found)} controls over {postings:,} postings", broken)


def _audit(privileged: Mapping[str, str]) -> Proof:
    path = Path(privileged["MILLRACE_AUDIT_CHECKPOINTS"])
    stored = checkpoints.load(path)
    key = checkpoints.public_key(path) if stored else None
    with canonical.connect(privileged["MILLRACE_AUDITOR_DSN"]) as connection:
        report = verify(connection, stored, key)
    looked_at = f"{report.entries:,} changes chained, {len(stored)} signed checkpoints"
    return Proof(
        "audit", looked_at, tuple(f"{found.kind}: {found.detail}" for found in report.findings)
    )
