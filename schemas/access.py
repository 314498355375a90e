"""The declared access matrix: who may do what to which table, read from access.yaml.

An object is `schema.table` or `schema.*` (every table and view of the schema; of a view only
select is meant). The named object replaces the wildcard. An action may name columns: `update(a, b)`
those, `update(not a, b)` all but those. What is not declared is denied.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import yaml

from schemas import contract

FILE = Path(__file__).parent / "access.yaml"
SCHEMAS = (
    "customer", "provider", "credit", "card", "kyc", "risk", "ledger", "audit", "ops", "restricted",
    "archive",
)  # fmt: skip
ACTIONS = ("select", "insert", "update", "delete", "truncate")
WITH_COLUMNS = frozenset({"select", "insert", "update"})
ACTION = re.compile(r"([a-z]+)(?:\((not )?([a-z0-9_, ]+)\))?(?:, *|$)")


class AccessError(ValueError):
    """access.yaml does not say what it must; the message names role and object."""


@dataclass(frozen=True)
class Grant:
    """An action on an object; without columns, on all of them."""

    columns: tuple[str, ...] = ()
    except_columns: tuple[str, ...] = ()

    def covers(self, column: str) -> bool:
        """Whether the action is granted on this column."""
        if self.columns:
            return column in self.columns
        return column not in self.except_columns

    @property
    def whole(self) -> bool:
        """Whether it is granted on the object as such."""
        return not self.columns and not self.except_columns


Grants = dict[str, Grant]


@dataclass(frozen=True)
class Matrix:
    """Every role's declared grants, by object."""

    roles: dict[str, dict[str, Grants]]

    def grants(self, role: str, table: str, is_view: bool = False) -> Grants:
        """What the role may do to `schema.table`, by action."""
        declared = self.roles[role]
        if table in declared:
            return declared[table]
        found = declared.get(f"{table.partition('.')[0]}.*", {})
        return {a: g for a, g in found.items() if a == "select"} if is_view else found

    @property
    def named_tables(self) -> frozenset[str]:
        """Every table that is named, without wildcards."""
        return frozenset(t for tables in self.roles.values() for t in tables if t[-1] != "*")


def load(file: Path = FILE) -> Matrix:
    """The matrix; cdc reads every table with a contract, besides what the file says.

    Raises AccessError for an unknown action or a line that cannot be read.
    """
    raw = yaml.safe_load(file.read_text(encoding="utf-8"))
    roles: dict[str, dict[str, Grants]] = {}
    for role, objects in raw.items():
        roles[role] = {
            name: _grants(f"{role}: {name}", str(actions or ""))
            for name, actions in (objects or {}).items()
        }
    for entity in contract.load_all():
        roles["cdc"][entity.source] = {"select": Grant()}
    return Matrix(roles)


def _grants(where: str, text: str) -> Grants:
    grants: Grants = {}
    position = 0
    while position < len(text):
        found = ACTION.match(text, position)
        if found is None:
            raise AccessError(f"{where}: cannot read {text[position:]!r}")
        action, negated, names = found.groups()
        if action not in ACTIONS or (names and action not in WITH_COLUMNS):
            raise AccessError(f"{where}: no such action {found[0]!r}")
        columns = tuple(name.strip() for name in names.split(",")) if names else ()
        grants[action] = Grant((), columns) if negated else Grant(columns)
        position = found.end()
    return grants
