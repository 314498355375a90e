"""Publish against a real Postgres; the rows are Arrow, as silver hands them over."""

from datetime import UTC, date, datetime
from decimal import Decimal

import psycopg
import pyarrow as pa
import pytest

from pipelines import publish
from pipelines.publish import PublishError
from schemas import contract as contracts

OFFERS = contracts.load("offers")
AT = datetime(2026, 1, 2, 3, 4, 5, 123456, tzinfo=UTC)


@pytest.fixture(scope="module")
def dsn(postgres_only) -> str:
    return postgres_only.env["MILLRACE_WAREHOUSE_DSN"]


@pytest.fixture(autouse=True)
def empty(dsn) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("drop table if exists silver.offers")
        connection.execute("update control.published set tick = 0 where entity = 'offers'")


def rows(*changes: dict) -> pa.Table:
    values = {
        "uuid": "00000000-0000-4000-8000-000000000001",
        "string": 'a "quoted", text\n',
        "code": "X",
        "long": 100,
        "integer": 12,
        "decimal": Decimal("0.071250"),
        "date": date(2026, 1, 2),
        "timestamp": AT,
        "boolean": True,
        "json": "{}",
    }
    row = {c.name: values[c.type] for c in OFFERS.columns} | {"currency": "CZK"}
    row |= {
        "_op": "c",
        "_is_deleted": False,
        "_commit_lsn": 10,
        "_lsn": 11,
        "_streamed": 1,
        "_tx_id": None,
        "_topic": "",
        "_partition": 0,
        "_offset": 1,
        "_changed_at": AT,
        "_ingested_at": AT,
        "_batch_id": 0,
        "_tick": 1,
    }
    return pa.Table.from_pylist([row | change for change in changes])


def read(dsn: str, columns: str) -> list[tuple]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(f"select {columns} from silver.offers order by 1").fetchall()


def test_values_arrive_as_they_are_and_the_watermark_moves_with_them(dsn) -> None:
    assert publish.publish(dsn, OFFERS, rows({}), tick=1) == 1
    assert read(dsn, "provider, apr, valid_until, _tx_id, _topic") == [
        ('a "quoted", text\n', Decimal("0.071250"), AT, None, "")
    ]
    assert publish.watermark(dsn, OFFERS) == 1
    assert publish.warehouse_totals(dsn, OFFERS) == {
        "rows": 1,
        "money": {"amount_minor": {"CZK": 100}},
    }


def test_publishing_again_changes_nothing(dsn) -> None:
    publish.publish(dsn, OFFERS, rows({}), tick=1)
    assert publish.publish(dsn, OFFERS, rows({}), tick=1) == 0


def test_a_newer_row_replaces_and_an_older_one_does_not(dsn) -> None:
    publish.publish(dsn, OFFERS, rows({}), tick=1)
    publish.publish(dsn, OFFERS, rows({"_lsn": 20, "amount_minor": 7, "_tick": 2}), tick=2)
    publish.publish(dsn, OFFERS, rows({"_lsn": 12, "amount_minor": 9, "_tick": 3}), tick=3)
    assert read(dsn, "amount_minor") == [(7,)]


def test_a_deleted_row_stays_and_no_longer_counts(dsn) -> None:
    publish.publish(dsn, OFFERS, rows({}), tick=1)
    deleted = {"_is_deleted": True, "_op": "d", "_lsn": 30, "_tick": 2}
    publish.publish(dsn, OFFERS, rows(deleted), tick=2)
    assert read(dsn, "_is_deleted") == [(True,)]
    assert publish.warehouse_totals(dsn, OFFERS)["rows"] == 0


def test_a_new_column_is_added_and_a_changed_type_is_refused(dsn) -> None:
    publish.publish(dsn, OFFERS, rows({}), tick=1)
    with psycopg.connect(dsn) as connection:
        connection.execute("alter table silver.offers drop column apr")
    publish.publish(dsn, OFFERS, rows({"_lsn": 12, "_tick": 2}), tick=2)
    assert read(dsn, "apr") == [(Decimal("0.071250"),)]
    with psycopg.connect(dsn) as connection:
        connection.execute("alter table silver.offers alter column term_months type bigint")
    with pytest.raises(PublishError, match="term_months is bigint"):
        publish.publish(dsn, OFFERS, rows({"_tick": 3}), tick=3)


def test_personal_data_is_not_published() -> None:
    names = {
        c.name for e in ("customers", "kyc_records") for c in publish.published(contracts.load(e))
    }
    assert not names & {"full_name", "email", "birth_date", "email_index", "details"}


def test_an_entity_without_changes_gets_an_empty_table(dsn, spark, tmp_path) -> None:
    assert publish.publish_entity(spark, tmp_path, dsn, OFFERS) == 0
    assert read(dsn, "offer_id") == []
