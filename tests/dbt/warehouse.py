"""A throw-away warehouse: Postgres in a temporary folder, migrated, with empty silver tables."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from millrace.stack import postgres
from schemas import contract

ROOT = Path(__file__).parent.parent.parent
SQL_TYPES = {"uuid": "uuid", "string": "text", "code": "text", "long": "bigint", "json": "jsonb",
             "integer": "integer", "date": "date", "timestamp": "timestamptz",
             "boolean": "boolean", "decimal": "numeric"}  # fmt: skip
TECHNICAL = (
    "_op text, _is_deleted boolean not null default false, _commit_lsn bigint, _lsn bigint, "
    "_streamed integer, _tx_id bigint, _topic text, _partition integer, _offset bigint, "
    "_changed_at timestamptz, _ingested_at timestamptz, _batch_id bigint, _tick bigint"
)
DEFAULTS: dict[str, Any] = {
    "string": "x", "long": 1, "integer": 1, "decimal": 0, "date": "2026-01-01",
    "timestamp": "2026-01-01T00:00:00Z", "boolean": False, "json": Jsonb({}),
}  # fmt: skip


@contextmanager
def started() -> Iterator[str]:
    """The dsn of an empty warehouse; the server and its folder are gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="millrace-warehouse-"))
    name = postgres.user()
    if name:
        os.chown(folder, pwd.getpwnam(name).pw_uid, pwd.getpwnam(name).pw_gid)
    port, data = free_port(), folder / "data"

    def run(program: str, *arguments: str) -> None:
        subprocess.run(
            [postgres.binary(program), "-D", str(data), *arguments],
            user=name, extra_groups=[] if name else None, cwd="/", check=True,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip

    try:
        run("initdb", "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8",
            "--no-sync")  # fmt: skip
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c fsync=off -k {folder}"
        run("pg_ctl", "-w", "-o", options, "-l", str(folder / "log"), "start")
        yield migrated(f"postgresql://postgres@127.0.0.1:{port}/")
    finally:
        if (data / "postmaster.pid").exists():
            run("pg_ctl", "-w", "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


def migrated(server: str) -> str:
    """Database, control tables, roles and empty silver tables; gives the publishing role's dsn."""
    with psycopg.connect(f"{server}postgres", autocommit=True) as admin:
        admin.execute("create database warehouse")
    with psycopg.connect(f"{server}warehouse") as owner:
        for path in sorted((ROOT / "pipelines" / "migrations").glob("*.sql")):
            owner.execute(path.read_text())
        owner.execute("set role warehouse_rw")
        for c in contract.load_published():
            columns = ", ".join(
                f"{x.name} {SQL_TYPES[x.type]}" for x in c.columns if x.classification == "internal"
            )
            owner.execute(f"create table silver.{c.entity} ({columns}, {TECHNICAL})")
    return f"{server.replace('postgres@', 'warehouse_rw@')}warehouse"


def insert(connection: psycopg.Connection, entity: str, **values: Any) -> None:
    """One published row; columns that are not given get a plain value their contract allows."""
    row = {}
    for column in contract.load(entity).columns:
        if column.classification == "internal" and column.required:
            value = DEFAULTS.get(column.type)
            row[column.name] = column.allowed[0] if column.allowed else value
            if column.name == "currency":
                row["currency"] = "USD"
    row |= values
    columns, marks = ", ".join(row), ", ".join(["%s"] * len(row))
    connection.execute(
        f"insert into silver.{entity} ({columns}) values ({marks})", list(row.values())
    )


def key(number: int) -> UUID:
    """A readable uuid."""
    return UUID(int=number)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def dbt_environment(dsn: str) -> dict[str, str]:
    """What the caller of dbt sets, from the warehouse's dsn."""
    parts = psycopg.conninfo.conninfo_to_dict(dsn)
    return os.environ | {
        "MILLRACE_WAREHOUSE_HOST": str(parts["host"]),
        "MILLRACE_WAREHOUSE_PORT": str(parts["port"]),
        "MILLRACE_WAREHOUSE_USER": str(parts["user"]),
        "MILLRACE_WAREHOUSE_PASSWORD": str(parts.get("password", "")),
    }


def dbt(dsn: str, target: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run dbt as an operator does; its state stays in `target`."""
    folder = str(ROOT / "dbt")
    command = [str(ROOT / ".venv/bin/dbt"), *arguments, "--project-dir", folder]
    command += ["--profiles-dir", folder, "--target-path", str(target), "--log-path", str(target)]
    return subprocess.run(
        command, env=dbt_environment(dsn), capture_output=True, text=True, check=False, timeout=180
    )
