"""Applications: assessed, sent to providers, decided; the offers, and which one is taken. Pure."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

from oltp.simulator import clock
from oltp.simulator.offering import PROVIDERS, Terms, offers
from oltp.simulator.people import Person
from oltp.simulator.rows import Row
from oltp.simulator.servicing import Servicer
from oltp.simulator.world import THOUSAND_MINOR

PURPOSES = ("car", "home", "education", "debt consolidation")
# reason code -> what the notice says, the feature behind it.
REASONS = {
    "INCOME_INSUFFICIENT": ("income insufficient for the amount requested", "income_to_amount"),
    "EXCESSIVE_OBLIGATIONS": ("obligations too high for the income", "debt_burden"),
    "DELINQUENT_HISTORY": ("payments late in the past", "days_past_due_12m"),
    "INSUFFICIENT_HISTORY": ("too little is known of past credit", "history_months"),
    "EMPLOYMENT_UNVERIFIED": ("employment could not be verified", "employment_verified"),
    "TOO_MANY_INQUIRIES": ("too many recent applications for credit", "inquiries_6m"),
    "UTILIZATION_TOO_HIGH": ("other credit is used up", "utilization"),
}
RULE_VERSION = "lending-2"
VALID_DAYS = 30
TAKEN, DECLINED = 0.74, 0.86
NOTICE_DAYS = 30


class Lender:
    """What one customer applies for over the years."""

    def __init__(self, person: Person, tell: Callable[..., None]) -> None:
        self._person = person
        self._tell = tell
        # Better ones are fewer: 0 to 100.
        self.score = min(99.0, max(5.0, person.life.chance.gauss(66, 17)))
        self.servicers: list[Servicer] = []

    def apply(self, moment: int, part: int, account_id: str | None) -> None:
        """One application and all that comes of it."""
        life, chance, person = self._person.life, self._person.life.chance, self._person
        amount = chance.randint(1, 40) * THOUSAND_MINOR[person.currency]
        months = chance.choice((6, 12, 24, 36, 60))
        at = clock.text(moment)
        row = life.rows.add(
            "credit.applications",
            application_id=life.id("application", part),
            customer_id=person.id,
            application_number=f"A-{life.world.seed}-{life.number}-{part}",
            requested_amount_minor=amount,
            currency=person.currency,
            term_months=months,
            purpose=chance.choice(PURPOSES),
            status="SUBMITTED",
            decision_reason=None,
            decision_rule_version=None,
            submitted_at=at,
            completed_at=None,
            decided_at=None,
            created_at=at,
            updated_at=at,
        )
        if chance.random() < 0.06:
            self._withdraw(row, moment + life.between(0.2, 6))
            return
        completed = moment + life.between(0.05, 2.5)
        decided = life.office_hour(completed + life.between(0.1, 3))
        if completed >= life.now:
            return
        row.update(completed_at=clock.text(completed), updated_at=clock.text(completed))
        bureau = self._bureau(row, completed)
        self._assess(row, completed, min(decided, life.now - 1))
        made = self._quotes(row, completed + 3_600, (amount, months))
        if max(decided, completed + 7_200) < life.now:
            self._decide(row, max(decided, completed + 7_200), completed, (bureau, made))
            if made and row["status"] == "APPROVED":
                self._offer(row, max(decided, completed + 7_200), made, (part, account_id))

    def _withdraw(self, row: Row, moment: int) -> None:
        if moment < self._person.life.now:
            at = clock.text(moment)
            row.update(status="WITHDRAWN", decided_at=at, updated_at=at)

    def _bureau(self, application: Row, moment: int) -> Row:
        life = self._person.life
        return life.rows.add(
            "risk.bureau_scores",
            bureau_score_id=life.any_id(),
            customer_id=self._person.id,
            application_id=application["application_id"],
            bureau=life.chance.choice(("Altis", "Credence")),
            model="classic-8",
            score=round(300 + self.score * 5.5),
            score_minimum=300,
            score_maximum=850,
            is_hard_inquiry=True,
            scored_at=clock.text(moment),
            created_at=clock.text(moment),
        )

    def _assess(self, application: Row, moment: int, completed: int) -> None:
        """How likely it is that this one is not repaid: three factors, weighted."""
        life = self._person.life
        risk = 100 - self.score
        factors = {
            "BUREAU_SCORE": (Decimal("0.50"), risk),
            "PAYMENT_HISTORY": (Decimal("0.30"), risk * life.chance.uniform(0.6, 1.2)),
            "DEBT_BURDEN": (Decimal("0.20"), life.chance.uniform(5, 90)),
        }
        assessment(
            self._person,
            factors,
            (moment, completed),
            application_id=application["application_id"],
        )

    def _quotes(self, application: Row, moment: int, asked: tuple[int, int]) -> list[Terms]:
        """Every provider is asked; some answer with an offer, some too late."""
        life, chance = self._person.life, self._person.life.chance
        start = clock.day_of(moment) + timedelta(days=3)
        made = offers(chance, self.score, asked[0], asked[1], start)
        offering = {terms.provider.code for terms in made}
        for provider in PROVIDERS:
            outcome = "OFFERED" if provider.code in offering else "DECLINED"
            if outcome == "DECLINED" and chance.random() < 0.08:
                outcome = chance.choice(("TIMEOUT", "ERROR"))
            took_ms = 10_000 if outcome == "TIMEOUT" else int(chance.lognormvariate(6, 0.6))
            answered = moment + took_ms // 1000
            life.rows.add(
                "credit.provider_quotes",
                provider_quote_id=life.any_id(),
                provider_id=provider.id,
                application_id=application["application_id"],
                outcome=outcome,
                offers=int(outcome == "OFFERED"),
                requested_at=clock.text(moment),
                answered_at=None if outcome == "TIMEOUT" else clock.text(answered),
                latency_ms=took_ms,
                created_at=clock.text(moment),
            )
        return made

    def _decide(
        self, row: Row, moment: int, completed: int, known: tuple[Row, list[Terms]]
    ) -> None:
        bureau, made = known
        at = clock.text(moment)
        row.update(decided_at=at, updated_at=at, decision_rule_version=RULE_VERSION)
        if made:
            row["status"] = "APPROVED"
            self._tell(moment, "APPROVAL", "APPLICATION", row["application_id"])
            return
        codes = self._person.life.chance.sample(
            tuple(REASONS), self._person.life.chance.randint(1, 4)
        )
        row.update(status="DECLINED", decision_reason=REASONS[codes[0]][0])
        notice(
            self._person,
            "DECLINED",
            (completed, moment),
            codes,
            bureau=bureau,
            application_id=row["application_id"],
        )
        self._tell(moment + 7_200, "ADVERSE_ACTION", "APPLICATION", row["application_id"])

    def _offer(
        self, row: Row, moment: int, made: list[Terms], about: tuple[int, str | None]
    ) -> None:
        part, account_id = about
        life, chance = self._person.life, self._person.life.chance
        valid_until = moment + VALID_DAYS * clock.DAY_S
        answer, answered = chance.random(), moment + life.between(0.1, 20)
        self._tell(moment + 60, "OFFER", "APPLICATION", row["application_id"])
        # Most take the cheapest, some the second.
        taken = min(len(made) - 1, int(chance.random() < 0.2))
        for number, terms in enumerate(made):
            status, changed = _answer(answer, number == taken, (answered, valid_until), life.now)
            offer = _offer_row(self._person, (part, number), row, terms, (moment, valid_until))
            offer["status"] = status
            if changed:
                offer["updated_at"] = clock.text(changed)
                if status in ("ACCEPTED", "DECLINED"):
                    offer[f"{status.lower()}_at"] = clock.text(changed)
            if status == "ACCEPTED":
                servicer = Servicer(self._person, self._tell, self.score)
                servicer.disburse(offer, terms, (part, account_id, answered))
                self.servicers.append(servicer)


def _answer(
    dice: float, is_chosen: bool, when: tuple[int, int], now: int
) -> tuple[str, int | None]:
    """What becomes of an offer, and when."""
    answered, valid_until = when
    if dice < TAKEN and answered < now:
        return ("ACCEPTED" if is_chosen else "DECLINED"), answered
    if dice < DECLINED and answered < now:
        return "DECLINED", answered
    return ("EXPIRED", valid_until) if valid_until < now else ("PRESENTED", None)


def _offer_row(
    person: Person, key: tuple[int, int], application: Row, terms: Terms, when: tuple[int, int]
) -> Row:
    life = person.life
    offer_id = life.id(f"offer {key[0]}", key[1])
    at = clock.text(when[0])
    needs_collateral = terms.provider.kind == "DEFI"
    row = life.rows.add(
        "credit.offers",
        offer_id=offer_id,
        application_id=application["application_id"],
        provider=terms.provider.name,
        provider_id=terms.provider.id,
        offer_reference=f"{terms.provider.code}-{offer_id[:12]}",
        amount_minor=terms.amount_minor,
        currency=person.currency,
        interest_rate=terms.rate,
        apr=terms.apr,
        term_months=terms.months,
        monthly_payment_minor=terms.payment_minor,
        total_repayment_minor=terms.total_minor,
        collateral_required=needs_collateral,
        status="PRESENTED",
        valid_until=clock.text(when[1]),
        accepted_at=None,
        declined_at=None,
        created_at=at,
        updated_at=at,
    )
    if terms.fee_minor:
        life.rows.add(
            "credit.offer_fees",
            offer_fee_id=life.any_id(),
            offer_id=offer_id,
            fee_type="ORIGINATION",
            amount_minor=terms.fee_minor,
            currency=person.currency,
            is_in_apr=True,
            is_financed=False,
            created_at=at,
        )
    return row


def assessment(
    person: Person,
    factors: dict[str, tuple[Decimal, float]],
    when: tuple[int, int],
    **about: str,
) -> Row:
    """A risk assessment whose score is the weighted mean of its factors, to the last digit."""
    life = person.life
    opened, completed = clock.text(when[0]), clock.text(when[1])
    id_ = life.any_id()
    cent = Decimal("0.01")
    scores = {
        name: Decimal(round(min(99.0, max(1.0, score)) * 100)) / 100
        for name, (_, score) in factors.items()
    }
    total = sum(weight for weight, _ in factors.values())
    weighted = sum((scores[name] * weight for name, (weight, _) in factors.items()), Decimal())
    mean = (weighted / total).quantize(cent, "ROUND_HALF_UP")
    row = life.rows.add(
        "risk.risk_assessments",
        risk_assessment_id=id_,
        customer_id=person.id,
        case_id=about.get("case_id"),
        application_id=about.get("application_id"),
        status="COMPLETED",
        risk_level=level(mean),
        risk_score=mean,
        model_version="weighted-1",
        completed_at=completed,
        created_at=opened,
        updated_at=completed,
    )
    for name, (weight, _) in factors.items():
        score = scores[name]
        life.rows.add(
            "risk.risk_factors",
            risk_factor_id=life.any_id(),
            risk_assessment_id=id_,
            factor_type=name,
            risk_level="LOW" if score < 34 else "MEDIUM" if score < 67 else "HIGH",
            score=score,
            weight=weight,
            description=None,
            source="simulator",
            created_at=opened,
        )
    return row


def level(score: Decimal) -> str:
    """The risk level of a score from 0 to 100, in five steps."""
    steps = ((20, "LOW"), (40, "MEDIUM_LOW"), (60, "MEDIUM"), (80, "MEDIUM_HIGH"))
    return next((name for limit, name in steps if score < limit), "HIGH")


def notice(
    person: Person,
    action: str,
    when: tuple[int, int],
    codes: list[str],
    bureau: Row | None = None,
    **about: str,
) -> None:
    """What a refusal owes: sent within thirty days, with the principal reasons."""
    life, chance = person.life, person.life.chance
    started, refused = when
    sent = life.office_hour(refused + life.between(0.5, 9 if chance.random() < 0.97 else 40))
    is_sent = sent < life.now
    id_, at = life.any_id(), clock.text(refused)
    status = "DUE" if not is_sent else "UNDELIVERABLE" if chance.random() < 0.01 else "SENT"
    life.rows.add(
        "credit.adverse_action_notices",
        adverse_action_notice_id=id_,
        customer_id=person.id,
        application_id=about.get("application_id"),
        credit_id=about.get("credit_id"),
        account_id=about.get("account_id"),
        action=action,
        clock_started_at=clock.text(started),
        due_on=clock.day_of(started) + timedelta(days=NOTICE_DAYS),
        sent_at=clock.text(sent) if is_sent else None,
        status=status,
        bureau=bureau["bureau"] if bureau else None,
        score=bureau["score"] if bureau else None,
        score_minimum=bureau["score_minimum"] if bureau else None,
        score_maximum=bureau["score_maximum"] if bureau else None,
        scored_on=clock.day_of(started) if bureau else None,
        created_at=at,
        updated_at=clock.text(sent) if is_sent else at,
    )
    for rank, code in enumerate(codes, 1):
        life.rows.add(
            "credit.adverse_action_reasons",
            adverse_action_reason_id=life.any_id(),
            adverse_action_notice_id=id_,
            rank=rank,
            reason_code=code,
            feature=REASONS[code][1] if code in REASONS else None,
            contribution=Decimal(round(chance.uniform(0.05, 0.4) / rank * 10**6)) / 10**6,
            created_at=at,
        )
