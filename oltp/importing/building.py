"""Makes rows of our tables from the rows that were read, each knowing where it came from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import Any
from uuid import UUID

from oltp import privacy
from oltp.importing import loans
from oltp.importing.catalog import CREDITS, ENTRIES, PAYMENTS, TableFact
from oltp.importing.linking import key_of, reject
from oltp.importing.mapping import Entries, Loans, Mapping_, Row, Source, Target, World, holds
from oltp.importing.rejection import Rejection

# The row of a source that a row of ours came from.
Origin = tuple[str, Row]
Values = dict[str, Any]


@dataclass
class Batch:
    """Rows of one table that one step makes, with their origins; entries bring their postings."""

    table: str
    rows: list[Values] = field(default_factory=list)
    origins: list[Origin] = field(default_factory=list)
    postings: dict[UUID, tuple[UUID, UUID, int, str]] = field(default_factory=dict)
    keys: list[Values] = field(default_factory=list)
    is_one_a_row: bool = True

    def add(self, values: Values, origin: Origin) -> None:
        """One more row, and where it came from."""
        self.rows.append(values)
        self.origins.append(origin)


class Builder:
    """Makes the batches of a mapping; what cannot be made is rejected with its row."""

    def __init__(
        self,
        mapping: Mapping_,
        facts: dict[str, TableFact],
        vault: Callable[[], privacy.Vault],
    ) -> None:
        self.mapping, self.facts, self._vault = mapping, facts, vault

    def build(
        self, rows: dict[str, list[Row]], world: World, rejections: list[Rejection]
    ) -> list[Batch]:
        """All batches, parents first."""
        found: list[Batch] = []
        for step in self.mapping.steps:
            source = self.mapping.sources[step.source]
            if isinstance(step, Target):
                found.append(self._table(step, source, rows[step.source], world, rejections))
            elif isinstance(step, Entries):
                found.append(self._entries(step, source, rows[step.source], world, rejections))
            else:
                found += self._loans(step, source, rows, world, rejections)
        return found

    def _table(self, step: Target, source: Source, rows: list[Row], world: World,
               rejections: list[Rejection]) -> Batch:  # fmt: skip
        fact, batch = self.facts[step.table], Batch(step.table)
        batch.is_one_a_row = not (step.is_distinct or step.conditions or step.exceptions)
        made_before: set[Any] = set()
        for row in _wanted(step, rows):
            values = self._values(step, source, fact, row, world, rejections)
            if values is None:
                continue
            if step.is_distinct:
                key = tuple(values[column] for column in fact.primary)
                if key in made_before:
                    continue
                made_before.add(key)
            if step.person:
                try:
                    values |= self._sealed(step, batch, row, world)
                except ValueError as error:
                    rejections.append(
                        reject(source, row, "-", "person", str(error), False, step.table)
                    )
                    continue
            batch.add(values, (step.source, row))
        return batch

    def _values(self, step: Target | Entries, source: Source, fact: TableFact, row: Row,
                world: World, rejections: list[Rejection]) -> Values | None:  # fmt: skip
        values: Values = {}
        for name, made in step.columns.items():
            value = made.evaluate(row, world)
            values[name] = value
            problem = fact.fault(name, value)
            if problem is not None:
                column = next(iter(sorted(made.columns)), "-")
                shows = value is not None
                reason = f"{problem} as {fact.name}.{name}"
                rejections.append(reject(source, row, column, "type", reason, shows, fact.name))
                return None
        return values

    def _sealed(self, step: Target, batch: Batch, row: Row, world: World) -> Values:
        assert step.person is not None  # noqa: S101
        vault = self._vault()
        customer_id = step.person.customer_id.evaluate(row, world)
        key = vault.derived_data_key(f"import:{self.mapping.namespace}:{customer_id}")
        subject = vault.new_subject(customer_id, key)
        plain = {name: made.evaluate(row, world) for name, made in step.person.fields.items()}
        batch.keys.append(subject.key_row())
        return privacy.sealed_person(vault, subject, **plain)

    def _entries(self, step: Entries, source: Source, rows: list[Row], world: World,
                 rejections: list[Rejection]) -> Batch:  # fmt: skip
        fact, batch = self.facts[ENTRIES], Batch(ENTRIES)
        batch.is_one_a_row = not (step.conditions or step.exceptions)
        for row in _wanted(step, rows):
            values = self._values(step, source, fact, row, world, rejections)
            if values is None:
                continue
            money = [part.evaluate(row, world)
                     for part in (step.debit, step.credit, step.amount, step.currency)]  # fmt: skip
            amount = money[2]
            if amount == 0:
                continue
            if amount is None or amount < 0:
                column = next(iter(sorted(step.amount.columns)), "-")
                reason = "is no amount to post: debit and credit say which way it goes"
                rejections.append(reject(source, row, column, "amount", reason, True, ENTRIES))
                continue
            batch.postings[values["entry_id"]] = (money[0], money[1], amount, money[3])
            batch.add(values, (step.source, row))
        return batch

    def _loans(self, step: Loans, source: Source, rows: dict[str, list[Row]], world: World,
               rejections: list[Rejection]) -> Iterator[Batch]:  # fmt: skip
        credits, payments, entries = Batch(CREDITS), Batch(PAYMENTS), Batch(ENTRIES)
        payments.is_one_a_row = entries.is_one_a_row = False
        paying = self.mapping.sources[step.payments]
        seen: date | None = max((r[step.payments_day] for r in rows[step.payments]), default=None)
        by_account = loans.payments_seen(step, rows[step.payments])
        for row in rows[step.source]:
            if (problem := loans.fault(step, row)) is not None:
                rejections.append(reject(source, row, problem[0], "loan", problem[1]))
                continue
            paid = by_account.get(row[step.payments_on], [])
            for payment in paid:
                payment["_key"] = key_of(paying, payment)
            credit, instalments, moves = loans.build(step, row, world, paid, seen)
            origin = (step.source, row)
            credits.add(credit, origin)
            for instalment in instalments:
                payments.add(instalment, origin)
            for head, debit, credited, amount, currency in moves:
                entries.postings[head["entry_id"]] = (debit, credited, amount, currency)
                entries.add(head, origin)
        yield from (credits, payments, entries)


def _wanted(step: Target | Entries, rows: list[Row]) -> Iterator[Row]:
    for row in rows:
        if holds(step.conditions, row) and not (step.exceptions and holds(step.exceptions, row)):
            yield row
