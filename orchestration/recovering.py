"""Recovery after changes were missed: a new slot, every table read again, deletes made good.

It may be interrupted and started again at any point. Ticks refuse to run until it is over, so
nothing half recovered is ever published.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from connectors import offsets, recovering, snapshotting
from orchestration import capture_looks
from orchestration.settings import Settings
from pipelines.capture import reading, remembering, unconfirmed
from pipelines.capture.guarding import Look
from schemas import contract
from schemas.contract import Contract

# What a server that is not the old one may have sent beyond the last look.
MARGIN_BYTES = 16 << 20
MARGIN_TRANSACTIONS = 10_000
ELSEWHERE = frozenset({"other_server", "other_timeline", "older_copy", "behind_capture"})
CAPTURE_WITHIN_S = 300.0

Progress = Callable[[str], None]


@dataclass
class Recovered:
    """What a recovery did: rows read again per table, deletes made good per entity."""

    between_lsn: int
    read: dict[str, int] = field(default_factory=dict)
    deleted: dict[str, int] = field(default_factory=dict)
    # Rows that the source has and silver did not take: their records are in quarantine.
    kept_out: dict[str, int] = field(default_factory=dict)


def recover(
    settings: Settings,
    spark: Callable[[], Any],
    progress: Progress = lambda line: None,
    steps: Callable[[snapshotting.Step], None] = lambda step: None,
) -> Recovered:
    """Everything up to the tick and the certificate that follow. Needs the connector's Connect."""
    found = capture_looks.look(settings)
    between = _begun(found)
    if between is None:
        between = _new_slot(settings, found, progress)
        remembering.begin_recovery(settings.warehouse_dsn, reading.SLOT, between)
    done = Recovered(between)
    tables = [c.source for c in contract.load_all()]
    progress(f"reading {len(tables)} tables again, beside the stream")
    done.read = snapshotting.snapshot(
        oltp_dsn=settings.oltp_admin_dsn,
        kafka=settings.kafka,
        registry_url=settings.registry,
        tables=tables,
        progress=steps,
    )
    make_good(settings, spark(), done, progress)
    kinds = ", ".join(b.kind for b in found.breaks) or "asked for"
    ended = remembering.resolve(
        settings.warehouse_dsn,
        reading.SLOT,
        f"{kinds}: new slot, {sum(done.read.values())} rows read again,"
        f" {sum(done.deleted.values())} deletes made good",
    )
    progress(f"capture is trusted again, {ended} breaks are resolved")
    return done


def make_good(settings: Settings, spark: Any, done: Recovered, progress: Progress) -> None:
    """Bring bronze and silver up to now, and write the deletes that nobody captured."""
    from pipelines import bronze, refresh
    from pipelines import cut as cuts
    from pipelines.registry import WriterSchemas

    schemas = WriterSchemas(settings.registry)
    taken = cuts.take(settings.oltp_admin_dsn)
    cuts.wait_for_capture(settings.oltp_admin_dsn, taken, CAPTURE_WITHIN_S)
    progress("bringing bronze and silver up to the snapshot")
    bronze.ingest(spark, settings.lake, settings.kafka)
    refresh.build_all(spark, settings.lake, contract.load_all(), taken, schemas)
    progress("looking for rows that nothing confirms any more")
    for c in contract.load_all():
        rows = unconfirmed.find(spark, settings.lake, c, done.between_lsn)
        if rows:
            _delete(settings, c, rows, done, schemas)
    counted = ", ".join(f"{entity} {n}" for entity, n in sorted(done.deleted.items()))
    progress(f"deletes made good: {counted or 'none'}")


def _delete(
    settings: Settings, c: Contract, rows: list[Any], done: Recovered, schemas: Any
) -> None:
    missing, there = unconfirmed.gone(settings.oltp_admin_dsn, c, rows)
    if missing:
        why = f"not confirmed by the snapshot after {done.between_lsn}"
        done.deleted[c.entity] = unconfirmed.delete(
            settings.kafka, missing, done.between_lsn, why, schemas
        )
    if there:
        done.kept_out[c.entity] = len(there)


def _begun(found: Look) -> int | None:
    """The boundary of a recovery that was interrupted."""
    known = [b.between_lsn for b in found.breaks]
    return max((lsn for lsn in known if lsn), default=None) if all(known) else None


def _new_slot(settings: Settings, found: Look, progress: Progress) -> int:
    known = max(
        offsets.stored_lsn(settings.connect) or 0,
        remembering.furthest_lsn(settings.warehouse_dsn, reading.SLOT),
    )
    transaction = None
    if ELSEWHERE & {b.kind for b in found.breaks}:
        known += MARGIN_BYTES
        transaction = offsets.stored_transaction(settings.connect)
    return recovering.begin_anew(
        **addresses(settings),
        admin_dsn=settings.oltp_admin_dsn,
        known_lsn=known,
        known_transaction=transaction and transaction + MARGIN_TRANSACTIONS,
        progress=progress,
    )


def addresses(settings: Settings) -> Mapping[str, Any]:
    """Where the connector and what it connects are, as its registration wants it."""
    oltp = urlsplit(settings.oltp_dsn)
    return {
        "connect_url": settings.connect,
        "kafka": settings.kafka,
        "registry_url": settings.registry,
        "oltp_host": oltp.hostname or "127.0.0.1",
        "oltp_port": oltp.port or 5432,
        "oltp_db": oltp.path.lstrip("/"),
    }
