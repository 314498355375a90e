"""Reads a mapping's YAML; every mistake is told with its line before any file is opened."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

from oltp.importing import converters, expressions, lined_yaml
from oltp.importing.expressions import Scope
from oltp.importing.lined_yaml import Section
from oltp.importing.mapping import (
    Column,
    Entries,
    Expression,
    Join,
    Loans,
    Mapping_,
    Person,
    Source,
    Step,
    Target,
)
from schemas import codes

NAMESPACE = UUID("0d7c41a6-4d0f-5b43-9f0d-0c3a6b1b8f57")
PERSONAL = ("full_name", "email", "phone", "national_id", "birth_date")
Codes = Mapping[str, Mapping[str | None, str]]
# What of a column's YAML its converter is made from.
Maker = Callable[[Section, Codes, str | None], converters.Convert]


def read(path: Path) -> Mapping_:
    """The mapping of a file; MappingError otherwise."""
    top, text = lined_yaml.load(path)
    name = top.take("mapping", str)
    namespace = top.take("namespace", str, None)
    try:
        space = UUID(namespace) if namespace else uuid5(NAMESPACE, name)
    except ValueError:
        top.fail("is not a UUID", "namespace")
    title = top.take("title", str)
    currency = top.take("currency", str, None)
    if currency is not None and currency not in codes.EXPONENT:
        top.fail(f"{currency} is no known currency ({', '.join(codes.EXPONENT)})", "currency")
    known = _codes(top)
    form = top.section("format", required=False)
    sources = {
        key: _source(key, section, form, known, currency)
        for key, section in top.section("files").sections().items()
    }
    _check_links(top, sources)
    steps = _steps(top, sources, known, space)
    form.done()
    top.done()
    sources = _with_personal(sources, steps)
    return Mapping_(name, title, path.name, space, sources, steps, text)


def _codes(top: Section) -> dict[str, dict[str | None, str]]:
    found: dict[str, dict[str | None, str]] = {}
    for name, section in top.section("codes", required=False).sections().items():
        of = section.take("list", str, None)
        if of is not None and of not in codes.BY_NAME:
            section.fail(f"{of} is no list of codes: {', '.join(codes.BY_NAME)}", "list")
        values = section.section("values")
        allowed = codes.values(of) if of else None
        found[name] = {}
        for key in values.values:
            code = values.take(key, str)
            if allowed is not None and code not in allowed:
                values.fail(f"{code} is no {of}: {', '.join(allowed)}", key)
            found[name][key or None] = code
        section.done()
    return found


def _source(
    name: str, section: Section, common: Section, known: Codes, currency: str | None
) -> Source:
    def form(key: str, kind: type, default: Any) -> Any:
        return section.take(key, kind, common.take(key, kind, default))

    encoding = form("encoding", str, "utf-8")
    try:
        codecs.lookup(encoding)
    except LookupError:
        section.fail(f"{encoding} is no known encoding", "encoding")
    delimiter, quote = form("delimiter", str, ","), form("quote", str, '"')
    if len(delimiter) != 1 or len(quote) > 1:
        section.fail("delimiter and quote are one character each", "delimiter")
    key = section.take("key", (str, list))
    columns = {
        column: _column(spec, known, currency)
        for column, spec in _column_sections(section.section("columns"))
    }
    source = Source(
        name=name,
        pattern=section.take("file", str),
        key=(key,) if isinstance(key, str) else tuple(key),
        columns=columns,
        joins=_joins(section),
        personal=frozenset(n for n, column in columns.items() if column.is_personal),
        has_header=form("header", bool, True),
        delimiter=delimiter,
        encoding=encoding,
        quote=quote,
        nulls=("", *form("nulls", list, [])),
        is_optional=section.take("optional", bool, False),
        ignores_others=section.take("ignore_other_columns", bool, False),
    )
    for part in source.key:
        if part not in columns and part not in expressions.PSEUDO:
            section.fail(f"{part} is not among its columns", "key")
    section.done()
    return source


def _column_sections(columns: Section) -> list[tuple[str, Section]]:
    """`name: type` is short for `name: {type: type}`."""
    found = []
    for name, written in columns.values.items():
        if isinstance(written, str):
            short = lined_yaml.Lined(type=written)
            short.line, short.at = columns.values.at[name], {}
            columns.values[name] = short
        found.append((str(name), columns.section(name)))
    return found


def _column(section: Section, known: Codes, currency: str | None) -> Column:
    kind = section.take("type", str)
    if kind not in MAKERS:
        section.fail(f"{kind} is no type: {', '.join(MAKERS)}", "type")
    convert = MAKERS[kind](section, known, currency)
    is_optional = section.take("optional", bool, False)
    default = section.take("default", (str, int, bool, date), None)
    has_value = kind != "text" and not is_optional and default is None
    column = Column(
        type=kind,
        convert=convert,
        is_required=section.take("required", bool, has_value),
        is_optional=is_optional,
        default=default,
        is_personal=section.take("personal", bool, kind == "birth_number"),
        of=section.take("of", str, None),
    )
    section.done()
    return column


def _joins(section: Section) -> dict[str, Join]:
    found = {}
    for name, join in section.section("joins", required=False).sections().items():
        on = join.take("on", str)
        where = join.section("where", required=False)
        wanted = {c: (where.take(c, (str, int, bool)),) for c in where.values}
        found[name] = Join(join.take("file", str), on, join.take("column", str, on), wanted)
        join.done()
    return found


def _check_links(top: Section, sources: Mapping[str, Source]) -> None:
    files = top.section("files")
    for name, source in sources.items():
        columns = files.section(name).section("columns")
        for column, spec in source.columns.items():
            if spec.of is not None and spec.of not in sources:
                columns.fail(f"{spec.of} is not among the files", column)
            if spec.of is not None and len(sources[spec.of].key) != 1:
                columns.fail(f"{spec.of} has a key of several columns", column)
        joins = files.section(name).section("joins", required=False)
        for label, join in source.joins.items():
            _check_join(joins, source, label, join, sources)


def _check_join(
    joins: Section, source: Source, label: str, join: Join, sources: Mapping[str, Source]
) -> None:
    if join.source not in sources:
        joins.fail(f"{join.source} is not among the files", label)
    for wanted in (join.column, *join.where):
        if wanted not in sources[join.source].columns:
            joins.fail(f"{wanted} is no column of {join.source}", label)
    if join.on not in source.columns:
        joins.fail(f"{join.on} is no column of {source.name}", label)


def _steps(
    top: Section, sources: Mapping[str, Source], known: Codes, space: UUID
) -> tuple[Step, ...]:
    steps: list[Step] = []
    line = top.values.at.get("into", 1)
    for number, written in enumerate(top.take("into", list)):
        section = Section(top.file, f"into[{number}]", written)
        kind = next((name for name in KINDS if name in section.values), None)
        if kind is None:
            section.fail(f"says none of {', '.join(KINDS)}")
        name = section.take("from", str)
        if name not in sources:
            section.fail(f"{name} is not among the files: {', '.join(sources)}", "from")
        steps.append(KINDS[kind](section, Scope(sources[name], sources, known, space)))
        section.done()
    if not steps:
        top.fail(f"nothing is to be made (line {line})", "into")
    return tuple(steps)


def _table(section: Section, scope: Scope) -> Target:
    return Target(
        table=section.take("table", str),
        source=scope.source.name,
        columns=_expressions(scope, section.section("columns")),
        conditions=expressions.conditions(scope, section, "when"),
        exceptions=expressions.conditions(scope, section, "unless"),
        is_distinct=section.take("distinct", bool, False),
        person=_person(section, scope),
        line=section.values.line,
    )


def _expressions(scope: Scope, section: Section) -> dict[str, Expression]:
    return {str(key): expressions.build(scope, section, key) for key in section.values}


def _person(section: Section, scope: Scope) -> Person | None:
    if "person" not in section.values:
        return None
    inside = section.section("person")
    fields = {key: expressions.build(scope, inside, key) for key in inside.values
              if key in PERSONAL}  # fmt: skip
    inside.done()
    columns = section.section("columns")
    return Person(expressions.build(scope, columns, "customer_id"), fields)


def _entries(section: Section, scope: Scope) -> Entries:
    section.take("entries", str)
    columns = _expressions(scope, section.section("columns"))
    for name in ("entry_id", "entry_type", "effective_at"):
        if name not in columns:
            section.fail(f"columns has no {name}", "columns")
    money = {key: expressions.build(scope, section, key)
             for key in ("debit", "credit", "amount", "currency")}  # fmt: skip
    return Entries(
        source=scope.source.name,
        columns=columns,
        **money,
        conditions=expressions.conditions(scope, section, "when"),
        exceptions=expressions.conditions(scope, section, "unless"),
        line=section.values.line,
    )


def _loans(section: Section, scope: Scope) -> Loans:
    section.take("loans", str)
    payments = section.section("payments")
    name = payments.take("file", str)
    if name not in scope.sources:
        payments.fail(f"{name} is not among the files", "file")
    other = replace(scope, source=scope.sources[name])
    where = expressions.conditions(other, payments, "where")

    def column(part: Section, key: str, source: Source) -> str:
        found = str(part.take(key, str))
        if found not in source.columns:
            part.fail(f"{found} is no column of {source.name}", key)
        return found

    loans = Loans(
        source=scope.source.name,
        columns=_expressions(scope, section.section("columns")),
        **{key: column(section, key, scope.source)
           for key in ("principal", "term", "payment", "start")},
        currency=section.take("currency", str),
        finished=section.take("finished", str),
        status=expressions.build(scope, section, "status"),
        payments=name,
        payments_on=column(payments, "on", other.source),
        payments_amount=column(payments, "amount", other.source),
        payments_day=column(payments, "day", other.source),
        payments_where=where,
        namespace=scope.namespace,
        line=section.values.line,
    )  # fmt: skip
    payments.done()
    return loans


def _with_personal(sources: Mapping[str, Source], steps: tuple[Step, ...]) -> dict[str, Source]:
    """What becomes a sealed value is personal where it is read, whether or not that is said."""
    found = dict(sources)
    for step in steps:
        if isinstance(step, Target) and step.person:
            source = found[step.source]
            used = frozenset().union(*(e.columns for e in step.person.fields.values()))
            used &= frozenset(source.columns) - frozenset(source.key)
            found[step.source] = replace(source, personal=source.personal | used)
    return found


def _bounds(section: Section) -> tuple[date | None, date | None]:
    return section.take("from", date, None), section.take("to", date, None)


def _amount(section: Section, known: Codes, currency: str | None) -> converters.Convert:
    column = section.take("currency_column", str, None)
    unit = column or section.take("currency", str, currency)
    if unit is None:
        section.fail("an amount needs currency, or currency_column", "type")
    if column is None and unit not in codes.EXPONENT:
        section.fail(f"{unit} is no known currency", "currency")
    sign = section.take("sign", str, "positive")
    if sign not in ("positive", "nonnegative", "any"):
        section.fail("sign is positive, nonnegative or any", "sign")
    return converters.amount(unit, sign, column is not None)


def _one_of(section: Section, known: Codes, currency: str | None) -> converters.Convert:
    name = section.take("codes", str, None)
    if name is not None and name not in known:
        section.fail(f"{name} is not among the codes", "codes")
    values = [v for v in known[name] if v] if name else section.take("values", list)
    return converters.one_of(tuple(map(str, values)))


KINDS: dict[str, Callable[[Section, Scope], Step]] = {
    "table": _table,
    "entries": _entries,
    "loans": _loans,
}
MAKERS: dict[str, Maker] = {
    "whole": lambda s, k, c: converters.whole(s.take("least", int, 0), s.take("most", int, None)),
    "decimal": lambda s, k, c: converters.decimal(s.take("places", int, None)),
    "amount": _amount,
    "text": lambda s, k, c: converters.text(
        s.take("most", int, 10_000), s.take("strip", bool, True)
    ),
    "one_of": _one_of,
    "date": lambda s, k, c: converters.day(
        s.take("format", str, "%Y-%m-%d"), s.take("century", int, None), _bounds(s)
    ),
    "time": lambda s, k, c: converters.moment(s.take("format", str, None), _bounds(s)),
    "birth_number": lambda s, k, c: converters.birth_number(),
    "flag": lambda s, k, c: converters.flag(
        tuple(s.take("yes", list, ["true"])), tuple(s.take("no", list, ["false"]))
    ),
    "currency": lambda s, k, c: converters.currency(),
    "country": lambda s, k, c: converters.matching("[A-Z]{2}", "a country of two letters"),
    "mcc": lambda s, k, c: converters.matching("[0-9]{4}", "a merchant category of four digits"),
    "uuid": lambda s, k, c: converters.identifier(),
    "card_token": lambda s, k, c: converters.card_token(),
}
