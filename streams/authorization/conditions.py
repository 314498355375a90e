"""Conditions as data, compiled once into functions of the values a request is judged by. Pure.

{all: [..]}, {any: [..]}, {not: ..} join; {feature: name, ">=": 5} compares a number; {field: name,
in: [..]} or {field: name, not_in: [..]} looks a text up; a field that is a number is compared. Of
`amount_minor` a number per currency may be given: {field: amount_minor, ">=": {USD: 100}}. A value
that is unknown, or an amount in a currency without a number, meets no comparison and is in no list.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from schemas.codes import EXPONENT, CardProduct, Channel
from schemas.codes_card import MessageKind, Network
from schemas.features import DECISION_FEATURES, DECISION_VERSIONS, MOST_ATTEMPTS

Values = Mapping[str, Any]
Condition = Callable[[Values], bool]

COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
}
NUMBERS = ("amount_minor", "utilization_percent")
# What a text may be; None: anything.
TEXTS: dict[str, re.Pattern[str] | None] = {
    "merchant_id": None,
    "mcc": re.compile(r"[0-9]{4}"),
    "merchant_country": re.compile(r"[A-Z]{2}"),
    "customer_country": re.compile(r"[A-Z]{2}"),
    "channel": re.compile("|".join(Channel)),
    "network": re.compile("|".join(Network)),
    "currency": re.compile("|".join(EXPONENT)),
    "message_kind": re.compile("|".join(MessageKind)),
    "product": re.compile("|".join(CardProduct)),
    "program_id": re.compile(r"[a-z][a-z0-9_]*"),
    "region": re.compile("home|abroad"),
}
# These stand still at MOST_ATTEMPTS.
COUNTS = frozenset(
    feature.name
    for feature in DECISION_FEATURES
    if feature.unit in {"attempts", "merchants", "countries"}
)
FIELDS = (*NUMBERS, *TEXTS)
JOINS = ("all", "any", "not")
DEEPEST = 8
MCC_RANGE = re.compile(r"([0-9]{4})-([0-9]{4})")


class RuleError(ValueError):
    """Rules that cannot be used: where, what is wrong, and what to do about it."""

    def __init__(self, path: str, wrong: str, remedy: str) -> None:
        super().__init__(f"{path}: {wrong}; {remedy}")
        self.path = path


def mapping(value: Any, path: str, known: tuple[str, ...], needed: tuple[str, ...]) -> Values:
    """The value as a mapping with these keys and no others."""
    if not isinstance(value, Mapping):
        raise RuleError(path, f"{_shown(value)} is no mapping", f"give it {', '.join(known)}")
    for key in value:
        if key not in known:
            raise RuleError(
                path, f"{key!r} means nothing here", f"use {', '.join(known)}, or take it out"
            )
    for key in needed:
        if key not in value:
            raise RuleError(path, f"there is no {key}", f"add {key}")
    return value


def condition(value: Any, path: str, depth: int = 1) -> Condition:
    """The condition as a function; RuleError when it is none."""
    if depth > DEEPEST:
        raise RuleError(path, f"nested deeper than {DEEPEST}", "split it into several rules")
    if not isinstance(value, Mapping) or not value:
        raise RuleError(
            path, f"{_shown(value)} is no condition",
            f"write a mapping with one of {', '.join((*JOINS, 'feature', 'field'))}",
        )  # fmt: skip
    if "feature" in value:
        return _comparison(value, "feature", tuple(DECISION_VERSIONS), path)
    if "field" in value:
        if value["field"] in NUMBERS:
            return _comparison(value, "field", NUMBERS, path)
        return _membership(value, path)
    (join, parts), *more = value.items()
    if join not in JOINS or more:
        raise RuleError(
            path, f"{', '.join(map(str, value))} is no condition",
            f"give it exactly one of {', '.join((*JOINS, 'feature', 'field'))}",
        )  # fmt: skip
    if join == "not":
        inner = condition(parts, f"{path}.not", depth + 1)
        return lambda values: not inner(values)
    if not isinstance(parts, list) or not parts:
        raise RuleError(f"{path}.{join}", f"{_shown(parts)} is no list", "list its conditions")
    found = tuple(condition(part, f"{path}.{join}[{i}]", depth + 1) for i, part in enumerate(parts))
    return _all(found) if join == "all" else _any(found)


def leaves(value: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The comparisons and look-ups in a valid condition, in order."""
    if "feature" in value or "field" in value:
        yield value
        return
    for join, parts in value.items():
        for part in [parts] if join == "not" else parts:
            yield from leaves(part)


def name_of(leaf: Mapping[str, Any]) -> str:
    """The feature or field that a leaf looks at."""
    return str(leaf.get("feature") or leaf.get("field"))


def whole_number(value: Any, path: str, least: int | None = None) -> int:
    """The value as a whole number."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise RuleError(path, f"{_shown(value)} is no whole number", "write one, without quotes")
    number: int = value
    if least is not None and number < least:
        raise RuleError(path, f"{number} is too small", f"give at least {least}")
    return number


def text(value: Any, path: str) -> str:
    """The value as a text."""
    if not isinstance(value, str) or not value.strip():
        raise RuleError(path, f"{_shown(value)} is no text", "write one, in quotes")
    return value


def _comparison(value: Values, kind: str, names: tuple[str, ...], path: str) -> Condition:
    name = value[kind]
    if name not in names:
        raise RuleError(
            f"{path}.{kind}", f"no {kind} is called {name!r}", f"use one of {', '.join(names)}"
        )
    mapping(value, path, (kind, *COMPARISONS), ())
    tests = tuple(
        _test(name, symbol, value[symbol], f"{path}.{symbol}")
        for symbol in COMPARISONS
        if symbol in value
    )
    if not tests:
        raise RuleError(
            path, f"{name} is compared with nothing", f"add one of {', '.join(COMPARISONS)}"
        )
    return tests[0] if len(tests) == 1 else _all(tests)


def _test(name: str, symbol: str, limit: Any, path: str) -> Condition:
    compare = COMPARISONS[symbol]
    if isinstance(limit, Mapping) and name == "amount_minor":
        mapping(limit, path, tuple(EXPONENT), ())
        limits = {one: whole_number(n, f"{path}.{one}") for one, n in limit.items()}
        return lambda values: (
            (most := limits.get(values["currency"])) is not None
            and compare(values["amount_minor"], most)
        )
    number = whole_number(limit, path)
    if name in COUNTS and number > MOST_ATTEMPTS:
        raise RuleError(
            path, f"{name} never passes {MOST_ATTEMPTS}", f"give at most {MOST_ATTEMPTS}"
        )
    return lambda values: (found := values[name]) is not None and compare(found, number)


def _membership(value: Values, path: str) -> Condition:
    name = value["field"]
    if name not in FIELDS:  # a tuple, for a name may be anything
        raise RuleError(
            f"{path}.field", f"no field is called {name!r}", f"use one of {', '.join(FIELDS)}"
        )
    mapping(value, path, ("field", "in", "not_in"), ())
    if ("in" in value) == ("not_in" in value):
        raise RuleError(path, f"{name} needs one list", "give it either in or not_in")
    way = "in" if "in" in value else "not_in"
    items = value[way]
    if not isinstance(items, list):
        raise RuleError(f"{path}.{way}", f"{_shown(items)} is no list", "list its values")
    listed = frozenset(
        one for i, item in enumerate(items) for one in _items(name, item, f"{path}.{way}[{i}]")
    )
    if way == "in":
        return lambda values: values[name] in listed
    return lambda values: (found := values[name]) is not None and found not in listed


def _items(name: str, item: Any, path: str) -> Iterator[str]:
    """What one item of a list stands for: itself, or a range of merchant categories."""
    if not isinstance(item, str):
        raise RuleError(path, f"{_shown(item)} is no text", "write it in quotes")
    if name == "mcc" and (found := MCC_RANGE.fullmatch(item)):
        first, last = int(found[1]), int(found[2])
        if first > last:
            raise RuleError(path, f"{item} ends before it begins", "write the smaller code first")
        yield from (f"{code:04}" for code in range(first, last + 1))
        return
    form = TEXTS[name]
    if form and not form.fullmatch(item):
        raise RuleError(
            path, f"{item!r} is no {name}", f"write what matches {form.pattern.replace('|', ', ')}"
        )
    yield item


def _all(tests: tuple[Condition, ...]) -> Condition:
    if len(tests) == 2:
        first, second = tests
        return lambda values: first(values) and second(values)
    return lambda values: all(test(values) for test in tests)


def _any(tests: tuple[Condition, ...]) -> Condition:
    return lambda values: any(test(values) for test in tests)


def _shown(value: Any) -> str:
    return f"{value!r:.40}"
