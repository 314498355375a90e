"""Takes a stored decision again, exactly: from the record alone, compared with it piece by piece.

The card's history is rebuilt from its earlier decisions, and its features are compared with those
that were logged; the verdict follows from the logged facts, that history and the stored version of
the rules; money is judged again from the journal. What differs was changed since, or is a defect.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString

import psycopg
from psycopg.rows import dict_row

from schemas.codes import Reason
from schemas.features import DECISION_SET, DECISION_VERSIONS
from streams.authorization import judgement, policy
from streams.authorization.history import CardHistory
from streams.authorization.judgement import Before
from streams.authorization.policy import Verdict
from streams.authorization.recorded import (
    ATTEMPTS,
    DECISIONS,
    LOOKS_BACK,
    Row,
    approved_minor,
    attempt_of,
    facts_of,
    has_facts,
    hash_of,
    request_of,
)
from streams.authorization.rules import RuleSet
from streams.authorization.ruleset_source import from_file, from_row

EARLIER: LiteralString = """
where a.card_id = %(card_id)s and a.card_version < %(card_version)s
    and a.decided_at >= %(since)s
order by a.card_version
"""
COUNT = """
select count(*) as earlier from card.authorizations a
where a.card_id = %(card_id)s and a.card_version < %(card_version)s
"""
SPAN = """
select a.authorization_id::text as authorization_id from card.authorizations a
where a.decided_at >= %s and a.decided_at < %s and a.card_version is not null
order by a.decided_at, a.card_id, a.card_version
"""
RULES = "select v.document from card.rule_versions v where v.version = %s"
Connection = psycopg.Connection[Any]


class NotReplayable(LookupError):
    """There is no such decision, or it was not taken here."""


@dataclass(frozen=True)
class Check:
    """One thing that was stored beside what it is when rebuilt."""

    part: str
    name: str
    stored: Any
    rebuilt: Any

    @property
    def is_equal(self) -> bool:
        """True when they agree."""
        return bool(self.stored == self.rebuilt)


@dataclass(frozen=True)
class Replay:
    """A decision taken again."""

    authorization_id: str
    idempotency_key: str
    card_id: str
    card_version: int
    decided_at: datetime
    rule_version: str
    checks: tuple[Check, ...]
    # What money was judged against.
    stood: Before
    notes: tuple[str, ...] = ()

    @property
    def differences(self) -> tuple[Check, ...]:
        """What does not agree."""
        return tuple(check for check in self.checks if not check.is_equal)

    @property
    def is_equal(self) -> bool:
        """True when everything agrees."""
        return not self.differences


class Replayer:
    """Replays decisions over one connection; versions of the rules are read once."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._rules: dict[str, RuleSet] = {}

    def replay(self, decision: str) -> Replay:
        """The decision with this id or idempotency key; NotReplayable when there is none."""
        row = self._row(decision)
        if row["card_version"] is None or not has_facts(row):
            how = "was stood in for" if row["is_stand_in"] else "was taken elsewhere"
            raise NotReplayable(
                f"decision {decision} {how}: it logged no facts to take it again on"
            )
        rules = self._rules_of(row["rule_version"])
        earlier, history = self._history(row)
        request = request_of(row)
        verdict = policy.decide(request, facts_of(row, history), rules, row["decided_at"])
        stood = judgement.before(self._connection, row)
        judged = judgement.judge(request, verdict, stood, row)
        checks = (
            Check("request", "hash", row["request_hash"], hash_of(request)),
            Check("history", "decisions of the card before", row["card_version"] - 1, earlier),
            *_features(row["facts"], verdict.features),
            *_verdict(row, verdict),
            *_judgement(row, stood, judged),
            Check(
                "judgement",
                "held in the journal",
                judgement.held_minor(self._connection, row),
                judged.approved_minor,
            ),
        )
        return Replay(
            row["authorization_id"],
            row["idempotency_key"],
            row["card_id"],
            row["card_version"],
            row["decided_at"],
            row["rule_version"],
            checks,
            stood,
            tuple(_notes(row, verdict, stood)),
        )

    def replay_span(self, since: datetime, until: datetime) -> Iterator[Replay]:
        """Every decision taken here from `since` to before `until`, in their order."""
        with (
            self._connection.transaction(),
            self._connection.cursor("replayed", row_factory=dict_row) as cursor,
        ):
            for row in cursor.execute(SPAN, (since, until)):
                try:
                    yield self.replay(row["authorization_id"])
                except NotReplayable:
                    continue

    def _row(self, decision: str) -> Row:
        by_key = "where a.idempotency_key = %s"
        by_id = "where a.authorization_id = %s"
        for where in (by_id, by_key) if _is_id(decision) else (by_key,):
            if rows := self._rows(DECISIONS + where, (decision,)):
                return rows[0]
        raise NotReplayable(f"no decision has the id or idempotency key {decision!r}")

    def _history(self, row: Row) -> tuple[int, CardHistory]:
        """How many decisions the card had had, and its history from those of the last day."""
        place = {**row, "since": row["decided_at"] - LOOKS_BACK}
        attempts = [attempt_of(earlier) for earlier in self._rows(ATTEMPTS + EARLIER, place)]
        (count,) = self._rows(COUNT, place)
        return count["earlier"], CardHistory.of(row["card_version"] - 1, attempts)

    def _rules_of(self, version: str) -> RuleSet:
        if version not in self._rules:
            stored = self._rows(RULES, (version,))
            # A worker that started without Postgres decided by the checkout's.
            rules = from_row(version, stored[0]["document"]) if stored else from_file()
            if rules.version != version:
                raise NotReplayable(f"there is no version {version!r} of the rules any more")
            self._rules[version] = rules
        return self._rules[version]

    def _rows(self, statement: str, arguments: Any) -> list[dict[str, Any]]:
        with self._connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(statement, arguments).fetchall()


def _features(logged: Mapping[str, Any], rebuilt: Mapping[str, Any]) -> Iterator[Check]:
    """Every feature by its name; one that is unknown is not logged."""
    yield Check("feature", "set", logged["feature_set"], DECISION_SET)
    versions = logged["feature_versions"]
    for name, value in rebuilt.items():
        was = logged["features"].get(name)
        if versions.get(name) != DECISION_VERSIONS[name]:
            was = f"{was} (version {versions.get(name)})"
        yield Check("feature", name, was, value)
    for name in logged["features"].keys() - rebuilt.keys():
        yield Check("feature", name, logged["features"][name], None)


def _verdict(row: Row, verdict: Verdict) -> Iterator[Check]:
    hits = row["rule_hits"]
    yield Check("verdict", "moment", row["decided_at"], verdict.moment)
    was = hits[0]["reason"] if hits else str(Reason.APPROVED)
    yield Check("verdict", "reason", was, str(verdict.reason))
    if (risk := row["facts"].get("risk")) is not None:
        yield Check("verdict", "risk score", risk["score"], verdict.risk_score)
    rebuilt = [
        {"rule": hit.rule, "reason": str(hit.reason), "explanation": hit.explanation}
        for hit in verdict.hits
    ]
    for number in range(max(len(hits), len(rebuilt))):
        yield Check("verdict", f"hit {number + 1}", _hit(hits, number), _hit(rebuilt, number))


def _hit(hits: Sequence[Mapping[str, Any]], number: int) -> str | None:
    if number >= len(hits):
        return None
    return "{rule} ({reason}): {explanation}".format(**hits[number])


def _judgement(row: Row, stood: Before, judged: judgement.Judged) -> Iterator[Check]:
    yield Check("judgement", "available", row["available_minor"], stood.available_minor)
    yield Check("judgement", "amount", row["amount_minor"], judged.amount_minor)
    yield Check("judgement", "decision", row["decision"], str(judged.decision))
    yield Check("judgement", "reason", row["reason_code"], str(judged.reason))
    yield Check("judgement", "response code", row["response_code"], judged.response_code)
    yield Check("judgement", "approved", approved_minor(row), judged.approved_minor)


def _notes(row: Row, verdict: Verdict, stood: Before) -> Iterator[str]:
    lsn, source = row["facts"].get("lsn"), row["facts"].get("source")
    yield f"facts were read from {source}{f' at {lsn}' if lsn else ''}"
    if verdict.approved and row["reason_code"] in judgement.STANDING:
        yield "how card and account stood under the lock is taken from the decision itself"
    for spend in stood.spends:
        if spend.has_changed:
            yield f"the limit of the {spend.name} was changed since and is left out"


def _is_id(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True
