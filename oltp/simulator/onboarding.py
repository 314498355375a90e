"""How a customer comes in: case, checklist, owners, screening, risk, decision, checks. Pure."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal

from oltp.privacy import sealed_person
from oltp.simulator import clock, people
from oltp.simulator.checklists import FACTORS, ITEMS, item_id, template_id
from oltp.simulator.lending import assessment
from oltp.simulator.people import Person
from oltp.simulator.reference import PARTNERS, partner_id
from oltp.simulator.rows import Row
from oltp.simulator.screening import STAFF, Screener

CASE_TYPES = {"CORPORATE": 70, "PARTNERSHIP": 18, "TRUST": 12}
OUTCOMES = {"APPROVED": 92, "REJECTED": 6, "ABANDONED": 2}
KYC_VALID_DAYS = 1_095
NEVER_RENEWED = 0.07


class Onboarding:
    """The case of one customer, and the checks that follow from it for as long as they stay."""

    def __init__(self, person: Person, opened: int, tell: Callable[..., None]) -> None:
        life = person.life
        self.person = person
        self.opened = opened
        self._tell = tell
        self.screener = Screener(person)
        self.case_type = life.pick(CASE_TYPES) if person.is_business else "INDIVIDUAL"
        self.outcome: str = life.pick(OUTCOMES)
        self.submitted = opened + life.between(0.01, 4)
        self.decided = life.office_hour(self.submitted + life.between(0.2, 6), person.country)
        self.decided = max(self.decided, self.submitted + 1_800)
        self.case = self._case()
        self.valid_from: int | None = None
        self.owners: list[str] = []
        self._level = "MEDIUM"
        # Half-open spans in which the identity is verified.
        self.verified: list[tuple[int, int]] = []

    @property
    def is_approved(self) -> bool:
        """The customer may use the lender's products."""
        return bool(self.case["status"] == "APPROVED")

    def is_verified(self, moment: int) -> bool:
        """Whether an identity check was valid at that moment."""
        return any(start <= moment < end for start, end in self.verified)

    def run(self) -> None:
        """All that happens until the decision, and the decision if it has been made."""
        now = self.person.life.now
        self._applicants()
        if self.case_type != "INDIVIDUAL":
            self._owners()
        self._documents()
        self._checklist()
        if self.outcome == "ABANDONED" or self.submitted >= now:
            return
        at = clock.text(self.submitted)
        self.case.update(status="PENDING_REVIEW", submitted_at=at, updated_at=at)
        self.screener.screen(self.submitted + 600, self.case["case_id"])
        for owner in self.owners[:2]:
            self.screener.screen(self.submitted + 660, self.case["case_id"], owner)
        score = self._risk()
        if self.decided < now:
            self._decide(score)
        else:
            self._identity_check("PENDING", self.submitted, None)

    def _case(self) -> Row:
        life, person, at = self.person.life, self.person, clock.text(self.opened)
        partner = life.chance.choice((*PARTNERS, None, None))
        is_started = self.outcome != "ABANDONED" or life.happens(0.5)
        return life.rows.add(
            "kyc.onboarding_cases",
            case_id=life.id("case"),
            case_number=f"K-{life.world.seed}-{life.number}",
            customer_id=person.id,
            case_type=self.case_type,
            status="IN_PROGRESS" if is_started else "DRAFT",
            partner_id=partner_id(partner) if partner else None,
            partner_reference=f"{life.world.seed}-{life.number}" if partner else None,
            requires_manual_review=False,
            compliance_notes=None,
            assigned_to=None,
            assigned_to_name=None,
            assigned_at=None,
            submitted_at=None,
            approved_at=None,
            rejected_at=None,
            created_at=at,
            updated_at=at,
        )

    def _applicants(self) -> None:
        person, life, at = self.person, self.person.life, clock.text(self.opened)
        name = person.name
        if person.is_business:
            name = f"{life.chance.choice(people.GIVEN)} {person.family}"
        born = clock.day_of(self.opened) - timedelta(days=life.chance.randint(21 * 366, 70 * 365))
        sealed = sealed_person(
            life.world.vault,
            person.subject,
            full_name=name,
            email=f"{name.split()[0].lower()}.{life.number}@example.org",
            phone=f"+44 {life.chance.randrange(10**8, 10**9)}",
            birth_date=born,
        )
        columns = ("full_name", "birth_date", "email", "phone", "email_masked", "phone_masked")
        life.rows.add(
            "kyc.applicants",
            applicant_id=life.any_id(),
            case_id=self.case["case_id"],
            **{column: sealed[column] for column in columns},
            birth_year=born.year,
            nationality=person.country,
            created_at=at,
            updated_at=at,
        )

    def _owners(self) -> None:
        """One to four who own or control it; together they hold at most all of it."""
        person, life, at = self.person, self.person.life, clock.text(self.opened)
        count = life.chance.randint(1, 4)
        whole = Decimal(life.chance.choice((100, 100, 92, 85)))
        share = (whole / count).quantize(Decimal("0.01"), "ROUND_DOWN")
        for number in range(count):
            controls = self.case_type == "TRUST" and number == 0
            kind = "TRUSTEE" if controls else "OWNERSHIP" if number < 3 else "MANAGEMENT"
            name = f"{life.chance.choice(people.GIVEN)} {life.chance.choice(people.FAMILY)}"
            national_id = f"8{life.world.seed:03}-{life.number:07}-{number}"
            id_ = life.any_id()
            born = clock.day_of(self.opened) - timedelta(days=life.chance.randint(8_000, 28_000))
            life.rows.add(
                "kyc.beneficial_owners",
                beneficial_owner_id=id_,
                case_id=self.case["case_id"],
                full_name=person.subject.seal("full_name", name),
                birth_date=person.subject.seal("birth_date", born.isoformat()),
                national_id=person.subject.seal("national_id", national_id),
                national_id_index=life.world.vault.blind_index("national_id", national_id),
                nationality=life.pick(people.COUNTRIES),
                control_type=kind,
                ownership_percent=share if kind == "OWNERSHIP" else Decimal(0),
                is_pep=life.happens(0.02),
                verified_at=clock.text(self.submitted) if self.submitted < life.now else None,
                created_at=at,
                updated_at=at,
            )
            self.owners.append(id_)

    def _documents(self) -> None:
        """What was handed in; a passport or licence runs out one day, and is renewed or not."""
        person, life = self.person, self.person.life
        if person.is_business:
            for kind in ("INCORPORATION", "OWNERSHIP_REGISTER"):
                self._document(kind, self.opened + 1_800, None)
            return
        kind = life.pick({"PASSPORT": 45, "IDENTITY_CARD": 30, "DRIVING_LICENCE": 25})
        months = life.chance.randint(1, 110)
        expires = people.expiry(clock.day_of(self.opened), 10, months)
        moment = self.opened + 900
        while True:
            row = self._document(kind, moment, expires)
            end = clock.at_midnight(expires)
            if end >= life.now or row["status"] != "VERIFIED":
                break
            row.update(status="EXPIRED", updated_at=clock.text(end + 3_600))
            self._tell(end - 30 * clock.DAY_S, "DOCUMENT_EXPIRING", "DOCUMENT", row["document_id"])
            moment = end - life.between(-40, 25)
            if life.happens(NEVER_RENEWED) or moment >= life.now:
                break
            expires = people.expiry(clock.day_of(moment), 10, 0)
        self._document("UTILITY_BILL", self.opened + 1_800, None)
        if life.happens(0.4):
            self._document("PAYSLIP", self.opened + 2_700, None)

    def _document(self, kind: str, moment: int, expires: date | None) -> Row:
        life = self.person.life
        status = "VERIFIED" if moment + 7_200 < life.now else "PENDING"
        if self.outcome == "REJECTED" and life.happens(0.3):
            status = "REJECTED"
        if self.outcome == "ABANDONED":
            status = "PENDING"
        return self.person.document(kind, min(moment, life.now - 1), status, expires)

    def _checklist(self) -> None:
        life, chance, at = self.person.life, self.person.life.chance, clock.text(self.opened)
        is_done = self.outcome != "ABANDONED" and self.submitted < life.now
        id_ = life.any_id()
        done = clock.text(self.submitted)
        life.rows.add(
            "kyc.checklists",
            checklist_id=id_,
            case_id=self.case["case_id"],
            checklist_template_id=template_id(self.case_type),
            status="COMPLETED" if is_done else "IN_PROGRESS",
            completed_at=done if is_done else None,
            created_at=at,
            updated_at=done if is_done else at,
        )
        items = ITEMS[self.case_type]
        for position, (name, category, is_required) in enumerate(items, 1):
            share = position / (len(items) + 1)
            moment = self.opened + int((self.submitted - self.opened) * share)
            is_over = moment < life.now and (is_done or share < 0.5)
            status, notes = "COMPLETED" if is_over else "PENDING", None
            if is_over and not is_required and chance.random() < 0.3:
                status, notes = "SKIPPED", "not applicable"
            is_complete = status == "COMPLETED"
            life.rows.add(
                "kyc.checklist_items",
                checklist_item_id=life.any_id(),
                checklist_id=id_,
                checklist_template_item_id=item_id(self.case_type, position),
                position=position,
                name=name,
                category=category,
                is_required=is_required,
                status=status,
                completed_at=clock.text(moment) if is_complete else None,
                completed_by=chance.choice((*STAFF, "rules")) if is_complete else None,
                notes=notes,
                created_at=at,
                updated_at=clock.text(moment) if is_over else at,
            )

    def _risk(self) -> Decimal:
        """The weighted score of five factors; what was found in the lists weighs most."""
        chance = self.person.life.chance
        scores = {
            "PEP": chance.triangular(2, 60, 8) + 35 * self.screener.is_watched,
            "SANCTIONS": chance.triangular(1, 30, 3) + 55 * (self.outcome == "REJECTED"),
            "ADVERSE_MEDIA": chance.triangular(1, 80, 10) + 15 * self.screener.is_watched,
            "GEOGRAPHY": chance.triangular(5, 85, 20),
            "INDUSTRY": chance.triangular(5, 90, 35 if self.person.is_business else 15),
        }
        factors = {name: (Decimal(str(FACTORS[name])), score) for name, score in scores.items()}
        completed = min(self.submitted + 1_200, self.person.life.now - 1)
        row = assessment(
            self.person, factors, (self.submitted, completed), case_id=self.case["case_id"]
        )
        self._level = row["risk_level"]
        score: Decimal = row["risk_score"]
        return score

    def _decide(self, score: Decimal) -> None:
        life, moment = self.person.life, self.decided
        at, by = clock.text(moment), life.chance.choice(STAFF)
        manual = score >= 40 or self.outcome == "REJECTED"
        self.case.update(requires_manual_review=manual, updated_at=at, assigned_to=by,
                         assigned_to_name=by, assigned_at=clock.text(self.submitted))  # fmt: skip
        if manual:
            referred = (self.submitted + moment) // 2
            self._decision("REFERRED", referred, "rules", "score or match above the limit")
        if self.outcome == "REJECTED":
            self.case.update(status="REJECTED", rejected_at=at,
                             compliance_notes="identity could not be confirmed")  # fmt: skip
            self._decision("REJECTED", moment, by, "identity could not be confirmed")
            self._identity_check("REJECTED", self.submitted, None)
            self._tell(moment + 600, "REJECTION", "CASE", self.case["case_id"])
            return
        self.case.update(status="APPROVED", approved_at=at)
        self._decision("APPROVED", moment, by if manual else "rules", None)
        self.valid_from = moment
        self._identity(moment)
        self._tell(moment + 600, "WELCOME", "CASE", self.case["case_id"])

    def _decision(self, decision: str, moment: int, by: str, reason: str | None) -> None:
        self.person.life.rows.add(
            "kyc.case_decisions",
            case_decision_id=self.person.life.any_id(),
            case_id=self.case["case_id"],
            decision=decision,
            decided_by=by,
            decided_at=clock.text(moment),
            risk_level=self._level,
            reason=reason,
            created_at=clock.text(moment),
        )

    def _identity(self, moment: int) -> None:
        """A check is valid for three years. Most are renewed in time; some too late, some never."""
        life = self.person.life
        start = moment - life.between(0, 900) if life.happens(0.25) else moment
        while start < life.now:
            end = start + KYC_VALID_DAYS * clock.DAY_S
            self._identity_check("VERIFIED", start, end)
            self.verified.append((start, end))
            if life.happens(NEVER_RENEWED):
                break
            start = end + life.between(-30, 4)
        if life.happens(0.4):
            self._identity_check(
                "VERIFIED", moment, moment + KYC_VALID_DAYS * clock.DAY_S, "ADDRESS"
            )
        if self._level in ("MEDIUM_HIGH", "HIGH") or self.screener.is_watched:
            end = moment + 365 * clock.DAY_S
            self._identity_check("VERIFIED", moment, end, "ENHANCED")

    def _identity_check(
        self, status: str, moment: int, end: int | None, kind: str = "IDENTITY"
    ) -> None:
        life, at = self.person.life, clock.text(moment)
        score = Decimal(life.chance.randint(100, 9_900)) / 100
        level = {"LOW": "LOW", "MEDIUM_LOW": "LOW", "MEDIUM": "MEDIUM"}.get(self._level, "HIGH")
        life.rows.add(
            "kyc.kyc_records",
            kyc_record_id=life.any_id(),
            customer_id=self.person.id,
            verification_type=kind,
            status=status,
            provider=life.chance.choice(("veritas", "idcheck")),
            risk_level=level,
            risk_score=score,
            verified_at=at if status == "VERIFIED" else None,
            expires_at=clock.text(end) if end else None,
            details={"score": float(score), "documents": ["passport", "utility bill"]},
            created_at=at,
            updated_at=at,
        )
