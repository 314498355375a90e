"""Valid rows of each table to vary: a test changes one value and sees what the database says."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg import sql

SEALED = "enc:1:" + "A" * 32
THEN = datetime(2025, 3, 1, 12, tzinfo=UTC)


class ValidRows:
    """Rows in one session that the caller rolls back."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self.connection = connection

    def add(self, table: str, **values: Any) -> dict[str, Any]:
        """Insert one row."""
        self.connection.execute(
            sql.SQL("insert into {} ({}) values ({})").format(
                sql.Identifier(*table.split(".")),
                sql.SQL(", ").join(map(sql.Identifier, values)),
                sql.SQL(", ").join(map(sql.Placeholder, values)),
            ),
            values,
        )
        return values

    def one(self, query: str, *values: object) -> tuple[Any, ...]:
        """The first row of a query in this session."""
        row = self.connection.execute(query, values).fetchone()
        assert row is not None
        return row

    def customer(self, **values: Any) -> UUID:
        return self.add("customer.customers", **{"customer_id": uuid4(), "country": "US"} | values)[
            "customer_id"
        ]

    def application(self, **values: Any) -> UUID:
        row = {
            "application_id": uuid4(),
            "customer_id": values.get("customer_id") or self.customer(),
            "application_number": str(uuid4()),
            "requested_amount_minor": 100_000,
            "currency": "USD",
            "term_months": 12,
            "purpose": "car",
            "status": "SUBMITTED",
            "submitted_at": THEN,
        }
        return self.add("credit.applications", **row | values)["application_id"]

    def offer(self, **values: Any) -> UUID:
        row = {
            "offer_id": uuid4(),
            "application_id": values.get("application_id") or self.application(),
            "provider": "northbank",
            "amount_minor": 100_000,
            "currency": "USD",
            "interest_rate": "0.071250",
            "apr": "0.081250",
            "term_months": 12,
            "monthly_payment_minor": 8_660,
            "status": "PRESENTED",
            "valid_until": THEN,
        }
        return self.add("credit.offers", **row | values)["offer_id"]

    def credit(self, **values: Any) -> UUID:
        row = {
            "credit_id": uuid4(),
            "customer_id": values.get("customer_id") or self.customer(),
            "credit_number": str(uuid4()),
            "principal_minor": 100_000,
            "currency": "USD",
            "interest_rate": "0.071250",
            "term_months": 12,
            "monthly_payment_minor": 8_660,
            "status": "CURRENT",
            "disbursed_on": "2025-01-31",
            "matures_on": "2026-01-31",
        }
        return self.add("credit.active_credits", **row | values)["credit_id"]

    def payment(self, credit: UUID, number: int = 1, **values: Any) -> UUID:
        row = {
            "payment_id": uuid4(),
            "credit_id": credit,
            "installment_number": number,
            "due_date": f"2025-{number + 1:02}-28",
            "due_amount_minor": 9_000,
            "principal_minor": 8_000,
            "interest_minor": 1_000,
            "currency": "USD",
        }
        return self.add("credit.payments", **row | values)["payment_id"]

    def account(self, **values: Any) -> UUID:
        row = {
            "account_id": uuid4(),
            "customer_id": values.get("customer_id") or self.customer(),
            "currency": "USD",
            "credit_limit_minor": 100_000,
            "opened_on": "2025-01-01",
        }
        return self.add("card.card_accounts", **row | values)["account_id"]

    def authorization(self, **values: Any) -> UUID:
        row = {
            "authorization_id": uuid4(),
            "idempotency_key": str(uuid4()),
            "request_hash": "a" * 64,
            "card_id": uuid4(),
            "amount_minor": 1_000,
            "currency": "USD",
            "merchant_id": "M-1",
            "mcc": "5411",
            "merchant_country": "US",
            "channel": "CHIP",
            "decision": "APPROVED",
            "response_code": "00",
            "reason_code": "APPROVED",
            "rule_hits": "[]",
            "facts": "{}",
            "rule_version": "v1",
            "requested_at": THEN,
            "decided_at": THEN,
        }
        return self.add("card.authorizations", **row | values)["authorization_id"]

    def program(self, **values: Any) -> str:
        row = {"program_id": f"p{uuid4().hex}", "name": "Program", "time_zone": "Europe/Prague"}
        return self.add("card.programs", **row | values)["program_id"]

    def spend_limit(self, **values: Any) -> None:
        row = {"program_id": "standard", "period": "DAY", "currency": "USD", "count_limit": 5}
        self.add("card.spend_limits", **row | values)

    def hold_period(self, **values: Any) -> None:
        row = {
            "network": "ANY",
            "mcc_from": "9990",
            "mcc_to": "9999",
            "hold_days": 7,
            "reason": "a test's own range",
        }
        self.add("card.hold_periods", **row | values)

    def rule_version(self, **values: Any) -> str:
        row = {
            "version": uuid4().hex,
            "document": "{}",
            "document_sha256": "a" * 64,
            "created_by": "ana",
        }
        return self.add("card.rule_versions", **row | values)["version"]

    def card_message(self, **values: Any) -> str:
        row = {
            "message_key": str(uuid4()),
            "message_kind": "REVERSAL",
            "request_hash": "a" * 64,
            "state": "REFUSED",
            "outcome": "ORIGINAL_NOT_FOUND",
            "body": "{}",
            "occurred_at": THEN,
        }
        return self.add("card.card_messages", **row | values)["message_key"]

    def case(self, **values: Any) -> UUID:
        row = {"case_id": uuid4(), "case_number": str(uuid4()), "case_type": "CORPORATE"}
        return self.add("kyc.onboarding_cases", **row | values)["case_id"]

    def owner(self, case: UUID, percent: str, **values: Any) -> UUID:
        row = {
            "beneficial_owner_id": uuid4(),
            "case_id": case,
            "full_name": SEALED,
            "control_type": "OWNERSHIP",
            "ownership_percent": percent,
        }
        return self.add("kyc.beneficial_owners", **row | values)["beneficial_owner_id"]

    def kyc_record(self, **values: Any) -> UUID:
        row = {
            "kyc_record_id": uuid4(),
            "customer_id": values.get("customer_id") or self.customer(),
            "verification_type": "IDENTITY",
            "status": "VERIFIED",
            "provider": "checker",
            "risk_level": "LOW",
            "verified_at": THEN,
        }
        return self.add("kyc.kyc_records", **row | values)["kyc_record_id"]

    def report(self, **values: Any) -> UUID:
        row = {
            "regulatory_report_id": uuid4(),
            "report_type": "CALL_REPORT",
            "jurisdiction": "US",
            "period_start": "2025-01-01",
            "period_end": "2025-04-01",
            "due_on": "2025-05-01",
            "prepared_by": "ana",
        }
        return self.add("kyc.regulatory_reports", **row | values)["regulatory_report_id"]

    def position(self, debt: str = "0", **values: Any) -> UUID:
        row = {
            "position_id": uuid4(),
            "customer_id": values.get("customer_id") or self.customer(),
            "debt_asset": "USDC",
            "debt_amount": debt,
            "opened_at": THEN,
        }
        return self.add("card.positions", **row | values)["position_id"]

    def collateral(self, position: UUID, amount: str, asset: str = "ETH") -> None:
        self.add(
            "card.position_collaterals",
            position_collateral_id=uuid4(),
            position_id=position,
            asset=asset,
            amount=amount,
            liquidation_threshold="0.8",
        )

    def price(self, asset: str, price: str, observed_at: datetime = THEN) -> None:
        self.add(
            "card.prices",
            price_id=uuid4(),
            asset=asset,
            quote_currency="USD",
            price=price,
            source="oracle",
            observed_at=observed_at,
        )

    def assessment(self, **values: Any) -> UUID:
        row = {"risk_assessment_id": uuid4(), "case_id": self.case(), "model_version": "1"}
        return self.add("risk.risk_assessments", **row | values)["risk_assessment_id"]

    def factor(self, assessment: UUID, kind: str, score: str, weight: str) -> UUID:
        return self.add(
            "risk.risk_factors",
            risk_factor_id=uuid4(),
            risk_assessment_id=assessment,
            factor_type=kind,
            risk_level="LOW",
            score=score,
            weight=weight,
        )["risk_factor_id"]
