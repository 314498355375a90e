"""A stranger's changes to any captured tables: rows that keep their contract, in whatever order.

Inserts, updates of one column (null, large, the same again), deletes, rows made anew under an old
key, rows that get another key, truncates of tables without money; several tables a transaction,
some rolled back in part or whole. What the database refuses is given up with its transaction.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql

from schemas.contract import Column, Contract
from tests.faults.writers import writing
from tests.pipelines.conftest import Source

WRITERS, KEYS_EACH = 3, 2500
EPOCH = date(1970, 1, 1)
LARGE_BYTES = 6000
NOTHING = sql.SQL("")
# What only the database's own types ask of a text.
OF_TYPE = {"sealed": f"enc:1:{'0' * 24}", "blind_index": "0" * 64, "inet": "127.0.0.1"}
REFUSED = (
    psycopg.errors.IntegrityError,
    psycopg.errors.DataError,
    # Truncating what others refer to; a value too large for its index.
    psycopg.errors.FeatureNotSupported,
    psycopg.errors.ProgramLimitExceeded,
)
# Everything that speaks of more than one row or column: the contract is what these rows keep.
IN_THE_WAY = """
select format('alter table %%s drop constraint %%I cascade', conrelid::regclass, conname)
from pg_constraint
where conrelid = any(%(tables)s::regclass[]) and contype in ('c', 'x', 'u') and coninhcount = 0
union all
select format('drop index %%s cascade', i.indexrelid::regclass)
from pg_index as i left join pg_constraint as c on c.conindid = i.indexrelid
where i.indrelid = any(%(tables)s::regclass[]) and i.indisunique and c.oid is null
"""
COLUMNS = """
select column_name, coalesce(domain_name, data_type) from information_schema.columns
where table_schema = %s and table_name = %s and is_generated = 'NEVER'
"""


class Stranger:
    """Writers to these tables; the seed decides what each does, the clock how far it comes."""

    def __init__(self, dsn: str, tables: Sequence[Contract], seed: int) -> None:
        self._dsn, self._seed = dsn, seed
        self.committed, self.refused = 0, 0
        with psycopg.connect(dsn) as admin:
            names = [c.source for c in tables]
            for (statement,) in admin.execute(IN_THE_WAY, {"tables": names}).fetchall():
                admin.execute(statement)
            self._tables = [_Table(admin, contract) for contract in tables]

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Until the end of the block, whatever happens to whoever reads."""
        with writing(self._write, WRITERS):
            yield

    def _write(self, over: threading.Event, writer: int) -> None:
        rng = random.Random(f"{self._seed}-{writer}")
        with psycopg.connect(self._dsn) as connection:
            connection.execute("set session_replication_role = replica")
            connection.commit()
            while not over.wait(0.01 * rng.random()):
                try:
                    self._transact(connection, rng, writer)
                except REFUSED:
                    self.refused += 1
                    connection.rollback()

    def _transact(self, connection: psycopg.Connection, rng: random.Random, writer: int) -> None:
        for _ in range(rng.randint(1, 4)):
            rng.choice(self._tables).change(connection, rng, writer)
        if rng.random() < 0.1:
            connection.execute("savepoint s")
            rng.choice(self._tables).change(connection, rng, writer)
            connection.execute("rollback to savepoint s")
        if rng.random() < 0.1:
            connection.rollback()
            return
        connection.commit()
        self.committed += 1


class _Table:
    def __init__(self, admin: psycopg.Connection, contract: Contract) -> None:
        self.contract = contract
        self._name = sql.Identifier(*contract.source.split("."))
        found = admin.execute(COLUMNS, contract.source.split(".")).fetchall()
        types = dict(found)
        self._columns = types.keys() & {c.name for c in contract.columns}
        self._given = {n: OF_TYPE[types[n]] for n in self._columns if types[n] in OF_TYPE}
        self._source = Source(None, Path(), contract)
        rules = " ".join(f"{check.when} {check.expect}" for check in contract.checks)
        self._free = [
            c for c in contract.columns
            if c.name not in contract.key and c.name not in rules and c.pattern is None
            and c.type not in {"decimal", "uuid"} and c.name in self._columns - self._given.keys()
        ]  # fmt: skip

    def change(self, connection: psycopg.Connection, rng: random.Random, writer: int) -> None:
        key = writer * KEYS_EACH + rng.randrange(40)
        kind = rng.random()
        if kind < 0.3:
            self._insert(connection, key)
        elif kind < 0.75 and self._free:
            column = rng.choice(self._free)
            self._update(connection, key, {column.name: _another(column, rng)})
        elif kind < 0.88:
            connection.execute(self._where("delete from {}", key))
        elif kind < 0.99 or self.contract.money:
            new = self._row(key + 40 * rng.randrange(1, 60))
            self._update(connection, key, {name: new[name] for name in self.contract.key})
        else:
            connection.execute(sql.SQL("truncate {}").format(self._name))

    def _insert(self, connection: psycopg.Connection, key: int) -> None:
        row = self._row(key)
        statement = sql.SQL(
            "insert into {} ({}) overriding system value values ({}) on conflict do nothing"
        ).format(
            self._name,
            sql.SQL(", ").join(map(sql.Identifier, row)),
            sql.SQL(", ").join([sql.Placeholder()] * len(row)),
        )
        connection.execute(statement, list(row.values()))

    def _update(self, connection: psycopg.Connection, key: int, values: dict[str, Any]) -> None:
        assigned = sql.SQL(", ").join(
            sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder()) for name in values
        )
        statement = self._where("update {} set ", key, assigned)
        connection.execute(statement, list(values.values()))

    def _where(self, verb: str, key: int, more: sql.Composable = NOTHING) -> sql.Composed:
        row = self._row(key)
        where = sql.SQL(" and ").join(
            sql.SQL("{} = {}").format(sql.Identifier(name), sql.Literal(row[name]))
            for name in self.contract.key
        )
        return sql.SQL(verb).format(self._name) + more + sql.SQL(" where ") + where

    def _row(self, key: int) -> dict[str, Any]:
        row = self._source.row(key) | self._given
        kinds = {c.name: c.type for c in self.contract.columns}
        return {n: _native(kinds[n], value) for n, value in row.items() if n in self._columns}


def _native(kind: str, value: Any) -> Any:
    """A value of the wire as Postgres takes it."""
    if kind == "date" and isinstance(value, int):
        return EPOCH + timedelta(days=value)
    return UUID(value) if kind == "uuid" and isinstance(value, str) else value


def _another(column: Column, rng: random.Random) -> Any:
    """Another value of a column that no rule of the contract speaks of, or the same again."""
    if not column.required and rng.random() < 0.3:
        return None
    large = rng.randbytes(LARGE_BYTES // 2).hex()
    return {
        "string": lambda: large if rng.random() < 0.3 else f"s{rng.randrange(9)}",
        "code": lambda: rng.choice(column.allowed),
        "long": lambda: rng.randrange(column.minimum or 0, (column.minimum or 0) + 10**6),
        "integer": lambda: rng.randrange(column.minimum or 0, (column.minimum or 0) + 1000),
        "date": lambda: EPOCH + timedelta(days=rng.randrange(19000, 21000)),
        "timestamp": lambda: datetime.fromtimestamp(1_767_225_600 + rng.randrange(10**7), UTC),
        "boolean": lambda: rng.random() < 0.5,
        "json": lambda: f'{{"n": {rng.randrange(9)}, "large": "{large}"}}',
    }[column.type]()
