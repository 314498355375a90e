"""The rules in force: read from Postgres each second, beside the decisions and never in their way.

One version is active and decides; those in shadow are evaluated beside it. While Postgres is away
the last set stays. A document that does not parse is refused loudly and the last good one goes on
deciding; a worker that starts then takes the version that decided before it. Only when Postgres
cannot be asked at all does a worker start from the rules in the checkout, and says so.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import yaml
from mode import Service
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from schemas.codes_card import RuleStatus
from streams.authorization.rules import RuleSet
from streams.outages import OUTAGES

log = logging.getLogger(__name__)
DEFAULT = Path(__file__).parents[2] / "schemas" / "rules" / "default.yaml"
EVERY_S = 1.0
NO_ANSWER: tuple[type[Exception], ...] = (*OUTAGES, psycopg.Error)
# Documents that are known already are not sent again.
IN_FORCE = """
select v.version, v.status, v.document_sha256,
    case when v.document_sha256 <> all(%s) then v.document end as document
from card.rule_versions v
where v.status in ('ACTIVE', 'SHADOW')
order by v.version
"""
BEFORE = """
select v.version, v.status, v.document_sha256, v.document
from card.rule_versions v where v.version = card.rules_before(%s)
"""
Row = Mapping[str, Any]
Pool = AsyncConnectionPool[AsyncConnection[dict[str, Any]]]


class RulesRefused(ValueError):
    """A document that is no rule set, or not the one of its version."""


@dataclass(frozen=True)
class RulesInForce:
    """What decides and what only watches. Read once per batch, so that a batch has one version."""

    active: RuleSet
    shadows: tuple[RuleSet, ...] = ()
    # From the checkout, because nobody could be asked.
    is_cold: bool = False


def from_file(path: Path = DEFAULT) -> RuleSet:
    """The rules in a YAML file; ValueError says what is wrong with them."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise RulesRefused(f"{path}: not YAML: {error}") from None
    if not isinstance(document, Mapping):
        raise RulesRefused(f"{path}: rules are a mapping with a version, not {document!r:.40}")
    return RuleSet.parse(document)


def from_row(version: str, document: Mapping[str, Any]) -> RuleSet:
    """The rules of a stored version; ValueError says what is wrong with them."""
    rules = RuleSet.parse(document)
    if rules.version != version:
        raise RulesRefused(f"the document says it is version {rules.version!r}, not {version!r}")
    return rules


class RuleSetSource(Service):
    """Keeps `current` what Postgres says is in force."""

    def __init__(
        self, pool: Pool, default: Path = DEFAULT, every_s: float = EVERY_S, **service: Any
    ) -> None:
        super().__init__(**service)
        self._pool = pool
        self._default = default
        self._every_s = every_s
        self._current: RulesInForce | None = None
        # What the document of a version came to, by version and digest. None: refused.
        self._parsed: dict[tuple[str, str], RuleSet | None] = {}
        self._is_away = False

    @property
    def current(self) -> RulesInForce:
        """The rules to decide the next batch by."""
        if self._current is None:
            raise RuntimeError("rules are read when their source starts")
        return self._current

    async def on_start(self) -> None:
        """Have rules before anybody decides."""
        await self.refresh()

    @Service.task
    async def _follow(self) -> None:
        while not self.should_stop:
            await self.sleep(self._every_s)
            await self.refresh()

    async def refresh(self) -> None:
        """Look once. Raises only when there is nothing to decide by."""
        try:
            rows = await self._rows(IN_FORCE, [digest for _, digest in self._parsed])
            found = self._in_force(rows)
            if found is None and (self._current is None or self._current.is_cold):
                found = await self._before(rows)
        except NO_ANSWER as error:
            self._away(error)
            return
        if self._is_away:
            self._is_away = False
            log.warning("Postgres answers again: rules are followed again")
        if found is None:
            # Said when it was refused; the last good set decides on.
            return
        if self._current is None or _names(found) != _names(self._current):
            log.info("rules in force: %s", _names(found))
        self._current = found

    def _in_force(self, rows: Sequence[Row]) -> RulesInForce | None:
        """The set, without shadows that do not parse; None when what should decide does not."""
        # Nothing is remembered that is not in force, so this does not grow.
        self._parsed = {_key(row): self._parse(row) for row in rows}
        by_status: dict[str, list[RuleSet]] = {RuleStatus.ACTIVE: [], RuleStatus.SHADOW: []}
        for row in rows:
            if rules := self._parsed[_key(row)]:
                by_status[row["status"]].append(rules)
        if not by_status[RuleStatus.ACTIVE]:
            return None
        return RulesInForce(by_status[RuleStatus.ACTIVE][0], tuple(by_status[RuleStatus.SHADOW]))

    def _parse(self, row: Row) -> RuleSet | None:
        if _key(row) in self._parsed:
            return self._parsed[_key(row)]
        try:
            return from_row(row["version"], row["document"])
        except Exception as error:  # whatever a document holds, it must not stop the decisions
            log.error(
                "RULES REFUSED: version %s (%s) does not parse and is not used: %s",
                row["version"], row["status"], error,
            )  # fmt: skip
            return None

    async def _before(self, rows: Sequence[Row]) -> RulesInForce | None:
        """For a worker that starts while the active version is broken: what decided before it."""
        active = [row["version"] for row in rows if row["status"] == RuleStatus.ACTIVE]
        for row in await self._rows(BEFORE, active[0]) if active else ():
            if rules := self._parse(row):
                log.error("deciding by rules %s, the version before", rules.version)
                return RulesInForce(rules)
        if self._current is not None:
            return None
        raise RulesRefused(
            "no version of the rules that is or was active parses: promote one, or roll back"
        )

    def _away(self, error: Exception) -> None:
        if self._current is None:
            self._current = RulesInForce(from_file(self._default), is_cold=True)
            log.error(
                "STARTING COLD: Postgres cannot be asked for the rules (%s): deciding by version"
                " %s of the checkout until it can", error, self._current.active.version,
            )  # fmt: skip
        elif not self._is_away:
            log.warning(
                "Postgres cannot be asked for the rules, %s stay in force: %s",
                _names(self._current), error,
            )  # fmt: skip
        self._is_away = True

    async def _rows(self, statement: str, *arguments: Any) -> list[dict[str, Any]]:
        async with asyncio.timeout(2 + self._every_s), self._pool.connection() as connection:
            cursor = await connection.execute(statement, arguments)
            return await cursor.fetchall()


def _key(row: Row) -> tuple[str, str]:
    return row["version"], row["document_sha256"]


def _names(rules: RulesInForce) -> str:
    shadows = ", ".join(shadow.version for shadow in rules.shadows)
    return rules.active.version + (f" (shadow: {shadows})" if shadows else "")
