"""Codes of customers' files, onboarding, screening, alerts, reports and risk."""

from __future__ import annotations

from enum import StrEnum


class AddressKind(StrEnum):
    """What an address is used for."""

    RESIDENTIAL = "RESIDENTIAL"
    BUSINESS = "BUSINESS"
    MAILING = "MAILING"


class DocumentType(StrEnum):
    """What a document is."""

    PASSPORT = "PASSPORT"
    IDENTITY_CARD = "IDENTITY_CARD"
    DRIVING_LICENCE = "DRIVING_LICENCE"
    UTILITY_BILL = "UTILITY_BILL"
    PAYSLIP = "PAYSLIP"
    INCORPORATION = "INCORPORATION"
    OWNERSHIP_REGISTER = "OWNERSHIP_REGISTER"


class DocumentStatus(StrEnum):
    """Whether a document has been accepted."""

    PENDING = "PENDING"
    VERIFIED = "VERIFIED"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"


class SessionChannel(StrEnum):
    """Through what a customer came."""

    WEB = "WEB"
    MOBILE = "MOBILE"
    API = "API"
    BRANCH = "BRANCH"


class Permission(StrEnum):
    """What a customer may do."""

    APPLY = "APPLY"
    ACCEPT_OFFER = "ACCEPT_OFFER"
    PAY = "PAY"
    MANAGE_CARDS = "MANAGE_CARDS"
    VIEW = "VIEW"


class CaseType(StrEnum):
    """What is onboarded: a person, or a kind of company."""

    INDIVIDUAL = "INDIVIDUAL"
    CORPORATE = "CORPORATE"
    TRUST = "TRUST"
    PARTNERSHIP = "PARTNERSHIP"


class CaseStatus(StrEnum):
    """Where an onboarding case stands."""

    DRAFT = "DRAFT"
    IN_PROGRESS = "IN_PROGRESS"
    PENDING_REVIEW = "PENDING_REVIEW"
    APPROVED = "APPROVED"
    REJECTED = "REJECTED"


class ControlType(StrEnum):
    """How a person controls a company."""

    OWNERSHIP = "OWNERSHIP"
    VOTING = "VOTING"
    MANAGEMENT = "MANAGEMENT"
    TRUSTEE = "TRUSTEE"
    BENEFICIARY = "BENEFICIARY"


class ChecklistCategory(StrEnum):
    """What an item of a checklist is about."""

    IDENTITY = "IDENTITY"
    ADDRESS = "ADDRESS"
    FINANCIAL = "FINANCIAL"
    COMPLIANCE = "COMPLIANCE"
    DOCUMENTATION = "DOCUMENTATION"


class ChecklistStatus(StrEnum):
    """Whether a checklist is done."""

    IN_PROGRESS = "IN_PROGRESS"
    COMPLETED = "COMPLETED"


class ChecklistItemStatus(StrEnum):
    """Where an item stands. What is required is skipped only with a reason."""

    PENDING = "PENDING"
    COMPLETED = "COMPLETED"
    SKIPPED = "SKIPPED"


class CaseDecisionType(StrEnum):
    """What was decided on a case."""

    APPROVED = "APPROVED"
    REJECTED = "REJECTED"
    REFERRED = "REFERRED"


class AssessmentLevel(StrEnum):
    """Overall risk, in five grades."""

    LOW = "LOW"
    MEDIUM_LOW = "MEDIUM_LOW"
    MEDIUM = "MEDIUM"
    MEDIUM_HIGH = "MEDIUM_HIGH"
    HIGH = "HIGH"


class AssessmentStatus(StrEnum):
    """Whether a risk assessment is finished."""

    IN_PROGRESS = "IN_PROGRESS"
    COMPLETED = "COMPLETED"
    REJECTED = "REJECTED"


class RiskFactorType(StrEnum):
    """What a part of a risk score is about."""

    PEP = "PEP"
    SANCTIONS = "SANCTIONS"
    ADVERSE_MEDIA = "ADVERSE_MEDIA"
    GEOGRAPHY = "GEOGRAPHY"
    INDUSTRY = "INDUSTRY"
    PAYMENT_HISTORY = "PAYMENT_HISTORY"
    DEBT_BURDEN = "DEBT_BURDEN"
    BUREAU_SCORE = "BUREAU_SCORE"


class WatchlistEntryType(StrEnum):
    """What a list names."""

    INDIVIDUAL = "INDIVIDUAL"
    ENTITY = "ENTITY"
    VESSEL = "VESSEL"
    AIRCRAFT = "AIRCRAFT"


class AliasType(StrEnum):
    """Also, formerly or now known as."""

    AKA = "AKA"
    FKA = "FKA"
    NKA = "NKA"


class AmlCheckType(StrEnum):
    """What was searched for."""

    SANCTIONS = "SANCTIONS"
    PEP = "PEP"
    ADVERSE_MEDIA = "ADVERSE_MEDIA"


class AmlCheckStatus(StrEnum):
    """What a search found. No answer is not clear."""

    PENDING = "PENDING"
    CLEAR = "CLEAR"
    POTENTIAL_MATCH = "POTENTIAL_MATCH"
    CONFIRMED_MATCH = "CONFIRMED_MATCH"
    FAILED = "FAILED"


class AmlMatchStatus(StrEnum):
    """What a reviewer made of a match."""

    OPEN = "OPEN"
    FALSE_POSITIVE = "FALSE_POSITIVE"
    TRUE_POSITIVE = "TRUE_POSITIVE"


class Severity(StrEnum):
    """How bad it would be if it were true."""

    LOW = "LOW"
    MEDIUM = "MEDIUM"
    HIGH = "HIGH"
    CRITICAL = "CRITICAL"


class AlertType(StrEnum):
    """What raised an alert."""

    SANCTIONS_MATCH = "SANCTIONS_MATCH"
    PEP_MATCH = "PEP_MATCH"
    ADVERSE_MEDIA = "ADVERSE_MEDIA"
    CASH_OVER_THRESHOLD = "CASH_OVER_THRESHOLD"
    STRUCTURING = "STRUCTURING"
    UNUSUAL_ACTIVITY = "UNUSUAL_ACTIVITY"
    VELOCITY = "VELOCITY"
    CARD_FRAUD = "CARD_FRAUD"
    DOCUMENT_EXPIRED = "DOCUMENT_EXPIRED"


class AlertStatus(StrEnum):
    """Where an alert stands."""

    OPEN = "OPEN"
    IN_REVIEW = "IN_REVIEW"
    ESCALATED = "ESCALATED"
    CLOSED = "CLOSED"


class AlertDisposition(StrEnum):
    """What an alert turned out to be."""

    FALSE_POSITIVE = "FALSE_POSITIVE"
    TRUE_POSITIVE = "TRUE_POSITIVE"
    DUPLICATE = "DUPLICATE"


class InvestigationStatus(StrEnum):
    """Where an investigation stands."""

    OPEN = "OPEN"
    ESCALATED = "ESCALATED"
    CLOSED = "CLOSED"


class InvestigationOutcome(StrEnum):
    """How an investigation ended; never whether a report was made of it."""

    NO_ACTION = "NO_ACTION"
    MONITORED = "MONITORED"
    REFERRED = "REFERRED"
    RELATIONSHIP_ENDED = "RELATIONSHIP_ENDED"


class ReportType(StrEnum):
    """What is reported to a regulator."""

    CURRENCY_TRANSACTIONS = "CURRENCY_TRANSACTIONS"
    LOAN_APPLICATION_REGISTER = "LOAN_APPLICATION_REGISTER"
    CALL_REPORT = "CALL_REPORT"
    CREDIT_REGISTER = "CREDIT_REGISTER"
    SANCTIONS_BLOCKED_PROPERTY = "SANCTIONS_BLOCKED_PROPERTY"
    COMPLAINTS = "COMPLAINTS"


class ReportStatus(StrEnum):
    """How far a report has come."""

    DRAFT = "DRAFT"
    FROZEN = "FROZEN"
    APPROVED = "APPROVED"
    SUBMITTED = "SUBMITTED"
    ACCEPTED = "ACCEPTED"
    RESTATED = "RESTATED"


class SuspicionGrounds(StrEnum):
    """What is suspected."""

    STRUCTURING = "STRUCTURING"
    MONEY_LAUNDERING = "MONEY_LAUNDERING"
    FRAUD = "FRAUD"
    IDENTITY_THEFT = "IDENTITY_THEFT"
    TERRORIST_FINANCING = "TERRORIST_FINANCING"
    INSIDER_ABUSE = "INSIDER_ABUSE"
    OTHER = "OTHER"


class SuspicionReportStatus(StrEnum):
    """Whether a suspicion was filed."""

    DRAFT = "DRAFT"
    FILED = "FILED"
    NOT_FILED = "NOT_FILED"


class Ethnicity(StrEnum):
    """Ethnicity, for fair-lending tests only."""

    HISPANIC = "HISPANIC"
    NOT_HISPANIC = "NOT_HISPANIC"
    NOT_PROVIDED = "NOT_PROVIDED"


class Race(StrEnum):
    """Race, for fair-lending tests only."""

    ASIAN = "ASIAN"
    BLACK = "BLACK"
    NATIVE_AMERICAN = "NATIVE_AMERICAN"
    PACIFIC_ISLANDER = "PACIFIC_ISLANDER"
    WHITE = "WHITE"
    TWO_OR_MORE = "TWO_OR_MORE"
    NOT_PROVIDED = "NOT_PROVIDED"


class Sex(StrEnum):
    """Sex, for fair-lending tests only."""

    FEMALE = "FEMALE"
    MALE = "MALE"
    NOT_PROVIDED = "NOT_PROVIDED"


class DemographicSource(StrEnum):
    """How a demographic value is known."""

    SELF_REPORTED = "SELF_REPORTED"
    OBSERVED = "OBSERVED"
    PROXY = "PROXY"
