"""The source's own account of a window: every change committed between two cuts, read from the log.

Input: the witness slot, peeked and never moved. Output: changes in commit order, or their sums per
table and key bucket. On replay: the same changes, until the window is agreed and its log let go.
Memory: one change at a time; the server keeps what it has decoded in a file of its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import psycopg

from pipelines.certificate import canonical, drilling, pgoutput
from pipelines.certificate.carried_types import is_carried
from pipelines.certificate.pgoutput import Begin, Commit, Delete, Fields, Insert, Relation, Update
from pipelines.certificate.source_state import SESSION
from pipelines.certificate.sums import Sum
from pipelines.visibility import Cut, visible
from schemas import contract as contracts
from schemas.contract import Contract

ROWS = frozenset({"c", "u", "d"})
MESSAGES_A_FETCH = 2_000
PEEK = (
    "select lsn - '0/0', data from pg_logical_slot_peek_binary_changes("
    "%(slot)s, ('0/0'::pg_lsn + %(upto)s::numeric), null,"
    " 'proto_version', %(protocol)s, 'publication_names', %(publication)s)"
)


class WitnessLost(RuntimeError):
    """The log that a window needs is gone; the message says why and what follows."""


class WitnessBusy(RuntimeError):
    """Somebody else reads the slot now; the message says who."""


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one key, `t` of a whole table. (entity, key, lsn, op) names it at every hop.

    `commit_lsn` is where its transaction's commit record is; `commit_before` the end of the last
    commit before that, which capture sends as its order; None for the first that is read.
    """

    entity: str
    op: str
    lsn: int
    xid: int
    commit_lsn: int
    commit_before: int | None
    key_text: str
    text: str

    @property
    def digest(self) -> int:
        """Of the whole text."""
        return canonical.digest(self.text)

    @property
    def bucket(self) -> int:
        """The bucket of its key."""
        return canonical.bucket(self.key_text)


@dataclass(frozen=True)
class Source:
    """Where the log is read: database, slot, publication."""

    dsn: str
    slot: str
    publication: str


class Window:
    """What is visible in `upto` and was not in `since`. Each reading decodes the log again."""

    def __init__(
        self, source: Source, since: Cut, upto: Cut, captured: tuple[Contract, ...] | None = None
    ) -> None:
        self.since, self.upto = since, upto
        self._source = source
        self._by_table = {c.source: c for c in captured or contracts.load_all()}
        self._resume: int | None = None

    @property
    def resume_lsn(self) -> int:
        """From here on the log is still needed; known when the window has been read to its end."""
        if self._resume is None:
            raise RuntimeError("the window has not been read to its end")
        return self._resume

    def changes(self) -> Iterator[Change]:
        """Every change, in commit order."""
        reading = _Reading(self.since, self.upto, self._by_table)
        parameters = {
            "slot": self._source.slot,
            "upto": self.upto.lsn,
            "protocol": pgoutput.PROTOCOL,
            "publication": self._source.publication,
        }
        try:
            with psycopg.connect(self._source.dsn, options=SESSION) as connection:
                with connection.cursor(name="witness", binary=True) as cursor:
                    cursor.itersize = MESSAGES_A_FETCH
                    cursor.execute(PEEK, parameters)
                    for lsn, data in cursor:
                        yield from reading.read(int(lsn), data)
                connection.rollback()
        except psycopg.errors.ObjectInUse as error:
            raise WitnessBusy(f"{error}: run again when it is done") from error
        except (
            psycopg.errors.ObjectNotInPrerequisiteState,
            psycopg.errors.UndefinedObject,
        ) as error:
            raise WitnessLost(f"{error}: a new witness starts with the next tick") from error
        self._resume = reading.resume_lsn

    def sums(self) -> dict[str, dict[int, Sum]]:
        """Count and digest of the changes of rows, per entity and key bucket."""
        counts: dict[str, dict[int, list[int]]] = defaultdict(lambda: defaultdict(lambda: [0, 0]))
        for change in self.changes():
            if change.op in ROWS:
                cell = counts[change.entity][change.bucket]
                cell[0] += 1
                cell[1] += change.digest
        return {
            entity: {bucket: Sum(*cell) for bucket, cell in buckets.items()}
            for entity, buckets in counts.items()
        }


@dataclass(frozen=True)
class OfTable:
    """One table's part of a window, read from the log again when something differs."""

    window: Window | None
    entity: str
    # What is visible in it was certified before.
    since: Cut

    def sums(self) -> dict[int, Sum]:
        """Count and digest per key bucket, of canonical.WINDOW_BUCKETS."""
        found: dict[int, Sum] = defaultdict(Sum)
        for change in self._every():
            found[self._bucket(change)] += Sum(1, change.digest)
        return dict(found)

    def changes(self, buckets: Collection[int] | None = None) -> list[drilling.Change]:
        """Every change, or those of some buckets."""
        return [
            drilling.Change(c.key_text, c.lsn, c.op, c.digest)
            for c in self._every()
            if buckets is None or self._bucket(c) in buckets
        ]

    def _bucket(self, change: Change) -> int:
        return canonical.bucket(change.key_text, canonical.WINDOW_BUCKETS)

    def _every(self) -> Iterator[Change]:
        for change in self.window.changes() if self.window else ():
            is_of_table = change.entity == self.entity and change.op in ROWS
            if is_of_table and not visible(change.xid, None, None, self.since):
                yield change


@dataclass(frozen=True)
class _Table:
    """A relation and its contract: where each column lies, and whether its type can be carried."""

    contract: Contract
    places: Mapping[str, tuple[int, bool]]

    def values(self, fields: Fields) -> canonical.Values:
        return {
            name: fields[place] if fits or fields[place] is None else canonical.UNFIT
            for name, (place, fits) in self.places.items()
        }

    def key_of(self, values: canonical.Values) -> str:
        return canonical.key_text(self.contract, values)


class _Reading:
    """One pass over the log: transactions in, changes of the window out."""

    def __init__(self, since: Cut, upto: Cut, by_table: Mapping[str, Contract]) -> None:
        self._since, self._upto, self._by_table = since, upto, by_table
        self._parser = pgoutput.Parser()
        # By object id; None for a table without a contract.
        self._tables: dict[int, _Table | None] = {}
        self._wanted = False
        self._xid, self._commit_lsn = 0, 0
        self._commit_before: int | None = None
        self.resume_lsn = upto.lsn

    def read(self, lsn: int, data: bytes) -> Iterator[Change]:
        if not self._wanted and data[:1] in (b"I", b"U", b"D", b"T"):
            return
        message = self._parser.read(data)
        if isinstance(message, Begin):
            self._begin(message)
        elif isinstance(message, Commit):
            self._commit_before = lsn
            self._wanted = False
        elif isinstance(message, Relation):
            self._describe(message)
        elif isinstance(message, Insert | Update | Delete):
            yield from self._of_row(message, lsn)
        elif isinstance(message, pgoutput.Truncate):
            for relation in message.relations:
                table = self._tables[relation.oid]
                if table:
                    yield self._change(table, "t", lsn, {})

    def _begin(self, message: Begin) -> None:
        in_upto = visible(message.xid, None, None, self._upto)
        self._wanted = in_upto and not visible(message.xid, None, None, self._since)
        self._xid, self._commit_lsn = message.xid, message.final_lsn
        if not in_upto:
            # Committed before the cut's position, but after its snapshot: of the next window.
            self.resume_lsn = min(self.resume_lsn, message.final_lsn)

    def _of_row(self, message: Insert | Update | Delete, lsn: int) -> Iterator[Change]:
        table = self._tables[message.relation.oid]
        if table is None:
            return
        if isinstance(message, Insert):
            yield self._change(table, "c", lsn, table.values(message.new))
        elif isinstance(message, Delete):
            yield self._change(table, "d", lsn, table.values(message.old))
        else:
            yield from self._of_update(table, message, lsn)

    def _of_update(self, table: _Table, message: Update, lsn: int) -> Iterator[Change]:
        new = message.new
        if message.old_kind == "O":
            # The whole old row was sent: what did not change is in it.
            new = tuple(
                before if after is canonical.UNCHANGED else after
                for before, after in zip(message.old, new, strict=True)
            )
        values = table.values(new)
        if message.old_kind is not None:
            old = table.values(message.old)
            if table.key_of(old) != table.key_of(values):
                # A new key is another row: the old one ends, at the same position.
                yield self._change(table, "d", lsn, old)
                yield self._change(table, "c", lsn, values)
                return
        yield self._change(table, "u", lsn, values)

    def _change(self, table: _Table, op: str, lsn: int, values: canonical.Values) -> Change:
        return Change(
            entity=table.contract.entity,
            op=op,
            lsn=lsn,
            xid=self._xid,
            commit_lsn=self._commit_lsn,
            commit_before=self._commit_before,
            key_text=table.key_of(values),
            text=canonical.change_text(table.contract, op, lsn, values),
        )

    def _describe(self, relation: Relation) -> None:
        contract = self._by_table.get(relation.name)
        self._tables[relation.oid] = _table(relation, contract) if contract else None


def _table(relation: Relation, contract: Contract) -> _Table:
    kinds = {column.name: column.type for column in contract.columns}
    places = {
        column.name: (place, is_carried(column.type_oid, column.modifier, kinds[column.name]))
        for place, column in enumerate(relation.columns)
        if column.name in kinds
    }
    return _Table(contract, places)
