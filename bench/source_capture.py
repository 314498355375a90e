"""What capture costs the source: transactions a second with the connector on, against paused.

`pgbench` offers half of what the database can do, to its own tables (TPC-B) and to card decisions
in batches of 20; both are captured. While the connector is paused nothing reads the slot; it has
caught up again before the next measurement. A stack of its own; about four minutes.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

import httpx
import psycopg

from bench.decision_batches import request
from bench.own_stack import own_stack
from bench.pairs import interleave, report
from connectors import config, register
from millrace.stack import Stack, postgres

SECONDS, CLIENTS, SCALE = 6, 4, 10
ACCOUNTS, BATCH = 400, 20
TARGET = 0.85
PGBENCH_TABLES = ("accounts", "branches", "history", "tellers")
CARDS = """
create schema bench;
create table bench.cards as
select n, md5('customer' || n)::uuid as customer_id, md5('account' || n)::uuid as account_id,
    md5('card' || n)::uuid as card_id, 'USD' as currency
from generate_series(1, {accounts}) n;
create index on bench.cards (n);
insert into customer.customers (customer_id, country) select customer_id, 'DE' from bench.cards;
insert into card.card_accounts (account_id, customer_id, currency, credit_limit_minor, opened_on)
select account_id, customer_id, currency, 1000000000000, '2026-01-01' from bench.cards;
insert into card.cards (card_id, account_id, product, issued_on, expires_on)
select card_id, account_id, 'CLASSIC', '2026-01-01', '2036-01-01' from bench.cards;
analyze bench.cards;
"""
DECISION = """\\set first random(1, {last})
select count(*) from card.decide_and_hold((
    select jsonb_agg('{fixed}'::jsonb || jsonb_build_object({ids}, 'card_id', card_id,
        'account_id', account_id, 'currency', currency, 'amount_minor', 1))
    from bench.cards where n between :first and :first + {batch} - 1));
"""


def main() -> None:
    """Start a stack, measure both workloads, stop it."""
    with own_stack("connect") as stack:
        source = Source(stack)
        source.prepare(stack.layout.home)
        for name, script in (("pgbench", ("-b", "tpcb-like")), ("card", ("-f", source.decisions))):
            rate = source.capacity(script) / 2
            print(f"{name}: half of capacity is {rate:,.0f} transactions a second")
            pairs = interleave(
                lambda s=script, r=rate: source.captured(s, r),  # type: ignore[misc]
                lambda s=script, r=rate: source.alone(s, r),  # type: ignore[misc]
            )
            report(f"source_capture.{name}", pairs, target=TARGET, better="higher")


class Source:
    """The operational database under load, with the connector on or paused."""

    def __init__(self, stack: Stack) -> None:
        self._env = {**stack.env, **stack.secrets}
        self._dsn = self._env["MILLRACE_OLTP_ADMIN_DSN"]
        self._connect = f"{self._env['MILLRACE_CONNECT']}/connectors/{config.NAME}"
        self.decisions = ""

    def prepare(self, home: Path) -> None:
        """Tables and cards to work on, captured like the others."""
        self._pgbench("-i", "-q", "-s", str(SCALE))
        names = ", ".join(f"public.pgbench_{name}" for name in PGBENCH_TABLES)
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            connection.execute(CARDS.format(accounts=ACCOUNTS))
            connection.execute(f"alter publication millrace add table {names}")
            connection.execute("grant usage on schema public to cdc")
            connection.execute(f"grant select on {names} to cdc")
        settings = httpx.get(f"{self._connect}/config", timeout=30).raise_for_status().json()
        settings["table.include.list"] += r",public\.pgbench_\w+"
        httpx.put(f"{self._connect}/config", json=settings, timeout=30).raise_for_status()
        script = home / "decisions.sql"
        script.write_text(decisions())
        self.decisions = str(script)
        self._resume()

    def capacity(self, script: tuple[str, str]) -> float:
        """What it can do with nothing held back and nobody reading."""
        self._pause()
        return self._measure(script, ())

    def captured(self, script: tuple[str, str], rate: float) -> float:
        """At the rate, while the connector reads."""
        self._resume()
        return self._measure(script, ("-R", f"{rate:.0f}"))

    def alone(self, script: tuple[str, str], rate: float) -> float:
        """At the rate, while it does not."""
        self._pause()
        return self._measure(script, ("-R", f"{rate:.0f}"))

    def _measure(self, script: tuple[str, str], pace: tuple[str, ...]) -> float:
        done = self._pgbench(
            "-n", "-c", str(CLIENTS), "-j", "2", "-T", str(SECONDS), *script, *pace
        )
        found = re.search(r"^tps = ([\d.]+)", done, re.M)
        assert found, done
        return float(found[1])

    def _pgbench(self, *arguments: str) -> str:
        oltp = urlsplit(self._dsn)
        done = subprocess.run(
            [postgres.binary("pgbench"), "-h", oltp.hostname or "", "-p", str(oltp.port),
             "-U", oltp.username or "", *arguments, oltp.path.removeprefix("/")],
            env={**os.environ, "PGPASSWORD": oltp.password or ""},
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _pause(self) -> None:
        httpx.put(f"{self._connect}/pause", timeout=30).raise_for_status()
        self._until(lambda: self._state() == "PAUSED", "paused")

    def _resume(self) -> None:
        """Reading again, and everything before now read."""
        httpx.put(f"{self._connect}/resume", timeout=30).raise_for_status()
        self._until(lambda: self._state() == register.RUNNING, "running")
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            (now,) = connection.execute("select pg_current_wal_insert_lsn()").fetchone() or (None,)
            behind = (
                "select confirmed_flush_lsn < %s from pg_replication_slots where slot_name ="
                " 'millrace'"
            )
            self._until(lambda: connection.execute(behind, (now,)).fetchone() == (False,), "level")

    def _state(self) -> str:
        return register.status(self._env["MILLRACE_CONNECT"]).state

    @staticmethod
    def _until(true: Callable[[], bool], what: str, within_s: float = 90) -> None:
        deadline = time.monotonic() + within_s
        while not true():
            assert time.monotonic() < deadline, f"the connector is not {what} after {within_s} s"
            time.sleep(0.2)


def decisions() -> str:
    """pgbench's script: a batch of decisions on neighbouring cards, every id new."""
    template = request([("card", "account")])
    fixed = {
        k: v for k, v in template.items() if not _is_id(v) and k not in ("card_id", "account_id")
    }
    ids = ", ".join(f"'{k}', gen_random_uuid()" for k, v in template.items() if _is_id(v))
    return DECISION.format(
        last=ACCOUNTS - BATCH + 1, batch=BATCH, fixed=json.dumps(fixed, default=str), ids=ids
    )  # fmt: skip


def _is_id(value: object) -> bool:
    try:
        return bool(UUID(str(value))) and "-" in str(value)
    except ValueError:
        return False


if __name__ == "__main__":
    main()
