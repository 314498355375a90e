"""Codes of card messages, clearing, disputes, fraud, cash and positions."""

from __future__ import annotations

from enum import StrEnum


class MessageKind(StrEnum):
    """What a network asks for and we decide; an advice is what was decided for us."""

    PURCHASE = "PURCHASE"
    VERIFICATION = "VERIFICATION"
    INCREMENT = "INCREMENT"
    ADVICE = "ADVICE"


class CardMessageKind(StrEnum):
    """What a network tells us about an authorization: applied, never decided."""

    REVERSAL = "REVERSAL"
    ADVICE = "ADVICE"
    CLEARING = "CLEARING"
    FORCE_POST = "FORCE_POST"
    REFUND = "REFUND"
    CHARGEBACK = "CHARGEBACK"
    REPRESENTMENT = "REPRESENTMENT"
    DISPUTE_WON = "DISPUTE_WON"
    DISPUTE_LOST = "DISPUTE_LOST"


class CardMessageState(StrEnum):
    """What became of a message."""

    APPLIED = "APPLIED"
    PARKED = "PARKED"
    REFUSED = "REFUSED"
    LAPSED = "LAPSED"


class MessageOutcome(StrEnum):
    """What a message came to. schemas/lifecycle.py says which, in which state."""

    # Applied.
    REVERSED = "REVERSED"
    PARTLY_REVERSED = "PARTLY_REVERSED"
    CLEARED = "CLEARED"
    OVER_CAPTURED = "OVER_CAPTURED"
    CLEARED_LATE = "CLEARED_LATE"
    FORCE_POSTED = "FORCE_POSTED"
    REFUNDED = "REFUNDED"
    CREDITED = "CREDITED"
    REPRESENTED = "REPRESENTED"
    WON = "WON"
    LOST = "LOST"
    HELD = "HELD"
    RAISED = "RAISED"
    LOWERED = "LOWERED"
    RELEASED = "RELEASED"
    RECORDED = "RECORDED"
    EXPIRED = "EXPIRED"
    # Applied, and it was so already.
    NO_EFFECT = "NO_EFFECT"
    # Parked, and what becomes of it when nothing comes.
    WAITING = "WAITING"
    NEVER_AUTHORIZED = "NEVER_AUTHORIZED"
    # Refused.
    INVALID_AMOUNT = "INVALID_AMOUNT"
    INVALID_REASON = "INVALID_REASON"
    WRONG_CARD = "WRONG_CARD"
    WRONG_CURRENCY = "WRONG_CURRENCY"
    ACCOUNT_NOT_FOUND = "ACCOUNT_NOT_FOUND"
    ORIGINAL_NOT_FOUND = "ORIGINAL_NOT_FOUND"
    ORIGINAL_ENDED = "ORIGINAL_ENDED"
    ALREADY_CAPTURED = "ALREADY_CAPTURED"
    ALREADY_ADVISED = "ALREADY_ADVISED"
    ALREADY_DISPUTED = "ALREADY_DISPUTED"
    DUPLICATE_REFERENCE = "DUPLICATE_REFERENCE"
    EXCEEDS_CLEARED = "EXCEEDS_CLEARED"
    NO_DISPUTE = "NO_DISPUTE"
    DISPUTE_ENDED = "DISPUTE_ENDED"
    # Not a message of ours: an authorization has its key.
    KEY_USED = "KEY_USED"


class Network(StrEnum):
    """Which network carries a message; holds live differently long on each."""

    VISA = "VISA"
    MASTERCARD = "MASTERCARD"
    AMEX = "AMEX"
    DOMESTIC = "DOMESTIC"


class HoldNetwork(StrEnum):
    """Whose approvals a hold period is for."""

    VISA = "VISA"
    MASTERCARD = "MASTERCARD"
    AMEX = "AMEX"
    DOMESTIC = "DOMESTIC"
    ANY = "ANY"


class SpendPeriod(StrEnum):
    """How long a spend limit counts, in the program's time zone. A week begins on Monday."""

    DAY = "DAY"
    WEEK = "WEEK"
    MONTH = "MONTH"
    LIFETIME = "LIFETIME"


class RuleStatus(StrEnum):
    """Where a version of the rules stands."""

    DRAFT = "DRAFT"
    SHADOW = "SHADOW"
    ACTIVE = "ACTIVE"
    RETIRED = "RETIRED"


class ClearingLineKind(StrEnum):
    """What a line of a clearing file may be."""

    CLEARING = "CLEARING"
    FORCE_POST = "FORCE_POST"
    REFUND = "REFUND"
    CHARGEBACK = "CHARGEBACK"
    REPRESENTMENT = "REPRESENTMENT"


class SettlementBreakKind(StrEnum):
    """What differs between position, ledger and clearing file."""

    POSITION = "POSITION"
    HELD = "HELD"
    UNREADABLE = "UNREADABLE"
    UNPOSTED = "UNPOSTED"
    AMOUNT = "AMOUNT"
    NOT_PRESENTED = "NOT_PRESENTED"
    FILE_TOTAL = "FILE_TOTAL"


class ClearingKind(StrEnum):
    """How a presentment stands to what was held for it."""

    CLEARING = "CLEARING"
    OVER_CAPTURE = "OVER_CAPTURE"
    LATE_CLEARING = "LATE_CLEARING"
    FORCE_POST = "FORCE_POST"
    REFUND = "REFUND"


class DisputeReason(StrEnum):
    """Why a holder objects."""

    FRAUD = "FRAUD"
    NOT_RECEIVED = "NOT_RECEIVED"
    NOT_AS_DESCRIBED = "NOT_AS_DESCRIBED"
    DUPLICATE = "DUPLICATE"
    INCORRECT_AMOUNT = "INCORRECT_AMOUNT"
    CREDIT_NOT_PROCESSED = "CREDIT_NOT_PROCESSED"
    CANCELLED_RECURRING = "CANCELLED_RECURRING"


class DisputeStatus(StrEnum):
    """Where a dispute stands."""

    OPENED = "OPENED"
    CHARGEBACK = "CHARGEBACK"
    REPRESENTMENT = "REPRESENTMENT"
    WON = "WON"
    LOST = "LOST"
    WITHDRAWN = "WITHDRAWN"


class CardEventType(StrEnum):
    """A message in the life of a card."""

    AUTHORIZATION = "AUTHORIZATION"
    VERIFICATION = "VERIFICATION"
    INCREMENT = "INCREMENT"
    ADVICE = "ADVICE"
    PARTIAL_REVERSAL = "PARTIAL_REVERSAL"
    REVERSAL = "REVERSAL"
    EXPIRY = "EXPIRY"
    CLEARING = "CLEARING"
    OVER_CAPTURE = "OVER_CAPTURE"
    LATE_CLEARING = "LATE_CLEARING"
    FORCE_POST = "FORCE_POST"
    REFUND = "REFUND"
    DISPUTE = "DISPUTE"
    CHARGEBACK = "CHARGEBACK"
    REPRESENTMENT = "REPRESENTMENT"
    DISPUTE_WON = "DISPUTE_WON"
    DISPUTE_LOST = "DISPUTE_LOST"
    CARD_ISSUED = "CARD_ISSUED"
    CARD_BLOCKED = "CARD_BLOCKED"
    CARD_UNBLOCKED = "CARD_UNBLOCKED"
    CARD_LOST = "CARD_LOST"
    CARD_STOLEN = "CARD_STOLEN"
    CARD_CLOSED = "CARD_CLOSED"
    LIMIT_CHANGED = "LIMIT_CHANGED"


class FraudPattern(StrEnum):
    """The simulator's truth about a swipe."""

    CARD_TESTING = "CARD_TESTING"
    STOLEN_CARD = "STOLEN_CARD"
    ACCOUNT_TAKEOVER = "ACCOUNT_TAKEOVER"
    MERCHANT_COMPROMISE = "MERCHANT_COMPROMISE"
    BUST_OUT = "BUST_OUT"
    SYNTHETIC_IDENTITY = "SYNTHETIC_IDENTITY"


class CashDirection(StrEnum):
    """Whether cash came in or went out."""

    IN = "IN"
    OUT = "OUT"


class PositionStatus(StrEnum):
    """Where a collateralised line stands."""

    OPEN = "OPEN"
    CLOSED = "CLOSED"
    LIQUIDATED = "LIQUIDATED"


class PositionEventType(StrEnum):
    """What moved a collateralised line."""

    DEPOSIT = "DEPOSIT"
    WITHDRAWAL = "WITHDRAWAL"
    BORROWING = "BORROWING"
    REPAYMENT = "REPAYMENT"
    LIQUIDATION = "LIQUIDATION"
