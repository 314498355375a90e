"""F4 to F7: the slot made again, lost, kept from moving, gone with its primary; made good."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator

import psycopg
import pytest
from typer.testing import CliRunner

from connectors import register
from millrace import cli, current
from millrace.stack import Stack, StackError, postgres
from orchestration import capture_looks, news, recovering
from orchestration.settings import Settings
from pipelines.capture.guarding import CaptureBroken, Look
from pipelines.capture.judging import ALARM, BROKEN
from schemas import topics
from tests.conftest import temporary_stack
from tests.faults import capture_invariants as invariants
from tests.faults.capture_client import Client
from tests.faults.capture_lake import differences, settings_of

pytestmark = [pytest.mark.stack, pytest.mark.spark, pytest.mark.long]
MIB = 1 << 20
REGISTRY_AWAY_S = 20
FILL = "select pg_logical_emit_message(false, 'fill', repeat('x', 1000000))"


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A stack of its own: these faults end with all of its tables read again."""
    yield from temporary_stack(("postgres", "kafka", "registry", "connect"))


@pytest.fixture
def settings(stack: Stack) -> Settings:
    return settings_of(stack.env)


@pytest.fixture
def client(stack: Stack, seed: int) -> Client:
    return Client(stack.env["MILLRACE_OLTP_ADMIN_DSN"], seed)


@pytest.fixture
def admin(stack: Stack) -> Iterator[psycopg.Connection]:
    dsn = stack.env["MILLRACE_OLTP_ADMIN_DSN"]
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


def does_not_go_on(stack: Stack, settings: Settings) -> None:
    """Capture must not go on and leave changes out: it fails, or waits, and the guard says why."""
    before = news.end_offsets(settings.kafka, topics.captured(), 10)
    try:
        stack.start("connect")
    except StackError as error:
        print(f"refused at once: {str(error)[:300]}")
    deadline = time.monotonic() + 25
    while (now := register.status(settings.connect)).state != register.FAILED:
        if time.monotonic() > deadline:
            # Debezium waits half an hour for a slot that cannot be read.
            break
        time.sleep(0.2)
    print(f"{now.state}: {now.error[:300]}")
    assert news.end_offsets(settings.kafka, topics.captured(), 10) == before
    assert capture_looks.look(settings).level == BROKEN


def made_good(spark, settings: Settings, client: Client) -> recovering.Recovered:
    """The runbook: recover, go on writing, and everything is as it is in the source."""
    with pytest.raises(CaptureBroken, match="millrace connectors recover"):
        capture_looks.require(settings)
    done = recovering.recover(settings, lambda: spark, print)
    client.write(50)
    wrong = differences(spark, settings)
    assert not wrong, "\n".join(wrong[:30])
    after = capture_looks.look(settings)
    assert after.breaks == ()
    assert register.status(settings.connect).state == register.RUNNING
    print(f"read {sum(done.read.values())} rows again, made good {done.deleted}, {after.level}")
    return done


def test_f4_a_slot_that_was_dropped_and_made_again(
    stack, stack_env, monkeypatch, admin, spark, settings, client
) -> None:
    """The runbook word for word: recover with its tick, and the certificate of the table."""
    monkeypatch.setattr(current, "_NAMED_FROM_OUTSIDE", True)
    client.write(200)
    assert differences(spark, settings, "customers") == []
    capture_looks.require(settings)
    stack.stop("connect")
    admin.execute("select pg_drop_replication_slot('millrace')")
    client.write(1000)
    admin.execute("select pg_create_logical_replication_slot('millrace', 'pgoutput')")
    client.write(20)
    does_not_go_on(stack, settings)
    # What the connector needs is not there at once, as after a primary that was replaced.
    stack.stop("registry")
    back = threading.Timer(REGISTRY_AWAY_S, stack.start, ("registry",))
    back.start()
    told = CliRunner().invoke(cli.app, ["connectors", "recover", "--yes"])
    back.join()
    print(told.output)
    assert told.exit_code == 0, told.exception
    # Rows that silver had and that went in the gap.
    assert re.search(r"deletes made good: customers [1-9]", told.output)
    client.write(50)
    assert differences(spark, settings) == []
    proof = CliRunner().invoke(cli.app, ["certify", "--full", "--table", "customers"])
    print(proof.output)
    assert proof.exit_code == 0, proof.exception
    # What is shown is what was compared: as many rows at the source as in current.
    (rows,) = re.findall(r"customers: ([\d,]+) rows, agree", proof.output)
    assert len(re.findall(rf" {rows} ", proof.output)) > 2


def test_f5_the_alarm_comes_before_the_slot_is_lost(stack, admin, spark, settings, client) -> None:
    client.write(100)
    assert differences(spark, settings, "customers") == []
    seen: list[Look] = [capture_looks.look(settings)]
    stack.stop("connect")
    try:
        admin.execute("alter system set max_slot_wal_keep_size = '64MB'")
        admin.execute("select pg_reload_conf()")
        while seen[-1].facts.wal_status != "lost":
            assert len(seen) < 40
            client.write(20)
            for _ in range(10):
                admin.execute(FILL)
            admin.execute("checkpoint")
            seen.append(capture_looks.look(settings))
    finally:
        admin.execute("alter system reset max_slot_wal_keep_size")
        admin.execute("select pg_reload_conf()")
    levels = [look.level for look in seen]
    print(levels)
    assert levels.index(ALARM) < levels.index(BROKEN)
    does_not_go_on(stack, settings)
    made_good(spark, settings, client)


def test_f6_a_busy_neighbour_does_not_make_an_idle_slot_keep_its_log(stack, settings) -> None:
    """The heartbeat's row is in the publication, so the slot moves although nothing else does."""
    most = 0
    other = stack.env["MILLRACE_OLTP_ADMIN_DSN"].replace("/oltp", "/warehouse")
    with psycopg.connect(other, autocommit=True) as connection:
        connection.execute("create table public.busy (filler text)")
        for _ in range(20):
            connection.execute(
                "insert into public.busy select repeat('x', 1000) from generate_series(1, 10000)"
            )
            most = max(most, capture_looks.look(settings).facts.kept_bytes)
        connection.execute("drop table public.busy")
    deadline = time.monotonic() + 90
    while (kept := capture_looks.look(settings).facts.kept_bytes) > 40 * MIB:
        assert time.monotonic() < deadline, f"{kept:,} bytes are still kept"
        time.sleep(2)
    print(f"at most {most / MIB:.0f} MiB were kept, {kept / MIB:.0f} MiB in the end")


def test_f7_a_primary_restored_from_a_base_backup(stack, spark, settings, client) -> None:
    """What the old primary sent and the new one never had is taken back; the slot is a new one."""
    client.write(100)
    assert differences(spark, settings, "customers") == []
    capture_looks.require(settings)
    backup = base_backup(stack)
    client.write(150)
    invariants.drained(settings.oltp_admin_dsn)
    restore(stack, backup)
    time.sleep(10)
    found = capture_looks.look(settings)
    kinds = {b.kind for b in found.breaks}
    print(kinds, register.status(settings.connect))
    # By the looks that the copy has, and by what Connect has stored.
    assert {"other_timeline", "behind_capture"} <= kinds
    made_good(spark, settings, Client(settings.oltp_admin_dsn, 1))


def base_backup(stack: Stack):
    data = postgres.data_folder(stack.layout)
    folder = data.with_name("restored")
    dsn = stack.env["MILLRACE_OLTP_ADMIN_DSN"]
    tool = postgres.binary("pg_basebackup")
    subprocess.run([tool, "-d", dsn, "-D", str(folder), "-X", "stream", "-c", "fast"], check=True)
    (folder / "recovery.signal").touch()
    with (folder / "postgresql.auto.conf").open("a") as conf:
        conf.write("restore_command = 'false'\nrecovery_target_action = 'promote'\n")
    owner = postgres.user()
    if owner:
        subprocess.run(["chown", "-R", f"{owner}:", str(folder)], check=True)
    folder.chmod(0o700)
    return folder


def restore(stack: Stack, backup) -> None:
    """The old primary is gone for good; the copy takes its place and is promoted."""
    data = postgres.data_folder(stack.layout)
    stack.stop("postgres")
    shutil.rmtree(data)
    backup.rename(data)
    stack.start("postgres")
