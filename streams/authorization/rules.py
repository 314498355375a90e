"""Rules as data: a document becomes a RuleSet of compiled rules, or an error that helps. Pure.

A document has a version, rules, the points of the risk score, and the terms of lines with
collateral; schemas/rules/default.yaml is one. Rules of a stage are taken in the order of their ids,
so where a rule stands in the document means nothing.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Any

from schemas.codes import Reason
from schemas.features import DECISION_VERSIONS
from streams.authorization.conditions import (
    COMPARISONS,
    FIELDS,
    Condition,
    RuleError,
    Values,
    condition,
    leaves,
    mapping,
    name_of,
    text,
    whole_number,
)

__all__ = ["Change", "HealthTerms", "Hit", "RuleError", "RuleSet", "Signal", "Stage", "diff"]

VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,63}")
NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
MOST_RULES = 500
Explain = Callable[[Values], str]
# A rule refuses for one of these; the other reasons belong to the checks that are always there.
REASONS = (
    Reason.MERCHANT_NOT_ALLOWED,
    Reason.MCC_NOT_ALLOWED,
    Reason.COUNTRY_NOT_ALLOWED,
    Reason.VELOCITY_EXCEEDED,
    Reason.IMPOSSIBLE_TRAVEL,
    Reason.RISK_TOO_HIGH,
    Reason.HEALTH_TOO_LOW,
    Reason.SANCTIONED,
)


class Stage(StrEnum):
    """When a rule is taken; the risk score comes after the risk rules, credit before health."""

    LISTS = "lists"
    VELOCITY = "velocity"
    RISK = "risk"
    HEALTH = "health"


STAGES = list(Stage)


@dataclass(frozen=True, slots=True)
class Hit:
    """A rule or check that refuses, and why, in words and numbers."""

    rule: str
    reason: Reason
    explanation: str


@dataclass(frozen=True, slots=True)
class Signal:
    """What added points to the risk score."""

    rule: str
    points: int
    explanation: str


@dataclass(frozen=True)
class HealthTerms:
    """Of which programs the collateral is judged, and how."""

    programs: frozenset[str]
    floor: Decimal
    stale_after_s: int


@dataclass(frozen=True)
class Rule:
    """One compiled rule."""

    id: str
    stage: Stage
    reason: Reason
    when: Condition
    explain: Explain


@dataclass(frozen=True)
class Points:
    """One compiled part of the risk score."""

    id: str
    points: int
    when: Condition
    explain: Explain


@dataclass(frozen=True)
class Change:
    """One difference between two documents; None: not there."""

    path: str
    before: Any
    after: Any

    def __str__(self) -> str:
        if self.before is None:
            return f"+ {self.path}: {self.after}"
        if self.after is None:
            return f"- {self.path}: {self.before}"
        return f"~ {self.path}: {self.before} -> {self.after}"


class RuleSet:
    """One version of the rules, ready to judge."""

    def __init__(
        self,
        document: Mapping[str, Any],
        rules: tuple[Rule, ...],
        points: tuple[Points, ...],
        decline_at: int,
        health: HealthTerms | None,
    ) -> None:
        self.document = document
        self.version: str = document["version"]
        self.health = health
        self.decline_at = decline_at
        self.features_needed = _features_of(document)
        ordered = sorted(rules, key=lambda rule: (STAGES.index(rule.stage), rule.id))
        self._before_credit = tuple(r for r in ordered if r.stage is not Stage.HEALTH)
        self._after_credit = tuple(r for r in ordered if r.stage is Stage.HEALTH)
        self._points = tuple(sorted(points, key=lambda part: part.id))

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> RuleSet:
        """The document's rules; RuleError says where it is wrong and what to do."""
        known = ("version", "description", "rules", "risk", "health")
        mapping(document, "rules document", known, ("version", "rules"))
        version = document["version"]
        if not isinstance(version, str) or not VERSION.fullmatch(version):
            raise RuleError(
                "version", f"{version!r} is no version",
                "write letters, digits, dots and dashes in quotes",
            )  # fmt: skip
        rules = _listed(document["rules"], "rules", _rule)
        risk = document.get("risk", {"decline_at": 1, "points": []})
        mapping(risk, "risk", ("decline_at", "points"), ("decline_at", "points"))
        decline_at = whole_number(risk["decline_at"], "risk.decline_at", least=1)
        points = _listed(risk["points"], "risk.points", _points)
        health = _health(document["health"]) if "health" in document else None
        return cls(document, rules, points, decline_at, health)

    def hits(self, values: Values) -> list[Hit]:
        """Rules of lists, velocity and risk that refuse, in order."""
        return [
            Hit(rule.id, rule.reason, rule.explain(values))
            for rule in self._before_credit
            if rule.when(values)
        ]

    def health_hits(self, values: Values) -> list[Hit]:
        """Rules of the health stage that refuse, in order."""
        return [
            Hit(rule.id, rule.reason, rule.explain(values))
            for rule in self._after_credit
            if rule.when(values)
        ]

    def signals(self, values: Values) -> tuple[Signal, ...]:
        """What adds to the risk score."""
        return tuple(
            Signal(part.id, part.points, part.explain(values))
            for part in self._points
            if part.when(values)
        )

    def __repr__(self) -> str:
        return f"RuleSet({self.version!r})"


def diff(before: RuleSet, after: RuleSet) -> list[Change]:
    """What differs between the documents, apart from the version; rules are matched by id."""
    old, new = (dict(_flat(_by_id(rules.document), "")) for rules in (before, after))
    return [
        Change(path, old.get(path), new.get(path))
        for path in sorted({*old, *new})
        if path != "version" and old.get(path) != new.get(path)
    ]


def _listed(value: Any, path: str, read: Callable[[Any, str], Any]) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise RuleError(path, f"{value!r:.40} is no list", "list what it has, or write []")
    if len(value) > MOST_RULES:
        raise RuleError(path, f"there are {len(value)}", f"keep at most {MOST_RULES}")
    found = tuple(read(one, f"{path}[{i}]") for i, one in enumerate(value))
    seen: set[str] = set()
    for i, one in enumerate(found):
        if one.id in seen:
            raise RuleError(
                f"{path}[{i}].id", f"{one.id!r} is there already", "give each an id of its own"
            )
        seen.add(one.id)
    return found


def _rule(value: Any, path: str) -> Rule:
    keys = ("id", "stage", "reason", "when", "explanation")
    mapping(value, path, keys, keys)
    when = condition(value["when"], f"{path}.when")
    return Rule(
        _id(value["id"], f"{path}.id"),
        Stage(_one_of(value["stage"], STAGES, f"{path}.stage")),
        Reason(_one_of(value["reason"], REASONS, f"{path}.reason")),
        when,
        _explanation(value["explanation"], value["when"], f"{path}.explanation"),
    )


def _points(value: Any, path: str) -> Points:
    keys = ("id", "points", "when", "explanation")
    mapping(value, path, keys, keys)
    when = condition(value["when"], f"{path}.when")
    return Points(
        _id(value["id"], f"{path}.id"),
        whole_number(value["points"], f"{path}.points"),
        when,
        _explanation(value["explanation"], value["when"], f"{path}.explanation"),
    )


def _health(value: Any) -> HealthTerms:
    keys = ("programs", "floor", "stale_after_s")
    mapping(value, "health", keys, keys)
    programs = value["programs"]
    if not isinstance(programs, list):
        raise RuleError("health.programs", f"{programs!r:.40} is no list", "list program ids")
    names = frozenset(text(p, f"health.programs[{i}]") for i, p in enumerate(programs))
    floor = text(value["floor"], "health.floor")
    try:
        number = Decimal(floor)
    except InvalidOperation:
        number = Decimal(0)
    if not number.is_finite() or number < 1:
        raise RuleError(
            "health.floor", f"{floor!r} is no number of at least 1", 'write one like "1.10"'
        )
    stale_after_s = whole_number(value["stale_after_s"], "health.stale_after_s", least=1)
    return HealthTerms(names, number, stale_after_s)


def _id(value: Any, path: str) -> str:
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise RuleError(
            path, f"{value!r:.40} is no id", "write small letters, digits and underscores"
        )
    return value


def _one_of(value: Any, codes: list[Stage] | tuple[Reason, ...], path: str) -> str:
    if value not in codes:
        raise RuleError(
            path, f"{value!r:.40} is not known", f"use one of {', '.join(c.value for c in codes)}"
        )
    return str(value)


def _explanation(value: Any, when: Mapping[str, Any], path: str) -> Explain:
    """A template: {name} is a feature's or field's value, {limit.name} what it is compared with."""
    template = text(value, path)
    limits: dict[str, Any] = {}
    for leaf in leaves(when):
        for symbol in COMPARISONS:
            if symbol in leaf:
                limits.setdefault(f"limit.{name_of(leaf)}", leaf[symbol])
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise RuleError(
            path, f"braces do not match ({error})", "close each, or double it"
        ) from None
    pieces: list[tuple[str, str | None, Any]] = []
    for literal, name, spec, conversion in parts:
        known = {*DECISION_VERSIONS, *FIELDS, *limits}
        if name is not None and (name not in known or spec or conversion):
            raise RuleError(
                path, f"{{{name}}} stands for nothing",
                f"use a feature, a field or {', '.join(sorted(limits)) or 'plain words'}",
            )  # fmt: skip
        pieces.append((literal, name, limits.get(name or "")))
    return lambda values: "".join(_filled(pieces, values))


def _filled(pieces: list[tuple[str, str | None, Any]], values: Values) -> Iterator[str]:
    for literal, name, limit in pieces:
        yield literal
        if name is None:
            continue
        if isinstance(limit, Mapping):
            yield str(limit.get(values["currency"]))
        elif limit is not None:
            yield str(limit)
        else:
            found = values[name]
            yield "unknown" if found is None else str(found)


def _features_of(document: Mapping[str, Any]) -> frozenset[str]:
    parts = [*document["rules"], *document.get("risk", {}).get("points", ())]
    return frozenset(
        leaf["feature"] for part in parts for leaf in leaves(part["when"]) if "feature" in leaf
    )


def _by_id(value: Any) -> Any:
    """Lists of things with an id as mappings, so that only what they say is compared."""
    if isinstance(value, Mapping):
        return {key: _by_id(one) for key, one in value.items()}
    if (
        isinstance(value, list)
        and value
        and all(isinstance(v, Mapping) and "id" in v for v in value)
    ):
        return {v["id"]: _by_id({k: x for k, x in v.items() if k != "id"}) for v in value}
    return value


def _flat(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, one in value.items():
            yield from _flat(one, f"{path}.{key}" if path else str(key))
    else:
        yield path, value
