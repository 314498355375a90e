"""Health of lines with collateral: the published identities, and rounding that never flatters."""

from datetime import UTC, datetime
from decimal import Context, Decimal, localcontext
from fractions import Fraction

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from schemas.codes import Reason
from streams.authorization.health import health_factor, hit
from streams.authorization.known import Account, Health
from streams.authorization.rules import HealthTerms

NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
TERMS = HealthTerms(frozenset({"collateral"}), Decimal("1.10"), 900)
AMOUNTS = st.decimals(Decimal("0.01"), Decimal(10) ** 12, places=6)
# What the database holds at most: 20 digits before the point and 18 after it, multiplied.
HUGE = Decimal("9" * 20 + "." + "9" * 18)


def account(held_minor: int = 0, currency: str = "USD") -> Account:
    return Account("u-1", currency, 10**12, 0, held_minor, "ACTIVE", "collateral")


@pytest.mark.parametrize("owed", [Decimal(0), Decimal(-5)])
def test_without_debt_there_is_no_health(owed: Decimal) -> None:
    assert health_factor(Decimal(100), owed) is None


def test_the_textbook_line() -> None:
    # 10 ETH at 2,000 with a threshold of 0.8, 10,000 borrowed.
    assert health_factor(Decimal(10) * 2000 * Decimal("0.8"), Decimal(10_000)) == Decimal("1.6")


@given(AMOUNTS, AMOUNTS)
@settings(deadline=None)
def test_what_is_shown_is_never_healthier_than_it_is(numerator: Decimal, owed: Decimal) -> None:
    shown = health_factor(numerator, owed)
    exact = Fraction(numerator) / Fraction(owed)
    assert shown is not None
    assert Fraction(shown) <= exact < Fraction(shown) + Fraction(1, 10**6)


@given(
    AMOUNTS, AMOUNTS,
    st.decimals("0.1", "1", places=4), st.decimals("0", "0.2", places=4),
    st.decimals("0.01", "0.99", places=4),
)  # fmt: skip
@settings(deadline=None)
def test_a_liquidation_changes_health_by_the_published_identity(
    numerator: Decimal, debt: Decimal, threshold: Decimal, bonus: Decimal, share: Decimal
) -> None:
    """HF' - HF = r (HF - LT (1 + b)) / (B - r), for repayment r of debt B."""
    with localcontext(Context(prec=100)):
        repaid = debt * share
        counts, owed = numerator - repaid * (1 + bonus) * threshold, debt - repaid
    assume(counts > 0)
    before = Fraction(numerator) / Fraction(debt)
    taken = Fraction(threshold) * (1 + Fraction(bonus))
    gain = Fraction(repaid) * (before - taken) / Fraction(owed)
    shown = health_factor(counts, owed)
    assert shown is not None
    assert 0 <= before + gain - Fraction(shown) < Fraction(1, 10**6)


@given(
    st.integers(0, 10**9), st.integers(1, 10**9), st.decimals("0", "10000000", places=8),
    st.decimals("0", "10000000", places=8), st.sampled_from(["USD", "JPY", "KWD"]),
)  # fmt: skip
@settings(deadline=None)
def test_an_amount_passes_exactly_when_the_floor_holds_after_it(
    held: int, amount: int, numerator: Decimal, debt: Decimal, currency: str
) -> None:
    exponent = {"USD": 2, "JPY": 0, "KWD": 3}[currency]
    found = hit(TERMS, account(held, currency), Health(numerator, debt, NOW, currency), amount, NOW)
    owed = Fraction(debt) + Fraction(held + amount, 10**exponent)
    if Fraction(numerator) >= Fraction(11, 10) * owed:
        assert found is None
    else:
        assert found is not None
        assert found.reason is Reason.HEALTH_TOO_LOW


@pytest.mark.parametrize(
    ("held", "debt", "passes"),
    [
        (0, "0", True),
        (0, "50", True),
        (5_000, "0", True),
        (5_001, "0", False),
        (0, "50.01", False),
        (2_500, "25", True),
        (2_500, "25.01", False),
    ],
)
def test_holds_and_debt_count_like_the_amount(held: int, debt: str, passes: bool) -> None:
    """50 asked for, 110 of collateral: 100 may be owed in all."""
    found = hit(TERMS, account(held), Health(Decimal(110), Decimal(debt), NOW), 5_000, NOW)
    assert (found is None) == passes


def test_the_last_digit_decides_however_large_the_amounts_are() -> None:
    needed = (Fraction(HUGE) + Fraction(1, 100)) * Fraction(11, 10)
    wide = Context(prec=120)
    enough = wide.divide(Decimal(needed.numerator), Decimal(needed.denominator))
    less = wide.subtract(enough, Decimal(1).scaleb(-20))
    assert hit(TERMS, account(), Health(enough, HUGE, NOW), 1, NOW) is None
    assert hit(TERMS, account(), Health(less, HUGE, NOW), 1, NOW) is not None


def test_other_programs_are_not_judged() -> None:
    other = Account("u-1", "USD", 0, 0, 0, "ACTIVE", "standard")
    assert hit(TERMS, other, Health(Decimal(0), Decimal(5), None), 1, NOW) is None
