"""An issuer for tests: a network's cards, with programs and spend limits, asked by many at once."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg.rows import dict_row

from tests.oltp.network import Card, Network, Row

DECLINED = {"decision": "DECLINED", "response_code": "59", "reason_code": "VELOCITY_EXCEEDED"}
CONTROLS = ("unbalanced_entries", "card_totals", "over_limit", "decisions", "holds")


class Issuer(Network):
    """A network whose cards come under limits."""

    def program(self, time_zone: str = "UTC") -> str:
        name = f"p{uuid4().hex}"
        self.do(
            "insert into card.programs (program_id, name, time_zone) values (%s, %s, %s)",
            name, name, time_zone,
        )  # fmt: skip
        return name

    def card_of(self, program: str, limit: int = 100_000, currency: str = "USD") -> Card:
        card = self.card(limit, currency)
        self.do(
            "update card.card_accounts set program_id = %s where account_id = %s",
            program, card.account_id,
        )  # fmt: skip
        return card

    def limit(
        self,
        scope: str,
        subject: UUID | str,
        period: str = "DAY",
        count: int | None = None,
        amount: int | None = None,
        currency: str = "USD",
    ) -> UUID:
        """A limit for what `scope` (card, account, program) says."""
        limit = uuid4()
        self.do(
            f"insert into card.spend_limits (spend_limit_id, {scope}_id, period, currency,"
            " count_limit, amount_limit_minor) values (%s, %s, %s, %s, %s, %s)",
            limit, subject, period, currency, count, amount,
        )  # fmt: skip
        return limit

    def counter(self, limit: UUID) -> tuple[int, int]:
        """Count and amount of a limit's latest period."""
        (row,) = self.rows(
            "select approved_count, approved_amount_minor from card.spend_counters"
            " where spend_limit_id = %s order by period_start desc limit 1",
            limit,
        )
        return row["approved_count"], row["approved_amount_minor"]

    def do(self, query: str, *values: object) -> None:
        """One statement of the application, committed."""
        with self.session() as connection:
            connection.execute(query, values)

    @staticmethod
    def batch(*requests: Row) -> str:
        """Requests as the function takes them."""
        return json.dumps(requests)

    def together(self, batches: list[list[Row]]) -> list[Row]:
        """Each batch from a session of its own, all let go at the same moment."""
        start = threading.Barrier(len(batches))

        def run(batch: list[Row]) -> list[Row]:
            with psycopg.connect(self.database.app, row_factory=dict_row) as connection:
                start.wait()
                return connection.execute(
                    "select * from card.decide_and_hold(%s)", (json.dumps(batch),)
                ).fetchall()

        with ThreadPoolExecutor(len(batches)) as pool:
            return [answer for answers in pool.map(run, batches) for answer in answers]

    def stored(self, key: str) -> Row:
        (row,) = self.rows("select * from card.authorizations where idempotency_key = %s", key)
        return row

    def state(self, card: Card) -> tuple[int, Any] | None:
        """How many decisions the card has had, and when the last one was."""
        for row in self.rows("select * from card.card_states where card_id = %s", card.card_id):
            return row["version"], row["last_decided_at"]
        return None

    def everything_agrees(self) -> None:
        """Balances and holds with the ledger; spend counters and card states with the decisions."""
        for control in CONTROLS:
            assert self.one(f"select count(*) from ledger.control_{control}") == 0, control
        assert not self.rows(
            "select * from card.spend_counters c,"
            " card.count_spend(c.spend_limit_id, c.period_start) n"
            " where (c.approved_count, c.approved_amount_minor)"
            " <> (n.approved_count, n.approved_amount_minor)"
        )
        assert not self.rows(
            "select card_id from card.authorizations a full join card.card_states s using (card_id)"
            " where a.card_version is not null group by card_id, s.version"
            " having array_agg(a.card_version order by a.card_version)"
            " is distinct from array(select generate_series(1, s.version))"
        )
