"""What the database judged under the account's lock, judged again from what is written down.

Postings and decisions carry the time they were made under the lock, so what stood before a decision
is what the journal has from before it: credit from postings and the limit of the time, what an
increment raises from its hold's postings, spend limits from earlier approvals in periods of the
program's time zone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from psycopg.rows import dict_row

from schemas.codes import RESPONSE_CODE, Decision, Reason
from schemas.codes_card import MessageKind
from schemas.events import AuthorizationRequested
from streams.authorization.policy import Verdict
from streams.authorization.recorded import Row

AVAILABLE: LiteralString = """
select (
    select l.credit_limit_minor from ledger.credit_limits l
    where l.account_id = %(account_id)s and l.changed_at < %(created_at)s
    order by l.changed_at desc limit 1
) - (
    select coalesce(sum(ledger.signed(p.direction, p.amount_minor)), 0)::bigint
    from ledger.postings p join ledger.entries e using (entry_id)
    where p.ledger_account_id = %(account_id)s and e.created_at < %(created_at)s
) as available_minor
"""
# What is held and what was captured are both postings of the hold's entries on the account.
ORIGINAL: LiteralString = """
select coalesce(sum(ledger.signed(p.direction, p.amount_minor)), 0)::bigint as authorized_minor,
    coalesce(sum(ledger.signed(p.direction, p.amount_minor)) filter (where p.layer = 'HELD'), 0)
        > 0 as is_open
from card.holds h
join ledger.entries e using (hold_id)
join ledger.postings p on p.entry_id = e.entry_id and p.ledger_account_id = h.account_id
where h.authorization_id = %(parent_authorization_id)s and e.created_at < %(created_at)s
"""
SPENT: LiteralString = """
select
    case when l.card_id is not null then 'card' when l.account_id is not null then 'account'
        else 'program ' || l.program_id end as scope,
    l.period, t.time_zone, l.count_limit, l.amount_limit_minor, n.approved_count, n.approved_minor,
    l.updated_at > %(created_at)s as has_changed
from card.card_accounts o
join card.programs t on t.program_id = o.program_id
join card.spend_limits l
    on l.card_id = %(card_id)s or l.account_id = o.account_id or l.program_id = o.program_id
cross join lateral (
    select count(*) filter (where s.message_kind <> 'INCREMENT' and s.approved_minor > 0)
            as approved_count,
        coalesce(sum(s.approved_minor), 0)::bigint as approved_minor
    from (
        select x.message_kind, x.decided_at, x.currency, x.decision, x.created_at,
            coalesce(x.approved_amount_minor, x.amount_minor) as approved_minor
        from (
            select y.* from card.authorizations y where y.card_id = l.card_id
            union all
            select y.* from card.authorizations y where y.account_id = l.account_id
            union all
            select y.* from card.card_accounts m join card.authorizations y using (account_id)
            where m.program_id = l.program_id
        ) x
    ) s
    where s.decision = 'APPROVED' and s.currency = l.currency and s.created_at < %(created_at)s
        and case when l.period = 'LIFETIME' then true
            else date_trunc(l.period, s.decided_at at time zone t.time_zone)
                = date_trunc(l.period, %(decided_at)s at time zone t.time_zone) end
) n
where o.account_id = %(account_id)s and l.is_active and l.currency = %(currency)s
    and l.created_at <= %(created_at)s
order by scope, l.period
"""
# What the decision itself reserved.
HELD: LiteralString = """
select coalesce(sum(ledger.signed(p.direction, p.amount_minor)), 0)::bigint as held_minor
from ledger.entries e
join ledger.postings p on p.entry_id = e.entry_id and p.ledger_account_id = %(account_id)s
where e.authorization_id = %(authorization_id)s and e.entry_type = 'HOLD' and p.layer = 'HELD'
"""
# How card and account stood at a moment is in the audit, not in the record.
STANDING = frozenset(
    {
        Reason.ACCOUNT_NOT_ACTIVE, Reason.UNKNOWN_CARD, Reason.CARD_LOST, Reason.CARD_STOLEN,
        Reason.CARD_NOT_ACTIVE, Reason.CURRENCY_NOT_SUPPORTED,
    }
)  # fmt: skip


@dataclass(frozen=True)
class Spend:
    """A limit that the request came under, with what had been approved under it before."""

    scope: str
    period: str
    time_zone: str
    count_limit: int | None
    amount_limit_minor: int | None
    approved_count: int
    approved_minor: int
    # Its numbers are of today; what they were then is in the audit.
    has_changed: bool

    @property
    def left_minor(self) -> int | None:
        """What may still be approved under it; None: any amount."""
        limit = self.amount_limit_minor
        return None if limit is None else limit - self.approved_minor

    @property
    def name(self) -> str:
        """In words."""
        return f"{self.scope} per {self.period.lower()}, {self.time_zone}"


@dataclass(frozen=True)
class Before:
    """What stood before the decision. No account: nothing did."""

    available_minor: int | None = None
    # Held and captured under what an increment raises.
    authorized_minor: int = 0
    is_original_open: bool = False
    spends: tuple[Spend, ...] = ()


@dataclass(frozen=True)
class Judged:
    """The decision as it must have come out."""

    reason: str
    amount_minor: int
    approved_minor: int

    @property
    def decision(self) -> str:
        """Its code."""
        is_approved = self.reason in {Reason.APPROVED, Reason.PARTIALLY_APPROVED}
        return Decision.APPROVED if is_approved else Decision.DECLINED

    @property
    def response_code(self) -> str:
        """ISO 8583 data element 39."""
        return RESPONSE_CODE[Reason(self.reason)]


def held_minor(connection: psycopg.Connection[Any], row: Row) -> int:
    """What the journal says that the decision reserved."""
    with connection.cursor(row_factory=dict_row) as cursor:
        found = cursor.execute(HELD, row).fetchone()
    return int(found["held_minor"]) if found else 0


def before(connection: psycopg.Connection[Any], row: Row) -> Before:
    """What stood when the row was judged."""
    if row["account_id"] is None:
        return Before()
    with connection.cursor(row_factory=dict_row) as cursor:
        available = cursor.execute(AVAILABLE, row).fetchone()
        original = cursor.execute(ORIGINAL, row).fetchone()
        spends = cursor.execute(SPENT, row).fetchall()
    return Before(
        available["available_minor"] if available else None,
        original["authorized_minor"] if original else 0,
        bool(original and original["is_open"]),
        tuple(Spend(**spend) for spend in spends),
    )


def judge(request: AuthorizationRequested, verdict: Verdict, stood: Before, row: Row) -> Judged:
    """The verdict after money had its say."""
    amount = request.amount_minor
    is_increment = request.message_kind == MessageKind.INCREMENT
    if is_increment and request.amount_is_total:
        amount = max(amount - stood.authorized_minor, 0)
    if not verdict.approved:
        return Judged(verdict.reason, amount, 0)
    if row["reason_code"] in STANDING:
        return Judged(row["reason_code"], amount, 0)
    if is_increment and row["parent_authorization_id"] is None:
        return Judged(Reason.ORIGINAL_NOT_FOUND, amount, 0)
    if is_increment and not stood.is_original_open:
        return Judged(Reason.ORIGINAL_ENDED, amount, 0)
    if amount == 0:
        return Judged(Reason.APPROVED, 0, 0)
    return _within(request, amount, stood)


def _within(request: AuthorizationRequested, amount: int, stood: Before) -> Judged:
    """The amount against credit and spend limits."""
    available = stood.available_minor or 0
    is_increment = request.message_kind == MessageKind.INCREMENT
    # A hold is raised by all of it or not at all.
    may_be_part = request.partial_allowed and not is_increment
    spends = [spend for spend in stood.spends if not spend.has_changed]
    if amount > available and not (may_be_part and available > 0):
        return Judged(Reason.INSUFFICIENT_CREDIT, amount, 0)
    if not is_increment and _is_count_reached(spends):
        return Judged(Reason.COUNT_LIMIT_EXCEEDED, amount, 0)
    room = min([available, *(s.left_minor for s in spends if s.left_minor is not None)])
    if amount <= room:
        return Judged(Reason.APPROVED, amount, amount)
    if may_be_part and room > 0:
        return Judged(Reason.PARTIALLY_APPROVED, amount, room)
    return Judged(Reason.AMOUNT_LIMIT_EXCEEDED, amount, 0)


def _is_count_reached(spends: Sequence[Spend]) -> bool:
    return any(s.count_limit is not None and s.approved_count >= s.count_limit for s in spends)
