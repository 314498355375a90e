"""The small vocabulary that says what a column of ours is made of. Nothing else is ever evaluated.

`name` is a column of the row, `name.other` a column of the row it refers to (or joins);
`{value: x}` a constant, `{id: kind, of: column}` a UUID derived from a key, `{text: "a:{name}"}`
text with columns in it, `{code: map, of: column}` a code, `{first: [..]}` the first that is not
null, `{if: {column: value}, then: .., else: ..}` a choice, `{months_after: column, months: n}` a
day, `{sha256: [columns]}` a digest, `{house: kind, currency: ..}` an account of the house,
`{minus: column}` a number with its sign turned, `{folded: column}` a name as it is compared.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache, partial
from typing import Any
from uuid import UUID, uuid5

from oltp import posting, schedule
from oltp.importing.errors import MappingError
from oltp.importing.lined_yaml import Lined, Section
from oltp.importing.mapping import Evaluate, Expression, Row, Source, World, holds

PSEUDO = ("_line", "_file", "_sha256", "_nth")
HOUSE = ("SETTLEMENT", "CASH", "DEPOSITORS", "INTEREST_INCOME", "FEE_INCOME", "CREDIT_LOSS",
         "RECOVERY_INCOME", "DISPUTES", "SUSPENSE", "OPENING")  # fmt: skip
PLACE = re.compile(r"\{([A-Za-z0-9_.]+)\}")


@dataclass(frozen=True)
class Scope:
    """What an expression may name."""

    source: Source
    sources: Mapping[str, Source]
    codes: Mapping[str, Mapping[str | None, str]]
    namespace: UUID


def build(scope: Scope, parent: Section, key: str) -> Expression:
    """The expression under a key; MappingError with its line when it is none."""
    written = parent.take(key, (str, Lined))
    try:
        return _build(scope, parent, key, written)
    except LookupError as error:
        parent.fail(str(error.args[0]), key)


def conditions(scope: Scope, parent: Section, key: str) -> dict[str, tuple[Any, ...]]:
    """Columns and the values of which each must have one."""
    section = parent.section(key, required=False)
    return {column: _allowed(scope, section, column) for column in section.values}


def _allowed(scope: Scope, section: Section, column: str) -> tuple[Any, ...]:
    value = section.take(column, (str, int, bool, list, type(None)))
    if column not in scope.source.columns:
        section.fail(_unknown(scope, column), column)
    return tuple(value) if isinstance(value, list) else (value,)


def _build(scope: Scope, parent: Section, key: str, written: Any) -> Expression:
    line = parent.values.at.get(key, parent.values.line)
    if isinstance(written, str):
        evaluate, columns = _path(scope, written)
        return Expression(evaluate, columns, line)
    section = Section(parent.file, f"{parent.path}.{key}", written)
    kind = next((name for name in FORMS if name in written), None)
    if kind is None:
        section.fail(f"says none of {', '.join(FORMS)}")
    made = FORMS[kind](scope, section, line)
    section.done()
    return made


def _path(scope: Scope, path: str) -> tuple[Evaluate, frozenset[str]]:
    name, dot, rest = path.partition(".")
    source = scope.source
    if not dot:
        if name not in source.columns and name not in PSEUDO:
            raise LookupError(_unknown(scope, name))
        return (lambda row, world: row[name]), frozenset({name})
    if name in source.joins:
        join = source.joins[name]
        other, on, where = join.source, join.on, (source.name, name)
        get: Evaluate = lambda row, world: world.joined[where][row[on]]  # noqa: E731
    elif name in source.columns and source.columns[name].of:
        other, on = str(source.columns[name].of), name
        get = lambda row, world: world.by_key[other][row[on]]  # noqa: E731
    else:
        raise LookupError(f"{name} of {source.name} refers to no other source")
    inner, _ = _path(Scope(scope.sources[other], scope.sources, scope.codes, scope.namespace), rest)
    return (lambda row, world: inner(get(row, world), world)), frozenset({on})


def _unknown(scope: Scope, name: str) -> str:
    known = ", ".join(scope.source.columns)
    return f"{name} is no column of {scope.source.name}, which has {known}"


def _value(scope: Scope, section: Section, line: int) -> Expression:
    value = section.take("value", (str, int, bool, float, date, Lined, list, type(None)))
    if isinstance(value, float):
        section.fail("a number with decimals is written in quotes", "value")
    return Expression(lambda row, world: value, frozenset(), line, (value,))


def _several(scope: Scope, section: Section, key: str) -> tuple[list[Evaluate], frozenset[str]]:
    written = section.take(key, (str, list))
    paths = [_path(scope, path) for path in ([written] if isinstance(written, str) else written)]
    return [path[0] for path in paths], frozenset().union(*(path[1] for path in paths))


def _id(scope: Scope, section: Section, line: int) -> Expression:
    kind = section.take("id", str)
    parts, columns = _several(scope, section, "of")
    derive = lru_cache(maxsize=50_000)(partial(uuid5, scope.namespace))

    def evaluate(row: Row, world: World) -> UUID | None:
        values = [part(row, world) for part in parts]
        if values == [None]:
            return None
        return derive(f"{kind}:{':'.join(map(_spelled, values))}")

    return Expression(evaluate, columns, line)


def _spelled(value: Any) -> str:
    """One spelling of a value wherever it is part of a key."""
    return value.isoformat() if isinstance(value, date | datetime) else str(value)


def _text(scope: Scope, section: Section, line: int) -> Expression:
    written = section.take("text", str)
    paths = {name: _path(scope, name) for name in PLACE.findall(written)}
    if "{" in PLACE.sub("", written) or "}" in PLACE.sub("", written):
        section.fail("a brace is not around a column's name", "text")

    def evaluate(row: Row, world: World) -> str:
        return PLACE.sub(lambda found: _spelled(paths[found[1]][0](row, world)), written)

    return Expression(evaluate, frozenset().union(*(p[1] for p in paths.values())), line)


def _code(scope: Scope, section: Section, line: int) -> Expression:
    name, (parts, columns) = section.take("code", str), _several(scope, section, "of")
    if name not in scope.codes:
        section.fail(f"{name} is not among the codes: {', '.join(scope.codes) or 'none'}", "code")
    known, of = scope.codes[name], parts[0]

    def evaluate(row: Row, world: World) -> str | None:
        return known.get(of(row, world))

    return Expression(evaluate, columns, line, tuple(known.values()))


def _first(scope: Scope, section: Section, line: int) -> Expression:
    written = section.take("first", list)
    holder = Lined({str(n): item for n, item in enumerate(written)})
    holder.line, holder.at = line, {}
    inside = Section(section.file, section.path, holder)
    tried = [build(scope, inside, str(n)) for n in range(len(written))]

    def evaluate(row: Row, world: World) -> Any:
        values = (each.evaluate(row, world) for each in tried)
        return next((value for value in values if value is not None), None)

    return Expression(evaluate, _union(tried), line, _all_values(tried))


def _if(scope: Scope, section: Section, line: int) -> Expression:
    wanted = conditions(scope, section, "if")
    then, otherwise = build(scope, section, "then"), build(scope, section, "else")

    def evaluate(row: Row, world: World) -> Any:
        return (then if holds(wanted, row) else otherwise).evaluate(row, world)

    both = [then, otherwise]
    return Expression(evaluate, _union(both) | frozenset(wanted), line, _all_values(both))


def _months_after(scope: Scope, section: Section, line: int) -> Expression:
    (start,), columns = _several(scope, section, "months_after")
    months = section.take("months", int)

    def evaluate(row: Row, world: World) -> date:
        day = start(row, world)
        return schedule.months_after(day.date() if isinstance(day, datetime) else day, months)

    return Expression(evaluate, columns, line)


def _sha256(scope: Scope, section: Section, line: int) -> Expression:
    parts, columns = _several(scope, section, "sha256")

    def evaluate(row: Row, world: World) -> str:
        text = "\0".join(_spelled(part(row, world)) for part in parts)
        return hashlib.sha256(text.encode()).hexdigest()

    return Expression(evaluate, columns, line)


def _house(scope: Scope, section: Section, line: int) -> Expression:
    currency = build(scope, section, "currency")
    written = section.take("house", (str, Lined))
    if isinstance(written, str):
        kind = Expression(lambda row, world: written, frozenset(), line, (written,))
    else:
        kind = build(scope, section, "house")
    for name in kind.values if kind.values is not None else ("a column",):
        if name not in HOUSE:
            section.fail(f"{name} is no account of the house: {', '.join(HOUSE)}", "house")

    house = lru_cache(posting.house)

    def evaluate(row: Row, world: World) -> UUID:
        return house(kind.evaluate(row, world), currency.evaluate(row, world))

    return Expression(evaluate, currency.columns | kind.columns, line)


def _folded(scope: Scope, section: Section, line: int) -> Expression:
    (of,), columns = _several(scope, section, "folded")
    return Expression(lambda row, world: folded(of(row, world)), columns, line)


def folded(name: str | None) -> str | None:
    """A name as it is compared: small letters and digits, no accents, one space between words."""
    if name is None:
        return None
    apart = unicodedata.normalize("NFKD", name.casefold())
    plain = "".join(letter for letter in apart if not unicodedata.combining(letter))
    return " ".join(re.sub(r"[^\w]|_", " ", plain).split())


def _minus(scope: Scope, section: Section, line: int) -> Expression:
    (of,), columns = _several(scope, section, "minus")
    return Expression(lambda row, world: -of(row, world), columns, line)


def _union(parts: list[Expression]) -> frozenset[str]:
    return frozenset().union(*(part.columns for part in parts))


def _all_values(parts: list[Expression]) -> tuple[Any, ...] | None:
    known = [part.values for part in parts if part.values is not None]
    return tuple(v for values in known for v in values) if len(known) == len(parts) else None


FORMS: dict[str, Callable[[Scope, Section, int], Expression]] = {
    "value": _value,
    "id": _id,
    "text": _text,
    "code": _code,
    "first": _first,
    "if": _if,
    "months_after": _months_after,
    "sha256": _sha256,
    "house": _house,
    "minus": _minus,
    "folded": _folded,
}

__all__ = ["MappingError", "Scope", "build", "conditions"]
