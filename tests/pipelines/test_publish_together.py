"""All tables of a tick in one commit, against a real Postgres: one cut, or a table named behind."""

import threading
import time
from datetime import UTC, datetime
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from pipelines import cdc, publish
from pipelines.publish import Due
from schemas import contract as contracts
from schemas.contract import Contract

ACCOUNTS, POSTINGS = contracts.load("card_accounts"), contracts.load("ledger_postings")
AT = datetime(2026, 1, 2, tzinfo=UTC)
VALUES: dict[str, Any] = {
    "uuid": "00000000-0000-4000-8000-000000000001", "string": "x", "code": "x", "long": 0,
    "date": AT.date(), "timestamp": AT,
}  # fmt: skip


@pytest.fixture
def dsn(postgres_only) -> str:
    dsn = postgres_only.env["MILLRACE_WAREHOUSE_DSN"]
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


def shown(dsn: str) -> dict[str, tuple]:
    with psycopg.connect(dsn) as connection:
        found = connection.execute(
            "select entity, cut_id, is_newest, held_back_by from control.shown_cuts"
        ).fetchall()
    return {entity: tuple(rest) for entity, *rest in found}


def test_tables_of_a_tick_show_their_cut_together(dsn) -> None:
    first = a_cut(dsn)
    due = [Due(c, rows(c, 1), 1) for c in (POSTINGS, ACCOUNTS)]
    done = publish.publish_together(dsn, first, due)
    assert {entity: one.rows for entity, one in done.items()} == {
        "card_accounts": 1,
        "ledger_postings": 1,
    }
    assert shown(dsn)["card_accounts"] == shown(dsn)["ledger_postings"] == (first, True, None)

    # A table without news shows the new cut all the same: nothing in it has changed.
    second = a_cut(dsn)
    publish.publish_together(dsn, second, [Due(ACCOUNTS, rows(ACCOUNTS, 2), 2)])
    assert shown(dsn)["ledger_postings"] == (first, False, None)
    publish.publish_together(dsn, second, [Due(POSTINGS, None, 1)])
    assert shown(dsn)["ledger_postings"] == (second, True, None)


def test_a_table_that_is_held_back_stays_at_its_older_cut_and_says_why(dsn) -> None:
    first, second, third = a_cut(dsn), a_cut(dsn), a_cut(dsn)
    publish.publish_together(dsn, first, [Due(c, rows(c, 1), 1) for c in (POSTINGS, ACCOUNTS)])
    held = Due(ACCOUNTS, rows(ACCOUNTS, 2, held_minor=7), 2, held_back_by="a_rule, another")
    done = publish.publish_together(dsn, second, [held, Due(POSTINGS, None, 1)])
    assert done["card_accounts"] == publish.Published(0, "a_rule, another", first)
    assert shown(dsn)["card_accounts"] == (first, False, "a_rule, another")
    assert shown(dsn)["ledger_postings"] == (second, True, None)
    assert publish.watermark(dsn, ACCOUNTS) == 1

    mended = Due(ACCOUNTS, rows(ACCOUNTS, 3, held_minor=7), 3)
    publish.publish_together(dsn, third, [mended, Due(POSTINGS, None, 1)])
    assert shown(dsn)["card_accounts"] == (third, True, None)


def test_a_table_that_cannot_take_its_rows_is_held_back_alone(dsn) -> None:
    first, second = a_cut(dsn), a_cut(dsn)
    publish.publish_together(dsn, first, [Due(c, rows(c, 1), 1) for c in (POSTINGS, ACCOUNTS)])
    with psycopg.connect(dsn) as connection:
        connection.execute("alter table silver.card_accounts alter column held_minor type text")
    due = [Due(c, rows(c, 2), 2) for c in (POSTINGS, ACCOUNTS)]
    done = publish.publish_together(dsn, second, due)
    assert "held_minor is text in the warehouse" in done["card_accounts"].held_back_by
    assert done["ledger_postings"] == publish.Published(1, "", second)
    assert shown(dsn)["card_accounts"][:2] == (first, False)


def test_rows_of_a_step_that_was_run_alone_show_no_cut(dsn) -> None:
    first, second = a_cut(dsn), a_cut(dsn)
    publish.publish_together(dsn, first, [Due(ACCOUNTS, rows(ACCOUNTS, 1), 1)])
    alone = Due(ACCOUNTS, rows(ACCOUNTS, 2), 2, is_at_cut=False)
    publish.publish_together(dsn, second, [alone])
    assert shown(dsn)["card_accounts"] == (None, False, None)


def test_a_reader_sees_one_cut_however_often_others_are_published(dsn) -> None:
    """Two tables that always carry the same number; a reader never sees two."""
    pair = (POSTINGS, ACCOUNTS)
    publish.publish_together(dsn, a_cut(dsn), [Due(c, rows(c, 1, currency="1"), 1) for c in pair])
    stop = threading.Event()

    def go_on() -> None:
        tick = 1
        while not stop.is_set():
            tick += 1
            due = [Due(c, rows(c, tick, currency=str(tick)), tick) for c in pair]
            publish.publish_together(dsn, a_cut(dsn), due)

    publisher = threading.Thread(target=go_on)
    publisher.start()
    give_up_at = time.monotonic() + 30
    seen, mixed = set(), 0
    one = "select currency from silver.card_accounts"
    other = "select currency from silver.ledger_postings"
    cut = "select min(cut_id), max(cut_id) from control.shown_cuts where entity = any(%s)"
    try:
        with psycopg.connect(dsn, autocommit=True) as connection:
            while (len(seen) < 20 or not mixed) and time.monotonic() < give_up_at:
                with connection.transaction():
                    connection.execute("set transaction isolation level repeatable read")
                    (left,) = connection.execute(one).fetchall()
                    (right,) = connection.execute(other).fetchall()
                    ((low, high),) = connection.execute(cut, ([c.entity for c in pair],))
                assert left == right
                assert low == high
                seen.add(low)
                # The negative control: two statements, two snapshots.
                (left,) = connection.execute(one).fetchall()
                (right,) = connection.execute(other).fetchall()
                mixed += left != right
    finally:
        stop.set()
        publisher.join()
    assert len(seen) >= 20
    assert mixed
