"""Every code a column, an event or an answer may carry, as enums: the one list of each."""

from __future__ import annotations

import re
from enum import StrEnum
from types import ModuleType

from schemas import codes_card, codes_compliance, codes_credit, codes_operations


class CustomerStatus(StrEnum):
    """Whether a customer may use the lender's products."""

    ACTIVE = "ACTIVE"
    SUSPENDED = "SUSPENDED"
    CLOSED = "CLOSED"


class HolderRole(StrEnum):
    """How a customer stands to an account."""

    OWNER = "OWNER"
    AUTHORIZED_USER = "AUTHORIZED_USER"


class VerificationType(StrEnum):
    """What a KYC check verified."""

    IDENTITY = "IDENTITY"
    ADDRESS = "ADDRESS"
    ENHANCED = "ENHANCED"


class KycStatus(StrEnum):
    """The outcome of a KYC check. Expiry is a date, not a status."""

    PENDING = "PENDING"
    VERIFIED = "VERIFIED"
    REJECTED = "REJECTED"


class RiskLevel(StrEnum):
    """A customer's risk as the KYC provider graded it."""

    LOW = "LOW"
    MEDIUM = "MEDIUM"
    HIGH = "HIGH"


class ApplicationStatus(StrEnum):
    """Where an application stands."""

    SUBMITTED = "SUBMITTED"
    APPROVED = "APPROVED"
    DECLINED = "DECLINED"
    WITHDRAWN = "WITHDRAWN"


class OfferStatus(StrEnum):
    """Where an offer stands."""

    PRESENTED = "PRESENTED"
    ACCEPTED = "ACCEPTED"
    DECLINED = "DECLINED"
    EXPIRED = "EXPIRED"


class CreditStatus(StrEnum):
    """A disbursed credit's state as its servicer reports it."""

    CURRENT = "CURRENT"
    DELINQUENT = "DELINQUENT"
    PAID_OFF = "PAID_OFF"
    CHARGED_OFF = "CHARGED_OFF"
    RESTRUCTURED = "RESTRUCTURED"


class PaymentStatus(StrEnum):
    """How much of an instalment has been paid. Lateness is derived from dates, never stored."""

    SCHEDULED = "SCHEDULED"
    PARTIAL = "PARTIAL"
    PAID = "PAID"
    CANCELLED = "CANCELLED"


class AccountStatus(StrEnum):
    """Whether a card account may be used."""

    ACTIVE = "ACTIVE"
    FROZEN = "FROZEN"
    CLOSED = "CLOSED"


class CardProduct(StrEnum):
    """The card's product."""

    CLASSIC = "CLASSIC"
    JUNIOR = "JUNIOR"
    GOLD = "GOLD"


class CardStatus(StrEnum):
    """Whether a card may be used, and why not."""

    ACTIVE = "ACTIVE"
    BLOCKED = "BLOCKED"
    LOST = "LOST"
    STOLEN = "STOLEN"
    CLOSED = "CLOSED"


class Channel(StrEnum):
    """How the card was presented."""

    CHIP = "CHIP"
    CONTACTLESS = "CONTACTLESS"
    ECOMMERCE = "ECOMMERCE"
    ATM = "ATM"


class Decision(StrEnum):
    """The answer to an authorization request."""

    APPROVED = "APPROVED"
    DECLINED = "DECLINED"


class HoldStatus(StrEnum):
    """A hold ends exactly once."""

    PENDING = "PENDING"
    PARTIALLY_CAPTURED = "PARTIALLY_CAPTURED"
    CAPTURED = "CAPTURED"
    REVERSED = "REVERSED"
    EXPIRED = "EXPIRED"


class EntryType(StrEnum):
    """What moved the ledger."""

    HOLD = "HOLD"
    CAPTURE = "CAPTURE"
    VOID = "VOID"
    EXPIRE = "EXPIRE"
    PURCHASE = "PURCHASE"
    REFUND = "REFUND"
    WITHDRAWAL = "WITHDRAWAL"
    DEPOSIT = "DEPOSIT"
    TRANSFER_IN = "TRANSFER_IN"
    TRANSFER_OUT = "TRANSFER_OUT"
    PAYMENT = "PAYMENT"
    INTEREST = "INTEREST"
    FEE = "FEE"
    DISBURSEMENT = "DISBURSEMENT"
    REPAYMENT = "REPAYMENT"
    CHARGE_OFF = "CHARGE_OFF"
    RECOVERY = "RECOVERY"
    PROVISIONAL_CREDIT = "PROVISIONAL_CREDIT"
    CHARGEBACK = "CHARGEBACK"
    OPENING = "OPENING"
    CORRECTION = "CORRECTION"


class LedgerKind(StrEnum):
    """What a ledger account stands for: a customer's account or credit, or one of the house's."""

    CARD_RECEIVABLE = "CARD_RECEIVABLE"
    LOAN_PRINCIPAL = "LOAN_PRINCIPAL"
    SETTLEMENT = "SETTLEMENT"
    CASH = "CASH"
    DEPOSITORS = "DEPOSITORS"
    INTEREST_INCOME = "INTEREST_INCOME"
    FEE_INCOME = "FEE_INCOME"
    CREDIT_LOSS = "CREDIT_LOSS"
    RECOVERY_INCOME = "RECOVERY_INCOME"
    DISPUTES = "DISPUTES"
    SUSPENSE = "SUSPENSE"
    OPENING = "OPENING"


class Layer(StrEnum):
    """Which of an account's totals a posting moves: what is owed, or what is reserved."""

    POSTED = "POSTED"
    HELD = "HELD"


class BreakState(StrEnum):
    """Where a difference between the ledger and a printed statement stands."""

    OPEN = "OPEN"
    EXPLAINED = "EXPLAINED"
    RESOLVED = "RESOLVED"


class Direction(StrEnum):
    """DEBIT raises what the customer owes or has reserved; CREDIT lowers it."""

    DEBIT = "DEBIT"
    CREDIT = "CREDIT"


class EventClass(StrEnum):
    """What kind of news an event is: our business, an outside party's answer, or the house's."""

    DOMAIN = "DOMAIN"
    INTEGRATION = "INTEGRATION"
    SYSTEM = "SYSTEM"


class NotificationType(StrEnum):
    """What a notice is about."""

    WELCOME = "WELCOME"
    STATUS_UPDATE = "STATUS_UPDATE"
    DOCUMENT_REQUEST = "DOCUMENT_REQUEST"
    DOCUMENT_EXPIRING = "DOCUMENT_EXPIRING"
    APPROVAL = "APPROVAL"
    REJECTION = "REJECTION"
    ADVERSE_ACTION = "ADVERSE_ACTION"
    OFFER = "OFFER"
    PAYMENT_DUE = "PAYMENT_DUE"
    PAYMENT_MISSED = "PAYMENT_MISSED"
    CARD_ALERT = "CARD_ALERT"
    DISPUTE_UPDATE = "DISPUTE_UPDATE"
    CLOSING = "CLOSING"


class NotificationChannel(StrEnum):
    """How a notice travels."""

    EMAIL = "EMAIL"
    SMS = "SMS"
    PUSH = "PUSH"
    IN_APP = "IN_APP"
    WEBHOOK = "WEBHOOK"


class NotificationPriority(StrEnum):
    """How soon a notice must leave."""

    LOW = "LOW"
    MEDIUM = "MEDIUM"
    HIGH = "HIGH"
    CRITICAL = "CRITICAL"


class NotificationStatus(StrEnum):
    """How far a notice has come."""

    PENDING = "PENDING"
    SCHEDULED = "SCHEDULED"
    SENDING = "SENDING"
    SENT = "SENT"
    DELIVERED = "DELIVERED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class Reason(StrEnum):
    """Why an authorization was decided as it was. One reason, one ISO 8583 response code."""

    APPROVED = "APPROVED"
    PARTIALLY_APPROVED = "PARTIALLY_APPROVED"
    FORMAT_ERROR = "FORMAT_ERROR"
    INVALID_AMOUNT = "INVALID_AMOUNT"
    UNKNOWN_CARD = "UNKNOWN_CARD"
    CARD_LOST = "CARD_LOST"
    CARD_STOLEN = "CARD_STOLEN"
    CARD_NOT_ACTIVE = "CARD_NOT_ACTIVE"
    CARD_EXPIRED = "CARD_EXPIRED"
    ACCOUNT_NOT_ACTIVE = "ACCOUNT_NOT_ACTIVE"
    CUSTOMER_NOT_ACTIVE = "CUSTOMER_NOT_ACTIVE"
    KYC_NOT_VALID = "KYC_NOT_VALID"
    CURRENCY_NOT_SUPPORTED = "CURRENCY_NOT_SUPPORTED"
    MERCHANT_NOT_ALLOWED = "MERCHANT_NOT_ALLOWED"
    VELOCITY_EXCEEDED = "VELOCITY_EXCEEDED"
    INSUFFICIENT_CREDIT = "INSUFFICIENT_CREDIT"
    AMOUNT_LIMIT_EXCEEDED = "AMOUNT_LIMIT_EXCEEDED"
    COUNT_LIMIT_EXCEEDED = "COUNT_LIMIT_EXCEEDED"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    DECIDER_UNAVAILABLE = "DECIDER_UNAVAILABLE"
    SANCTIONED = "SANCTIONED"
    MCC_NOT_ALLOWED = "MCC_NOT_ALLOWED"
    COUNTRY_NOT_ALLOWED = "COUNTRY_NOT_ALLOWED"
    IMPOSSIBLE_TRAVEL = "IMPOSSIBLE_TRAVEL"
    RISK_TOO_HIGH = "RISK_TOO_HIGH"
    HEALTH_TOO_LOW = "HEALTH_TOO_LOW"
    PRICE_STALE = "PRICE_STALE"
    ORIGINAL_NOT_FOUND = "ORIGINAL_NOT_FOUND"
    ORIGINAL_ENDED = "ORIGINAL_ENDED"
    STAND_IN_APPROVED = "STAND_IN_APPROVED"
    STAND_IN_DECLINED = "STAND_IN_DECLINED"


# ISO 8583 data element 39, one for each reason.
RESPONSE_CODE: dict[Reason, str] = {
    Reason.APPROVED: "00",
    Reason.PARTIALLY_APPROVED: "10",
    Reason.FORMAT_ERROR: "30",
    Reason.INVALID_AMOUNT: "13",
    Reason.UNKNOWN_CARD: "14",
    Reason.CARD_LOST: "41",
    Reason.CARD_STOLEN: "43",
    Reason.CARD_NOT_ACTIVE: "62",
    Reason.CARD_EXPIRED: "54",
    Reason.ACCOUNT_NOT_ACTIVE: "62",
    Reason.CUSTOMER_NOT_ACTIVE: "62",
    Reason.KYC_NOT_VALID: "57",
    Reason.CURRENCY_NOT_SUPPORTED: "12",
    Reason.MERCHANT_NOT_ALLOWED: "57",
    Reason.VELOCITY_EXCEEDED: "59",
    Reason.INSUFFICIENT_CREDIT: "51",
    Reason.AMOUNT_LIMIT_EXCEEDED: "61",
    Reason.COUNT_LIMIT_EXCEEDED: "65",
    Reason.DEADLINE_EXCEEDED: "91",
    Reason.DECIDER_UNAVAILABLE: "91",
    Reason.SANCTIONED: "62",
    Reason.MCC_NOT_ALLOWED: "57",
    Reason.COUNTRY_NOT_ALLOWED: "57",
    Reason.IMPOSSIBLE_TRAVEL: "59",
    Reason.RISK_TOO_HIGH: "59",
    Reason.HEALTH_TOO_LOW: "51",
    Reason.PRICE_STALE: "05",
    Reason.ORIGINAL_NOT_FOUND: "12",
    Reason.ORIGINAL_ENDED: "12",
    Reason.STAND_IN_APPROVED: "00",
    Reason.STAND_IN_DECLINED: "91",
}


def _lists(module: ModuleType) -> dict[str, type[StrEnum]]:
    """A module's code lists: CaseType is called `case_type` in contracts."""
    return {
        re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower(): found
        for name, found in vars(module).items()
        if isinstance(found, type) and issubclass(found, StrEnum) and found is not StrEnum
    }


BY_NAME: dict[str, type[StrEnum]] = {
    "customer_status": CustomerStatus,
    "holder_role": HolderRole,
    "verification_type": VerificationType,
    "kyc_status": KycStatus,
    "risk_level": RiskLevel,
    "application_status": ApplicationStatus,
    "offer_status": OfferStatus,
    "credit_status": CreditStatus,
    "payment_status": PaymentStatus,
    "account_status": AccountStatus,
    "card_product": CardProduct,
    "card_status": CardStatus,
    "channel": Channel,
    "decision": Decision,
    "hold_status": HoldStatus,
    "entry_type": EntryType,
    "ledger_kind": LedgerKind,
    "layer": Layer,
    "break_state": BreakState,
    "direction": Direction,
    "reason": Reason,
    "event_class": EventClass,
    "notification_type": NotificationType,
    "notification_channel": NotificationChannel,
    "notification_priority": NotificationPriority,
    "notification_status": NotificationStatus,
    **_lists(codes_card),
    **_lists(codes_compliance),
    **_lists(codes_credit),
    **_lists(codes_operations),
}

# Digits after the point of a currency's major unit; a currency that is not here is refused.
EXPONENT: dict[str, int] = {"USD": 2, "EUR": 2, "GBP": 2, "CZK": 2, "JPY": 0, "KWD": 3}


def values(name: str) -> tuple[str, ...]:
    """The codes of the list called `name` in contracts; KeyError when there is none."""
    return tuple(member.value for member in BY_NAME[name])
