"""An application rebuilt from its events, pure: the same set of events gives the same application.

Duplicates count once and arrival does not matter: events are ordered by their place in the log. An
event that does not follow from those before it is applied all the same, as it was in the system of
record, and remarked on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from schemas.codes import ApplicationStatus

# What may follow: anything else is remarked on. An application that was there before its events
# begins with whatever came first.
FOLLOWS: Mapping[str, frozenset[str | None]] = {
    ApplicationStatus.SUBMITTED: frozenset({None}),
    ApplicationStatus.APPROVED: frozenset({None, ApplicationStatus.SUBMITTED}),
    ApplicationStatus.DECLINED: frozenset({None, ApplicationStatus.SUBMITTED}),
    ApplicationStatus.WITHDRAWN: frozenset(
        {None, ApplicationStatus.SUBMITTED, ApplicationStatus.APPROVED}
    ),
}


@dataclass(frozen=True)
class Event:
    """One event as the fold needs it. `at_us` is microseconds since 1970, `lsn` 0 when unknown."""

    event_id: str
    name: str
    subject_id: str
    lsn: int
    at_us: int
    payload: Mapping[str, Any]


@dataclass(frozen=True)
class Step:
    """What an event made of the application: its place, the status after it, what was odd."""

    event_id: str
    position: int
    status: str | None
    remark: str | None


@dataclass
class Application:
    """An application as its events tell it; None is what no event has told."""

    customer_id: str | None = None
    requested_amount_minor: int | None = None
    currency: str | None = None
    term_months: int | None = None
    purpose: str | None = None
    status: str | None = None
    submitted_at_us: int | None = None
    decided_at_us: int | None = None
    withdrawn_at_us: int | None = None
    decision_reasons: list[str] = field(default_factory=list)
    rule_version: str | None = None
    quotes: int = 0
    offers: dict[str, str] = field(default_factory=dict)
    accepted_offer_id: str | None = None
    financed_amount_minor: int | None = None
    credit_id: str | None = None
    credit_state: str | None = None
    steps: list[Step] = field(default_factory=list)
    first_at_us: int | None = None
    last_at_us: int | None = None

    @property
    def is_complete(self) -> bool:
        """Its submission is among the events; without it they began later than the application."""
        return self.submitted_at_us is not None

    @property
    def remarks(self) -> list[str]:
        """What was odd, in order."""
        return [step.remark for step in self.steps if step.remark]

    def offers_in(self, state: str) -> int:
        """How many offers are in a state."""
        return sum(each == state for each in self.offers.values())


def fold(events: Iterable[Event]) -> Application:
    """The application after all its events, whatever their arrival."""
    made = Application()
    for position, event in enumerate(ordered(events), 1):
        remark = _apply(made, event)
        made.steps.append(Step(event.event_id, position, made.status, remark))
        if made.first_at_us is None:
            made.first_at_us = event.at_us
        made.last_at_us = event.at_us
    return made


def ordered(events: Iterable[Event]) -> list[Event]:
    """Each event once, by its place in the log; those without one come first, by their time."""
    once = {event.event_id: event for event in events}
    return sorted(once.values(), key=lambda e: (e.lsn, e.at_us, e.event_id))


def _apply(made: Application, event: Event) -> str | None:
    """Change the application; what is odd about that."""
    subject, what = event.name.split(".")[1:]
    told = event.payload
    if subject == "application":
        return _application(made, event, what)
    if subject == "offer":
        return _offer(made, event.subject_id, what, told)
    if subject == "credit":
        return _credit(made, event.subject_id, what, told)
    made.quotes += 1  # a provider was asked
    return None


def _application(made: Application, event: Event, what: str) -> str | None:
    told, before = event.payload, made.status
    made.customer_id = told["customer_id"]
    if what == "submitted":
        made.status = ApplicationStatus.SUBMITTED.value
        made.submitted_at_us = event.at_us
        made.requested_amount_minor = told["requested_amount_minor"]
        made.currency, made.term_months = told["currency"], told["term_months"]
        made.purpose = told["purpose"]
    elif what == "decided":
        made.status = told["decision"]
        made.decided_at_us = event.at_us
        made.decision_reasons, made.rule_version = list(told["reasons"]), told["rule_version"]
    else:
        made.status = ApplicationStatus.WITHDRAWN.value
        made.withdrawn_at_us = event.at_us
    if before in FOLLOWS.get(str(made.status), ()):
        return None
    return f"{what} after {before}"


def _offer(made: Application, offer: str, what: str, told: Mapping[str, Any]) -> str | None:
    before = made.offers.get(offer)
    made.offers[offer] = what.upper()
    if what != "accepted":
        ended = before in ("ACCEPTED", "DECLINED", "EXPIRED")
        return f"offer {what} after {before}" if ended or before == what.upper() else None
    first, made.accepted_offer_id = made.accepted_offer_id, offer
    made.financed_amount_minor = told["amount_minor"]
    if first is not None:
        return f"a second offer accepted, after {first}"
    return f"offer accepted after {before}" if before not in (None, "PRESENTED") else None


def _credit(made: Application, credit: str, what: str, told: Mapping[str, Any]) -> str | None:
    made.credit_id, made.credit_state = credit, what.upper()
    if what == "disbursed" and made.accepted_offer_id != told["offer_id"]:
        return "paid out without its offer accepted"
    return None
