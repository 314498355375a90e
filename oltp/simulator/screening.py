"""Searches of lists for a customer and its owners; similar names that somebody reviews. Pure."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from hashlib import sha256

from oltp.simulator import clock, people
from oltp.simulator.people import Person

STAFF = ("m.aalto", "j.osei", "r.lindqvist", "c.duarte")
LIST = "sanctions (made up)"
WATCHED = 0.05


class Screener:
    """Screens one customer; a few of them have names that lists have as well."""

    def __init__(self, person: Person) -> None:
        self.person = person
        self.is_watched = person.life.happens(WATCHED)

    def screen(self, moment: int, case_id: str | None = None, owner: str | None = None) -> None:
        """One search of each kind of list; a similar name is a match that somebody reviews."""
        life, chance = self.person.life, self.person.life.chance
        for kind in ("SANCTIONS", "PEP", "ADVERSE_MEDIA"):
            id_, at = life.any_id(), clock.text(moment)
            is_match = chance.random() < (0.35 if self.is_watched else 0.02)
            confirmed = is_match and kind != "SANCTIONS" and chance.random() < 0.2
            next_day = clock.day_of(moment) + timedelta(days=180 if self.is_watched else 365)
            version = clock.day_of(moment).replace(day=1).isoformat()
            life.rows.add(
                "kyc.aml_checks",
                aml_check_id=id_,
                customer_id=self.person.id,
                case_id=case_id,
                beneficial_owner_id=owner,
                check_type=kind,
                status="CONFIRMED_MATCH" if confirmed else "CLEAR",
                provider="screening",
                risk_level="HIGH" if confirmed else "MEDIUM" if is_match else "LOW",
                list_name=LIST,
                list_version=version,
                list_sha256=sha256(f"{LIST} {version}".encode()).hexdigest(),
                algorithm_version="jw-1",
                checked_at=at,
                next_check_date=next_day,
                created_at=at,
                updated_at=at,
            )
            if is_match:
                self._match(id_, kind, moment, confirmed)

    def _match(self, check: str, kind: str, moment: int, confirmed: bool) -> None:
        life = self.person.life
        reviewed = life.office_hour(moment + life.between(0.1, 12))
        is_open = reviewed >= life.now
        status = "OPEN" if is_open else "TRUE_POSITIVE" if confirmed else "FALSE_POSITIVE"
        by = life.chance.choice(STAFF)
        life.rows.add(
            "kyc.aml_matches",
            aml_match_id=life.any_id(),
            aml_check_id=check,
            entry_ref=f"X-{life.chance.randint(1, 9_999)}",
            matched_name=f"{life.chance.choice(people.GIVEN)} {self.person.family}".upper(),
            score=Decimal(life.chance.randint(8_500, 9_900)) / 100,
            status=status,
            reviewed_by=None if is_open else by,
            reviewed_at=None if is_open else clock.text(reviewed),
            reason=None if is_open else "same person" if confirmed else "other birth date",
            created_at=clock.text(moment),
            updated_at=clock.text(moment if is_open else reviewed),
        )
        alert = life.any_id()
        name = {"SANCTIONS": "SANCTIONS_MATCH", "PEP": "PEP_MATCH"}.get(kind, kind)
        life.rows.add(
            "kyc.alerts",
            alert_id=alert,
            customer_id=self.person.id,
            alert_type=name,
            severity="HIGH" if kind == "SANCTIONS" else "MEDIUM",
            status="OPEN" if is_open else "CLOSED",
            rule_version="screening-1",
            disposition=None if is_open else status,
            raised_at=clock.text(moment),
            assigned_to=by,
            closed_at=None if is_open else clock.text(reviewed),
            created_at=clock.text(moment),
            updated_at=clock.text(moment if is_open else reviewed),
        )
        life.rows.add(
            "kyc.alert_evidence",
            alert_evidence_id=life.any_id(),
            alert_id=alert,
            source_table="kyc.aml_checks",
            source_id=check,
            created_at=clock.text(moment),
        )
