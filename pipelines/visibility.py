"""Which changes belong to a cut, pure: those of transactions visible in its snapshot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

# xid8 is 64 bits wide; a change carries the low 32 of them.
EPOCH = 1 << 32


class SnapshotError(ValueError):
    """Text that is no pg_snapshot (`xmin:xmax:xip,xip`)."""


@dataclass(frozen=True)
class Cut:
    """One REPEATABLE READ snapshot: everything before it, nothing after it.

    `totals` are the operational counts and sums in it: {entity: {"rows": n, "money": {column:
    {currency: sum}}}}.
    """

    lsn: int
    snapshot: str
    xmin: int
    xmax: int
    running: tuple[int, ...]
    taken_at: datetime
    totals: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_snapshot(
        cls,
        lsn: int,
        snapshot: str,
        taken_at: datetime | None = None,
        totals: Mapping[str, Any] | None = None,
    ) -> Cut:
        """Read what pg_current_snapshot() prints; xids in it are 64 bits wide."""
        try:
            low, high, listed = snapshot.split(":")
            xmin, xmax = int(low), int(high)
            running = tuple(int(xid) for xid in listed.split(",") if xid)
        except ValueError:
            raise SnapshotError(f"not a snapshot: {snapshot!r} (xmin:xmax:xip,...)") from None
        if not 0 < xmin <= xmax or any(not xmin <= xid < xmax for xid in running):
            raise SnapshotError(f"not a snapshot: {snapshot!r} (xmin <= xip < xmax)")
        now = taken_at or datetime.now(UTC)
        return cls(lsn, snapshot, xmin, xmax, running, now, totals or {})


def visible(tx_id: int | None, op: str | None, lsn: int | None, cut: Cut) -> bool:
    """Whether the change belongs to the cut. Without a transaction nothing can wait for it."""
    if op == "r":
        return lsn is None or lsn <= cut.lsn
    if tx_id is None:
        return True
    xid = widen(tx_id, cut.xmax)
    return xid < cut.xmax and xid not in cut.running


def widen(tx_id: int, near: int) -> int:
    """The 64-bit xid with these low 32 bits that lies closest to `near`."""
    epoch = near - near % EPOCH
    xid = epoch + tx_id
    if xid - near > EPOCH // 2:
        return xid - EPOCH
    if near - xid > EPOCH // 2:
        return xid + EPOCH
    return xid


def as_sql(cut: Cut, tx_id: str, op: str, lsn: str) -> str:
    """The same rule as a Spark SQL expression over columns of these names; never null."""
    near = f"{cut.xmax}L"
    xid = f"({cut.xmax - cut.xmax % EPOCH}L + {tx_id})"
    widened = (
        f"case when {xid} - {near} > {EPOCH // 2}L then {xid} - {EPOCH}L "
        f"when {near} - {xid} > {EPOCH // 2}L then {xid} + {EPOCH}L else {xid} end"
    )
    running = ", ".join(f"{xid}L" for xid in cut.running) or "-1L"
    return (
        f"case when {op} = 'r' then coalesce({lsn} <= {cut.lsn}L, true) "
        f"when {tx_id} is null then true "
        f"else ({widened}) < {near} and ({widened}) not in ({running}) end"
    )
