"""A credit from its disbursement on: receipts, ledger, cures, restructuring, losses. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

from oltp import schedule
from oltp.simulator import clock, repaying
from oltp.simulator.book import Book
from oltp.simulator.offering import Terms
from oltp.simulator.people import Person
from oltp.simulator.repaying import Course, Habit, Receipt, Standing
from oltp.simulator.rows import Row
from oltp.simulator.world import THOUSAND_MINOR

METHODS = {"DIRECT_DEBIT": 62, "TRANSFER": 20, "CARD": 10, "PAYROLL": 4, "CHECK": 3, "CASH": 1}
SOURCES = {"CUSTOMER": 40, "COLLECTION_AGENCY": 35, "LEGAL": 15, "DEBT_SALE": 10}
RISKY = (Habit.STOPS, Habit.NEVER, Habit.SHRINKS, Habit.CURES, Habit.PARTIAL, Habit.RESTRUCTURED)
RETURNED = 0.2


class Servicer:
    """Keeps the credits of one customer."""

    def __init__(self, person: Person, tell: Callable[..., None], score: float) -> None:
        self._person = person
        self._life = person.life
        self._chance = person.life.chance
        self._tell = tell
        self._score = score
        self._book = Book(self._life.rows, self._chance, person.currency)
        self.opened_at: int | None = None
        # When nothing was owed any more; None while something is.
        self.closed_at: int | None = None

    def disburse(self, offer: Row, terms: Terms, about: tuple[int, str | None, int]) -> None:
        """Pay out an accepted offer and live through its repayment."""
        part, account_id, accepted = about
        moment = self._life.office_hour(accepted + self._life.between(0.5, 2.5))
        moment = max(moment, accepted + 3_600)
        if moment >= self._life.now:
            return
        self.opened_at, start = moment, clock.day_of(moment)
        instalments = schedule.annuity(terms.amount_minor, terms.rate, terms.months, start)
        credit = self._open(f"{part}", moment, replace(terms, instalments=instalments), {
            "offer_id": offer["offer_id"], "account_id": account_id, "replaces_credit_id": None,
        })  # fmt: skip
        if terms.fee_minor:
            self._book.enter(
                "FEE", moment,
                ("POSTED", self._book.house("CASH"), self._book.house("FEE_INCOME"),
                 terms.fee_minor),
            )  # fmt: skip
        if offer["collateral_required"]:
            self._pledge(credit, moment)
        self._live(credit, terms, instalments, f"{part}", self._habit())

    def is_open_at(self, moment: int) -> bool:
        """Whether something was disbursed by then and not closed yet."""
        if self.opened_at is None or self.opened_at > moment:
            return False
        return self.closed_at is None or self.closed_at > moment

    def _habit(self) -> Habit:
        """Those whom the score doubted are those who fall behind, more often than not."""
        doubt = 2.6 if self._score < 50 else 1.0 if self._score < 75 else 0.5
        return self._life.pick(
            {habit: share * (doubt if habit in RISKY else 1) for habit, share in _HABITS}
        )

    def _open(self, part: str, moment: int, terms: Terms, about: Row) -> Row:
        life, person, at = self._life, self._person, clock.text(moment)
        credit_id = life.id("credit", part)
        row = life.rows.add(
            "credit.active_credits",
            credit_id=credit_id,
            customer_id=person.id,
            **about,
            credit_number=f"C-{life.world.seed}-{life.number}-{part}",
            principal_minor=terms.amount_minor,
            currency=person.currency,
            interest_rate=terms.rate,
            term_months=terms.months,
            monthly_payment_minor=terms.payment_minor,
            status="CURRENT",
            disbursed_on=clock.day_of(moment),
            matures_on=terms.instalments[-1].due_date,
            charged_off_on=None,
            closed_on=None,
            created_at=at,
            updated_at=at,
        )
        self._book.enter(
            "DISBURSEMENT",
            moment,
            ("POSTED", credit_id, self._book.house("CASH"), terms.amount_minor),
        )
        self._event(row, "DISBURSED", moment, amount_minor=terms.amount_minor)
        return row

    def _pledge(self, credit: Row, moment: int) -> None:
        at = clock.text(moment)
        self._life.rows.add(
            "credit.collateral_positions",
            collateral_position_id=self._life.any_id(),
            customer_id=self._person.id,
            credit_id=credit["credit_id"],
            collateral_type=self._life.pick({"CRYPTO": 6, "SECURITIES": 3, "DEPOSIT": 1}),
            value_minor=int(credit["principal_minor"] * self._chance.uniform(1.3, 2.2)),
            currency=credit["currency"],
            valued_at=at,
            created_at=at,
            updated_at=at,
        )

    def _live(
        self,
        credit: Row,
        terms: Terms,
        instalments: tuple[schedule.Instalment, ...],
        part: str,
        habit: Habit,
    ) -> None:
        now = self._life.now
        fee = THOUSAND_MINOR[self._person.currency] // 40
        course = repaying.run(instalments, habit, self._chance, now, fee)
        ids = {
            s.instalment.number: f"{self._life.id(f'payment {part}', s.instalment.number)}"
            for s in course.standings
        }
        for receipt in course.receipts:
            self._receive(credit, receipt, ids)
        if habit is Habit.LATE:
            self._returns(credit, course)
        for moment, days in course.cures:
            self._event(credit, "CURED", moment, days_past_due=days)
        self._end(credit, terms, course, (part, ids))
        ended = course.prepaid_at or course.restructured_at
        for standing in course.standings:
            self._write(credit, standing, ids, ended)
        self._remind(credit, course)

    def _write(
        self, credit: Row, standing: Standing, ids: dict[int, str], ended: int | None
    ) -> None:
        inst, paid = standing.instalment, standing.paid_interest_minor
        paid += standing.paid_principal_minor
        is_open = paid < inst.due_minor or standing.paid_fees_minor < standing.fees_minor
        status = "SCHEDULED" if standing.paid_minor == 0 else "PARTIAL"
        if not is_open:
            status = "PAID"
        elif ended:
            status = "CANCELLED"
        changed = max(filter(None, (standing.paid_at, ended if is_open else None)), default=None)
        self._life.rows.add(
            "credit.payments",
            payment_id=ids[inst.number],
            credit_id=credit["credit_id"],
            installment_number=inst.number,
            due_date=inst.due_date,
            due_amount_minor=inst.due_minor,
            principal_minor=inst.principal_minor,
            interest_minor=inst.interest_minor,
            paid_amount_minor=paid,
            fees_minor=standing.fees_minor,
            fees_paid_minor=standing.paid_fees_minor,
            paid_at=clock.text(standing.paid_at) if standing.paid_at else None,
            currency=credit["currency"],
            status=status,
            created_at=credit["created_at"],
            updated_at=clock.text(changed) if changed else credit["created_at"],
        )

    def _receive(
        self, credit: Row, receipt: Receipt, ids: dict[int, str], method: str | None = None
    ) -> None:
        """One payment: its ledger entry, its receipt and the instalments it settled."""
        principal = sum(part.principal_minor for part in receipt.parts)
        interest = sum(part.interest_minor for part in receipt.parts)
        fees = sum(part.fees_minor for part in receipt.parts)
        book, at = self._book, clock.text(receipt.moment)
        cash = book.house("CASH")
        moves = [
            ("POSTED", cash, account, amount)
            for account, amount in (
                (credit["credit_id"], principal),
                (book.house("INTEREST_INCOME"), interest),
                (book.house("FEE_INCOME"), fees),
            )
            if amount
        ]
        entry = book.enter("REPAYMENT", receipt.moment, *moves)
        id_ = self._receipt(
            credit, at, entry, method or self._life.pick(METHODS),
            principal_minor=principal, interest_minor=interest, fees_minor=fees,
        )  # fmt: skip
        for part in receipt.parts:
            if part.principal_minor + part.interest_minor + part.fees_minor == 0:
                continue
            self._life.rows.add(
                "credit.receipt_allocations",
                receipt_allocation_id=self._life.any_id(),
                payment_receipt_id=id_,
                payment_id=ids[part.number],
                principal_minor=part.principal_minor,
                interest_minor=part.interest_minor,
                fees_minor=part.fees_minor,
                created_at=at,
            )

    def _receipt(
        self, credit: Row, at: str, entry: str, method: str, returned_at: str | None = None,
        **amounts: int,
    ) -> str:  # fmt: skip
        id_ = self._life.any_id()
        self._life.rows.add(
            "credit.payment_receipts",
            payment_receipt_id=id_,
            credit_id=credit["credit_id"],
            amount_minor=sum(amounts.values()),
            currency=credit["currency"],
            method=method,
            received_at=at,
            principal_minor=amounts.get("principal_minor", 0),
            interest_minor=amounts.get("interest_minor", 0),
            fees_minor=amounts.get("fees_minor", 0),
            suspense_minor=amounts.get("suspense_minor", 0),
            status="RETURNED" if returned_at else "RECEIVED",
            returned_at=returned_at,
            return_reason="insufficient funds" if returned_at else None,
            external_ref=f"sim:receipt:{id_}",
            entry_id=entry,
            created_at=at,
            updated_at=returned_at or at,
        )
        return id_

    def _returns(self, credit: Row, course: Course) -> None:
        """A late payment is often the second attempt: the first came back from the bank."""
        book = self._book
        for standing in course.standings:
            due = clock.at_midnight(standing.instalment.due_date) + 4 * clock.HOUR_S
            is_late = standing.paid_at and standing.paid_at > due + 4 * clock.DAY_S
            if not is_late or self._chance.random() > RETURNED:
                continue
            amount, back = standing.instalment.due_minor, due + 2 * clock.DAY_S
            cash, suspense = book.house("CASH"), book.house("SUSPENSE")
            entry = book.enter("REPAYMENT", due, ("POSTED", cash, suspense, amount))
            book.enter("CORRECTION", back, ("POSTED", suspense, cash, amount), reverses=entry)
            self._receipt(
                credit, clock.text(due), entry, "DIRECT_DEBIT", clock.text(back),
                suspense_minor=amount,
            )  # fmt: skip

    def _end(
        self, credit: Row, terms: Terms, course: Course, key: tuple[str, dict[int, str]]
    ) -> None:
        """Whether and how the credit came to an end; its status says so."""
        part, ids = key
        left = terms.amount_minor - course.repaid_minor
        if course.prepaid_at:
            self._receive(credit, course.settle_early(course.prepaid_at), ids)
            left = 0
        if left == 0:
            moment = max(receipt.moment for receipt in course.receipts)
            self._close(credit, "PAID_OFF", moment)
            self._event(credit, "PAID_OFF", moment)
        elif course.charged_off_at:
            self._charge_off(credit, course, left)
        elif course.restructured_at:
            self._restructure(credit, terms, course, (part, left))
        elif course.days_past_due(clock.day_of(self._life.now)) > repaying.DELINQUENT_AFTER_DAYS:
            credit["status"] = "DELINQUENT"
            oldest = course.oldest_open
            due = clock.at_midnight(oldest.instalment.due_date) if oldest else self._life.now
            late = due + (repaying.DELINQUENT_AFTER_DAYS + 1) * clock.DAY_S + 5 * clock.HOUR_S
            credit["updated_at"] = max(credit["updated_at"], clock.text(late))

    def _close(self, credit: Row, status: str, moment: int) -> None:
        credit.update(status=status, closed_on=clock.day_of(moment), updated_at=clock.text(moment))
        self.closed_at = moment

    def _charge_off(self, credit: Row, course: Course, left: int) -> None:
        moment, book = course.charged_off_at or 0, self._book
        day = clock.day_of(moment)
        book.enter(
            "CHARGE_OFF",
            moment,
            ("POSTED", book.house("CREDIT_LOSS"), credit["credit_id"], left),
        )
        self._close(credit, "CHARGED_OFF", moment)
        credit["charged_off_on"] = day
        self._event(
            credit, "CHARGED_OFF", moment, amount_minor=left,
            days_past_due=course.days_past_due(day),
        )  # fmt: skip
        if self._chance.random() < 0.45:
            for _ in range(self._chance.randint(1, 4)):
                moment += self._life.between(25, 130)
                if moment >= self._life.now:
                    break
                amount = max(1, int(left * self._chance.uniform(0.02, 0.18)))
                recovery(self._person, book, moment, amount, credit_id=credit["credit_id"])

    def _restructure(
        self, credit: Row, terms: Terms, course: Course, about: tuple[str, int]
    ) -> None:
        """A new credit with lower instalments takes the place of the old one."""
        part, left = about
        moment = course.restructured_at or 0
        months = min(72, terms.months + 12)
        rate = (terms.rate * Decimal("0.75")).quantize(Decimal("0.000001"))
        start = clock.day_of(moment)
        instalments = schedule.annuity(left, rate, months, start)
        new = replace(
            terms, amount_minor=left, rate=rate, fee_minor=0, months=months,
            instalments=instalments, payment_minor=instalments[0].due_minor,
        )  # fmt: skip
        days = course.days_past_due(start)
        self._event(
            credit, "RESTRUCTURED", moment, amount_minor=left, days_past_due=days,
            old_interest_rate=terms.rate, new_interest_rate=rate,
            old_term_months=terms.months, new_term_months=months,
            old_monthly_payment_minor=terms.payment_minor,
            new_monthly_payment_minor=new.payment_minor, reason="hardship",
        )  # fmt: skip
        self._close(credit, "RESTRUCTURED", moment)
        replacing = self._open(f"{part}r", moment, new, {
            "offer_id": None, "account_id": credit["account_id"],
            "replaces_credit_id": credit["credit_id"],
        })  # fmt: skip
        book = self._book
        entry = book.enter(
            "REPAYMENT", moment, ("POSTED", book.house("CASH"), credit["credit_id"], left)
        )
        self._receipt(credit, clock.text(moment), entry, "REFINANCING", principal_minor=left)
        self.closed_at = None
        habit = Habit.ON_TIME if self._chance.random() < 0.7 else Habit.STOPS
        self._live(replacing, new, instalments, f"{part}r", habit)

    def _event(self, credit: Row, kind: str, moment: int, **about: object) -> None:
        self._life.rows.add(
            "credit.credit_events",
            credit_event_id=self._life.any_id(),
            credit_id=credit["credit_id"],
            event_type=kind,
            effective_on=clock.day_of(moment),
            occurred_at=clock.text(moment),
            currency=credit["currency"],
            **{name: about.get(name) for name in _EVENT_COLUMNS},
            created_at=clock.text(moment),
        )

    def _remind(self, credit: Row, course: Course) -> None:
        """A notice for each instalment that is missed, a few days after."""
        for standing in course.standings:
            due = standing.instalment.due_date
            told = clock.at_midnight(due + timedelta(days=5)) + 9 * clock.HOUR_S
            if told >= min(self._life.now, course.charged_off_at or self._life.now):
                break
            if standing.paid_at is None or standing.paid_at > told:
                self._tell(told, "PAYMENT_MISSED", "CREDIT", credit["credit_id"])


_HABITS = tuple(repaying.HABITS.items())
_EVENT_COLUMNS = (
    "days_past_due",
    "amount_minor",
    "old_interest_rate",
    "new_interest_rate",
    "old_term_months",
    "new_term_months",
    "old_monthly_payment_minor",
    "new_monthly_payment_minor",
    "reason",
)


def recovery(person: Person, book: Book, moment: int, amount: int, **of: str) -> None:
    """Money got back after a charge-off, on a loan or on a card account."""
    life = person.life
    entry = book.recover(moment, amount)
    source = life.pick(SOURCES)
    life.rows.add(
        "credit.recoveries",
        recovery_id=life.any_id(),
        customer_id=person.id,
        credit_id=of.get("credit_id"),
        account_id=of.get("account_id"),
        source=source,
        amount_minor=amount,
        cost_minor=0 if source == "CUSTOMER" else amount // 5,
        currency=person.currency,
        received_at=clock.text(moment),
        entry_id=entry,
        created_at=clock.text(moment),
    )
