"""Every table of the business schemas is audited, or says why it is not."""

from __future__ import annotations

import psycopg

BUSINESS = [
    "customer", "provider", "credit", "kyc", "risk", "card", "ledger", "restricted",
]  # fmt: skip
TABLES = """
select n.nspname || '.' || c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = any (%s) and c.relkind in ('r', 'p') and not c.relispartition
"""
TRIGGERS = """
select n.nspname || '.' || c.relname, count(*), min(pg_get_triggerdef(t.oid)),
    (select array_agg(a.attname::text order by k.n) from pg_index i
        cross join unnest(i.indkey::smallint[]) with ordinality k (attnum, n)
        join pg_attribute a on a.attrelid = c.oid and a.attnum = k.attnum
        where i.indrelid = c.oid and i.indisprimary)
from pg_trigger t join pg_class c on c.oid = t.tgrelid join pg_namespace n on n.oid = c.relnamespace
where t.tgname in ('audit_insert', 'audit_update', 'audit_delete', 'audit_truncate')
    and t.tgenabled = 'O' and not c.relispartition
group by c.oid, n.nspname, c.relname
"""
LISTED = "select table_schema || '.' || table_name, mode, reason from audit.audited_tables"


def column(database, query: str, *values: object) -> list[tuple]:
    with psycopg.connect(database.admin, autocommit=True) as connection:
        return connection.execute(query, values).fetchall()


def test_every_business_table_is_audited_or_exempt_with_a_reason(database):
    tables = {name for (name,) in column(database, TABLES, BUSINESS)}
    listed = {name for name, _, _ in column(database, LISTED)}
    assert tables - listed == set()
    gone = {name for name in listed - tables if not name.startswith("audit.")}
    assert gone == set()


def test_every_listed_table_has_its_four_triggers_with_its_key(database):
    wanted = {name for name, mode, _ in column(database, LISTED) if mode != "EXEMPT"}
    found = {name: rest for name, *rest in column(database, TRIGGERS)}
    assert set(found) == wanted
    for name, (count, definition, key) in found.items():
        assert count == 4, name
        arguments = definition.partition("record(")[2].rstrip(")").replace("'", "").split(", ")
        assert arguments[3:] == key, name


def test_an_exemption_is_for_what_is_derived_or_counts(database):
    exempt = {name for name, mode, _ in column(database, LISTED) if mode == "EXEMPT"}
    assert exempt == {
        "card.card_states", "card.fraud_labels", "card.prices", "card.shadow_verdicts",
        "card.spend_counters", "customer.key_requests", "customer.sessions", "provider.rate_limits",
    }  # fmt: skip
