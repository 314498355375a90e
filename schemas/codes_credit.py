"""Codes of providers, offers, repayment and collection."""

from __future__ import annotations

from enum import StrEnum


class ProviderType(StrEnum):
    """How a provider lends."""

    TRADITIONAL = "TRADITIONAL"
    DEFI = "DEFI"
    HYBRID = "HYBRID"


class ProviderStatus(StrEnum):
    """Whether a provider is asked for offers."""

    ACTIVE = "ACTIVE"
    SUSPENDED = "SUSPENDED"
    RETIRED = "RETIRED"


class Product(StrEnum):
    """What a provider sells."""

    PERSONAL_LOAN = "PERSONAL_LOAN"
    AUTO_LOAN = "AUTO_LOAN"
    HOME_LOAN = "HOME_LOAN"
    EDUCATION_LOAN = "EDUCATION_LOAN"
    DEBT_CONSOLIDATION = "DEBT_CONSOLIDATION"
    CREDIT_LINE = "CREDIT_LINE"
    COLLATERALISED_LOAN = "COLLATERALISED_LOAN"


class CredentialType(StrEnum):
    """What opens a provider's interface."""

    API_KEY = "API_KEY"
    OAUTH_CLIENT = "OAUTH_CLIENT"
    CERTIFICATE = "CERTIFICATE"
    SIGNING_KEY = "SIGNING_KEY"


class QuoteOutcome(StrEnum):
    """How a provider answered a request for offers."""

    OFFERED = "OFFERED"
    DECLINED = "DECLINED"
    TIMEOUT = "TIMEOUT"
    ERROR = "ERROR"


class FeeType(StrEnum):
    """What a fee is for; it decides whether the APR has it."""

    ORIGINATION = "ORIGINATION"
    BROKER = "BROKER"
    INSURANCE = "INSURANCE"
    VALUATION = "VALUATION"
    LATE = "LATE"
    PREPAYMENT = "PREPAYMENT"
    ACCOUNT = "ACCOUNT"


class PaymentMethod(StrEnum):
    """How money arrived."""

    DIRECT_DEBIT = "DIRECT_DEBIT"
    TRANSFER = "TRANSFER"
    CARD = "CARD"
    CASH = "CASH"
    CHECK = "CHECK"
    PAYROLL = "PAYROLL"
    REFINANCING = "REFINANCING"


class ReceiptStatus(StrEnum):
    """Whether money that arrived stayed."""

    RECEIVED = "RECEIVED"
    RETURNED = "RETURNED"


class CreditEventType(StrEnum):
    """What happened to a credit beside its payments."""

    DISBURSED = "DISBURSED"
    RESTRUCTURED = "RESTRUCTURED"
    RE_AGED = "RE_AGED"
    CURED = "CURED"
    CHARGED_OFF = "CHARGED_OFF"
    PAID_OFF = "PAID_OFF"


class RecoverySource(StrEnum):
    """Where money came from after a charge-off."""

    CUSTOMER = "CUSTOMER"
    COLLECTION_AGENCY = "COLLECTION_AGENCY"
    LEGAL = "LEGAL"
    COLLATERAL = "COLLATERAL"
    DEBT_SALE = "DEBT_SALE"
    INSURANCE = "INSURANCE"


class CollateralType(StrEnum):
    """What secures a credit."""

    VEHICLE = "VEHICLE"
    PROPERTY = "PROPERTY"
    DEPOSIT = "DEPOSIT"
    SECURITIES = "SECURITIES"
    CRYPTO = "CRYPTO"
    GUARANTEE = "GUARANTEE"


class CollateralStatus(StrEnum):
    """Where collateral stands."""

    PLEDGED = "PLEDGED"
    RELEASED = "RELEASED"
    SEIZED = "SEIZED"


class AdverseAction(StrEnum):
    """What a notice tells the customer of."""

    DECLINED = "DECLINED"
    COUNTEROFFERED = "COUNTEROFFERED"
    INCOMPLETE = "INCOMPLETE"
    TERMINATED = "TERMINATED"
    LIMIT_REDUCED = "LIMIT_REDUCED"


class NoticeStatus(StrEnum):
    """Whether a notice has left."""

    DUE = "DUE"
    SENT = "SENT"
    UNDELIVERABLE = "UNDELIVERABLE"


class AdverseReason(StrEnum):
    """Why credit was refused, in the words of the notice."""

    INCOME_INSUFFICIENT = "INCOME_INSUFFICIENT"
    EXCESSIVE_OBLIGATIONS = "EXCESSIVE_OBLIGATIONS"
    DELINQUENT_HISTORY = "DELINQUENT_HISTORY"
    INSUFFICIENT_HISTORY = "INSUFFICIENT_HISTORY"
    EMPLOYMENT_UNVERIFIED = "EMPLOYMENT_UNVERIFIED"
    IDENTITY_UNVERIFIED = "IDENTITY_UNVERIFIED"
    COLLATERAL_INSUFFICIENT = "COLLATERAL_INSUFFICIENT"
    TOO_MANY_INQUIRIES = "TOO_MANY_INQUIRIES"
    APPLICATION_INCOMPLETE = "APPLICATION_INCOMPLETE"
    UTILIZATION_TOO_HIGH = "UTILIZATION_TOO_HIGH"
    BANKRUPTCY = "BANKRUPTCY"
