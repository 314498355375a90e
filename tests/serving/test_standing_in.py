"""Stand-in with a real journal, Redis and Postgres, while nobody decides: one answer for a key."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import psycopg
import pytest

from millrace.stack import Stack
from schemas.events import AuthorizationDecided, AuthorizationRequested
from serving import records
from serving.advice import Advisor, authorization_id
from serving.allowance import Allowance
from serving.decider import Decider
from serving.journal import Journal
from serving.records import Records
from serving.standing_in import StandIn
from serving.wire import Wire
from streams import store
from tests.cards import UsableCard, new_card
from tests.serving.conftest import asked
from tests.serving.test_allowance import Bank

PATIENCE_S = 0.5


class Office:
    """A stand-in and what it works with; the decider is away."""

    def __init__(self, folder: Path, redis_url: str, dsn: str) -> None:
        self.folder = folder
        self.client = store.connect(redis_url, 500)
        self.pool = records.pool(dsn)
        self.journal = Journal(folder)
        self.advisor = Advisor(self.journal, Decider("127.0.0.1:1", Wire("", httpx.AsyncClient())))
        self.stand_in = StandIn(
            self.journal, Allowance(self.client), Records(self.pool), self.advisor
        )

    async def open(self) -> None:
        await self.pool.open()
        self.journal.start()

    async def close(self) -> None:
        await self.stand_in.stop()
        await self.advisor.stop()
        await self.journal.stop()
        await self.pool.close()
        await self.client.aclose()

    async def answer(
        self, request: AuthorizationRequested, patience_s: float = PATIENCE_S
    ) -> AuthorizationDecided:
        until = asyncio.get_running_loop().time() + patience_s
        return await self.stand_in.answer(request, until)


@pytest.fixture
def dsn(postgres_only: Stack) -> str:
    return postgres_only.env["MILLRACE_OLTP_DSN"]


@pytest.fixture
def card(dsn: str) -> UsableCard:
    return new_card(dsn)


@pytest.fixture
async def office(tmp_path: Path, redis_url: str, dsn: str) -> AsyncIterator[Office]:
    made = Office(tmp_path, redis_url, dsn)
    await made.open()
    await made.client.flushall()
    yield made
    await made.close()


def gist(answer: AuthorizationDecided) -> tuple[str, str, int, bool]:
    return (
        answer.decision,
        answer.reason_code,
        answer.approved_amount_minor,
        answer.stand_in,
    )


APPROVAL = ("APPROVED", "STAND_IN_APPROVED", 1000, True)
DECLINE = ("DECLINED", "STAND_IN_DECLINED", 0, True)


async def test_an_approval_within_the_allowance_is_on_disk_before_it_is_given(
    office: Office, card: UsableCard
) -> None:
    await Bank(office.client).rebuild(card.card_id)
    request = asked(card_id=card.card_id)
    answer = await office.answer(request)
    assert gist(answer) == APPROVAL
    assert answer.response_code == "00"
    entry = office.journal.told(request.idempotency_key)
    assert entry is not None
    assert (entry.approved_minor, entry.request_hash) == (1000, request.request_hash)


async def test_50_at_once_under_one_key_share_one_answer_and_one_entry(
    office: Office, card: UsableCard
) -> None:
    await Bank(office.client).rebuild(card.card_id)
    request = asked(card_id=card.card_id)
    answers = await asyncio.gather(
        *(office.answer(replace(request, request_id=f"R-{n}")) for n in range(50))
    )
    assert {gist(answer) for answer in answers} == {APPROVAL}
    assert [answer.replayed for answer in answers].count(False) == 1
    assert office.journal.open_of(card.card_id) == (1, 1000)


async def test_a_repeat_is_told_the_same_by_the_next_process_even_without_redis(
    office: Office, card: UsableCard, tmp_path: Path, redis_url: str, dsn: str
) -> None:
    await Bank(office.client).rebuild(card.card_id)
    request = asked(card_id=card.card_id)
    first = await office.answer(request)
    await office.journal.stop()
    successor = Office(tmp_path, redis_url, dsn)
    await successor.open()
    await office.client.flushall()
    again = successor.stand_in.told(request)
    assert again is not None
    assert again == replace(first, replayed=True)
    other = successor.stand_in.told(replace(request, request_hash="b" * 64))
    assert other is not None
    assert other.conflict
    await successor.close()


@pytest.mark.parametrize(
    "changes",
    [
        {"message_kind": "VERIFICATION", "amount_minor": 0},
        {"message_kind": "INCREMENT", "original_key": "T-0"},
        {"amount_minor": 5001},
        {"currency": "EUR"},
    ],
    ids=str,
)
async def test_what_the_allowance_is_not_for_is_declined(
    office: Office, card: UsableCard, changes: dict[str, object]
) -> None:
    await Bank(office.client).rebuild(card.card_id)
    assert gist(await office.answer(asked(card_id=card.card_id, **changes))) == DECLINE


async def test_what_the_decider_has_answered_before_is_told_again(
    office: Office, card: UsableCard
) -> None:
    request = asked(card_id=card.card_id)
    decision = replace(
        await office.answer(asked(card_id=card.card_id)),
        idempotency_key=request.idempotency_key,
        reason_code="APPROVED",
        stand_in=False,
    )
    assert office.stand_in.decided(request, decision) == decision
    assert await office.answer(request) == replace(
        decision, request_id=request.request_id, replayed=True
    )


async def test_a_decision_that_comes_after_stand_in_answered_gives_way_to_it(
    office: Office, card: UsableCard
) -> None:
    request = asked(card_id=card.card_id)
    told = await office.answer(request)
    decision = replace(told, reason_code="APPROVED", decision="APPROVED", stand_in=False)
    found = office.stand_in.decided(request, decision)
    assert found is not None
    assert gist(found) == DECLINE


async def test_a_decision_that_comes_while_stand_in_answers_gives_way_to_it(
    office: Office, card: UsableCard
) -> None:
    request = asked(card_id=card.card_id)
    answering = asyncio.create_task(office.answer(request))
    await asyncio.sleep(0)
    decision = replace(
        await office.answer(asked(card_id=card.card_id)),
        idempotency_key=request.idempotency_key,
    )
    if not answering.done():
        assert office.stand_in.decided(request, decision) is None
    assert gist(await answering) == DECLINE


async def test_what_postgres_has_decided_is_told_and_nothing_is_taken(
    office: Office, card: UsableCard, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.standing_in.LONGEST_S", 10)  # what counts is what it says
    await Bank(office.client).rebuild(card.card_id)
    request = asked(card_id=card.card_id, deadline_at=datetime.now(UTC) + timedelta(seconds=30))
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "insert into card.authorizations (authorization_id, idempotency_key, request_hash,"
            " card_id, account_id, amount_minor, currency, merchant_id, mcc, merchant_country,"
            " channel, decision, response_code, reason_code, rule_hits, facts, rule_version,"
            " requested_at, decided_at) values (gen_random_uuid(), %s, %s, %s, %s, 1000, 'CZK',"
            " 'M-1', '5411', 'CZ', 'CHIP', 'DECLINED', '51', 'INSUFFICIENT_CREDIT', '[]', '{}',"
            " '1', now(), now())",
            (request.idempotency_key, request.request_hash, card.card_id, card.account_id),
        )
    answer = await office.answer(request)
    assert gist(answer) == ("DECLINED", "INSUFFICIENT_CREDIT", 0, False)
    assert answer.replayed
    assert office.journal.told(request.idempotency_key) is None
    assert await Bank(office.client).says(asked(card_id=card.card_id, amount_minor=5000)) == (
        "APPROVED"
    )


async def test_a_disk_that_is_too_slow_makes_it_a_decline_for_good(
    office: Office, card: UsableCard
) -> None:
    await Bank(office.client).rebuild(card.card_id)
    request = asked(card_id=card.card_id)
    other = sqlite3.connect(office.folder / "stand-ins.sqlite", isolation_level=None)
    other.execute("begin immediate")  # the journal's thread waits for this
    answer = await office.answer(request, 0.1)
    assert gist(answer) == DECLINE
    repeat = await office.answer(request, 0.1)
    assert (gist(repeat), repeat.replayed) == (DECLINE, True)
    other.execute("rollback")
    while office.stand_in.is_unsettled(request.idempotency_key):
        await asyncio.sleep(0.01)
    entry = office.journal.told(request.idempotency_key)
    assert entry is not None
    assert entry.approved_minor == 0
    assert gist(await office.answer(request)) == DECLINE
    other.close()


async def test_an_answer_that_cannot_be_written_is_a_decline_and_is_told_nevertheless(
    office: Office, card: UsableCard
) -> None:
    await Bank(office.client).rebuild(card.card_id)
    other = sqlite3.connect(office.folder / "stand-ins.sqlite", isolation_level=None)
    other.execute("begin immediate")
    request = asked(card_id=card.card_id)
    answer = await office.answer(request, 2.0)
    assert (answer.decision, answer.reason_code) == ("DECLINED", "DECIDER_UNAVAILABLE")
    other.execute("rollback")
    other.close()
    again = await office.answer(request)
    assert (again.decision, again.reason_code) == ("DECLINED", "DECIDER_UNAVAILABLE")
    assert office.journal.told(request.idempotency_key) is None


async def test_without_redis_and_postgres_the_answer_is_a_decline_within_the_time_left(
    tmp_path: Path,
) -> None:
    office = Office(tmp_path, "redis://127.0.0.1:1/0", "postgresql://u@127.0.0.1:1/oltp")
    await office.pool.open(wait=False)
    office.journal.start()
    loop = asyncio.get_running_loop()
    started = loop.time()
    assert gist(await office.answer(asked(), 0.04)) == DECLINE
    assert loop.time() - started < 0.2  # 0.04 s on a machine that does nothing else
    await office.close()


async def test_the_id_that_is_told_is_that_of_the_row_which_the_advice_becomes(
    postgres_only: Stack,
) -> None:
    with psycopg.connect(postgres_only.env["MILLRACE_OLTP_DSN"]) as connection:
        row = connection.execute("select md5('advice:' || 'advice:T-1')::uuid::text").fetchone()
    assert row == (authorization_id("T-1"),)
