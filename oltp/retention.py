"""Enforces the retention policies: each in a savepoint of its own, each leaving evidence.

    runs = enforce(connection, operator="ops@house", as_of=now, dry_run=True)

What is due by its anchor goes, unless a legal hold is open over it or another table still refers to
it; both are counted, the second with the references' names. A policy that fails is undone and
recorded, and the others go on. A second run finds nothing left to do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

# The period as text: a month is not thirty days.
ACTIVE = """
select p.*, p.period::text as period_text from audit.retention_policies p
where p.is_active order by p.run_order, p.name
"""
KEY = """
select a.attname from pg_index i
cross join unnest(i.indkey::smallint[]) with ordinality k (attnum, n)
join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
where i.indrelid = %s::regclass and i.indisprimary order by k.n
"""
# Every foreign key that points at the table: its table, columns here and there.
REFERENCES = """
select c.conrelid::regclass::text as name, n.nspname as schema, t.relname as table,
    (select array_agg(a.attname::text order by k.n)
        from unnest(c.conkey) with ordinality k (attnum, n)
        join pg_attribute a on a.attrelid = c.conrelid and a.attnum = k.attnum) as theirs,
    (select array_agg(a.attname::text order by k.n)
        from unnest(c.confkey) with ordinality k (attnum, n)
        join pg_attribute a on a.attrelid = c.confrelid and a.attnum = k.attnum) as ours
from pg_constraint c
join pg_class t on t.oid = c.conrelid
join pg_namespace n on n.oid = t.relnamespace
where c.contype = 'f' and c.confrelid = %s::regclass and c.conparentid = 0
order by 1, c.conname
"""


@dataclass
class Run:
    """What one policy did, or in a dry run would do. Counts are rows."""

    policy: str
    rule_version: int
    strategy: str
    table: str
    before: int | None = None
    due: int = 0
    held: int = 0
    referenced: int = 0
    done: int = 0
    after: int | None = None
    referenced_by: dict[str, int] | None = None
    keys_sha256: str | None = None
    archive_table: str | None = None
    error: str | None = None


class _UndoneError(Exception):
    """Ends a dry run's savepoint."""


def enforce(
    connection: psycopg.Connection,
    *,
    operator: str,
    as_of: datetime | None = None,
    dry_run: bool = False,
    only: str | None = None,
) -> Iterator[Run]:
    """Run the active policies, children before parents; yields each one's result.

    `connection` is the owner's, in UTC. Each policy and its evidence are one transaction. A dry run
    does the same work and undoes it, so its counts are what a real one would have. Raises
    LookupError where `only` names no active policy.
    """
    as_of = as_of or datetime.now(UTC)
    run_id = uuid4()
    with connection.cursor(row_factory=dict_row) as cursor:
        policies = [p for p in cursor.execute(ACTIVE) if only in (None, p["name"])]
    if only and not policies:
        raise LookupError(f"there is no active retention policy {only}")
    for policy in policies:
        started = datetime.now(UTC)
        run = Run(
            policy["name"], policy["rule_version"], policy["strategy"],
            f"{policy['table_schema']}.{policy['table_name']}",
        )  # fmt: skip
        with connection.transaction():
            for name, value in (
                ("app.actor", operator),
                ("app.reason", f"retention: {run.policy} version {run.rule_version}"),
            ):
                connection.execute("select set_config(%s, %s, true)", (name, value))
            try:
                with connection.transaction():
                    _apply(connection, policy, as_of, run)
                    if dry_run:
                        raise _UndoneError
            except _UndoneError:
                pass
            except psycopg.Error as error:
                run.error = str(error).strip()
                run.done, run.after, run.keys_sha256 = 0, None, None
            _record(connection, run, run_id, as_of, operator, dry_run, started)
        yield run


def _apply(
    connection: psycopg.Connection, policy: dict[str, Any], as_of: datetime, run: Run
) -> None:
    table = sql.Identifier(policy["table_schema"], policy["table_name"])
    name = table.as_string(connection)
    key = [row[0] for row in connection.execute(KEY, (name,))]
    keys = sql.SQL(", ").join(map(sql.Identifier, key))
    run.before = _count(connection, table)
    _find_due(connection, policy, table, keys, as_of)
    run.due = _count(connection, sql.Identifier("due"))
    run.held = _keep_held(connection, policy)
    if policy["strategy"] != "ANONYMIZE":
        run.referenced_by = _keep_referenced(connection, table, name, keys)
        run.referenced = sum(run.referenced_by.values())
    run.done = _count(connection, sql.Identifier("due"))
    run.keys_sha256 = _keys_digest(connection, keys)
    if policy["strategy"] == "ANONYMIZE":
        _anonymize(connection, policy, table, keys)
    else:
        if policy["strategy"] == "ARCHIVE":
            run.archive_table = _archive(connection, policy, table, keys, run)
        connection.execute(
            sql.SQL("delete from {table} where ({keys}) in (select {keys} from due)").format(
                table=table, keys=keys
            )
        )
    run.after = _count(connection, table)
    connection.execute("drop table due")


def _find_due(
    connection: psycopg.Connection,
    policy: dict[str, Any],
    table: sql.Composable,
    keys: sql.Composable,
    as_of: datetime,
) -> None:
    """Make the temporary table `due`: keys and subject of the rows whose time has come."""
    own = {
        row[0]
        for row in connection.execute(
            "select attname from pg_attribute where attrelid = %s::regclass and attnum > 0",
            (table.as_string(connection),),
        )
    }
    anchored = sql.SQL("t")
    link: sql.Composable = sql.SQL("")
    if policy["anchor_table"]:
        anchored = sql.SQL("a")
        link = sql.SQL("join {anchor} a on a.{theirs} = t.{ours}").format(
            anchor=sql.Identifier(policy["anchor_schema"], policy["anchor_table"]),
            theirs=sql.Identifier(policy["anchor_key"]),
            ours=sql.Identifier(policy["link_column"]),
        )
    subject: sql.Composable = sql.SQL("null::uuid")
    if policy["subject_column"]:
        where = sql.SQL("t") if policy["subject_column"] in own else anchored
        subject = sql.SQL("{}.{}").format(where, sql.Identifier(policy["subject_column"]))
    still: sql.Composable = sql.SQL("true")
    if policy["anonymized_columns"]:
        still = sql.SQL("num_nonnulls({}) > 0").format(
            sql.SQL(", ").join(
                sql.SQL("t.{}").format(sql.Identifier(c)) for c in policy["anonymized_columns"]
            )
        )
    connection.execute(
        sql.SQL(
            "create temp table due on commit drop as"
            " select {columns}, {subject} as the_subject from {table} t {link}"
            " where {anchored}.{anchor} + {period}::interval <= {as_of} and {still}"
        ).format(
            columns=sql.SQL(", ").join(
                sql.SQL("t.{}").format(sql.Identifier(c))
                for c in [k for (k,) in connection.execute(KEY, (table.as_string(connection),))]
            ),
            subject=subject, table=table, link=link, anchored=anchored, still=still,
            anchor=sql.Identifier(policy["anchor_column"]),
            period=sql.Literal(policy["period_text"]), as_of=sql.Literal(as_of),
        )
    )  # fmt: skip
    connection.execute(sql.SQL("create index on due ({})").format(keys))


def _keep_held(connection: psycopg.Connection, policy: dict[str, Any]) -> int:
    """A legal hold wins over every policy."""
    return connection.execute(
        "delete from due where exists ("
        " select from audit.legal_holds h where h.released_at is null"
        " and (h.customer_id = due.the_subject"
        "  or (h.table_schema = %s and h.table_name = %s)))",
        (policy["table_schema"], policy["table_name"]),
    ).rowcount


def _keep_referenced(
    connection: psycopg.Connection, table: sql.Composable, name: str, keys: sql.Composable
) -> dict[str, int]:
    """Rows that another table refers to stay; how many, by the referring columns."""
    kept = {}
    with connection.cursor(row_factory=dict_row) as cursor:
        references = cursor.execute(REFERENCES, (name,)).fetchall()
    for reference in references:
        # A row that refers to itself, or that goes with it, is no reason to stay.
        done = connection.execute(
            sql.SQL(
                "delete from due where ({keys}) in (select {tkeys} from {table} t"
                " join {other} o on {same} where {outside})"
            ).format(
                keys=keys,
                tkeys=_prefixed(connection, "t", name),
                table=table,
                other=sql.Identifier(reference["schema"], reference["table"]),
                same=sql.SQL(" and ").join(
                    sql.SQL("o.{} = t.{}").format(sql.Identifier(theirs), sql.Identifier(ours))
                    for theirs, ours in zip(reference["theirs"], reference["ours"], strict=True)
                ),
                outside=sql.SQL("({}) not in (select {} from due)").format(
                    _prefixed(connection, "o", name), keys
                )
                if reference["name"] == name.replace('"', "")
                else sql.SQL("true"),
            )
        ).rowcount
        if done:
            kept[f"{reference['name']}.{', '.join(reference['theirs'])}"] = done
    return kept


def _archive(
    connection: psycopg.Connection,
    policy: dict[str, Any],
    table: sql.Composable,
    keys: sql.Composable,
    run: Run,
) -> str:
    """Copy the rows, as JSON with their key, to where only the owner reads; the table's name.

    JSON, because an archive outlives many versions of the table it came from.
    """
    archive = f"{policy['table_schema']}__{policy['table_name']}"
    connection.execute(
        sql.SQL(
            "create table if not exists archive.{} (row_key jsonb primary key,"
            " row_values jsonb not null, policy_name text not null, rule_version integer not null,"
            " archived_at timestamptz not null default now())"
        ).format(sql.Identifier(archive))
    )
    names = [row[0] for row in connection.execute(KEY, (table.as_string(connection),))]
    connection.execute(
        sql.SQL(
            "insert into archive.{archive} (row_key, row_values, policy_name, rule_version)"
            " select jsonb_build_object({pairs}), to_jsonb(archived_row), {policy}, {version}"
            " from {table} archived_row where ({keys}) in (select {keys} from due)"
        ).format(
            archive=sql.Identifier(archive),
            pairs=sql.SQL(", ").join(
                sql.SQL("{}, {}").format(sql.Literal(n), sql.Identifier(n)) for n in names
            ),
            policy=sql.Literal(run.policy), version=sql.Literal(run.rule_version),
            table=table, keys=keys,
        )
    )  # fmt: skip
    return f"archive.{archive}"


def _anonymize(
    connection: psycopg.Connection,
    policy: dict[str, Any],
    table: sql.Composable,
    keys: sql.Composable,
) -> None:
    connection.execute(
        sql.SQL("update {table} set {nothing} where ({keys}) in (select {keys} from due)").format(
            table=table,
            nothing=sql.SQL(", ").join(
                sql.SQL("{} = null").format(sql.Identifier(c)) for c in policy["anonymized_columns"]
            ),
            keys=keys,
        )
    )


def _keys_digest(connection: psycopg.Connection, keys: sql.Composable) -> str:
    digest = hashlib.sha256()
    for row in connection.execute(
        sql.SQL("select {keys} from due order by {keys}").format(keys=keys)
    ):
        digest.update(("\t".join(map(str, row)) + "\n").encode())
    return digest.hexdigest()


def _prefixed(connection: psycopg.Connection, alias: str, name: str) -> sql.Composed:
    return sql.SQL(", ").join(
        sql.SQL("{}.{}").format(sql.SQL(alias), sql.Identifier(row[0]))
        for row in connection.execute(KEY, (name,))
    )


def _count(connection: psycopg.Connection, table: sql.Composable) -> int:
    row = connection.execute(sql.SQL("select count(*) from {}").format(table)).fetchone()
    return int(row[0]) if row else 0


def _record(
    connection: psycopg.Connection,
    run: Run,
    run_id: UUID,
    as_of: datetime,
    operator: str,
    dry_run: bool,
    started: datetime,
) -> None:
    values = {
        "run_id": run_id,
        "policy_name": run.policy,
        "rule_version": run.rule_version,
        "strategy": run.strategy,
        "is_dry_run": dry_run,
        "as_of": as_of,
        "operator": operator,
        "status": "FAILED" if run.error else "DONE",
        "rows_before": run.before,
        "rows_due": run.due,
        "rows_held": run.held,
        "rows_referenced": run.referenced,
        "rows_done": run.done,
        "rows_after": run.after,
        "referenced_by": Jsonb(run.referenced_by or {}),
        "keys_sha256": run.keys_sha256,
        "archive_table": run.archive_table,
        "error": run.error,
        "started_at": started,
    }
    connection.execute(
        sql.SQL("insert into audit.retention_runs ({}) values ({})").format(
            sql.SQL(", ").join(map(sql.Identifier, values)),
            sql.SQL(", ").join(map(sql.Placeholder, values)),
        ),
        values,
    )
