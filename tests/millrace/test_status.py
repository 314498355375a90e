"""Freshness and lag are read where each layer says so, and a layer that is silent has none."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from millrace import freshness, lag
from millrace.commands.status import _duration
from millrace.stack import Stack


def test_durations_are_read_at_a_glance() -> None:
    shown = [_duration(seconds) for seconds in (None, 0, 59, 60, 5400, 86400 * 3)]
    assert shown == ["", "0 s", "59 s", "1.0 min", "1.5 h", "3.0 d"]


def test_a_delta_table_was_last_written_by_its_newest_version(tmp_path: Path) -> None:
    log = tmp_path / "_delta_log"
    log.mkdir()
    assert freshness._last_commit(tmp_path) is None
    for version in ("00000000000000000000.json", "00000000000000000001.json"):
        (log / version).touch()
    written = freshness._last_commit(tmp_path)
    assert written is not None
    assert datetime.now(UTC) - written < timedelta(minutes=1)


@pytest.mark.stack
def test_layers_without_data_have_no_age(postgres_only: Stack) -> None:
    layers = {layer.layer: layer.at for layer in freshness.of_layers(postgres_only.env)}
    assert list(layers) == ["operational", "bronze", "silver", "warehouse", "gold"]
    assert layers["bronze"] is None


@pytest.mark.stack
def test_gold_is_as_new_as_the_last_cut_that_reached_it(postgres_only: Stack) -> None:
    # Newer than the cuts of any other test that shares this database.
    taken_at = datetime(2099, 1, 2, 3, 4, 5, tzinfo=UTC)
    superuser = postgres_only.env["MILLRACE_OLTP_ADMIN_DSN"].replace("/oltp", "/warehouse")
    with psycopg.connect(superuser, autocommit=True) as connection:
        connection.execute(
            "insert into control.cuts (lsn, snapshot, taken_at, totals, completed_at)"
            " values (990001, '1:1:', %s, '{}', now()),"
            " (990002, '2:2:', '2100-01-01', '{}', null)",
            (taken_at,),
        )
        try:
            layers = {layer.layer: layer.at for layer in freshness.of_layers(postgres_only.env)}
        finally:
            connection.execute("delete from control.cuts where lsn in (990001, 990002)")
    assert layers["gold"] == taken_at


@pytest.mark.stack
def test_a_slot_without_a_reader_falls_behind(postgres_only: Stack) -> None:
    dsn = postgres_only.env["MILLRACE_OLTP_ADMIN_DSN"]
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("select pg_create_logical_replication_slot('quiet', 'pgoutput')")
        try:
            before = lag.of_slots(dsn)["quiet"]
            connection.execute("create table public.noise as select generate_series(1, 10000)")
            assert lag.of_slots(dsn)["quiet"] > before
        finally:
            connection.execute("select pg_drop_replication_slot('quiet')")
            connection.execute("drop table if exists public.noise")
