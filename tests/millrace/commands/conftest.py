"""A database with a few decisions in it, and the command line run against it as one would."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from millrace import cli, current
from streams.authorization.rules import RuleSet
from streams.authorization.ruleset_source import DEFAULT, from_file
from tests.oltp.conftest import Database, empty_database, migrate
from tests.streams.authorization.desk import Desk, new_card, swipe

__all__ = ["empty_database"]

BEGIN = datetime(2026, 11, 20, 12, tzinfo=UTC)


@dataclass
class Office:
    """Where decisions are taken and rules are kept."""

    database: Database
    folder: Path

    def decide(
        self, rules: RuleSet | None = None, *shadows: RuleSet, at: datetime = BEGIN
    ) -> list[str]:
        """Six purchases of a new card, ten seconds apart; their keys."""
        desk = Desk(self.database.app, rules or from_file(), shadows)
        card = new_card(desk.connection)
        requests = [swipe(card, at + timedelta(seconds=10 * n)) for n in range(6)]
        for request in requests:
            desk.decide([request], request.requested_at)
        desk.connection.close()
        return [request.idempotency_key for request in requests]

    def draft(self, version: str, **more: object) -> Path:
        """The default rules, but the fourth purchase within a minute is one too many."""
        document = yaml.safe_load(DEFAULT.read_text(encoding="utf-8"))
        document["version"] = version
        for rule in document["rules"]:
            if rule["id"] == "attempts_in_a_minute":
                rule["when"] = {"feature": "card_attempts_1m", ">=": 3}
        file = self.folder / f"{version}.yaml"
        file.write_text(yaml.safe_dump({**document, **more}, sort_keys=False))
        return file

    def run(self, *words: object, answer: str = "") -> Result:
        """`millrace` with these words, as somebody elsewhere who names the database."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(current, "_NAMED_FROM_OUTSIDE", True)
            patch.setenv("MILLRACE_OLTP_DSN", self.database.app)
            patch.setenv("COLUMNS", "160")
            return CliRunner().invoke(cli.app, [str(word) for word in words], input=answer)


@pytest.fixture(scope="module")
def office(empty_database, tmp_path_factory) -> Office:
    made = empty_database()
    migrate(made.admin)
    return Office(made, tmp_path_factory.mktemp("office"))
