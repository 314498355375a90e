"""The state machine of authorizations: the pure table and Postgres agree, cell by cell."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest

from schemas.codes import HoldStatus
from schemas.codes_card import CardMessageKind as Kind
from schemas.codes_card import DisputeStatus, MessageOutcome
from schemas.lifecycle import DISPUTES, TABLE, DisputeState, Effect, Signal, State
from schemas.lifecycle_position import Position, Told, follow, signal
from tests.oltp.network import Network
from tests.oltp.twin import Twin

CELLS = [(state, cell) for state, row in TABLE.items() for cell in row]
AMOUNTS = (None, 0, 1, 100, 250, 299, 300, 400, 500, 700, 1_000, 1_500)


@pytest.fixture(scope="module")
def network(database) -> Network:
    return Network(database)


def brought_to(state: State, network: Network, cleared: bool) -> Twin:
    """A key in the state, with something cleared when asked for and possible."""
    twin = Twin(network, network.card())
    if cleared and state in (State.PENDING, State.REVERSED, State.EXPIRED):
        twin.tell(Told(Kind.CLEARING, 300, is_final=False))
    match state:
        case State.UNKNOWN:
            pass
        case State.DECLINED:
            twin.decline()
        case State.VERIFIED:
            twin.approve(0)
        case _:
            twin.approve(1_000)
    if state in (State.PARTIALLY_CAPTURED, State.CAPTURED):
        twin.tell(Told(Kind.CLEARING, 300, is_final=state is State.CAPTURED))
    elif state is State.REVERSED:
        twin.tell(Told(Kind.REVERSAL))
    elif state is State.EXPIRED:
        twin.expire()
    elif cleared and state in (State.DECLINED, State.VERIFIED):
        twin.tell(Told(Kind.CLEARING, 300))
    assert twin.position.state is state
    return twin


def asking_for(wanted: Signal, position: Position) -> Iterator[Told]:
    """Messages that mean this signal to the position."""
    kinds = (Kind.REVERSAL, Kind.CLEARING, Kind.FORCE_POST, Kind.REFUND, Kind.ADVICE)
    for kind in kinds:
        for amount in AMOUNTS:
            if (
                kind is not Kind.REVERSAL
                and not amount
                and (kind is not Kind.ADVICE or amount != 0)
            ):
                continue
            for flag in (False, True):
                told = Told(kind, amount, amount_is_total=flag, is_final=flag)
                if signal(position, told) is wanted:
                    yield told


@pytest.mark.parametrize(("state", "cell"), CELLS, ids=[f"{s}-{c}" for s, c in CELLS])
def test_postgres_takes_every_step_of_the_table(network, state, cell):
    twin = brought_to(state, network, cleared=cell in (Signal.REFUND, Signal.REFUND_MORE))
    if cell is Signal.EXPIRE:
        twin.expire()
        twin.stands()
        assert twin.position.state is TABLE[state][cell].state
        return
    if cell is Signal.INCREMENT:
        answer = network.increment(twin.card, twin.key, 200)
        step = TABLE[state][cell]
        expected = "APPROVED" if step.effect is Effect.RESERVE else step.outcome
        assert answer["reason_code"] == expected
        return
    if cell in (Signal.ADVISE_AGAIN, Signal.ADVISE_OTHERWISE):
        twin.tell(Told(Kind.ADVICE, twin.position.promised_minor))
    told = next(asking_for(cell, twin.position))
    twin.tell(told)
    assert twin.position.state is TABLE[state][cell].state
    posted, held, _ = network.balances(twin.card)
    assert (posted, held) == (twin.position.posted_minor, twin.position.held_minor)


def test_what_the_table_leaves_out_cannot_happen():
    """Any message to any position that can be reached is in the table."""
    seen: set[tuple[State, Signal]] = set()
    reached = {Position()}
    for _ in range(3):
        for position in list(reached):
            for told in every_message():
                if signal_of := signal(position, told):
                    seen.add((position.state, signal_of))
                reached.add(follow(position, told).position)
    assert seen <= set(CELLS)


def every_message() -> Iterator[Told]:
    for kind in (Kind.REVERSAL, Kind.CLEARING, Kind.FORCE_POST, Kind.REFUND, Kind.ADVICE):
        for amount in (0, 100, 300):
            if amount or kind in (Kind.REVERSAL, Kind.ADVICE):
                yield Told(kind, amount, is_final=False)
                yield Told(kind, amount, amount_is_total=True)


def disputed(state: DisputeState, network: Network) -> Twin:
    """A cleared purchase of 1,000 whose dispute stands so."""
    twin = brought_to(State.PENDING, network, cleared=False)
    twin.tell(Told(Kind.CLEARING, 1_000))
    if state in (DisputeState.OPENED, DisputeState.WITHDRAWN):
        return with_dispute_of_holder(twin, state)
    path = {
        DisputeState.NONE: (),
        DisputeState.CHARGEBACK: (Kind.CHARGEBACK,),
        DisputeState.REPRESENTMENT: (Kind.CHARGEBACK, Kind.REPRESENTMENT),
        DisputeState.WON: (Kind.CHARGEBACK, Kind.DISPUTE_WON),
        DisputeState.LOST: (Kind.CHARGEBACK, Kind.REPRESENTMENT, Kind.DISPUTE_LOST),
    }[state]
    for kind in path:
        twin.tell(Told(kind))
    assert twin.position.dispute is state
    return twin


def with_dispute_of_holder(twin: Twin, state: DisputeState) -> Twin:
    """Opened at the holder's word, with its credit, as the simulator's history has it."""
    is_open = state is DisputeState.OPENED
    with psycopg.connect(twin.network.database.app) as connection:
        connection.execute(
            "insert into card.disputes (dispute_id, account_id, authorization_id, reason, status,"
            " amount_minor, currency, provisional_entry_id, opened_at, resolved_at)"
            " select gen_random_uuid(), a.account_id, a.authorization_id, 'FRAUD', %s, 400, 'USD',"
            " case when %s then ledger.transfer('PROVISIONAL_CREDIT', ledger.house('DISPUTES',"
            " 'USD'), a.account_id, 400, 'USD', %s, now()) end, now(),"
            " case when not %s then now() end"
            " from card.authorizations a where a.idempotency_key = %s",
            (state, is_open, str(uuid4()), is_open, twin.key),
        )
    moved = 400 * is_open
    twin.position = Position(
        State.CAPTURED, 1_000, 0, 1_000, 1_000, moved, 1_000 - moved,
        dispute=state, disputed_minor=moved,
    )  # fmt: skip
    return twin


DISPUTE_CELLS = [(state, kind) for state, row in DISPUTES.items() for kind in row]


@pytest.mark.parametrize(
    ("state", "kind"), DISPUTE_CELLS, ids=[f"{s}-{k}" for s, k in DISPUTE_CELLS]
)
def test_postgres_takes_every_step_of_a_dispute(network, state, kind):
    twin = disputed(state, network)
    twin.tell(Told(kind))
    assert twin.position.dispute is DISPUTES[state][kind].state
    assert network.balances(twin.card)[0] == twin.position.posted_minor
    status = network.rows(
        "select d.status, d.provisional_entry_id, d.resolution_entry_id from card.disputes d"
        " join card.authorizations a using (authorization_id) where a.idempotency_key = %s"
        " order by d.opened_at desc limit 1",
        twin.key,
    )
    assert [row["status"] for row in status] == (
        [] if twin.position.dispute is DisputeState.NONE else [twin.position.dispute]
    )


def test_the_table_speaks_the_vocabulary():
    assert {s.value for s in State} >= {h.value for h in HoldStatus}
    assert {d.value for d in DisputeState} == {"NONE", *(d.value for d in DisputeStatus)}
    outcomes = {step.outcome for row in TABLE.values() for step in row.values()}
    outcomes |= {step.outcome for row in DISPUTES.values() for step in row.values()}
    # Those that depend on no state.
    outcomes |= {
        MessageOutcome.INVALID_AMOUNT, MessageOutcome.INVALID_REASON, MessageOutcome.WRONG_CARD,
        MessageOutcome.WRONG_CURRENCY, MessageOutcome.ACCOUNT_NOT_FOUND,
        MessageOutcome.DUPLICATE_REFERENCE, MessageOutcome.NEVER_AUTHORIZED,
        MessageOutcome.KEY_USED,
    }  # fmt: skip
    assert outcomes == set(MessageOutcome)


def test_after_all_these_steps_every_control_is_silent(network):
    for control in (
        "unbalanced_entries",
        "empty_entries",
        "card_totals",
        "corrections",
        "over_limit",
        "decisions",
        "holds",
    ):
        assert network.rows(f"select * from ledger.control_{control}") == []
    disputes = network.one(
        "select posted_minor from ledger.house_balances"
        " where (kind, currency) = ('DISPUTES', 'USD')"
    )
    open_minor = network.one(
        "select coalesce(sum(amount_minor), 0)::bigint from card.disputes"
        " where status in ('OPENED', 'CHARGEBACK', 'REPRESENTMENT')"
    )
    assert disputes == open_minor
