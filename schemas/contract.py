"""Table contracts: what a captured table means, read from one YAML file an entity.

A contract states facts (grain, key, columns, checks) and interprets nothing: Spark, Great
Expectations, Dagster and the publisher each own one small interpreter of it. Loading validates,
so a contract that loads is complete; errors name the file, the column and what to do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from schemas import codes

FOLDER = Path(__file__).parent / "contracts"
TYPES = frozenset(
    {"uuid", "string", "code", "long", "integer", "decimal", "date", "timestamp", "boolean", "json"}
)
CLASSIFICATIONS = frozenset({"internal", "pii", "restricted"})
SEVERITIES = frozenset({"error", "warning"})
IDENTITIES = frozenset({"default", "full"})


class ContractError(ValueError):
    """A contract file that does not say what it must; the message names file and place."""


@dataclass(frozen=True)
class Column:
    """One column: its logical type and the facts that a check or a reader needs."""

    name: str
    type: str
    description: str
    required: bool = True
    codes: str | None = None
    unit: str | None = None
    minimum: int | None = None
    pattern: str | None = None
    precision: int = 18
    scale: int = 2
    references: str | None = None
    classification: str = "internal"
    # False for a column that the source has and no contract names: kept, reported, not published.
    declared: bool = True

    @property
    def allowed(self) -> tuple[str, ...]:
        """The values of a `code` column, in the order of schemas/codes.py; empty otherwise."""
        return codes.values(self.codes) if self.codes else ()


@dataclass(frozen=True)
class Check:
    """A business rule over one row: wherever `when` holds, `expect` must.

    Both are SQL that Spark and Postgres understand alike.
    """

    name: str
    expect: str
    when: str = "true"
    severity: str = "error"


@dataclass(frozen=True)
class Contract:
    """One captured table. `source` is schema.table; the stem `entity` names everything else."""

    entity: str
    grain: str
    source: str
    key: tuple[str, ...]
    event_time: str
    owner: str
    description: str
    columns: tuple[Column, ...]
    checks: tuple[Check, ...] = ()
    # Amount columns whose sums per currency must tie out between operational, silver and gold.
    money: tuple[str, ...] = ()
    # Whether the warehouse has it too: bronze and silver are made of every captured table.
    published: bool = True
    # What an update or delete sends of the old row: its key, or (for a reason) all of it.
    replica_identity: str = "default"
    replica_identity_reason: str | None = None
    # Columns whose change alone makes no new version of a row.
    untracked: tuple[str, ...] = ()
    # Where this holds (SQL that Spark and Postgres understand alike) the row counts as deleted.
    deleted_when: str | None = None

    @property
    def tracked(self) -> tuple[str, ...]:
        """The columns whose change makes a new version of a row."""
        return tuple(c.name for c in self.columns if c.name not in {*self.key, *self.untracked})

    @property
    def topic(self) -> str:
        """Debezium's own name for the table's topic: <prefix>.<schema>.<table>."""
        return f"oltp.{self.source}"

    def column(self, name: str) -> Column:
        """The column called `name`; KeyError when the contract has none."""
        return {column.name: column for column in self.columns}[name]


@cache
def load_all(folder: Path = FOLDER) -> tuple[Contract, ...]:
    """Every captured table, ordered by entity: what has bronze and silver.

    Raises ContractError on the first file that is wrong.
    """
    contracts = tuple(parse(path) for path in sorted(folder.glob("*.yaml")))
    known = {f"{c.entity}.{column.name}" for c in contracts for column in c.columns}
    for contract in contracts:
        for column in contract.columns:
            if column.references and column.references not in known:
                raise ContractError(
                    f"{contract.entity}.yaml: column {column.name} references "
                    f"{column.references}, which no contract has"
                )
    return contracts


@cache
def load_published(folder: Path = FOLDER) -> tuple[Contract, ...]:
    """The contracts that the warehouse, the marts and the tie-out are built for, by entity."""
    return tuple(contract for contract in load_all(folder) if contract.published)


def load(entity: str) -> Contract:
    """The contract of `entity`; KeyError naming the known ones."""
    by_entity = {contract.entity: contract for contract in load_all()}
    if entity not in by_entity:
        raise KeyError(f"no contract for {entity!r}; there are {', '.join(sorted(by_entity))}")
    return by_entity[entity]


def parse(path: Path) -> Contract:
    """Read one file; the entity must be the file's stem."""
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
        contract = _contract(raw)
    except (yaml.YAMLError, TypeError, KeyError, AttributeError) as error:
        raise ContractError(f"{path.name}: {error!s}") from error
    except ContractError as error:
        raise ContractError(f"{path.name}: {error}") from None
    if contract.entity != path.stem:
        raise ContractError(f"{path.name}: entity is {contract.entity!r}; name the file after it")
    return contract


def _contract(raw: Mapping[str, Any]) -> Contract:
    columns = tuple(Column(name=name, **facts) for name, facts in raw["columns"].items())
    checks = tuple(Check(**check) for check in raw.get("checks", ()))
    contract = Contract(
        entity=raw["entity"],
        grain=raw["grain"],
        source=raw["source"],
        key=tuple(raw["key"]),
        event_time=raw["event_time"],
        owner=raw["owner"],
        description=raw["description"],
        columns=columns,
        checks=checks,
        money=tuple(raw.get("money", ())),
        published=raw.get("published", True),
        replica_identity=raw.get("replica_identity", "default"),
        replica_identity_reason=raw.get("replica_identity_reason"),
        untracked=tuple(raw.get("untracked", _touched_by_every_change(columns))),
        deleted_when=raw.get("deleted_when"),
    )
    _validate(contract)
    return contract


def _touched_by_every_change(columns: tuple[Column, ...]) -> tuple[str, ...]:
    return tuple(column.name for column in columns if column.name == "updated_at")


def _validate(contract: Contract) -> None:
    names = {column.name for column in contract.columns}
    roles = {
        "key": contract.key,
        "event_time": (contract.event_time,),
        "money": contract.money,
        "untracked": contract.untracked,
    }
    for role, wanted in roles.items():
        for name in wanted:
            if name not in names:
                raise ContractError(f"{role} names {name!r}, which is no column")
    if contract.money and "currency" not in names:
        raise ContractError("a table with money needs a currency column")
    _validate_capture(contract)
    _validate_history(contract, names)
    for column in contract.columns:
        _validate_column(column)
    for check in contract.checks:
        if check.severity not in SEVERITIES:
            raise ContractError(f"check {check.name}: severity is {check.severity!r}")


def _validate_capture(contract: Contract) -> None:
    if not isinstance(contract.published, bool):
        raise ContractError(f"published is {contract.published!r}; it is true or false")
    if contract.replica_identity not in IDENTITIES:
        raise ContractError(f"replica_identity is {contract.replica_identity!r}")
    if (contract.replica_identity == "full") != bool(contract.replica_identity_reason):
        raise ContractError("replica_identity_reason goes with `full` and only there")


def _validate_history(contract: Contract, names: set[str]) -> None:
    in_key = sorted(set(contract.untracked) & set(contract.key))
    if in_key:
        raise ContractError(f"untracked names {in_key[0]!r}, which is part of the key")
    if contract.deleted_when is not None:
        words = set(re.findall(r"\w+", str(contract.deleted_when)))
        if not words & names:
            raise ContractError(f"deleted_when is {contract.deleted_when!r}: it names no column")


def _validate_column(column: Column) -> None:
    if not column.declared:
        raise ContractError(f"column {column.name}: what is in a contract is declared")
    if column.type not in TYPES:
        raise ContractError(f"column {column.name}: unknown type {column.type!r}")
    if column.classification not in CLASSIFICATIONS:
        raise ContractError(f"column {column.name}: unknown class {column.classification!r}")
    if (column.type == "code") != (column.codes is not None):
        raise ContractError(f"column {column.name}: `codes` goes with type code and only there")
    if column.codes is not None and column.codes not in codes.BY_NAME:
        raise ContractError(f"column {column.name}: no code list {column.codes!r}")
