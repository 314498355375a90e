"""Money moves between accounts all the time, and every read at a cut conserves it, in every store.

Two truths are asked of each read: what the accounts of a closed set owe adds up to nothing, and
every account owes what its postings add up to. Neither holds when cuts are mixed.
"""

import json
import random
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from typer.testing import CliRunner

from millrace.commands import cut as command
from millrace.stack import Stack
from orchestration import control, news
from pipelines import bronze, cut, publish, reading, refresh
from pipelines.copies_at import CopiesAtCut
from pipelines.publish import Due
from pipelines.reading import KnownCut
from pipelines.registry import WriterSchemas
from schemas import contract, keys, topics
from tests.beside import beside
from tests.cards import new_card

pytestmark = pytest.mark.stack

ACCOUNTS, POSTINGS = contract.load("card_accounts"), contract.load("ledger_postings")
READ = (ACCOUNTS, POSTINGS)
NAMES = tuple(c.entity for c in READ)
MIGRATIONS = Path(publish.__file__).parent / "migrations"
ENTRY = """
insert into ledger.entries (entry_id, entry_type, over_limit_allowed, effective_at)
values (%s, 'TRANSFER_OUT', true, now())
"""
POSTED = """
insert into ledger.postings (
    posting_id, entry_id, ledger_account_id, layer, direction, amount_minor, currency)
values
    (gen_random_uuid(), %(entry)s, %(from)s, 'POSTED', 'CREDIT', %(amount)s, 'CZK'),
    (gen_random_uuid(), %(entry)s, %(to)s, 'POSTED', 'DEBIT', %(amount)s, 'CZK')
"""
# What accounts owe, and what was posted to them: (account, entry, signed amount).
Balances = Mapping[str, int]
Movements = Sequence[tuple[str, str, int]]


@dataclass
class Bank:
    """Accounts of a closed set, a lake and a warehouse of their own, and ticks that fill them."""

    env: Mapping[str, str]
    spark: Any
    lake: Path
    warehouse: str
    accounts: list[str]
    # They rest after the first tick, so that their copies stay as they were.
    resting: set[str] = field(default_factory=set)

    def transfer(self, connection: psycopg.Connection, seed: random.Random) -> None:
        """Move money between two accounts, in one transaction that may take its time."""
        giver, taker = seed.sample([a for a in self.accounts if a not in self.resting], 2)
        entry = uuid.uuid4()
        with connection.transaction():
            connection.execute(ENTRY, (entry,))
            moved = {"entry": entry, "from": giver, "to": taker, "amount": seed.randint(1, 999)}
            connection.execute(POSTED, moved)
            connection.execute("select pg_sleep(%s)", (seed.choice((0, 0, 0.02)),))

    def tick(self) -> KnownCut:
        """A cut, and what is needed to read at it: bronze, silver and the published tables."""
        admin, kafka = self.env["MILLRACE_OLTP_ADMIN_DSN"], self.env["MILLRACE_KAFKA"]
        taken = cut.take(admin)
        cut_id = control.record_cut(self.warehouse, taken)
        cut.wait_for_capture(admin, taken, 60)
        offsets = news.end_offsets(kafka, topics.captured())
        control.record_offsets(self.warehouse, cut_id, offsets)
        bronze.ingest(self.spark, self.lake, kafka)
        schemas = WriterSchemas(self.env["MILLRACE_REGISTRY"])
        refresh.build_all(self.spark, self.lake, READ, taken, schemas)
        control.record_silver(self.warehouse, cut_id, NAMES)
        publish.publish_together(self.warehouse, cut_id, [self.due(c) for c in READ])
        return reading.known(self.warehouse, cut_id)

    def due(self, c: contract.Contract) -> Due:
        since = publish.watermark(self.warehouse, c)
        tick = refresh.last_tick(self.spark, self.lake, c)
        return Due(c, publish.increment(self.spark, self.lake, c, since), tick)

    def published(self) -> tuple[int, Balances, Movements]:
        with reading.warehouse(self.warehouse, NAMES) as shown:
            balances = self.balances(shown.rows(ACCOUNTS))
            return shown.at.cut_id, balances, self.movements(shown.rows(POSTINGS))

    def in_lake(self, at: KnownCut) -> tuple[Balances, Movements]:
        reading.require_silver(self.warehouse, at.cut_id, NAMES)
        return self.balances(self.lake_rows(at)), self.movements(
            row.asDict()
            for row in reading.lake_at(self.spark, self.lake, POSTINGS, at.cut).collect()
        )

    def lake_rows(self, at: KnownCut, ids: Sequence[str] | None = None) -> list[dict[str, Any]]:
        wanted = [(one,) for one in ids or self.accounts]
        rows = reading.lake_at(self.spark, self.lake, ACCOUNTS, at.cut, wanted).collect()
        return [row.asDict() for row in rows]

    def in_redis(self, at: KnownCut, wait_s: float = 10) -> tuple[Balances, set[str]]:
        """The copies at the cut, and who was asked for them."""
        client = redis.Redis.from_url(self.env["MILLRACE_REDIS"], decode_responses=True)
        copies = CopiesAtCut(
            client,
            self.env["MILLRACE_KAFKA"],
            at,
            lambda _, ids: {row["account_id"]: row for row in self.lake_rows(at, ids)},
        )
        found = copies.read("card_accounts", self.accounts, wait_s)
        client.close()
        return {one: int(copy.row["posted_minor"]) for one, copy in found.items() if copy.row}, {
            copy.source for copy in found.values()
        }

    def in_redis_now(self) -> Balances:
        """What the copies say, whatever moment that is."""
        client = redis.Redis.from_url(self.env["MILLRACE_REDIS"], decode_responses=True)
        found = {a: client.hget(keys.account_snapshot(a), "posted_minor") for a in self.accounts}
        client.close()
        return {one: int(text) for one, text in found.items()}

    def balances(self, rows: Any) -> Balances:
        owed = {str(row["account_id"]): int(row["posted_minor"]) for row in rows}
        return {one: owed[one] for one in self.accounts}

    def movements(self, rows: Any) -> Movements:
        return [
            (str(row["ledger_account_id"]), str(row["entry_id"]), signed(row))
            for row in rows
            if str(row["ledger_account_id"]) in self.accounts
        ]


def signed(row: Mapping[str, Any]) -> int:
    return int(row["amount_minor"]) * (1 if row["direction"] == "DEBIT" else -1)


def broken(balances: Balances, movements: Movements) -> list[str]:
    """What is not conserved: the set's total, an entry that does not add up, an account's sum."""
    wrong = []
    if total := sum(balances.values()):
        wrong.append(f"the set owes {total}")
    by_account, by_entry = dict.fromkeys(balances, 0), dict[str, int]()
    for account, entry, amount in movements:
        by_account[account] += amount
        by_entry[entry] = by_entry.get(entry, 0) + amount
    wrong += [f"entry {entry} leaves {left}" for entry, left in by_entry.items() if left]
    wrong += [
        f"{account} owes {balances[account]}, its postings say {posted}"
        for account, posted in by_account.items()
        if balances[account] != posted
    ]
    return wrong


@pytest.fixture(scope="module")
def bank(stack: Stack, spark: Any, tmp_path_factory: pytest.TempPathFactory) -> Bank:
    admin = stack.env["MILLRACE_OLTP_ADMIN_DSN"]
    server, _, _ = admin.rpartition("/")
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute("drop database if exists warehouse_of_cuts")
        connection.execute("create database warehouse_of_cuts")
    with psycopg.connect(f"{server}/warehouse_of_cuts") as connection:
        for path in sorted(MIGRATIONS.glob("*.sql")):
            connection.execute(path.read_text())
    accounts = [new_card(stack.env["MILLRACE_OLTP_DSN"]).account_id for _ in range(8)]
    lake = tmp_path_factory.mktemp("lake")
    return Bank(stack.env, spark, lake, f"{server}/warehouse_of_cuts", accounts)


@contextmanager
def transfers(bank: Bank, clients: int = 3) -> Iterator[None]:
    """Clients move money until the block ends."""
    with ExitStack() as open_ones:

        def client(number: int) -> Callable[[], object]:
            connection = open_ones.enter_context(
                psycopg.connect(bank.env["MILLRACE_OLTP_ADMIN_DSN"], autocommit=True)
            )
            seed = random.Random(number)
            return lambda: bank.transfer(connection, seed)

        with beside(*map(client, range(clients)), every_s=0.02):
            yield


@contextmanager
def reader(bank: Bank, seen: dict[int, list[str]]) -> Iterator[None]:
    """Reads the warehouse without a pause, also while a tick is being published."""

    def read() -> None:
        cut_id, balances, movements = bank.published()
        seen.setdefault(cut_id, []).extend(broken(balances, movements))

    with beside(read, every_s=0.01):
        yield


def test_every_read_at_a_cut_conserves_money_and_mixed_cuts_do_not(bank: Bank) -> None:
    ticks, seen = [], dict[int, list[str]]()
    shown: dict[int, Balances] = {}
    with transfers(bank):
        ticks.append(bank.tick())
        bank.resting = set(bank.accounts[:2])
        with reader(bank, seen):
            for _ in range(2):
                ticks.append(bank.tick())
                shown[ticks[-1].cut_id] = bank.published()[1]
        copies, asked = bank.in_redis(ticks[-1])
    first, second, last = ticks
    lake = {at.cut_id: bank.in_lake(at) for at in ticks}

    # The warehouse, read all the time; the lake, at every cut that there was.
    assert len(seen) >= 2
    assert {cut_id: wrong[:3] for cut_id, wrong in seen.items() if wrong} == {}
    for cut_id, (balances, movements) in lake.items():
        assert broken(balances, movements) == [], cut_id
        assert shown.get(cut_id, balances) == balances
    # Redis, read while money moved: what rests from its copies, what moved on from the lake.
    assert asked == {"redis", "lake"}
    assert copies == lake[last.cut_id][0]
    # Across stores: what accounts owe from one, what was posted from another.
    assert broken(copies, lake[last.cut_id][1]) == []
    assert broken(shown[second.cut_id], lake[second.cut_id][1]) == []
    # After all of it is told, every copy is newer than an old cut, and is read as of it still.
    assert bank.in_redis(first)[0] == lake[first.cut_id][0]
    for c in READ:
        totals = reading.lake_totals(bank.spark, bank.lake, c, first.cut)
        assert totals == first.cut.totals[c.entity]

    # The negative control: the same reads, mixed.
    (old, old_moves), (new, new_moves) = lake[second.cut_id], lake[last.cut_id]
    half = set(bank.accounts[2:5])
    halves = {one: (old if one in half else new)[one] for one in bank.accounts}
    assert any(line.startswith("the set owes") for line in broken(halves, new_moves))
    assert any("its postings say" in line for line in broken(new, old_moves))
    assert any("its postings say" in line for line in broken(shown[second.cut_id], new_moves))
    assert any("its postings say" in line for line in broken(bank.in_redis_now(), new_moves))


def test_one_row_is_read_at_a_cut_from_every_store(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also what changed since, and copies that are not told yet."""
    at, one = bank.tick(), bank.accounts[2]
    balances, _ = bank.in_lake(at)
    ahead = KnownCut(at.cut_id, at.cut, {f"{ACCOUNTS.topic}:0": 10**12})
    assert bank.in_redis(ahead, wait_s=0) == (balances, {"lake"})
    assert bank.in_redis(at) == (balances, {"redis"})

    for name, text in bank.env.items():
        monkeypatch.setenv(name, text)
    monkeypatch.setenv("MILLRACE_WAREHOUSE_DSN", bank.warehouse)
    monkeypatch.setenv("MILLRACE_LAKE", str(bank.lake))
    monkeypatch.setattr(command, "addresses", lambda *_: bank.env)
    with psycopg.connect(bank.env["MILLRACE_OLTP_ADMIN_DSN"], autocommit=True) as connection:
        bank.transfer(connection, random.Random(1))
    told = CliRunner().invoke(command.app, ["read", "card_accounts", one, "--json"])
    assert told.exit_code == 0, told.output
    found = json.loads(told.stdout)
    assert (found["cut"], found["differ"]) == (at.cut_id, [])
    rows = [found["stores"][store]["row"] for store in ("warehouse", "lake", "redis")]
    assert [row["posted_minor"] for row in rows] == [str(balances[one])] * 3
