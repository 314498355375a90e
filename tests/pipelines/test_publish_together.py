"""All tables of a tick in one commit, against a real Postgres: one cut, or a table named behind."""

import psycopg
import pytest

from pipelines import publish
from pipelines.publish import Due
from tests.pipelines.published import ACCOUNTS, POSTINGS, a_cut, emptied, rows


@pytest.fixture
def dsn(postgres_only) -> str:
    return emptied(postgres_only.env["MILLRACE_WAREHOUSE_DSN"])


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
