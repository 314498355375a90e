"""The life of a card over HTTP: kinds of authorizations, and what the network says afterwards."""

from typing import Any

import httpx
import pytest

from tests.cards import UsableCard, new_card
from tests.faults import invariants
from tests.integration.standing import ask, gist, held

pytestmark = pytest.mark.stack
MESSAGES = "/v1/card-messages"


async def test_the_life_of_a_card_goes_over_http(
    gateway: httpx.AsyncClient, card: UsableCard, dsn: str
) -> None:
    """Approved, raised, cleared in part, refunded, charged back and won, each once for its key."""
    body = card.body(1000)
    key = body["network_transaction_id"]
    assert gist(await ask(gateway, body)) == ("APPROVED", "00", 1000)
    raised = card.body(1500, message_kind="INCREMENT", original_key=key, amount_is_total=True)
    assert (await ask(gateway, raised))["response_code"] == "00"
    assert held(dsn, card)[0] == 1500

    async def say(kind: str, **fields: Any) -> httpx.Response:
        message = {"message_kind": kind, "message_key": f"{kind}-{key}", **fields}
        return await gateway.post(MESSAGES, json=message)

    cleared = await say("CLEARING", original_key=key, amount_minor=1200, currency="CZK")
    assert (cleared.status_code, cleared.json()["outcome"]) == (200, "CLEARED")
    again = await say("CLEARING", original_key=key, amount_minor=1200, currency="CZK")
    assert again.json() == cleared.json() | {"replayed": True}
    other = await say("CLEARING", original_key=key, amount_minor=1201, currency="CZK")
    assert (other.status_code, other.json()["type"]) == (409, "urn:millrace:problem:key-reused")
    late = await say("REVERSAL", original_key=key)
    assert (late.status_code, late.json()["type"]) == (
        409,
        "urn:millrace:problem:already-captured",
    )
    wrong = await say("REFUND", original_key=key, amount_minor=1, currency="EUR")
    assert (wrong.status_code, wrong.json()["type"]) == (422, "urn:millrace:problem:wrong-currency")
    early = await say("REVERSAL", message_key=f"early-{key}", original_key=f"never-{key}")
    assert (early.status_code, early.json()["state"]) == (202, "PARKED")
    disputed = await say(
        "CHARGEBACK", original_key=key, amount_minor=1200, currency="CZK", reason="FRAUD"
    )
    assert (disputed.status_code, disputed.json()["state"]) == (200, "APPLIED")
    won = await say("DISPUTE_WON", original_key=key)
    assert (won.status_code, won.json()["outcome"]) == (200, "WON")
    posted = await say("FORCE_POST", card_id=card.card_id, amount_minor=5, currency="CZK")
    assert posted.json()["outcome"] == "FORCE_POSTED"
    assert held(dsn, card) == (0, 0, 0)
    assert invariants.books(dsn) == []


async def test_a_terminal_that_takes_less_gets_what_there_is(
    gateway: httpx.AsyncClient, dsn: str
) -> None:
    card = new_card(dsn, credit_limit_minor=700)
    assert gist(await ask(gateway, card.body(1000, partial_allowed=True))) == (
        "APPROVED",
        "10",
        700,
    )


async def test_a_verification_takes_nothing(
    gateway: httpx.AsyncClient, card: UsableCard, dsn: str
) -> None:
    answer = await ask(gateway, card.body(0))
    assert (answer["message_kind"], answer["decision"]) == ("VERIFICATION", "APPROVED")
    assert held(dsn, card) == (0, 0, 0)
