"""One customer's whole life: in, using what the lender offers, and perhaps out again. Pure."""

from __future__ import annotations

from oltp.simulator import clock
from oltp.simulator.cards import CardLife
from oltp.simulator.lending import Lender
from oltp.simulator.onboarding import Onboarding
from oltp.simulator.people import Person
from oltp.simulator.rows import Rows
from oltp.simulator.world import Life, World, made_id

CARD_SHARE = 0.9
LEAVES_A_YEAR = 0.06
# What happens in the last days, so that something is open whenever history ends.
STILL_COMING_IN, STILL_UNDECIDED = 0.02, 0.03
SHORTEST_STAY_DAYS = 200
APPLIES_A_YEAR = 0.55
CHANNELS = {"EMAIL": 62, "SMS": 14, "PUSH": 16, "IN_APP": 8}
URGENT = ("ADVERSE_ACTION", "PAYMENT_MISSED")


def live(world: World, number: int, rows: Rows) -> None:
    """Write everything that happens to customer `number` until the end of history."""
    _Customer(Life(world, number, rows)).live()


class _Customer:
    def __init__(self, life: Life) -> None:
        self.life = life
        # More of them at the beginning: a lender starts with those it has been waiting for.
        span_s = life.now - clock.at_midnight(life.world.start)
        joined = clock.at_midnight(life.world.start) + int(span_s * life.chance.random() ** 1.6)
        if life.happens(STILL_COMING_IN):
            joined = life.now - life.between(0.2, 9)
        self.joined = min(joined, life.now - 2 * clock.HOUR_S)
        self.person = Person(life, self.joined)
        self.onboarding = Onboarding(self.person, self.joined + 600, self.tell)

    def live(self) -> None:
        """In order of what depends on what; each part orders its own by time."""
        life, person, onboarding = self.life, self.person, self.onboarding
        onboarding.run()
        start = onboarding.valid_from
        if start is None:
            if onboarding.case["status"] == "REJECTED":
                person.suspend(onboarding.decided)
            person.sign_in(life.now)
            return
        leaves = self._leaves(start)
        account = self._cards(start, leaves)
        lender = self._credits(start, leaves, account)
        self._changes(start, leaves)
        self._leave(leaves, account, lender)

    def _leaves(self, start: int) -> int | None:
        """When this customer will give everything back, if in the time that is told of."""
        life = self.life
        years = (life.now - start) / (365.25 * clock.DAY_S)
        if not life.happens(min(0.9, LEAVES_A_YEAR * years)):
            return None
        moment = start + int((life.now - start) * life.chance.uniform(0.3, 0.99))
        return moment if moment > start + SHORTEST_STAY_DAYS * clock.DAY_S else None

    def _cards(self, start: int, leaves: int | None) -> CardLife | None:
        life = self.life
        if not life.happens(CARD_SHARE):
            return None
        opened = start + life.between(0.01, 3)
        if opened + clock.DAY_S >= life.now:
            return None
        cards = CardLife(self.person, 0, (opened, leaves), self.onboarding.is_verified)
        self._holders(cards.wallet.id, opened)
        cards.live()
        return cards

    def _holders(self, account_id: str, moment: int) -> None:
        """Its owner, and now and then somebody who came before: their row is there already."""
        life, at = self.life, clock.text(moment)
        holders = {life.number: "OWNER"}
        if life.number > 0 and life.happens(0.12):
            holders[life.chance.randrange(life.number)] = "AUTHORIZED_USER"
        for number, role in holders.items():
            life.rows.add(
                "customer.account_holders",
                account_holder_id=life.any_id(),
                account_id=account_id,
                customer_id=made_id(life.world.seed, number, "customer"),
                role=role,
                created_at=at,
                updated_at=at,
            )

    def _credits(self, start: int, leaves: int | None, cards: CardLife | None) -> Lender:
        """Applications now and then; none of somebody who is about to leave."""
        life, lender = self.life, Lender(self.person, self.tell)
        account_id = cards.wallet.id if cards else None
        last = leaves - 300 * clock.DAY_S if leaves else life.now
        moment, part = start + life.between(0.1, 500 * APPLIES_A_YEAR), 0
        while moment < last:
            lender.apply(moment, part, account_id)
            part += 1
            moment += life.between(60, 2 * 365 / APPLIES_A_YEAR)
        if leaves is None and life.happens(STILL_UNDECIDED):
            lender.apply(max(start, life.now - life.between(0.05, 2)), part, account_id)
        return lender

    def _changes(self, start: int, leaves: int | None) -> None:
        """Moves, new addresses for mail, yearly screening, sessions."""
        life, person = self.life, self.person
        end = leaves or life.now
        moment, changed = start + life.between(30, 900), 0
        while moment < end:
            changed += 1
            if life.happens(0.5):
                person.move(moment)
            else:
                person.change_contact(moment, changed)
            moment += life.between(120, 1_400)
        moment = start + 365 * clock.DAY_S
        while moment < end:
            # Some are looked at too late.
            late = life.between(5, 120) if life.happens(0.08) else 0
            if moment + late < end:
                self.onboarding.screener.screen(moment + late)
            moment += 365 * clock.DAY_S
        person.sign_in(end)

    def _leave(self, leaves: int | None, cards: CardLife | None, lender: Lender) -> None:
        """Whoever owes nothing and wants to go has gone; the rest may do all that customers do."""
        gone = leaves if leaves and self._is_settled(leaves, cards, lender) else None
        self.person.permit(self.onboarding.valid_from or self.joined, gone)
        if gone:
            self.person.close(gone + 120)
            self.tell(gone + 300, "CLOSING", "CUSTOMER", self.person.id)
        elif self.life.happens(0.012):
            self.person.suspend(self.life.now - self.life.between(0.1, 30))

    @staticmethod
    def _is_settled(leaves: int, cards: CardLife | None, lender: Lender) -> bool:
        if any(s.is_open_at(leaves) for s in lender.servicers):
            return False
        return cards is None or cards.wallet.closed_at is not None

    def tell(self, moment: int, kind: str, subject: str, subject_id: str) -> None:
        """A notice, with the evidence that it arrived or did not."""
        life = self.life
        if moment >= life.now:
            return
        failed = life.happens(0.015)
        sent, at = moment + life.chance.randint(5, 900), clock.text(moment)
        arrived = sent + life.chance.randint(1, 120)
        is_over = arrived < life.now
        is_delivered = is_over and not failed
        status = "PENDING" if not is_over else "FAILED" if failed else "DELIVERED"
        channel = life.pick(CHANNELS)
        masked = self.person.row["phone_masked" if channel == "SMS" else "email_masked"]
        changed = clock.text(arrived) if is_over else at
        life.rows.add(
            "ops.notifications",
            notification_id=life.any_id(),
            customer_id=self.person.id,
            case_id=self.onboarding.case["case_id"] if subject == "CASE" else None,
            subject_type=subject,
            subject_id=subject_id,
            notification_type=kind,
            channel=channel,
            priority="HIGH" if kind in URGENT else "MEDIUM",
            recipient_masked=masked,
            template=kind.lower(),
            status=status,
            retries=3 if status == "FAILED" else 0,
            sent_at=clock.text(sent) if is_delivered else None,
            delivered_at=changed if is_delivered else None,
            failed_at=changed if status == "FAILED" else None,
            error="mailbox unavailable" if status == "FAILED" else None,
            created_at=at,
            updated_at=changed,
        )
