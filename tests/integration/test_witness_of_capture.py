"""What capture made of the log is, change by change, what the witness saw in it: real services."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb

from millrace.stack import Stack
from pipelines import bronze, cdc, cut, delta, lake, registry
from pipelines.certificate import canonical, witness
from pipelines.certificate.window import Change
from pipelines.visibility import Cut, visible
from schemas import contract as contracts
from tests.conftest import temporary_stack
from tests.integration.test_captured_tables import CHECKS, come_and_go

pytestmark = [pytest.mark.stack, pytest.mark.spark, pytest.mark.long]

LONG = "enc:1:" + "".join(uuid4().hex for _ in range(640))
SHORT = "enc:1:{:_<30}"
LONG_JSON = Jsonb({"a": LONG, "b": [1.50, None, "ž"]})
NEW_KEY = "00000000-0000-4000-8000-{:012d}"
MOMENTS = ("1969-12-31 23:59:59.999999Z", "0044-03-15 10:00:00.000001Z BC", "9999-12-31 23:59:59Z")
# One change of every kind on the kinds of tables there are; the last two are made by statements.
COME_AND_GO = (
    "payments",
    "positions",
    "card_messages",
    "customers",
    "aml_matches",
    "collateral_positions",
)


@dataclass(frozen=True)
class Told:
    """The window of everything below, as the witness and as bronze tell it."""

    since: Cut
    upto: Cut
    witnessed: list[Change]
    bronze: dict[str, list[Any]]


@pytest.fixture(scope="module")
def told(spark: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    folder = tmp_path_factory.mktemp("witnessed")
    for stack in temporary_stack(("connect",)):
        dsn, warehouse = stack.env["MILLRACE_OLTP_ADMIN_DSN"], stack.env["MILLRACE_WAREHOUSE_DSN"]
        assert witness.ensure(dsn, warehouse) is not None
        since = cut.take(dsn)
        change_everything(dsn)
        upto = cut.take(dsn)
        cut.wait_for_capture(dsn, upto, timeout_s=60)
        window = witness.window(dsn, since, upto)
        changes = list(window.changes())
        entities = {c.entity for c in changes}
        yield Told(since, upto, changes, decoded(spark, folder, stack, upto, entities))


def change_everything(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as admin, psycopg.connect(dsn) as other:
        schemas = sorted({c.source.split(".")[0] for c in contracts.load_all()})
        for table, name in admin.execute(CHECKS, (schemas,)).fetchall():
            admin.execute(f'alter table {table} drop constraint "{name}" cascade')
        for connection in (admin, other):
            connection.execute("set session_replication_role = replica")
        for entity in COME_AND_GO:
            come_and_go(admin, contracts.load(entity))
        _customers(admin, other)
        _records(admin)
        _prices(admin)
        _partitions(admin)


def _customers(admin: psycopg.Connection, other: psycopg.Connection) -> None:
    """Default identity: keys that change, values out of line, what is rolled back, interleaving."""
    add = "insert into customer.customers (customer_id, country, full_name) values (%s, %s, %s)"
    other.execute(add, (NEW_KEY.format(1), "CZ", SHORT.format("first_to_write_last_to_commit")))
    admin.execute(add, (NEW_KEY.format(2), "DE", LONG))
    admin.execute("update customer.customers set country = 'AT' where full_name = %s", (LONG,))
    admin.execute(
        "update customer.customers set customer_id = %s where customer_id = %s",
        (NEW_KEY.format(3), NEW_KEY.format(2)),
    )
    with contextlib.suppress(ZeroDivisionError), admin.transaction():
        admin.execute(add, (NEW_KEY.format(4), "FR", SHORT.format("rolled_back")))
        raise ZeroDivisionError
    with admin.transaction():
        admin.execute("update customer.customers set birth_year = 1999")
        with admin.transaction():
            admin.execute(add, (NEW_KEY.format(5), "F", SHORT.format("in_a_subtransaction")))
        admin.execute("delete from customer.customers where customer_id = %s", (NEW_KEY.format(3),))
    other.commit()
    admin.execute("delete from customer.customers")


def _records(admin: psycopg.Connection) -> None:
    """Full identity: 20 KB of JSON that most changes leave alone."""
    admin.execute(
        "insert into kyc.kyc_records (kyc_record_id, customer_id, verification_type, status,"
        " provider, risk_level, risk_score, details)"
        " values (%s, %s, 'IDENTITY', 'PENDING', '', 'LOW', 0.01, %s)",
        (NEW_KEY.format(1), NEW_KEY.format(1), LONG_JSON),
    )
    admin.execute("update kyc.kyc_records set risk_score = 99.9")
    admin.execute("update kyc.kyc_records set kyc_record_id = %s", (NEW_KEY.format(2),))
    admin.execute("update kyc.kyc_records set details = '{}'")
    admin.execute("delete from kyc.kyc_records")


def _prices(admin: psycopg.Connection) -> None:
    """Several rows at one position, the smallest and the largest numbers, moments of every era."""
    numbers = ("0", "1E-18", "-1E-18", "99999999999999999999.999999999999999999", "-1")
    names = "price_id, asset, quote_currency, price, source, observed_at"
    with admin.cursor().copy(f"copy card.prices ({names}) from stdin") as copy:
        for place, number in enumerate(numbers * 4):
            moment = MOMENTS[place % len(MOMENTS)]
            copy.write_row((uuid4(), f"\\ ž'\"{place}", "E", number, "", moment))
    admin.execute("truncate card.prices")
    admin.execute(f"insert into card.prices ({names}) select gen_random_uuid(), 'a', 'EUR', 1, 's',"
                  " now()")  # fmt: skip


def _partitions(admin: psycopg.Connection) -> None:
    """Rows that move between months, and tables that are emptied as a whole."""
    admin.execute("select card.ensure_event_partitions('2026-01-01', '2026-02-01')")
    admin.execute(
        "insert into card.card_events (card_event_id, occurred_at, account_id, event_type,"
        " response_code) select gen_random_uuid(), '2026-01-05Z', gen_random_uuid(), 'ADVICE', '5'"
        " from generate_series(1, 3)"
    )
    admin.execute("update card.card_events set occurred_at = occurred_at + interval '1 month'")
    admin.execute("update card.card_events set network_ref = 'n'")
    admin.execute("truncate card.card_events")
    for address in ("10.0.0.1", "10.1.0.0/16", "2001:db8::1"):
        come_and_go(admin, contracts.load("api_access_logs"))
        admin.execute(
            "insert into audit.pii_access (pii_access_id, customer_id, field, purpose, actor,"
            " actor_role, client_ip)"
            " values (gen_random_uuid(), gen_random_uuid(), 'f', 'p', 'a', 'r', %s)",
            (address,),
        )


def decoded(
    spark: Any, folder: Path, stack: Stack, upto: Cut, entities: set[str]
) -> dict[str, list[Any]]:
    """Bronze's records of these entities in order of arrival, as silver reads them."""
    bronze.ingest(spark, folder, stack.env["MILLRACE_KAFKA"])
    schemas = registry.WriterSchemas(stack.env["MILLRACE_REGISTRY"])
    table = delta.read(spark, lake.bronze(folder)).persist()
    used = {
        entity: (set(values), set(keys))
        for entity, values, keys in table.groupBy("entity")
        .agg({"value_schema_id": "collect_set", "key_schema_id": "collect_set"})
        .selectExpr("*")
        .select("entity", "collect_set(value_schema_id)", "collect_set(key_schema_id)")
        .collect()
    }
    found = {}
    for entity in sorted(entities):
        contract = contracts.load(entity)
        values, keys = used[entity]
        changes = cdc.changes(
            table.where(f"entity = '{entity}'"),
            contract,
            {i: schemas(i) for i in values},
            {i: schemas(i) for i in keys},
            upto,
        )
        text = canonical.change_text_spark(contract)
        key = canonical.key_text_spark(contract)
        found[entity] = changes.where("_op in ('c', 'u', 'd', 't')").selectExpr(
            "_op as op", "_lsn as lsn", "_tx_id as xid", "_commit_lsn as commit_lsn", "_topic",
            "_partition", "_offset", f"{key} as key", f"{text} as text",
            f"{canonical.digest_spark(text)} as digest",
        ).orderBy("_partition", "_offset").collect()  # fmt: skip
    table.unpersist()
    return found


def test_every_change_is_in_bronze_as_the_witness_saw_it(told: Told) -> None:
    seen = sorted((c.entity, c.lsn, c.key_text, c.op, c.text) for c in told.witnessed)
    came = sorted(
        (entity, row.lsn, row.key, row.op, row.text)
        for entity, rows in told.bronze.items()
        for row in rows
        if not visible(row.xid, row.op, row.lsn, told.since)
    )
    for one, other in zip(seen, came, strict=False):
        assert one == other
    assert len(seen) == len(came)
    digests = {c.text: c.digest for c in told.witnessed}
    assert all(digests[r.text] == r.digest for rows in told.bronze.values() for r in rows)


def test_the_order_that_capture_sends_is_the_logs(told: Told) -> None:
    order = {(c.entity, c.lsn, c.key_text, c.op): c for c in told.witnessed}
    compared = 0
    for entity, rows in told.bronze.items():
        for row in rows:
            change = order[entity, row.lsn, row.key, row.op]
            assert change.xid % 2**32 == row.xid
            if change.commit_before is not None:
                assert row.commit_lsn == change.commit_before, (entity, row, change)
                compared += 1
    assert compared > 30


@pytest.mark.parametrize(
    ("entity", "operations"),
    [
        ("customers", "cu" + "d" + "cu" + "dc" + "u" + "cd" + "c" + "dd"),
        ("kyc_records", "cudcud"),
        ("prices", "c" * 20 + "t" + "c"),
        ("card_events", "ccc" + "dcdcdc" + "uuu" + "t"),
        ("aml_matches", "cud"),
    ],
)
def test_the_window_has_each_kind_of_change(told: Told, entity: str, operations: str) -> None:
    assert "".join(c.op for c in told.witnessed if c.entity == entity) == operations


def test_rows_copied_together_share_a_position_and_have_keys_of_their_own(told: Told) -> None:
    copied = [c for c in told.witnessed if c.entity == "prices"][:20]
    assert len({c.lsn for c in copied}) == 1
    assert len({c.key_text for c in copied}) == 20


def test_what_is_long_is_carried_when_it_changed_or_identity_is_full(told: Told) -> None:
    texts = [c.text for c in told.witnessed if c.entity == "kyc_records"]
    assert [LONG in text for text in texts] == [True, True, False, True, False, False]
    assert not any(canonical.NOT_CARRIED in t for t in texts if t[0] in "cu")
    places = [c for c in told.witnessed if c.entity == "customers" and c.op in "cu"]
    assert [LONG in c.text for c in places if canonical.NOT_CARRIED not in c.text].count(True) == 1
    assert sum(canonical.NOT_CARRIED in c.text for c in places) >= 2
