"""The guard on real slots: each way to lose one is found, and stops what is behind it."""

from collections.abc import Iterator
from datetime import timedelta

import psycopg
import pytest

from pipelines.capture import guarding, reading, remembering
from pipelines.capture.guarding import CaptureBroken
from pipelines.capture.judging import ALARM, BROKEN, OK, WARNING

MAKE = "select pg_create_logical_replication_slot(%s, 'pgoutput')"
TAKE = (
    "select count(*) from pg_logical_slot_get_binary_changes(%s, null, null,"
    " 'proto_version', '1', 'publication_names', 'millrace')"
)
WRITE = "select pg_logical_emit_message(false, 'guard', repeat('x', 1000000))"


@pytest.fixture(scope="module")
def admin(postgres_only) -> Iterator[psycopg.Connection]:
    dsn = postgres_only.env["MILLRACE_OLTP_ADMIN_DSN"]
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture
def slot(admin, request) -> Iterator[str]:
    """A slot of the test's own, read once, without a connector."""
    name = f"guard_{abs(hash(request.node.name)) % 10**8}"
    admin.execute(MAKE, (name,))
    yield name
    admin.execute(
        "select pg_drop_replication_slot(slot_name) from pg_replication_slots"
        " where slot_name = %s and not active",
        (name,),
    )


@pytest.fixture
def look(postgres_only, slot):
    env = postgres_only.env

    def looked(stored: int | None = None, name: str = slot) -> guarding.Look:
        return guarding.look(
            env["MILLRACE_OLTP_ADMIN_DSN"], env["MILLRACE_WAREHOUSE_DSN"], name, lambda: stored
        )

    return looked


def write(admin: psycopg.Connection, megabytes: int) -> None:
    for _ in range(megabytes):
        admin.execute(WRITE)
    admin.execute("select pg_switch_wal()")


def change(admin: psycopg.Connection, times: int) -> None:
    for _ in range(times):
        admin.execute(
            "insert into ops.heartbeat (id, beat_at) values (1, now())"
            " on conflict (id) do update set beat_at = excluded.beat_at"
        )


def kinds(found: guarding.Look) -> set[str]:
    return {finding.kind for finding in found.verdict.findings}


def test_a_slot_says_how_much_it_keeps_and_that_nobody_reads_it(admin, slot, look) -> None:
    first = look()
    assert first.facts.exists
    assert (first.facts.plugin, first.facts.database) == ("pgoutput", "oltp")
    assert first.facts.limit_bytes == 2 << 30
    assert first.facts.timeline == 1
    write(admin, 20)
    second = look()
    assert second.facts.kept_bytes >= 20_000_000
    assert second.facts.behind_bytes >= 20_000_000
    assert 0 < second.facts.share < 0.1
    assert kinds(second) == {"no_reader"}
    guarding.require(second)
    admin.execute(TAKE, (slot,))
    change(admin, 1)
    admin.execute(TAKE, (slot,))
    assert look().facts.behind_bytes < 1000


def test_a_slot_that_was_never_made_is_no_break(postgres_only, look) -> None:
    found = look(name="guard_never")
    assert (found.level, kinds(found)) == (WARNING, {"not_made"})
    guarding.require(found)


def test_a_dropped_slot_stops_everything_until_it_is_resolved(
    postgres_only, admin, slot, look
) -> None:
    warehouse = postgres_only.env["MILLRACE_WAREHOUSE_DSN"]
    look()
    admin.execute("select pg_drop_replication_slot(%s)", (slot,))
    change(admin, 3)
    assert look().level == BROKEN
    # Made again: as good as new to look at, and three changes are gone.
    admin.execute(MAKE, (slot,))
    again = look()
    assert again.verdict.broken == ()
    assert again.level == BROKEN
    with pytest.raises(CaptureBroken, match=r"was dropped.*\[.+\.\..+\].*connectors recover"):
        guarding.require(again)
    assert remembering.resolve(warehouse, slot, "a test's snapshot") == 1
    guarding.require(look())


def test_a_slot_made_again_between_two_looks_is_noticed(admin, slot, look) -> None:
    change(admin, 20)
    admin.execute(TAKE, (slot,))
    assert (look().facts.decoded_transactions or 0) >= 20
    admin.execute("select pg_drop_replication_slot(%s)", (slot,))
    admin.execute(MAKE, (slot,))
    assert [b.kind for b in look().breaks] == ["recreated"]


def test_a_slot_beyond_what_connect_stored_was_moved(admin, slot, look) -> None:
    reached = int(look().facts.confirmed_lsn)
    guarding.require(look(stored=reached))
    change(admin, 5)
    admin.execute("select pg_replication_slot_advance(%s, pg_current_wal_lsn())", (slot,))
    found = look(stored=reached)
    assert [b.kind for b in found.breaks] == ["ahead"]
    assert found.breaks[0].lost_from_lsn == reached


def test_the_alarm_rings_before_the_slot_is_lost_and_the_loss_is_told(admin, slot, look) -> None:
    assert look().verdict.level == WARNING
    stored = int(look().facts.confirmed_lsn)
    seen = []
    try:
        admin.execute("alter system set max_slot_wal_keep_size = '96MB'")
        admin.execute("select pg_reload_conf()")
        for _ in range(20):
            write(admin, 15)
            admin.execute("checkpoint")
            seen.append(look(stored=stored))
            if seen[-1].facts.wal_status == "lost":
                break
    finally:
        admin.execute("alter system reset max_slot_wal_keep_size")
        admin.execute("select pg_reload_conf()")
    levels = [found.level for found in seen]
    assert levels[-1] == BROKEN
    assert levels.index(ALARM) < levels.index(BROKEN)
    # Still whole when it rang, so there was time to act.
    assert seen[levels.index(ALARM)].facts.wal_status != "lost"
    assert [b.kind for b in seen[-1].breaks] == ["lost"]
    assert seen[-1].breaks[0].lost_from_lsn == stored
    with pytest.raises(CaptureBroken, match="was removed unread"):
        guarding.require(seen[-1])


def test_another_server_at_the_same_address_is_noticed(postgres_only, slot, look) -> None:
    """As after a restore from a base backup: what was remembered is of another cluster."""
    warehouse = postgres_only.env["MILLRACE_WAREHOUSE_DSN"]
    look()
    admin_of_warehouse = postgres_only.env["MILLRACE_OLTP_ADMIN_DSN"].rpartition("/")[0]
    with psycopg.connect(f"{admin_of_warehouse}/warehouse") as connection:
        connection.execute(
            "update control.slot_history set system_identifier = 1 where slot = %s", (slot,)
        )
    assert [b.kind for b in look().breaks] == ["other_server"]
    remembering.resolve(warehouse, slot, "compared")
    assert look().level in (OK, WARNING)


def test_history_is_kept_for_a_plot_and_a_tables_lag_beside_it(postgres_only, slot, look) -> None:
    warehouse = postgres_only.env["MILLRACE_WAREHOUSE_DSN"]
    looked = [look() for _ in range(3)]
    history = remembering.looks(warehouse, slot)
    assert [f.seen_at for f in history] == [found.facts.seen_at for found in looked]
    assert history[-1] == looked[-1].facts
    now = looked[-1].facts
    at = now.seen_at - timedelta(seconds=9)
    complete = {"payments": remembering.Complete(now.current_lsn - 500, at, {})}
    lags = remembering.table_lag(now, 2.0, {"payments": 7, "offers": 0, "cards": 1}, complete)
    by_entity = {lag.entity: lag for lag in lags}
    assert (by_entity["payments"].behind_bytes, by_entity["payments"].behind_s) == (500, 9.0)
    assert by_entity["offers"].complete_lsn == now.confirmed_lsn
    assert by_entity["cards"].behind_s is None
    remembering.remember_tables(warehouse, now, lags)
    assert remembering.completeness(warehouse) == {}
    assert reading.facts(postgres_only.env["MILLRACE_OLTP_ADMIN_DSN"], slot).exists


def test_a_server_whose_log_ends_before_what_connect_stored_is_another_one(
    admin, slot, look
) -> None:
    """Although no look tells it: those may have gone with the server."""
    admin.execute("select pg_logical_emit_message(false, 'guard', 'x')")
    (end,) = admin.execute("select pg_current_wal_insert_lsn() - '0/0'").fetchone()
    assert [b.kind for b in look(stored=int(end) + (1 << 30)).breaks] == ["behind_capture"]


def test_connect_that_goes_on_while_it_is_asked_is_no_break(postgres_only, admin, slot) -> None:
    def stored() -> int:
        write(admin, 1)
        (end,) = admin.execute("select pg_current_wal_flush_lsn() - '0/0'").fetchone()
        return int(end)

    env = postgres_only.env
    found = guarding.look(
        env["MILLRACE_OLTP_ADMIN_DSN"], env["MILLRACE_WAREHOUSE_DSN"], slot, stored
    )
    assert found.breaks == ()
