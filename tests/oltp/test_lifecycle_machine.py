"""Random lives of authorizations on a real Postgres, with crashes and repeats, beside the table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from psycopg.rows import dict_row

from oltp.ledger.controls import CONTROLS
from schemas.codes_card import CardMessageKind as Kind
from schemas.lifecycle import OPEN, TABLE, Effect, Signal
from schemas.lifecycle_position import Position, Told, approve, decline, increase
from tests.oltp.network import Network, Row, message, request
from tests.oltp.twin import Twin, all_stand

LIMIT = 5_000
KEYS = 2
DECLINED = {"decision": "DECLINED", "response_code": "59", "reason_code": "RISK_TOO_HIGH"}
# What an example leaves behind goes before the next, so that the controls have little to read.
FORGOTTEN = (
    "ledger.postings",
    "ledger.entries",
    "ledger.credit_limits",
    "ledger.accounts where card_account_id is not null",
    "card.card_events",
    "card.clearings",
    "card.disputes",
    "card.card_messages",
    "card.holds",
    "card.authorizations",
    "card.card_states",
    "card.cards",
    "card.card_accounts",
)
# I6 to I9, in one question.
EVERY_CONTROL = " union all ".join(
    f"select '{proves} {control}' as control, subject_id, problem from ledger.control_{control}"
    for control, (proves, _) in CONTROLS.items()
)

amounts = st.sampled_from((0, 300, 400, 1_000, 2_500))
# Of what a message is measured against: some of it, all of it, more.
shares = st.sampled_from((0.25, 0.5, 0.5, 1.0, 1.25))
numbers = st.integers(0, KEYS - 1)
crashes = st.booleans()
# Mostly yes.
chances = st.sampled_from((True, True, True, False))


def measured(kind: Kind, position: Position, share: float, is_whole: bool) -> Told:
    """A message that means something to the position."""
    match kind:
        case Kind.REFUND | Kind.CHARGEBACK:
            base = position.returnable_minor
        case Kind.ADVICE:
            base = position.promised_minor
        case _:
            base = position.held_minor
    amount = max(1, int((base or 400) * share))
    if kind is Kind.REVERSAL and share > 1:
        return Told(kind)
    if kind is Kind.ADVICE and share < 0.5:
        return Told(kind, 0)
    return Told(kind, amount, amount_is_total=not is_whole, is_final=is_whole)


class Session(Network):
    """One connection for a whole life. A crash loses a transaction before it commits; who asked has
    heard nothing, and asks again."""

    def __init__(self, network: Network) -> None:
        super().__init__(network.database)
        # What a test's crash loses is never committed: no need to wait for a disk.
        options = "-c synchronous_commit=off"
        self._app = psycopg.connect(self.database.app, row_factory=dict_row, options=options)
        self._admin = psycopg.connect(self.database.admin, row_factory=dict_row, autocommit=True)
        self.crashes = False

    @contextmanager
    def session(self) -> Iterator[psycopg.Connection[Row]]:
        with self._app.transaction():
            yield self._app

    def rows(self, query: str, *values: object) -> list[Row]:
        return self._admin.execute(query, values).fetchall()

    def count(self, call: str) -> int:
        """What a function of the clock has done."""
        with self.session() as connection:
            return int(connection.execute(f"select {call} as done").fetchall()[0]["done"])

    def forget(self) -> None:
        """Nothing has ever been decided."""
        with self._admin.transaction():
            self._admin.execute("set local session_replication_role = replica")
            for rows in FORGOTTEN:
                self._admin.execute(f"delete from {rows}")

    def close(self) -> None:
        self._app.close()
        self._admin.close()

    def _call(self, function: str, batch: Iterable[Row]) -> list[Row]:
        rows = list(batch)
        if self.crashes:
            self.crashes = False
            with self._app.transaction() as lost:
                super()._call(function, rows)
                raise psycopg.Rollback(lost)
        return super()._call(function, rows)


@dataclass
class Sent:
    """What was sent, and what the answer was."""

    is_message: bool
    payload: Row
    answer: Row


class Lives(RuleBasedStateMachine):
    """Some keys of one card, and what may happen to them."""

    session: Session

    @initialize()
    def begin(self) -> None:
        self.session.forget()
        self.card = self.session.card(limit=LIMIT)
        self.twins = [Twin(self.session, self.card) for _ in range(KEYS)]
        self.over: list[Twin] = []
        self.sent: list[Sent] = []

    @rule(number=numbers, amount=amounts, is_wanted=chances, crash=crashes)
    def authorize(self, number: int, amount: int, is_wanted: bool, crash: bool) -> None:
        """A new key; or one that something was told of before it was asked for. What is still held
        is left to what may happen to it."""
        if self.twins[number].position.state in OPEN:
            return
        twin = self._current(number)
        verdict = {} if is_wanted else DECLINED
        asked = request(self.card, amount, twin.key, **verdict)
        # A zero amount takes nothing, and fits whatever is available.
        is_approved = is_wanted and (not amount or amount <= self.available)
        self.session.crashes = crash
        (answer,) = self.session.decide(asked)
        assert not answer["replayed"]
        assert (answer["decision"] == "APPROVED") is is_approved
        self.sent.append(Sent(False, asked, answer))
        twin.decided(approve(twin.position, amount) if is_approved else decline(twin.position))

    @rule(number=numbers, amount=amounts, is_message=st.booleans())
    def use_a_known_key(self, number: int, amount: int, is_message: bool) -> None:
        """A key that is known is answered as before, whoever gave the answer; a message that takes
        it is a conflict, and is not kept."""
        key = self.twins[number].key
        if not self.twins[number].is_known:
            return
        if is_message:
            (answer,) = self.session.apply(message(Kind.REVERSAL, key) | {"message_key": key})
            assert (answer["outcome"], answer["conflict"]) == ("KEY_USED", True)
        else:
            (answer,) = self.session.decide(request(self.card, amount, key))
            assert answer["replayed"]

    @rule(number=numbers, amount=amounts, is_total=st.booleans(), crash=crashes)
    def increment(self, number: int, amount: int, is_total: bool, crash: bool) -> None:
        twin, position = self.twins[number], self.twins[number].position
        added = amount - is_total * (position.held_minor + position.captured_minor)
        is_open = TABLE[position.state][Signal.INCREMENT].effect is Effect.RESERVE
        # A total that is reached already asks for nothing.
        is_approved = is_open and (added <= 0 or added <= self.available)
        self.session.crashes = crash
        answer = self.session.increment(self.card, twin.key, amount, amount_is_total=is_total)
        assert (answer["decision"] == "APPROVED") is is_approved
        if is_approved:
            twin.position = increase(position, max(added, 0))

    @rule(number=numbers, share=shares, is_whole=st.booleans(), crash=crashes)
    def reverse(self, number: int, share: float, is_whole: bool, crash: bool) -> None:
        self._tell(number, Kind.REVERSAL, share, is_whole, crash)

    @rule(number=numbers, share=shares, is_part=chances, crash=crashes)
    def clear(self, number: int, share: float, is_part: bool, crash: bool) -> None:
        self._tell(number, Kind.CLEARING, share, not is_part, crash)

    @rule(number=numbers, share=shares, crash=crashes)
    def advise(self, number: int, share: float, crash: bool) -> None:
        self._tell(number, Kind.ADVICE, share, True, crash)

    @rule(number=numbers, share=shares, crash=crashes, is_known=st.booleans())
    def credit_or_charge(self, number: int, share: float, crash: bool, is_known: bool) -> None:
        self._tell(number, Kind.REFUND if is_known else Kind.FORCE_POST, share, True, crash)

    @rule(
        number=numbers,
        kind=st.sampled_from(
            (Kind.CHARGEBACK, Kind.REPRESENTMENT, Kind.DISPUTE_WON, Kind.DISPUTE_LOST)
        ),
        share=shares,
        crash=crashes,
    )
    def dispute(self, number: int, kind: Kind, share: float, crash: bool) -> None:
        self._tell(number, kind, share, True, crash)

    @rule(
        number=numbers,
        kinds=st.lists(st.sampled_from(tuple(Kind)), min_size=2, max_size=4),
        share=shares,
        crash=crashes,
    )
    def tell_in_one_batch(self, number: int, kinds: list[Kind], share: float, crash: bool) -> None:
        twin = self.twins[number]
        self.session.crashes = crash
        pairs = twin.tell_together([measured(k, twin.position, share, True) for k in kinds])
        self.sent += [Sent(True, payload, answer) for payload, answer in pairs]

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), contradicts=st.booleans())
    def repeat(self, data: st.DataObject, contradicts: bool) -> None:
        """What was sent before is done already, and answered as then; the same key for something
        else is a conflict. Neither changes anything."""
        sent = data.draw(st.sampled_from(self.sent))
        other = {"request_hash": "f" * 64, "amount_minor": 7} if contradicts else {}
        send = self.session.apply if sent.is_message else self.session.decide
        (answer,) = send({**sent.payload, **other})
        assert answer["replayed"]
        assert answer["conflict"] is contradicts
        if sent.is_message and sent.answer["state"] != "PARKED":
            assert {**answer, "replayed": False, "conflict": False} == sent.answer

    @rule(number=numbers, is_over=st.booleans(), is_late=st.booleans())
    def tick(self, number: int, is_over: bool, is_late: bool) -> None:
        """The clock: the time of a hold is over, or of what waits, or of nothing."""
        if is_over:
            self.twins[number].expire()
        assert self.session.count("card.expire_holds()") == 0
        assert self.session.count("card.lapse_parked()") == 0
        if is_late:
            given_up = self.session.count("card.lapse_parked(now() + interval '2 days')")
            assert given_up == self.waiting
            for twin in self.lives:
                twin.waiting.clear()

    @invariant()
    def postgres_stands_where_the_table_says(self) -> None:
        all_stand(self.session, self.lives)
        _, held, available = self.session.balances(self.card)
        assert (held, available) == (self.held, self.available)
        parked = "select count(*) from card.card_messages where state = 'PARKED'"
        assert self.session.one(parked) == self.waiting

    @invariant()
    def the_controls_of_the_ledger_are_silent(self) -> None:
        assert self.session.rows(EVERY_CONTROL) == []

    @property
    def held(self) -> int:
        return sum(twin.position.held_minor for twin in self.lives)

    @property
    def available(self) -> int:
        return LIMIT - self.held - sum(twin.position.posted_minor for twin in self.lives)

    @property
    def waiting(self) -> int:
        return sum(len(twin.waiting) for twin in self.lives)

    def _current(self, number: int) -> Twin:
        """A key that is not known yet, in this place."""
        if self.twins[number].is_known:
            self.over.append(self.twins[number])
            self.twins[number] = Twin(self.session, self.card)
        return self.twins[number]

    @property
    def lives(self) -> list[Twin]:
        return self.twins + self.over

    def _tell(self, number: int, kind: Kind, share: float, is_whole: bool, crash: bool) -> None:
        twin = self.twins[number]
        told = measured(kind, twin.position, share, is_whole)
        payload = twin.message(told)
        self.session.crashes = crash
        (answer,) = self.session.apply(payload)
        assert {answer["replayed"], answer["conflict"]} == {False}
        twin.agree(told, answer)
        self.sent.append(Sent(True, payload, answer))


def test_no_life_leads_where_the_table_does_not(database):
    Lives.session = Session(Network(database))
    long_and_few = settings(
        max_examples=20,
        stateful_step_count=50,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    try:
        run_state_machine_as_test(Lives, settings=long_and_few)
    finally:
        Lives.session.close()
