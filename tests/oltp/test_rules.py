"""Versions of the rules in the database: the steps of their life, and what is refused."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import psycopg
import pytest

from oltp import default_rules, rules
from oltp.rules import RulesError
from streams.authorization.ruleset_source import DEFAULT, from_file, from_row

NUMBERS = count(1)


@pytest.fixture
def connection(database):
    with psycopg.connect(database.app, autocommit=True) as opened:
        yield opened


@pytest.fixture
def name(connection) -> str:
    """A version in shadow."""
    return in_shadow(connection)


def drafted(connection, **changes) -> str:
    name = f"test-{next(NUMBERS)}"
    rules.draft(connection, name, {"version": name, **changes}, "ada", "to try")
    return name


def in_shadow(connection) -> str:
    name = drafted(connection)
    rules.shadow(connection, name, "ada", "to watch")
    return name


def statuses(connection, *names: str) -> list[str]:
    return [rules.version(connection, name).status for name in names]


def test_a_new_database_decides_by_the_default_rules(empty_migrated):
    with psycopg.connect(empty_migrated.app) as connection:
        (found,) = rules.versions(connection)
        steps = rules.changes(connection, found.version)
    default = from_file(DEFAULT)
    assert found.status == "ACTIVE"
    assert from_row(found.version, found.document).document == default.document
    assert [step.to_status for step in steps] == ["DRAFT", "SHADOW", "ACTIVE"]


def test_the_migration_carries_the_default_rules_as_they_are_in_their_file():
    text = default_rules.MIGRATION.read_text(encoding="utf-8")
    assert default_rules.written(text) == text, "run `python -m oltp.default_rules`"


def test_a_version_goes_from_draft_to_shadow_to_active_and_each_step_is_written_down(connection):
    before = rules.active(connection).version
    name = drafted(connection)
    rules.shadow(connection, name, "ada", "to watch")
    assert rules.promote(connection, name, "bob", "it is better", expected=before) == before
    assert statuses(connection, name, before) == ["ACTIVE", "RETIRED"]
    assert [(c.from_status, c.to_status, c.changed_by, c.reason)
            for c in rules.changes(connection, name)] == [
        (None, "DRAFT", "ada", "to try"),
        ("DRAFT", "SHADOW", "ada", "to watch"),
        ("SHADOW", "ACTIVE", "bob", "it is better"),
    ]  # fmt: skip
    assert rules.changes(connection, before)[-1].to_status == "RETIRED"


def test_a_rollback_goes_back_to_what_decided_before_as_often_as_was_promoted(connection):
    first = rules.active(connection).version
    second, third = in_shadow(connection), in_shadow(connection)
    rules.promote(connection, second, "ada", "one")
    rules.promote(connection, third, "ada", "two")
    assert rules.roll_back(connection, "bob", "too strict") == second
    assert rules.roll_back(connection, "bob", "still too strict") == first
    assert statuses(connection, first, second, third) == ["ACTIVE", "RETIRED", "RETIRED"]


def test_a_rollback_may_name_any_version_that_ever_decided(connection, name):
    first = rules.active(connection).version
    rules.promote(connection, name, "ada", "one")
    rules.promote(connection, in_shadow(connection), "ada", "two")
    assert rules.roll_back(connection, "bob", "back to the start", first) == first
    with pytest.raises(RulesError, match="never decided"):
        rules.roll_back(connection, "bob", "to a draft", drafted(connection))


def test_nothing_is_rolled_back_to_when_nothing_decided_before(empty_migrated):
    with (
        psycopg.connect(empty_migrated.app, autocommit=True) as connection,
        pytest.raises(RulesError, match="nothing decided before"),
    ):
        rules.roll_back(connection, "bob", "why not")


def test_a_draft_is_not_promoted_unseen(connection):
    name = drafted(connection)
    with pytest.raises(RulesError, match=r"cannot be promoted while DRAFT.*SHADOW"):
        rules.promote(connection, name, "ada", "in a hurry")


def test_what_decides_is_neither_retired_nor_put_in_shadow(connection):
    active = rules.active(connection).version
    with pytest.raises(RulesError, match="cannot be retired while ACTIVE"):
        rules.retire(connection, active, "ada", "away with it")
    with pytest.raises(RulesError, match="cannot be put in shadow while ACTIVE"):
        rules.shadow(connection, active, "ada", "away with it")


def test_a_draft_may_be_drafted_again_and_nothing_later(connection, database, name):
    draft = drafted(connection)
    digest = rules.version(connection, draft).document_sha256
    rules.draft(connection, draft, {"version": draft, "more": 1}, "ada", "better")
    assert rules.version(connection, draft).document_sha256 != digest
    with pytest.raises(RulesError, match="cannot be drafted again while SHADOW"):
        rules.draft(connection, name, {"version": name, "more": 1}, "ada", "better")
    with psycopg.connect(database.admin) as owner, pytest.raises(psycopg.Error, match="left DRAFT"):
        owner.execute(
            "update card.rule_versions set document = '{}' where version = %s", (name,)
        )  # not even by hand


def test_a_retired_version_may_be_watched_again(connection, name):
    rules.retire(connection, name, "ada", "not now")
    rules.shadow(connection, name, "ada", "after all")
    assert statuses(connection, name) == ["SHADOW"]


@pytest.mark.parametrize("step", [rules.shadow, rules.promote, rules.retire])
def test_a_version_that_is_not_there_is_named(connection, step):
    with pytest.raises(RulesError, match=r"rules nowhere: there is no such version\. Draft"):
        step(connection, "nowhere", "ada", "lost")


@pytest.mark.parametrize("version", ["", " ", "a b", "-a", "x" * 65, "ä", "../etc"])
def test_a_version_has_a_name_one_can_type(connection, version):
    with pytest.raises(RulesError):
        rules.draft(connection, version, {"version": version}, "ada", "odd")


@pytest.mark.parametrize(("by", "reason"), [("", "why"), ("ada", "")])
def test_every_step_says_who_and_why(connection, by, reason):
    name = drafted(connection)
    with pytest.raises(RulesError):
        rules.shadow(connection, name, by, reason)
    assert statuses(connection, name) == ["DRAFT"]


def test_of_two_promotions_at_once_the_later_one_looks_again(connection, database):
    before = rules.active(connection).version
    names = [in_shadow(connection), in_shadow(connection)]
    start = threading.Barrier(2)

    def promote(name: str) -> str:
        with psycopg.connect(database.app, autocommit=True) as session:
            start.wait()
            try:
                return rules.promote(session, name, "ada", "mine", expected=before)
            except RulesError as error:
                return str(error)

    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(promote, names))
    (refusal,) = set(answers) - {before}
    winner = names[answers.index(before)]
    assert f"{winner} decides by now, not {before}" in refusal
    assert rules.active(connection).version == winner
    assert sorted(statuses(connection, *names)) == ["ACTIVE", "SHADOW"]


def test_promotions_that_expect_nothing_follow_one_another(connection, database):
    names = [in_shadow(connection) for _ in range(4)]
    start = threading.Barrier(4)

    def promote(name: str) -> str:
        with psycopg.connect(database.app, autocommit=True) as session:
            start.wait()
            return rules.promote(session, name, "ada", "mine")

    with ThreadPoolExecutor(4) as pool:
        replaced = list(pool.map(promote, names))
    assert len(set(replaced)) == 4  # each replaced another one
    assert sorted(statuses(connection, *names)) == ["ACTIVE", *["RETIRED"] * 3]
