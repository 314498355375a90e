"""The rules in force: followed while Postgres answers, kept while it does not, never broken."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool

from oltp import rules
from streams import ledger
from streams.authorization.ruleset_source import (
    DEFAULT,
    RuleSetSource,
    RulesRefused,
    from_file,
    from_row,
)

NOBODY = "postgresql://app_rw@127.0.0.1:1/oltp"
BROKEN = {"rules": "none"}


@pytest.fixture(autouse=True)
def as_new(request: pytest.FixtureRequest) -> None:
    """Only the default rules, whatever the test before has left."""
    if "database" not in request.fixturenames:
        return
    default = from_file()
    with psycopg.connect(request.getfixturevalue("database").admin) as admin:
        admin.execute("delete from card.rule_changes")
        admin.execute("delete from card.rule_versions")
        in_force(admin, default.version, dict(default.document), active=True)


@pytest.fixture
async def pool(database) -> AsyncIterator[AsyncConnectionPool]:
    async with ledger.pool(database.app) as opened:
        yield opened


@pytest.fixture
def owner(database):
    with psycopg.connect(database.app, autocommit=True) as connection:
        yield connection


def document(version: str, **changes) -> dict:
    return {"version": version, "rules": [], **changes}


def in_force(owner: psycopg.Connection, version: str, document: dict, *, active: bool) -> None:
    """Past the check of the command line, as a careless hand would do it."""
    for step in ("draft", "shadow", *(["promote"] if active else [])):
        given = [version, *([Jsonb(document)] if step == "draft" else []), "ada", "to try"]
        marks = ", ".join(["%s"] * len(given))
        owner.execute(f"select card.{step}_rules({marks})", given)


async def test_it_follows_what_is_promoted_watched_and_rolled_back(pool, owner):
    source = RuleSetSource(pool, every_s=0.05)
    await source.start()
    try:
        assert source.current.active.version == from_file().version
        assert not source.current.is_cold
        in_force(owner, "watched", document("watched"), active=False)
        await until(lambda: [s.version for s in source.current.shadows] == ["watched"])
        rules.promote(owner, "watched", "ada", "good")
        await until(lambda: source.current.active.version == "watched")
        assert source.current.shadows == ()
        rules.roll_back(owner, "ada", "not so good")
        await until(lambda: source.current.active.version == from_file().version)
    finally:
        await source.stop()


async def until(condition) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.02)


async def test_a_batch_keeps_the_version_that_it_began_with(pool, owner):
    source = RuleSetSource(pool)
    await source.refresh()
    began = source.current
    in_force(owner, "next", document("next"), active=True)
    await source.refresh()
    assert began.active.version == from_file().version
    assert source.current.active.version == "next"


async def test_a_document_is_read_once_and_parsed_once(pool, owner):
    source = RuleSetSource(pool)
    await source.refresh()
    first = source.current.active
    await source.refresh()
    assert source.current.active is first


async def test_a_broken_document_is_refused_loudly_and_the_last_good_one_decides(
    pool, owner, caplog
):
    source = RuleSetSource(pool)
    await source.refresh()
    in_force(owner, "good", document("good"), active=True)
    await source.refresh()
    in_force(owner, "broken", {"version": "broken", **BROKEN}, active=True)
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            await source.refresh()
    assert source.current.active.version == "good"
    refused = [r.getMessage() for r in caplog.records if "RULES REFUSED" in r.getMessage()]
    assert len(refused) == 1  # said once, not each second
    assert "broken (ACTIVE)" in refused[0]
    rules.roll_back(owner, "ada", "it does not parse")
    await source.refresh()
    assert source.current.active.version == "good"


@pytest.mark.parametrize(
    "wrong",
    [
        {"version": "other", "rules": []},
        {"rules": []},
        {"version": "wrong", "rules": [{"id": "x"}]},
        {"version": "wrong", "rules": [], "risk": {"decline_at": "1", "points": []}},
        {"version": "wrong", "rules": None},
        {"version": 7, "rules": []},
        {},
    ],
)
async def test_a_shadow_that_does_not_parse_is_left_out_and_stops_nobody(pool, owner, wrong):
    in_force(owner, "wrong", wrong, active=False)
    in_force(owner, "right", document("right"), active=False)
    source = RuleSetSource(pool)
    await source.refresh()
    assert source.current.active.version == from_file().version
    assert [shadow.version for shadow in source.current.shadows] == ["right"]


async def test_a_worker_that_starts_on_a_broken_version_takes_the_one_before(pool, owner, caplog):
    in_force(owner, "good", document("good"), active=True)
    in_force(owner, "broken", {"version": "broken", **BROKEN}, active=True)
    source = RuleSetSource(pool)
    with caplog.at_level(logging.ERROR):
        await source.refresh()
    assert source.current.active.version == "good"
    assert "RULES REFUSED" in caplog.text
    assert "the version before" in caplog.text


async def test_a_worker_does_not_start_on_nothing(pool, owner):
    in_force(owner, "broken-1", {"version": "broken-1", **BROKEN}, active=True)
    in_force(owner, "broken-2", {"version": "broken-2", **BROKEN}, active=True)
    with pytest.raises(RulesRefused, match="roll back"):
        await RuleSetSource(pool).refresh()


async def test_the_rules_stay_while_postgres_is_away_and_are_followed_afterwards(
    pool, owner, database, caplog
):
    source = RuleSetSource(pool, every_s=0.05)
    await source.refresh()
    in_force(owner, "next", document("next"), active=True)
    name = urlsplit(database.admin).path[1:]
    elsewhere = urlsplit(database.admin)._replace(path="/postgres").geturl()
    with psycopg.connect(elsewhere, autocommit=True) as admin:
        admin.execute(f'alter database "{name}" with allow_connections false')
        admin.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", (name,)
        )
        with caplog.at_level(logging.WARNING):
            await source.refresh()
            await source.refresh()
        assert source.current.active.version == from_file().version
        assert not source.current.is_cold
        assert sum("stay in force" in r.getMessage() for r in caplog.records) == 1
        admin.execute(f'alter database "{name}" with allow_connections true')
    async with asyncio.timeout(20):
        while source.current.active.version != "next":
            await source.refresh()
            await asyncio.sleep(0.1)


async def test_without_postgres_a_worker_starts_from_the_checkout_and_says_so(caplog):
    async with ledger.pool(NOBODY) as away:
        source = RuleSetSource(away, every_s=0.05)
        with caplog.at_level(logging.ERROR):
            await source.start()
        try:
            assert source.current.is_cold
            assert source.current.active.document == from_file(DEFAULT).document
            assert "STARTING COLD" in caplog.text
        finally:
            await source.stop()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("version: [", "not YAML"),
        ("just words", "a mapping"),
        ("- a\n- b", "a mapping"),
        ("", "a mapping"),
        ("version: '1'", "rules"),
        ("version: '1'\nrules: []\nmore: 1", "more"),
    ],
)
def test_a_file_that_is_no_rule_set_is_refused_with_its_reason(tmp_path: Path, text, said):
    file = tmp_path / "rules.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match=said):
        from_file(file)


def test_a_stored_document_must_be_of_its_version():
    with pytest.raises(RulesRefused, match="'other', not 'this'"):
        from_row("this", document("other"))
