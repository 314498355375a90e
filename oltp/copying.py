"""Adds many rows by COPY; a row whose key or unique value is there already is left alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, LiteralString

import psycopg
from psycopg import sql

Rows = Sequence[Mapping[str, Any]]


def add(connection: psycopg.Connection, table: str, rows: Rows) -> int:
    """Add the rows in one transaction; how many were new. All rows have the same columns."""
    if not rows:
        return 0
    with connection.transaction():
        columns = stage(connection, table, rows)
        done = connection.execute(
            sql.SQL(
                "insert into {table} ({columns}) select {columns} from stage on conflict do nothing"
            ).format(table=sql.Identifier(*table.split(".")), columns=columns)
        )
        return done.rowcount


def stage(connection: psycopg.Connection, table: str, rows: Rows) -> sql.Composed:
    """Copy the rows into the temporary table `stage`, gone with the transaction; its columns."""
    columns = sql.SQL(", ").join(map(sql.Identifier, rows[0]))
    connection.execute(
        sql.SQL(
            "create temp table stage on commit drop as select {columns} from {table} with no data"
        ).format(table=sql.Identifier(*table.split(".")), columns=columns)
    )
    with (
        connection.cursor() as cursor,
        cursor.copy(sql.SQL("copy stage ({}) from stdin").format(columns)) as copy,
    ):
        for row in rows:
            copy.write_row(tuple(row.values()))
    return columns


def only_row(
    connection: psycopg.Connection, query: LiteralString, columns: sql.Composed
) -> tuple[Any, ...]:
    """The one row of a query whose {columns} are those of the stage."""
    (row,) = connection.execute(sql.SQL(query).format(columns=columns)).fetchall()
    return row
