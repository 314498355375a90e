"""Published sequences of balances, message by message: numbers that are not ours.

Galileo's card transaction scenarios (docs.galileo-ft.com/pro/page/card-transaction-scenarios-index
and the page of each number) start with 1000.00 available and give the available balance after every
message. Here the account has a limit of as much and owes nothing, so the numbers are the same.

Ours differ in form only: what they call a completion is an advice for the true amount; a merchant's
credit that is authorized first moves nothing until it clears, so it is not a message here.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from tests.oltp.network import Card, Network


@dataclass(frozen=True)
class Step:
    """One message and the balance that it leaves, where one is published."""

    kind: str
    amount: str
    available: str | None
    fields: tuple[tuple[str, Any], ...] = ()


def step(kind: str, amount: str, available: str | None, **fields: Any) -> Step:
    return Step(kind, amount, available, tuple(fields.items()))


SCENARIOS = {
    "1 authorization with settlement": [
        step("AUTHORIZE", "45.00", "955.00", mcc="5812"),
        step("CLEARING", "55.00", "945.00"),
    ],
    "2 preauthorization with completion": [
        step("AUTHORIZE", "75.00", "925.00", mcc="5542"),
        step("ADVICE", "30.00", "970.00"),
        step("CLEARING", "30.00", "970.00"),
    ],
    "3 incremental authorizations": [
        step("AUTHORIZE", "25.00", "975.00"),
        step("INCREMENT", "40.00", "960.00", amount_is_total=True),
        step("INCREMENT", "50.00", "950.00", amount_is_total=True),
        step("CLEARING", "50.00", "950.00"),
    ],
    "3 as the network sends it, the increments only": [
        step("AUTHORIZE", "25.00", "975.00"),
        step("INCREMENT", "15.00", "960.00"),
        step("INCREMENT", "10.00", "950.00"),
        step("CLEARING", "50.00", "950.00"),
    ],
    "4 reversal before clearing (Mastercard)": [
        step("AUTHORIZE", "10.00", "990.00", network="MASTERCARD"),
        step("REVERSAL", "10.00", "1000.00"),
        step("EXPIRE", "0.00", "1000.00"),
    ],
    "5 reversal of a preauthorization before clearing (Visa)": [
        step("AUTHORIZE", "50.00", "950.00", mcc="5542"),
        step("REVERSAL", "50.00", "1000.00"),
        step("EXPIRE", "0.00", "1000.00"),
    ],
    "6 refund after clearing (Visa)": [
        step("AUTHORIZE", "150.00", "850.00", mcc="5200"),
        step("CLEARING", "150.00", "850.00"),
        step("REFUND", "40.00", "890.00"),
    ],
    "7 refund after clearing (Mastercard)": [
        step("AUTHORIZE", "300.00", "700.00", network="MASTERCARD"),
        step("CLEARING", "300.00", "700.00"),
        step("REFUND", "300.00", "1000.00"),
    ],
    "8 partial reversal of an authorization": [
        step("AUTHORIZE", "30.00", "970.00", mcc="4121"),
        step("REVERSAL", "20.00", "990.00"),
        step("CLEARING", "10.00", "990.00"),
    ],
    "8 partial reversal of a preauthorization": [
        step("AUTHORIZE", "500.00", "500.00", network="MASTERCARD", mcc="7512"),
        step("REVERSAL", "440.00", "940.00"),
        step("CLEARING", "60.00", "940.00"),
    ],
    "8 as a replacement amount": [
        step("AUTHORIZE", "500.00", "500.00", network="MASTERCARD", mcc="7512"),
        step("REVERSAL", "60.00", "940.00", amount_is_total=True),
        step("CLEARING", "60.00", "940.00"),
    ],
    "9 merchant credit (Mastercard)": [step("CREDIT", "150.00", "1150.00")],
    "10 merchant credit (Visa)": [step("CREDIT", "100.00", "1100.00")],
    "11 withdrawal at a machine, with the issuer's fee": [
        step("AUTHORIZE", "63.00", "937.00", channel="ATM", mcc="6011"),
        step("CLEARING", "62.00", None),
        step("FEE", "1.00", "937.00"),
    ],
    "13 international authorization": [
        step("AUTHORIZE", "300.00", "700.00", network="MASTERCARD", merchant_country="BR"),
        step("CLEARING", "303.00", "697.00"),
    ],
    "15 tokenization": [step("AUTHORIZE", "0.00", "1000.00", message_kind="VERIFICATION")],
    "16 settlement without authorization": [
        step("AUTHORIZE", "35.00", "965.00"),
        step("EXPIRE", "0.00", "1000.00"),
        step("CLEARING", "35.00", "965.00"),
    ],
    "19 force post": [step("FORCE_POST", "55.00", "945.00")],
    "23 account funding with a completion": [
        step("AUTHORIZE", "135.00", "865.00"),
        step("ADVICE", "135.00", "865.00"),
        step("CLEARING", "135.00", "865.00"),
    ],
}


def minor(amount: str) -> int:
    return int(Decimal(amount) * 100)


class Play:
    """One scenario on a card of its own."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.card: Card = network.card(limit=minor("1000.00"))
        self.key = str(uuid4())

    def take(self, one: Step) -> None:
        network, amount, fields = self.network, minor(one.amount), dict(one.fields)
        match one.kind:
            case "AUTHORIZE":
                network.authorize(self.card, amount, self.key, **fields)
            case "INCREMENT":
                answer = network.increment(self.card, self.key, amount, **fields)
                assert answer["decision"] == "APPROVED"
            case "EXPIRE":
                network.expire(self.key)
            case "FEE":
                with psycopg.connect(network.database.app) as connection:
                    connection.execute(
                        "select ledger.charge('FEE', %s, %s, %s)",
                        (self.card.account_id, amount, f"fee:{self.key}"),
                    )
            case "CREDIT" | "FORCE_POST":
                kind = one.kind.replace("CREDIT", "REFUND")
                self._tell(kind, None, amount, **fields)
            case kind:
                self._tell(kind, self.key, amount, **fields)

    def _tell(self, kind: str, original: str | None, amount: int, **fields: Any) -> None:
        card_id = self.card.card_id
        row = self.network.tell(kind, original, amount_minor=amount, card_id=card_id, **fields)
        assert row["state"] == "APPLIED", row


@pytest.fixture(scope="module")
def network(database) -> Network:
    return Network(database)


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_balance_after_every_message_is_the_published_one(network, name):
    play = Play(network)
    for number, one in enumerate(SCENARIOS[name], start=1):
        play.take(one)
        posted, held, available = network.balances(play.card)
        assert available == minor("1000.00") - posted - held
        if one.available is not None:
            assert available == minor(one.available), f"after message {number}, {one.kind}"


def test_nothing_is_held_when_they_are_over(network):
    open_holds = "select count(*) from card.holds where status in ('PENDING', 'PARTIALLY_CAPTURED')"
    assert network.one(open_holds) == 0
