"""A database with a chained audit of its own, and what an attacker with all rights does to it."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg

from oltp.audit import Book, Report, canonical, checkpoints, seal, verify


@dataclass
class Audited:
    """`admin` is the superuser's address; the sealer and the auditor act in their own roles."""

    admin: str
    file: Path
    key: str = field(default_factory=lambda: base64.b64encode(os.urandom(32)).decode())

    @contextmanager
    def acting(self, role: str | None = None) -> Iterator[psycopg.Connection]:
        with canonical.connect(self.admin) as connection:
            if role:
                connection.execute(f"set role {role}")
                connection.commit()
            yield connection

    def do(self, *statements: str) -> None:
        """As the superuser, each committed at once."""
        with psycopg.connect(self.admin, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    def attack(self, *statements: str) -> None:
        """As a superuser who turns the triggers off."""
        self.do("set session_replication_role = replica", *statements)

    def rows(self, query: str, *values: object) -> list[tuple]:
        with psycopg.connect(self.admin, autocommit=True) as connection:
            return connection.execute(query, values).fetchall()

    def add(self, number: int = 1) -> None:
        """Changes of one transaction each."""
        with psycopg.connect(self.admin, autocommit=True) as connection:
            for _ in range(number):
                connection.execute(CHANGE)

    def seal(self, batch: int = 10_000) -> int:
        with self.acting("audit_sealer") as connection:
            return seal(connection, batch)

    def sign(self) -> checkpoints.Checkpoint | None:
        with self.acting("audit_sealer") as connection:
            return Book(self.file, self.key).sign(connection)

    def verify(self, **options: float) -> Report:
        stored = checkpoints.load(self.file)
        key = checkpoints.public_key(self.file) if stored else None
        with self.acting("auditor") as connection:
            return verify(connection, stored, key, **options)


CHANGE = (
    "insert into customer.tenants (tenant_id, name)"
    " values (gen_random_uuid(), gen_random_uuid()::text)"
)


def copy_of(admin: str, folder: Path) -> Audited:
    """A copy of a migrated database that nobody is connected to, with its own checkpoint file."""
    source = urlsplit(admin).path[1:]
    name = f"audit_{uuid4().hex[:12]}"
    postgres = urlsplit(admin)._replace(path="/postgres").geturl()
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f'create database "{name}" template "{source}"')
    return Audited(urlsplit(admin)._replace(path=f"/{name}").geturl(), folder / "checkpoints.jsonl")
