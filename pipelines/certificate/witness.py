"""The witness of the source: a replication slot of its own, beside the one that capture reads.

It sees the same publication through Postgres' own decoder, so what capture, Kafka and the lake made
of a change can be held against what was committed. The slot moves only when a window is agreed:
until then the log keeps the evidence, up to the server's max_slot_wal_keep_size. A slot that was
lost, dropped or moved by somebody, or that belongs to another cluster, ends this witness: that is
logged and recorded, and a new one starts at the next cut. Nothing else stops for it; the stretch
between is vouched for by a state comparison only (`millrace certify --full`).

The database is read as role cdc, which has REPLICATION and may select what is published: whoever
logs in must be allowed to become it.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any

import psycopg

from pipelines import cut as cuts
from pipelines.certificate.source_state import SESSION
from pipelines.certificate.window import Source, Window, WitnessLost
from pipelines.visibility import Cut

LOG = logging.getLogger(__name__)
SLOT = "millrace_witness"
PUBLICATION = "millrace"
PLUGIN = "pgoutput"
# Making a slot waits for the transactions that run; one that runs on for ever must not hold a tick.
MAKING_LIMIT_S = 30
FLUSH_LIMIT_S = 10.0
FLUSH_POLL_S = 0.05


@dataclass(frozen=True)
class Witness:
    """One life of the slot. Without an agreed cut the next one is its base: nothing is compared."""

    witness_id: int
    made_lsn: int
    base_cut_id: int | None
    agreed_cut_id: int | None
    agreed_lsn: int | None
    # Why the one before it ended, when this call found that out.
    lost: str | None = None


@dataclass(frozen=True)
class _Slot:
    """What the server says of the slot now."""

    system_identifier: int
    is_captured: bool
    exists: bool
    plugin: str | None
    wal_status: str | None
    confirmed_lsn: int


def ensure(
    oltp_dsn: str, warehouse_dsn: str, slot: str = SLOT, capture_slot: str = cuts.SLOT
) -> Witness | None:
    """The witness as recorded, or a new one; to be called before the cut of a tick is taken.

    None when there is nothing to witness (capture has no slot yet) or the slot cannot be made now.
    """
    # No transaction stays open here: in the same cluster, making a slot would wait for it.
    with psycopg.connect(warehouse_dsn, autocommit=True) as warehouse:
        # One maker at a time: a second would drop what the first has made.
        warehouse.execute("select pg_advisory_lock(hashtext(%s))", (f"witness:{slot}",))
        recorded = _recorded(warehouse, slot)
        with psycopg.connect(oltp_dsn, options=SESSION, autocommit=True) as oltp:
            found = _slot(oltp, slot, capture_slot)
            lost = _lost(recorded, found) if recorded else None
            if recorded and not lost:
                return recorded.witness
            if lost:
                LOG.error("witness %s ended: %s; a new one starts", slot, lost)
                _end(warehouse, slot, lost)
            # Capture sends what was there before its slot as a snapshot, which is no change.
            made_lsn = _make(oltp, slot, found.exists) if found.is_captured else None
        if made_lsn is None:
            return None
        return _record(warehouse, slot, found.system_identifier, made_lsn, lost)


def agreed(warehouse_dsn: str, slot: str = SLOT) -> tuple[int, Cut] | None:
    """The cut that every hop agreed on last: where the next window begins."""
    with psycopg.connect(warehouse_dsn) as warehouse:
        row = warehouse.execute(
            "select c.cut_id, c.lsn, c.snapshot, c.taken_at, c.totals from control.witnesses as w"
            " join control.cuts as c on c.cut_id = w.agreed_cut_id"
            " where w.slot = %s and w.ended_at is null",
            (slot,),
        ).fetchone()
    if row is None:
        return None
    cut_id, lsn, snapshot, taken_at, totals = row
    return int(cut_id), Cut.from_snapshot(int(lsn), snapshot, taken_at, totals)


def window(oltp_dsn: str, since: Cut, upto: Cut, slot: str = SLOT) -> Window:
    """The source's changes between two cuts, ready to be read as often as wanted.

    Raises WitnessLost when the slot cannot tell any more, WitnessBusy while another reads it.
    """
    with psycopg.connect(oltp_dsn, options=SESSION, autocommit=True) as oltp:
        _wait_for_flush(oltp, upto.lsn)
        found = _slot(oltp, slot, cuts.SLOT)
    if not found.exists or found.wal_status == "lost":
        raise WitnessLost(f"slot {slot} is {found.wal_status or 'gone'}: a new witness is needed")
    return Window(Source(oltp_dsn, slot, PUBLICATION), since, upto)


def start_at(warehouse_dsn: str, cut_id: int, cut: Cut, slot: str = SLOT) -> None:
    """Make this cut, the first after the slot was made, the base of the witness."""
    _agree(warehouse_dsn, slot, cut_id, cut)


def agree(oltp_dsn: str, warehouse_dsn: str, cut_id: int, read: Window, slot: str = SLOT) -> None:
    """Every hop has the window that was read: record its cut, then let its log go."""
    resume_lsn = read.resume_lsn
    # First recorded, then moved: a slot that is behind its record only shows more than is asked.
    _agree(warehouse_dsn, slot, cut_id, read.upto)
    with psycopg.connect(oltp_dsn, options=SESSION, autocommit=True) as oltp:
        _advance(oltp, slot, resume_lsn)


def stay(oltp_dsn: str, warehouse_dsn: str, cut_id: int, read: Window, slot: str = SLOT) -> None:
    """The window that was read has no change since the agreed cut, which stands: let its log go."""
    with psycopg.connect(warehouse_dsn) as warehouse:
        moved = warehouse.execute(
            "update control.witnesses set agreed_lsn = greatest(agreed_lsn, %s)"
            " where slot = %s and ended_at is null and agreed_cut_id = %s",
            (read.upto.lsn, slot, cut_id),
        )
    if moved.rowcount:
        with psycopg.connect(oltp_dsn, options=SESSION, autocommit=True) as oltp:
            _advance(oltp, slot, read.resume_lsn)


def restart(warehouse_dsn: str, cut_id: int, cut: Cut, because: str, slot: str = SLOT) -> None:
    """Begin anew at a cut whose whole state was compared and agreed."""
    with psycopg.connect(warehouse_dsn) as warehouse:
        warehouse.execute("select pg_advisory_xact_lock(hashtext(%s))", (f"witness:{slot}",))
        recorded = _recorded(warehouse, slot)
        if recorded is None:
            return
        _end(warehouse, slot, because)
        warehouse.execute(
            "insert into control.witnesses (slot, system_identifier, made_lsn, base_cut_id,"
            " agreed_cut_id, agreed_lsn) values (%s, %s, %s, %s, %s, %s)",
            (slot, recorded.system_identifier, recorded.witness.made_lsn, cut_id, cut_id, cut.lsn),
        )


@dataclass(frozen=True)
class _Recorded:
    witness: Witness
    system_identifier: int


def _recorded(warehouse: psycopg.Connection[Any], slot: str) -> _Recorded | None:
    row = warehouse.execute(
        "select system_identifier, witness_id, made_lsn, base_cut_id, agreed_cut_id, agreed_lsn"
        " from control.witnesses where slot = %s and ended_at is null",
        (slot,),
    ).fetchone()
    return _Recorded(Witness(*row[1:]), int(row[0])) if row else None


def _slot(oltp: psycopg.Connection[Any], slot: str, capture_slot: str) -> _Slot:
    row = oltp.execute(
        "select s.system_identifier, c.slot_name is not null, w.slot_name is not null, w.plugin,"
        " w.wal_status, coalesce(w.confirmed_flush_lsn - '0/0', 0)"
        " from pg_control_system() as s"
        " left join pg_replication_slots as c on c.slot_name = %s"
        " left join pg_replication_slots as w on w.slot_name = %s",
        (capture_slot, slot),
    ).fetchone()
    assert row is not None  # noqa: S101 - the server always has an identity
    identifier, is_captured, exists, plugin, wal_status, confirmed = row
    return _Slot(int(identifier), is_captured, exists, plugin, wal_status, int(confirmed))


def _lost(recorded: _Recorded, found: _Slot) -> str | None:
    """Why the recorded witness cannot go on; None when it can."""
    witness = recorded.witness
    if found.system_identifier != recorded.system_identifier:
        return "the database belongs to another cluster (restored or replaced)"
    if not found.exists:
        return "its replication slot is gone (dropped, or the server failed over)"
    if found.wal_status == "lost":
        return "its replication slot kept more log than max_slot_wal_keep_size allows"
    if found.plugin != PLUGIN:
        return f"its replication slot has the plugin {found.plugin}"
    known = max(witness.made_lsn, witness.agreed_lsn or 0)
    if found.confirmed_lsn > known:
        return "somebody moved its replication slot: changes between were not compared"
    return None


def _make(oltp: psycopg.Connection[Any], slot: str, exists: bool) -> int | None:
    """A new slot; where it begins. None when transactions that run on did not let it be made."""
    if exists:
        oltp.execute("select pg_drop_replication_slot(%s)", (slot,))
    try:
        with oltp.transaction():
            oltp.execute(f"set local statement_timeout = '{MAKING_LIMIT_S}s'")
            row = oltp.execute(
                "select lsn - '0/0' from pg_create_logical_replication_slot(%s, %s)",
                (slot, PLUGIN),
            ).fetchone()
    except psycopg.errors.QueryCanceled:
        LOG.error(
            "slot %s was not made: transactions older than %s s run on; the next tick tries again",
            slot,
            MAKING_LIMIT_S,
        )
        return None
    return int(row[0]) if row else None


def _end(warehouse: psycopg.Connection[Any], slot: str, because: str) -> None:
    warehouse.execute(
        "update control.witnesses set ended_at = now(), ended_because = %s"
        " where slot = %s and ended_at is null",
        (because, slot),
    )


def _record(
    warehouse: psycopg.Connection[Any], slot: str, identifier: int, made_lsn: int, lost: str | None
) -> Witness:
    row = warehouse.execute(
        "insert into control.witnesses (slot, system_identifier, made_lsn) values (%s, %s, %s)"
        " returning witness_id",
        (slot, identifier, made_lsn),
    ).fetchone()
    assert row is not None  # noqa: S101 - insert returning always has a row
    return Witness(int(row[0]), made_lsn, None, None, None, lost)


def _agree(warehouse_dsn: str, slot: str, cut_id: int, cut: Cut) -> None:
    with psycopg.connect(warehouse_dsn) as warehouse:
        warehouse.execute(
            "update control.witnesses set agreed_cut_id = %s, agreed_lsn = %s,"
            " base_cut_id = coalesce(base_cut_id, %s)"
            " where slot = %s and ended_at is null and coalesce(agreed_cut_id, 0) < %s",
            (cut_id, cut.lsn, cut_id, slot, cut_id),
        )


def _advance(oltp: psycopg.Connection[Any], slot: str, upto: int) -> None:
    try:
        oltp.execute(
            "select pg_replication_slot_advance(slot_name, '0/0'::pg_lsn + %s::numeric)"
            " from pg_replication_slots where slot_name = %s"
            " and confirmed_flush_lsn < '0/0'::pg_lsn + %s::numeric",
            (upto, slot, upto),
        )
    except psycopg.errors.ObjectInUse as error:
        LOG.warning("the log of an agreed window is let go with the next one: %s", error)


def _wait_for_flush(oltp: psycopg.Connection[Any], lsn: int) -> None:
    """The slot reads what is on disk; a commit that did not wait for that is visible before."""
    started = time.monotonic()
    while True:
        row = oltp.execute("select pg_current_wal_flush_lsn() - '0/0'").fetchone()
        if row and row[0] >= lsn:
            return
        if time.monotonic() - started > FLUSH_LIMIT_S:
            raise WitnessLost(f"the server has not written its log to disk in {FLUSH_LIMIT_S} s")
        # A transaction of ours moves the log's writer on when nobody else does.
        oltp.execute("select pg_current_xact_id()")
        time.sleep(FLUSH_POLL_S)
