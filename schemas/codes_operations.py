"""Codes of the audit, of retention, quality rules and imports."""

from __future__ import annotations

from enum import StrEnum


class ChangeOperation(StrEnum):
    """What changed a row; BATCH is one entry for a whole statement."""

    INSERT = "INSERT"
    UPDATE = "UPDATE"
    DELETE = "DELETE"
    TRUNCATE = "TRUNCATE"
    BATCH = "BATCH"


class BatchOperation(StrEnum):
    """What a statement of many rows did."""

    INSERT = "INSERT"
    UPDATE = "UPDATE"
    DELETE = "DELETE"


class AuditMode(StrEnum):
    """How a table is audited: row by row, by the digest of a statement, or (with a reason) not."""

    ROWS = "ROWS"
    DIGEST = "DIGEST"
    EXEMPT = "EXEMPT"


class ComplianceCategory(StrEnum):
    """Whose business an audited change is."""

    KYC = "KYC"
    AML = "AML"
    DATA_PROTECTION = "DATA_PROTECTION"
    FINANCIAL = "FINANCIAL"


class RetentionStrategy(StrEnum):
    """What becomes of what need not be kept any more."""

    DELETE = "DELETE"
    ARCHIVE = "ARCHIVE"
    ANONYMIZE = "ANONYMIZE"


class RetentionRunStatus(StrEnum):
    """How a run of a retention policy ended."""

    DONE = "DONE"
    FAILED = "FAILED"


class QualityRuleType(StrEnum):
    """What a quality rule asks."""

    NOT_NULL = "NOT_NULL"
    RANGE = "RANGE"
    PATTERN = "PATTERN"
    REFERENCE = "REFERENCE"
    SUM = "SUM"
    EXISTS = "EXISTS"


class QualitySeverity(StrEnum):
    """What follows from a rule that fails."""

    ERROR = "ERROR"
    WARNING = "WARNING"
    INFO = "INFO"


class DeadLetterStatus(StrEnum):
    """How far a dead letter has come on its way back."""

    HELD = "HELD"
    RELEASING = "RELEASING"
    RELEASED = "RELEASED"
    HANDLED = "HANDLED"
    FAILED_AGAIN = "FAILED_AGAIN"


class ImportStatus(StrEnum):
    """Where a run of an import stands."""

    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
