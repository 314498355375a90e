"""F20, F21 and F22: requests at one moment, messages out of order, answers that get lost."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import psycopg
import pytest

from millrace.stack import Stack
from tests.cards import UsableCard, eventually, new_card, query
from tests.faults.proxy import Proxy
from tests.faults.routes import another_worker, deciding

pytestmark = [pytest.mark.stack, pytest.mark.usefixtures("unharmed")]
PATH, MESSAGES = "/v1/authorizations", "/v1/card-messages"
SECOND_CARD = """
insert into card.cards (card_id, account_id, product, issued_on, expires_on)
values (%s, %s, 'CLASSIC', current_date, current_date + 1000)
"""
HELD = "select held_minor, posted_minor from card.card_accounts where account_id = %s"


@pytest.fixture
def card(stack: Stack) -> UsableCard:
    return new_card(stack.env["MILLRACE_OLTP_DSN"], credit_limit_minor=100_000)


def test_fifty_at_once_under_one_key_are_one_decision_with_two_workers(
    stack: Stack, gateway: httpx.Client, card: UsableCard
) -> None:
    body = card.body(300)
    with another_worker(stack):
        answers = together(gateway, [body] * 50)
    ids = {answer["authorization_id"] for answer in answers}
    assert len(ids) == 1
    assert standing(stack, card) == (300, 0)


def test_fifty_at_once_over_five_cards_of_one_account_are_what_its_limit_allows(
    stack: Stack, gateway: httpx.Client
) -> None:
    """Cards of one account lie in different partitions, so nothing but the record orders them."""
    dsn = stack.env["MILLRACE_OLTP_DSN"]
    card = new_card(dsn, credit_limit_minor=1099)
    others = [UsableCard(str(uuid.uuid4()), card.account_id, card.customer_id) for _ in range(4)]
    with psycopg.connect(dsn) as connection:
        for other in others:
            connection.execute(SECOND_CARD, (other.card_id, card.account_id))
    every = [card, *others]
    answers = together(gateway, [every[n % 5].body(100) for n in range(50)])
    codes = sorted(str(answer["response_code"]) for answer in answers)
    assert codes == ["00"] * 10 + ["51"] * 40
    assert standing(stack, card) == (1000, 0)


def test_a_reversal_before_its_authorization_waits_for_it_and_releases_it(
    stack: Stack, gateway: httpx.Client, card: UsableCard
) -> None:
    body = card.body(700)
    reversal = message(card, "REVERSAL", body["network_transaction_id"], 700)
    assert tell(gateway, reversal)["state"] == "PARKED"
    assert ask(gateway, body)["response_code"] == "00"
    eventually(lambda: standing(stack, card) == (0, 0), within_s=10)
    assert tell(gateway, reversal)["replayed"]
    assert standing(stack, card) == (0, 0)


def test_a_capture_after_expiry_posts_and_holds_nothing(
    stack: Stack, gateway: httpx.Client, card: UsableCard
) -> None:
    body = card.body(700)
    assert ask(gateway, body)["response_code"] == "00"
    age(stack, card)
    eventually(lambda: standing(stack, card) == (0, 0), within_s=20)
    capture = message(card, "CLEARING", body["network_transaction_id"], 700)
    assert tell(gateway, capture)["state"] == "APPLIED"
    assert standing(stack, card) == (0, 700)
    assert tell(gateway, capture)["replayed"]
    assert standing(stack, card) == (0, 700)


def test_a_second_capture_under_another_key_posts_again_and_releases_nothing_twice(
    stack: Stack, gateway: httpx.Client, card: UsableCard
) -> None:
    body, other = card.body(700), card.body(50)
    ask(gateway, body)
    ask(gateway, other)
    key = body["network_transaction_id"]
    first = tell(gateway, message(card, "CLEARING", key, 700))
    assert (first["state"], standing(stack, card)) == ("APPLIED", (50, 700))
    second = tell(gateway, message(card, "CLEARING", key, 700, sequence_number=2))
    held, posted = standing(stack, card)
    # The network pays each presentment, so it posts; what another swipe holds stays held.
    assert held == 50
    assert posted == {"APPLIED": 1400, "REFUSED": 700}[second["state"]]


def test_a_reversal_of_what_was_captured_gives_back_no_hold(
    stack: Stack, gateway: httpx.Client, card: UsableCard
) -> None:
    body = card.body(700)
    ask(gateway, body)
    key = body["network_transaction_id"]
    tell(gateway, message(card, "CLEARING", key, 700))
    told = tell(gateway, message(card, "REVERSAL", key, 700))
    assert told["state"] in ("REFUSED", "APPLIED")
    assert standing(stack, card) == (0, 700)


def test_an_answer_lost_on_its_way_back_is_given_again_and_nothing_is_held_twice(
    stack: Stack, gateway: httpx.Client, card: UsableCard
) -> None:
    deciding(stack)
    body = card.body(400)
    port = int(gateway.base_url.port or 0)
    with Proxy(port) as proxy:
        proxy.limit_answers(0)
        url = f"http://127.0.0.1:{proxy.port}"
        with httpx.Client(base_url=url, timeout=20) as caller, pytest.raises(httpx.TransportError):
            caller.post(PATH, json=body)
    eventually(lambda: standing(stack, card) == (400, 0), within_s=10)
    answer = ask(gateway, body)
    assert (answer["replayed"], answer["response_code"]) == (True, "00")
    assert standing(stack, card) == (400, 0)


def ask(gateway: httpx.Client, body: dict[str, Any]) -> dict[str, Any]:
    answer = gateway.post(PATH, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def together(gateway: httpx.Client, bodies: list[dict[str, Any]]) -> list[dict[str, Any]]:
    with ThreadPoolExecutor(len(bodies)) as pool:
        return list(pool.map(lambda body: ask(gateway, body), bodies))


def message(
    card: UsableCard, kind: str, original_key: str, amount_minor: int, **fields: Any
) -> dict[str, Any]:
    return {
        "message_key": f"N-{uuid.uuid4()}",
        "message_kind": kind,
        "original_key": original_key,
        "card_id": card.card_id,
        "amount_minor": amount_minor,
        "currency": "CZK",
        **fields,
    }


def tell(gateway: httpx.Client, body: dict[str, Any]) -> dict[str, Any]:
    answer = gateway.post(MESSAGES, json=body)
    if answer.status_code in (409, 422):
        return {"state": "REFUSED", **answer.json()}
    assert answer.is_success, answer.text
    return answer.json()


def standing(stack: Stack, card: UsableCard) -> tuple[int, int]:
    """Held and posted on the card's account."""
    return query(stack.env["MILLRACE_OLTP_DSN"], HELD, card.account_id)[0]


def age(stack: Stack, card: UsableCard) -> None:
    """The card's holds were made ten days earlier."""
    with psycopg.connect(stack.env["MILLRACE_OLTP_ADMIN_DSN"]) as connection:
        connection.execute(
            "update card.holds set expires_at = now() - interval '1 second', "
            "created_at = created_at - interval '10 days' where account_id = %s",
            (card.account_id,),
        )
