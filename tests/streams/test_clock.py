"""The clock on a real Postgres: what is due happens once, by whoever asks, at Postgres's time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from streams import clock, metrics
from streams.clock import Clock
from tests.oltp.bank import Bank


@pytest.fixture
def bank(postgres_only) -> Bank:
    env = postgres_only.env
    return Bank(SimpleNamespace(admin=env["MILLRACE_OLTP_ADMIN_DSN"], app=env["MILLRACE_OLTP_DSN"]))


@pytest.fixture
async def make(bank: Bank) -> AsyncIterator[Callable[[], Clock]]:
    made: list[Clock] = []

    def clock_of_its_own(dsn: str = bank.database.app) -> Clock:
        made.append(Clock(dsn))
        return made[-1]

    yield clock_of_its_own
    for one in made:
        await one.on_stop()


def counted(task: str) -> float:
    return metrics.CLOCK.labels(task)._value.get()


def ago(**span: int) -> datetime:
    return datetime.now(UTC) - timedelta(**span)


async def test_what_has_expired_is_released_whatever_the_batch_and_the_rest_stays(
    bank: Bank, make: Callable[[], Clock], monkeypatch: pytest.MonkeyPatch
) -> None:
    few = [clock.Task("expired_holds", "card.expire_holds(now(), 2)", most=2), *clock.TASKS[1:]]
    monkeypatch.setattr(clock, "TASKS", few)
    account, before = bank.account(), counted("expired_holds")
    expired = [bank.hold(account, 100, ago(minutes=n)) for n in range(1, 6)]
    kept = bank.hold(account, 7)
    assert await make().run_due() == clock.TICK_S
    assert {bank.status(hold) for hold in expired} == {"EXPIRED"}
    assert (bank.status(kept), bank.balances(account)) == ("PENDING", (0, 7))
    assert counted("expired_holds") - before == len(expired)
    assert bank.found("holds") == []


async def test_several_clocks_at_once_end_each_hold_once(
    bank: Bank, make: Callable[[], Clock]
) -> None:
    account = bank.account()
    expired = [bank.hold(account, 100, ago(seconds=1)) for _ in range(20)]
    before = counted("expired_holds")
    for _ in range(3):
        await asyncio.gather(*(make().run_due() for _ in range(4)))
    assert counted("expired_holds") - before == len(expired)
    assert bank.balances(account) == (0, 0)
    events = bank.owner(
        "select count(*), count(distinct hold_id) from card.card_events"
        " where account_id = %s and event_type = 'EXPIRY'",
        account,
    )
    assert events == (len(expired), len(expired))


async def test_a_hold_ends_at_postgress_time_whatever_the_worker_thinks(
    bank: Bank, make: Callable[[], Clock], monkeypatch: pytest.MonkeyPatch
) -> None:
    hold = bank.hold(bank.account(), 100, datetime.now(UTC) + timedelta(hours=1))
    monkeypatch.setattr("time.time", lambda: 4_000_000_000.0)
    await make().run_due()
    assert bank.status(hold) == "PENDING"


async def test_a_message_that_waited_too_long_for_its_authorization_lapses(
    bank: Bank, make: Callable[[], Clock]
) -> None:
    key = str(uuid4())
    bank.app(
        "insert into card.card_messages (message_key, message_kind, request_hash, original_key,"
        " state, outcome, body, park_until, occurred_at) values (%s, 'REVERSAL', repeat('a', 64),"
        " 'never-seen', 'PARKED', 'PARKED', '{}', now() - interval '1 second', now())",
        key,
    )
    await make().run_due()
    query = "select state from card.card_messages where message_key = %s"
    assert bank.owner(query, key) == ("LAPSED",)


async def test_the_months_to_come_get_their_partitions_from_the_application(
    bank: Bank, make: Callable[[], Clock], monkeypatch: pytest.MonkeyPatch
) -> None:
    does = "card.ensure_event_partitions('2033-01-01', '2033-03-01')"
    monkeypatch.setattr(clock, "TASKS", [clock.Task("made_partitions", does, every_s=86_400)])
    before, one = counted("made_partitions"), make()
    await one.run_due()
    await one.run_due()
    assert counted("made_partitions") - before == 3
    granted = "select has_table_privilege('app_rw', 'card.card_events_2033_02', 'select')"
    assert bank.owner(granted) == (False,)


async def test_a_task_that_is_wrong_does_not_stop_the_others(
    bank: Bank, make: Callable[[], Clock], monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = [clock.Task("wrong", "1 / 0"), clock.Task("missing", "card.nothing()"), *clock.TASKS]
    monkeypatch.setattr(clock, "TASKS", tasks)
    hold = bank.hold(bank.account(), 100, ago(seconds=1))
    assert await make().run_due() == clock.TICK_S
    assert bank.status(hold) == "EXPIRED"


async def test_an_outage_is_said_once_and_the_clock_goes_on_after_it(
    bank: Bank, make: Callable[[], Clock], caplog: pytest.LogCaptureFixture
) -> None:
    one = make()
    one._dsn = "postgresql://nobody@127.0.0.1:1/nothing"
    with caplog.at_level(logging.INFO):
        for _ in range(5):
            assert await one.run_due() < clock.TICK_S
        one._dsn = bank.database.app
        hold = bank.hold(bank.account(), 100, ago(seconds=1))
        assert await one.run_due() == clock.TICK_S
    assert bank.status(hold) == "EXPIRED"
    said = [record.getMessage() for record in caplog.records if "clock" in record.name]
    assert len(said) == 2, said


async def test_a_connection_that_was_cut_is_made_anew(
    bank: Bank, make: Callable[[], Clock]
) -> None:
    one = make()
    await one.run_due()
    bank.owner(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where application_name = 'millrace-clock' and datname = current_database()"
    )
    hold = bank.hold(bank.account(), 100, ago(seconds=1))
    one._due_s["expired_holds"] = 0
    await one.run_due()
    one._due_s["expired_holds"] = 0
    await one.run_due()
    assert bank.status(hold) == "EXPIRED"


async def test_a_clock_that_runs_ticks_and_stops_at_once(bank: Bank) -> None:
    async with asyncio.timeout(10):
        async with Clock(bank.database.app):
            hold = bank.hold(bank.account(), 100, ago(seconds=1))
            while bank.status(hold) != "EXPIRED":
                await asyncio.sleep(0.1)


def sessions(admin: str) -> Any:
    with psycopg.connect(admin) as connection:
        return connection.execute(
            "select count(*) from pg_stat_activity where application_name = 'millrace-clock'"
        ).fetchone()


async def test_a_stopped_clock_leaves_no_session(bank: Bank) -> None:
    async with Clock(bank.database.app):
        await asyncio.sleep(0.3)
    await asyncio.sleep(0.2)
    assert sessions(bank.database.admin) == (0,)
