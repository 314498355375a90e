"""Gives the connector a new slot after the old one was lost, and takes all tables again.

Between the old slot's end and the new one's start changes are missing. The tables are read again
beside the stream; what was deleted in between only shows in that nothing confirms it any more.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import httpx
import psycopg

from connectors import config, register
from connectors.register import ConnectorError

SLOT = "millrace"
STOP_WITHIN_S = 60.0
SEGMENT_BYTES = 16 << 20
# Beyond that the log's position is set with the server stopped (pg_resetwal --next-wal-file).
STEPS_AT_MOST = 1024
# A change carries the low 32 bits of its transaction's number.
EPOCH = 1 << 32
NUMBERS_AT_MOST = 5_000_000


def begin_anew(
    *,
    connect_url: str,
    kafka: str,
    registry_url: str,
    admin_dsn: str,
    oltp_host: str,
    oltp_port: int,
    oltp_db: str,
    known_lsn: int,
    known_transaction: int | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> int:
    """A position behind everything that was captured before and before everything from now on.

    `known_lsn`, `known_transaction`: as far as anything captured may reach. A server restored from
    a copy has a shorter log and counts its transactions from earlier on; both are brought beyond,
    or what is old and what is new could not be told apart. May be repeated.
    """
    settings = config.render(
        registry_url=registry_url, oltp_host=oltp_host, oltp_port=oltp_port, oltp_db=oltp_db
    )
    with httpx.Client(base_url=connect_url, timeout=30) as client:
        progress("stopping the connector")
        register.stop(client)
        with psycopg.connect(admin_dsn, autocommit=True) as connection:
            progress("dropping the slot, lengthening the log where it is too short")
            _drop(connection)
            _pass(connection, known_transaction)
            between = _reach(connection, known_lsn)
        progress("starting without data, at a new slot")
        path = f"/connectors/{config.NAME}"
        register.ask(client, "DELETE", f"{path}/offsets", missing=None)
        register.ask(client, "PUT", f"{path}/config", {**settings, "snapshot.mode": "no_data"})
        register.ask(client, "PUT", f"{path}/resume")
    register.wait_until_streaming(connect_url)
    done = register.apply(
        connect_url=connect_url, kafka=kafka, registry_url=registry_url,
        oltp_host=oltp_host, oltp_port=oltp_port, oltp_db=oltp_db,
    )  # fmt: skip
    progress(done)
    return between


def _drop(connection: psycopg.Connection) -> None:
    connection.execute(
        "select pg_terminate_backend(active_pid) from pg_replication_slots"
        " where slot_name = %s and active_pid is not null",
        (SLOT,),
    )
    deadline = time.monotonic() + STOP_WITHIN_S
    while True:
        try:
            connection.execute(
                "select pg_drop_replication_slot(slot_name) from pg_replication_slots"
                " where slot_name = %s",
                (SLOT,),
            )
            return
        except psycopg.errors.ObjectInUse:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.3)


def _reach(connection: psycopg.Connection, known_lsn: int) -> int:
    """The log's present end, once it lies beyond what is known."""
    for _ in range(STEPS_AT_MOST):
        row = connection.execute("select pg_current_wal_insert_lsn() - '0/0'").fetchone()
        position = int(row[0]) if row else 0
        if position > known_lsn:
            # Something more in the log, so that what follows lies beyond the position.
            connection.execute("select pg_logical_emit_message(false, 'millrace', 'recovery')")
            connection.execute("select pg_switch_wal()")
            return position
        if known_lsn - position > STEPS_AT_MOST * SEGMENT_BYTES:
            break
        connection.execute("select pg_logical_emit_message(false, 'millrace', 'recovery')")
        connection.execute("select pg_switch_wal()")
    raise ConnectorError(
        f"this server's log ends {known_lsn - position:,} bytes before what was captured of the old"
        " one: stop it and move its position there (pg_resetwal --next-wal-file), then recover"
    )


def _pass(connection: psycopg.Connection, known_transaction: int | None) -> None:
    """Use up the numbers of transactions that a lost primary has given out."""
    row = connection.execute("select pg_current_xact_id()::text::bigint").fetchone()
    now = int(row[0]) if row else 0
    missing = ((known_transaction or now) - now) % EPOCH
    if 0 < missing <= NUMBERS_AT_MOST:
        connection.execute(
            "do $$ begin for n in 1 .. "
            f"{missing} loop perform pg_current_xact_id(); commit; end loop; end $$"
        )
    elif missing and missing < EPOCH // 2:
        raise ConnectorError(
            f"this server's transactions are {missing:,} behind those that were captured of the old"
            " one: stop it and set the next one beyond (pg_resetwal --next-transaction-id)"
        )
