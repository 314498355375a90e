"""Health of a line with collateral: what counts of it, over what is owed. Pure, exact.

Compared by multiplying, never by a rounded quotient; what is shown is rounded down. Without debt
there is no health factor, and nothing to refuse for.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import ROUND_FLOOR, Context, Decimal

from schemas.codes import EXPONENT, Reason
from streams.authorization.known import Account, Health
from streams.authorization.rules import HealthTerms, Hit

# Wide enough for products of the amounts and prices that the database holds: nothing is rounded.
EXACT = Context(prec=200)
SHOWN = Decimal("0.000001")
# A price seen this long from now is no price.
SKEW = timedelta(minutes=5)
NOTHING = Health(Decimal(0), Decimal(0), None)


def health_factor(numerator: Decimal, owed: Decimal) -> Decimal | None:
    """What counts of the collateral over what is owed, rounded down; None without debt."""
    if owed <= 0:
        return None
    quotient = Context(prec=200, rounding=ROUND_FLOOR).divide(numerator, owed)
    return quotient.quantize(SHOWN, ROUND_FLOOR, EXACT)


def hit(
    terms: HealthTerms, account: Account, health: Health | None, amount_minor: int, moment: datetime
) -> Hit | None:
    """Why the amount may not be borrowed on top, or None. No collateral known: it is nothing."""
    if account.program_id not in terms.programs:
        return None
    known = health or NOTHING
    exponent = EXPONENT.get(account.currency, 0)
    added = Decimal(account.held_minor + amount_minor).scaleb(-exponent, EXACT)
    owed = EXACT.add(known.debt, added)
    if owed <= 0:
        return None
    if health is not None and (stale := _stale(terms, account, health, moment)):
        return Hit("price_is_fresh", Reason.PRICE_STALE, stale)
    if known.numerator >= EXACT.multiply(terms.floor, owed):
        return None
    return Hit(
        "health_factor",
        Reason.HEALTH_TOO_LOW,
        f"health would be {health_factor(known.numerator, owed)} with {owed} owed;"
        f" {terms.floor} is the floor",
    )


def _stale(terms: HealthTerms, account: Account, health: Health, moment: datetime) -> str | None:
    if health.currency != account.currency:
        return f"collateral is priced in {health.currency}, the account is in {account.currency}"
    if health.priced_at is None:
        return "a part of the collateral or debt has no price"
    age_s = int((moment - health.priced_at).total_seconds())
    if health.priced_at > moment + SKEW:
        return f"the oldest price is {-age_s} s from the future"
    if moment - health.priced_at > timedelta(seconds=terms.stale_after_s):
        return f"the oldest price is {age_s} s old; {terms.stale_after_s} s are allowed"
    return None
