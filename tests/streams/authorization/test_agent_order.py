"""What the agent remembers of a card, and the order of all that happens to it."""

import pytest

from schemas import keys
from schemas.codes_card import CardMessageKind, MessageKind
from streams.authorization import agent
from tests.cards import UsableCard, new_card, query
from tests.streams.authorization.agent_desk import DECIDED, HELD, Desk, about, copied, request


async def test_two_workers_on_one_card_decide_as_one_would(desk: Desk) -> None:
    card = new_card(desk.dsn)
    desks = (desk, desk.another(), desk.another())
    for number in range(9):
        (decided,) = await desks[number % 3].decide(request(card, 100 + number))
        assert decided.response_code == "00"
    stored = query(desk.dsn, DECIDED, card.card_id)
    assert [row[0] for row in stored] == list(range(1, 10))
    assert [row[1]["features"]["card_attempts_1h"] for row in stored] == list(range(9))
    assert [row[1]["features"]["card_spend_1h"] for row in stored] == [
        sum(100 + n for n in range(number)) for number in range(9)
    ]


async def test_what_postgres_decides_otherwise_is_what_the_next_are_judged_on(desk: Desk) -> None:
    card = new_card(desk.dsn, credit_limit_minor=250)
    decided = await desk.decide(*(request(card, 100) for _ in range(5)))
    assert [d.response_code for d in decided] == ["00", "00", "51", "51", "51"]
    stored = query(desk.dsn, DECIDED, card.card_id)
    assert [row[1]["features"]["card_declines_1h"] for row in stored] == [0, 0, 0, 1, 2]
    (again,) = await desk.another().decide(request(card, 100))
    assert again.response_code == "51"
    assert query(desk.dsn, DECIDED, card.card_id)[-1][1]["features"]["card_declines_1h"] == 3


async def test_a_history_that_redis_has_of_long_ago_changes_nothing(desk: Desk) -> None:
    card = new_card(desk.dsn)
    await desk.decide(request(card, 100))
    await desk.facts.histories._tell()
    old = await desk.redis.get(keys.card_history(card.card_id))
    await desk.decide(request(card, 100), request(card, 100))
    await desk.redis.set(keys.card_history(card.card_id), old)
    (decided,) = await desk.another().decide(request(card, 100))
    assert decided.response_code == "00"
    version, facts = query(desk.dsn, DECIDED, card.card_id)[-1]
    assert (version, facts["features"]["card_attempts_1h"]) == (4, 3)


async def test_a_successor_goes_on_from_the_history_in_redis(desk: Desk) -> None:
    card = new_card(desk.dsn)
    await desk.decide(request(card), request(card))
    await desk.facts.histories._tell()
    successor = desk.another()
    await copied(successor, card)
    (found,) = (await successor.facts.read([card.card_id])).values()
    assert found.history == desk.facts.histories.get(card.card_id)
    assert found.history.version == 2


async def test_no_more_is_remembered_than_there_is_room_for(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.authorization.histories.MOST_CARDS", 3)
    cards = [new_card(desk.dsn) for _ in range(5)]
    await desk.decide(*(request(card) for card in cards))
    known = [desk.facts.histories.get(card.card_id) is not None for card in cards]
    assert known == [False, False, True, True, True]
    decided = await desk.decide(*(request(card) for card in cards))
    assert {d.response_code for d in decided} == {"00"}


async def test_messages_about_a_card_keep_their_place_among_its_requests(desk: Desk) -> None:
    card = new_card(desk.dsn, credit_limit_minor=100)
    first = request(card, 100)
    taken_back = about(first, CardMessageKind.REVERSAL)
    batch = [first, request(card, 100), taken_back, request(card, 100)]
    decided = await desk.decide(*batch)
    assert [d.response_code for d in decided] == ["00", "51", "00", "00"]
    assert [d.message_kind for d in decided] == ["PURCHASE", "PURCHASE", "REVERSAL", "PURCHASE"]
    assert (decided[2].decision, decided[2].reason_code) == ("APPROVED", "REVERSED")
    again = await desk.decide(*batch)
    assert all(d.replayed for d in again)
    assert [d.response_code for d in again] == ["00", "51", "00", "00"]
    assert query(desk.dsn, HELD, card.account_id) == [(100,)]


async def test_a_stand_in_that_was_told_is_held_and_then_answers_its_request(desk: Desk) -> None:
    card = new_card(desk.dsn)
    await desk.decide(request(card))
    late = request(card, 500)
    (told,) = await desk.decide(about(late, MessageKind.ADVICE))
    assert (told.response_code, told.reason_code) == ("00", "HELD")
    (replay,) = await desk.decide(late)
    assert (replay.replayed, replay.stand_in, replay.response_code) == (True, True, "00")
    assert query(desk.dsn, HELD, card.account_id) == [(600,)]
    (decided,) = await desk.decide(request(card, 1))
    assert decided.response_code == "00"
    version, facts = query(desk.dsn, DECIDED, card.card_id)[-1]
    assert (version, facts["features"]["card_spend_1h"]) == (3, 600)


async def test_an_advice_without_its_request_s_key_is_malformed(desk: Desk) -> None:
    nameless = about(request(new_card(desk.dsn)), CardMessageKind.REVERSAL, original_key=None)
    (answer,) = await desk.decide(nameless)
    assert (answer.decision, answer.response_code) == ("DECLINED", "30")


async def test_increments_raise_the_hold_and_the_next_are_judged_on_what_they_added(
    desk: Desk,
) -> None:
    card = new_card(desk.dsn)
    first = request(card, 100)
    total = about(first, MessageKind.INCREMENT, amount_minor=250, amount_is_total=True)
    more = about(first, MessageKind.INCREMENT, amount_minor=50)
    decided = await desk.decide(first, total, more, request(card, 1))
    assert [d.response_code for d in decided] == ["00"] * 4
    assert query(desk.dsn, HELD, card.account_id) == [(301,)]
    stored = query(desk.dsn, DECIDED, card.card_id)
    assert [row[1]["features"]["card_spend_1h"] for row in stored] == [0, 100, 250, 300]


def test_a_batch_is_taken_in_rounds_that_keep_the_order_of_each_card() -> None:
    one, two = UsableCard("1", "", ""), UsableCard("2", "", "")
    batch = [
        request(one),
        request(two),
        about(request(one), CardMessageKind.REVERSAL),
        request(one),
        request(two),
        about(request(two), MessageKind.ADVICE),
        about(request(one), MessageKind.INCREMENT, amount_is_total=True),
        request(one),
        about(request(one), MessageKind.ADVICE),
    ]
    assert list(agent.rounds(batch)) == [[0, 1, 4], [2, 5], [3, 6], [7], [8]]
