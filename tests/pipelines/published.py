"""Rows to publish and cuts to publish them at, without a lake."""

from datetime import UTC, datetime
from typing import Any

import psycopg
import pyarrow as pa

from pipelines import cdc, publish
from schemas import contract as contracts
from schemas.contract import Contract

ACCOUNTS, POSTINGS = contracts.load("card_accounts"), contracts.load("ledger_postings")
AT = datetime(2026, 1, 2, tzinfo=UTC)
VALUES: dict[str, Any] = {
    "uuid": "00000000-0000-4000-8000-000000000001", "string": "x", "code": "x", "long": 0,
    "date": AT.date(), "timestamp": AT,
}  # fmt: skip


def emptied(dsn: str) -> str:
    """Both tables as if they had never been published."""
    with psycopg.connect(dsn) as connection:
        for c in (ACCOUNTS, POSTINGS):
            connection.execute(f"drop table if exists silver.{c.entity}")
            connection.execute(
                "update control.published set tick = -2, cut_id = null, held_back_by = null"
                " where entity = %s",
                (c.entity,),
            )
    return dsn


def a_cut(dsn: str) -> int:
    with psycopg.connect(dsn) as connection:
        query = (
            "insert into control.cuts (lsn, snapshot, taken_at, totals)"
            " values (1, '5:5:', now(), '{}') returning cut_id"
        )
        return connection.execute(query).fetchall()[0][0]


def rows(contract: Contract, tick: int, **changes: Any) -> pa.Table:
    row = {c.name: VALUES[c.type] for c in publish.published(contract)}
    row |= dict.fromkeys(cdc.TECHNICAL)
    row |= {"_is_deleted": False, "_commit_lsn": tick, "_lsn": tick, "_streamed": 1, "_tick": tick}
    return pa.Table.from_pylist([row | changes])
