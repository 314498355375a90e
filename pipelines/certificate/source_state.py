"""The source as a cut sees it: counts and digests of its rows, per table and key bucket.

Input: the operational database, read as the role that may select what is captured. The snapshot of
the cut stays open while it is read, so a bucket that differs can be read again, key by key.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from pipelines import cut as cuts
from pipelines.certificate import canonical
from pipelines.certificate.sums import Sum
from pipelines.visibility import Cut
from schemas.contract import Contract

# It may select every captured table and read the log; nothing else, whoever logs in.
ROLE = "cdc"
# How the witness and the state read the database: printed as canonical.py parses it.
SESSION = f"-c role={ROLE} -c datestyle=ISO -c timezone=UTC -c client_encoding=UTF8"
ROWS_A_FETCH = 5_000


class SourceStateError(RuntimeError):
    """A table cannot be read as its contract says; the message says which and why."""


@dataclass(frozen=True)
class SourceState:
    """A cut and the database in its snapshot."""

    cut: Cut
    connection: psycopg.Connection[Any]

    def sums(self, contract: Contract, names: Sequence[str] = ()) -> dict[int, Sum]:
        """Rows and digests per key bucket, of these columns (all when none is named)."""
        query = sql.SQL("select {}, count(*), sum({}) from {} group by 1").format(
            sql.SQL(canonical.bucket_postgres(canonical.key_text_postgres(contract))),
            sql.SQL(canonical.digest_postgres(_row_text(contract, names))),
            _table(contract),
        )
        return {bucket: Sum(rows, int(digest)) for bucket, rows, digest in self._read(query)}

    def digests(
        self, contract: Contract, bucket: int, names: Sequence[str] = ()
    ) -> Iterator[tuple[str, int]]:
        """Key text and digest of every row in one bucket."""
        key = canonical.key_text_postgres(contract)
        query = sql.SQL("select {}, {} from {} where {} = {}").format(
            sql.SQL(key),
            sql.SQL(canonical.digest_postgres(_row_text(contract, names))),
            _table(contract),
            sql.SQL(canonical.bucket_postgres(key)),
            sql.Literal(bucket),
        )
        for key_text, digest in self._read(query):
            yield key_text, int(digest)

    def _read(self, query: sql.Composed) -> Iterator[tuple[Any, ...]]:
        # Rolled back to: a table that cannot be read leaves the snapshot to the others.
        try:
            with (
                self.connection.transaction(),
                self.connection.cursor(name="source_state") as cursor,
            ):
                cursor.itersize = ROWS_A_FETCH
                cursor.execute(query)
                yield from cursor
        except psycopg.errors.Error as error:
            raise SourceStateError(
                f"the source cannot be read as its contract says ({error}): {query.as_string()}"
            ) from error


@contextmanager
def reading(oltp_dsn: str) -> Iterator[SourceState]:
    """Take a cut and keep its snapshot until the block ends."""
    with psycopg.connect(oltp_dsn, options=SESSION, autocommit=True) as connection:
        connection.execute("begin transaction isolation level repeatable read read only")
        with connection.cursor() as cursor:
            cut = cuts.taken(cursor)
        yield SourceState(cut, connection)
        connection.execute("rollback")


def _row_text(contract: Contract, names: Sequence[str]) -> str:
    return canonical.row_text_postgres(contract, names or [c.name for c in contract.columns])


def _table(contract: Contract) -> sql.Identifier:
    return sql.Identifier(*contract.source.split("."))
