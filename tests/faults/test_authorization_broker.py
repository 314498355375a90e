"""F11 and F13: the broker is killed in the middle of traffic, and cannot be reached for a while."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from millrace.stack import Stack
from tests.cards import UsableCard, eventually, new_card
from tests.faults import invariants
from tests.faults.routes import killed, own_gateway, proxied_broker
from tests.faults.swipes import Swipes

pytestmark = [
    pytest.mark.stack,
    pytest.mark.long,
    pytest.mark.usefixtures("unharmed"),
]
PATH = "/v1/authorizations"
# How much later than its deadline an answer may be, on a busy machine.
SLACK_S = 0.3


@pytest.mark.parametrize("kills", [2, pytest.param(8, marks=pytest.mark.long)])
def test_a_killed_broker_loses_no_request_and_repeats_no_effect(
    stack: Stack, swipes: Swipes, kills: int
) -> None:
    for _ in range(kills):
        swipes.send(1000)
        killed(stack, "kafka")
    swipes.send(500)
    swipes.flush()
    invariants.drained(stack.env)


def test_while_the_broker_is_down_the_gateway_answers_by_policy_and_both_come_back(
    stack: Stack, gateway: httpx.Client
) -> None:
    card = new_card(stack.env["MILLRACE_OLTP_DSN"])
    assert ask(gateway, card)["response_code"] == "00"
    stack.stop("kafka")
    try:
        answers = asked_together(gateway, card, 10)
    finally:
        stack.start("kafka")
    assert {answer["stand_in"] for answer in answers} == {True}
    eventually(lambda: not ask(gateway, card)["stand_in"])


@pytest.mark.parametrize("seconds", [4, pytest.param(60, marks=pytest.mark.long)])
def test_a_broker_that_says_nothing_any_more_keeps_no_caller_beyond_its_deadline(
    stack: Stack, tmp_path: Path, seconds: int
) -> None:
    card = new_card(stack.env["MILLRACE_OLTP_DSN"])
    with (
        proxied_broker(stack) as (proxy, address),
        own_gateway(stack, tmp_path, MILLRACE_KAFKA=address) as gateway,
    ):
        eventually(lambda: ask(gateway, card)["response_code"] == "00")
        proxy.half_open()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            began = time.monotonic()
            answer = ask(gateway, card, deadline_ms=500)
            assert time.monotonic() - began < 0.5 + SLACK_S
            assert answer["stand_in"]
            assert answer["response_code"] in ("00", "91")
        proxy.heal()
        eventually(lambda: not ask(gateway, card)["stand_in"], within_s=90)


def ask(gateway: httpx.Client, card: UsableCard, deadline_ms: int = 2000) -> dict[str, object]:
    answer = gateway.post(PATH, json=card.body(100, deadline_ms=deadline_ms))
    assert answer.status_code == 200, answer.text
    return answer.json()


def asked_together(gateway: httpx.Client, card: UsableCard, count: int) -> list[dict[str, object]]:
    """So many callers at once, each answered within its half second."""

    def one(_: int) -> dict[str, object]:
        began = time.monotonic()
        answer = ask(gateway, card, deadline_ms=500)
        assert time.monotonic() - began < 0.5 + SLACK_S
        return answer

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))
