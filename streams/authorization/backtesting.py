"""Runs a version of the rules over the past: what it would have said, on the state as it was.

Velocity rules see exactly what they would have seen: each card is taken by itself, in the order of
its decisions, and its history grows as it grew then. State is what really happened (as in shadow),
never what the version would have made of it. Decisions stream by and one history is kept at a time,
so memory does not grow with the span.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any, LiteralString

import psycopg
from psycopg.rows import dict_row

from schemas.codes import Reason
from schemas.codes_card import MessageKind
from streams.authorization import policy
from streams.authorization.comparing import Compared, Comparison, outcome
from streams.authorization.history import CardHistory
from streams.authorization.policy import Hit
from streams.authorization.recorded import (
    DECISIONS,
    LOOKS_BACK,
    Row,
    attempt_of,
    facts_of,
    has_facts,
    request_of,
)
from streams.authorization.rules import REASONS, RuleSet

ROWS_AT_A_TIME = 1000
# A card's decisions taken here are numbered and have a history of their own; those taken elsewhere
# are told by their times.
SPAN: LiteralString = """
where a.decided_at >= %(read_from)s and a.decided_at < %(until)s
order by a.card_id, a.card_version is null, a.card_version, a.decided_at, a.authorization_id
"""
COUNT: LiteralString = """
select count(*) from card.authorizations a
where a.decided_at >= %(read_from)s and a.decided_at < %(until)s
"""
STOOD_IN = "stood in for or advised, so no rules decided"
Connection = psycopg.Connection[Any]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Backtested:
    """A decision of the past and what the version says of it."""

    row: Row
    reason: Reason
    hits: tuple[Hit, ...]

    def compared(self) -> Compared:
        """Beside what was decided."""
        row = self.row
        refused_by = row["rule_hits"] if has_facts(row) else row["reason_code"] in REASONS
        explanations = [hit.explanation for hit in self.hits]
        if not explanations and has_facts(row):
            explanations = [hit["explanation"] for hit in row["rule_hits"]]
        return Compared(
            row["authorization_id"],
            row["idempotency_key"],
            row["decided_at"],
            row["amount_minor"],
            row["currency"],
            row["reason_code"],
            outcome(row["reason_code"], bool(refused_by), str(self.reason)),
            explanations[0] if explanations else "",
            has_facts(row),
        )


def backtest(
    connection: Connection,
    rules: RuleSet,
    since: datetime,
    until: datetime,
    *,
    most_examples: int = 10,
    progress: Progress | None = None,
) -> Comparison:
    """The comparison of `rules` with what was decided from `since` to before `until`."""
    comparison = Comparison(rules.version, most_examples)
    for one in judged(counted(connection, since, until, progress), rules, since):
        if one is None:
            comparison.passed_over[STOOD_IN] += 1
        else:
            comparison.add(one.compared())
    return comparison


def counted(
    connection: Connection, since: datetime, until: datetime, progress: Progress | None = None
) -> Iterator[Row]:
    """The span's decisions and those of the day before it, card by card; says how many are read."""
    span = {"read_from": since - LOOKS_BACK, "until": until}
    with (
        connection.transaction(),
        connection.cursor("backtested", row_factory=dict_row) as cursor,
    ):
        total = connection.execute(COUNT, span).fetchall()[0][0] if progress else 0
        cursor.itersize = ROWS_AT_A_TIME
        for number, row in enumerate(cursor.execute(DECISIONS + SPAN, span), 1):
            yield row
            if progress and (number % ROWS_AT_A_TIME == 0 or number == total):
                progress(number, total)


def judged(rows: Iterable[Row], rules: RuleSet, since: datetime) -> Iterator[Backtested | None]:
    """What the rules say of each decision from `since` on; None for one that no rules decided.

    Pure. The rows come card by card, each card's in order.
    """
    for _, of_card in groupby(rows, lambda row: (row["card_id"], row["card_version"] is None)):
        history = CardHistory.empty()
        for row in of_card:
            if row["decided_at"] >= since:
                yield _judged(row, history, rules)
            history = history.after(attempt_of(row))


def _judged(row: Row, history: CardHistory, rules: RuleSet) -> Backtested | None:
    if row["is_stand_in"] or row["message_kind"] == MessageKind.ADVICE:
        return None
    verdict = policy.decide(request_of(row), facts_of(row, history), rules, row["decided_at"])
    if has_facts(row):
        return Backtested(row, verdict.reason, verdict.hits)
    # Nothing is known of the card but its history: that is nobody's refusal.
    hits = tuple(hit for hit in verdict.hits if hit.reason is not Reason.UNKNOWN_CARD)
    return Backtested(row, hits[0].reason if hits else Reason.APPROVED, hits)
