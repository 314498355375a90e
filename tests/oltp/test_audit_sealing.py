"""The chain grows without gaps, whoever writes, seals, rolls back or is killed meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from oltp.audit import Book, canonical, checkpoints, following
from tests.oltp.auditing import CHANGE, Audited, copy_of

# A change's number does not start at 1 in a migrated database: its migrations are audited too.
GAPS = "select max(seq) - count(*), count(*) from audit.chain"


@pytest.fixture
def audited(database, tmp_path) -> Audited:
    made = copy_of(database.admin, tmp_path)
    made.seal()
    made.sign()
    return made


def entries(audited: Audited) -> int:
    gaps, count = audited.rows(GAPS)[0]
    assert gaps == 0
    return count


def test_a_second_run_seals_nothing(audited):
    audited.add(3)
    assert (audited.seal(), audited.seal()) == (3, 0)
    assert audited.sign().count == entries(audited)
    assert audited.sign() is None


def test_the_batch_size_makes_no_difference(audited):
    audited.add(7)
    audited.seal(batch=2)
    hashes = audited.rows("select hash from audit.chain order by seq")
    audited.attack("truncate audit.chain")
    audited.seal()
    assert audited.rows("select hash from audit.chain order by seq") == hashes


def test_a_rolled_back_transaction_leaves_no_gap(audited):
    with psycopg.connect(audited.admin) as connection:
        connection.execute(CHANGE)
        connection.rollback()
    audited.add()
    audited.seal()
    assert entries(audited)
    assert audited.verify().findings == []


def test_a_long_transaction_holds_the_chain_and_is_sealed_in_its_place(audited):
    with psycopg.connect(audited.admin) as slow:
        slow.execute(CHANGE)
        audited.add(3)
        assert audited.seal() == 0
        waiting = audited.verify(backlog_s=0.0)
        # Only its own transaction is unfinished, but none after it can be chained.
        assert (waiting.waiting, waiting.findings) == (3, [])
        slow.commit()
    assert audited.seal() == 4
    order = "select txid::text::bigint from audit.chain order by seq desc limit 4"
    assert [t for (t,) in audited.rows(order)] == sorted(
        (t for (t,) in audited.rows(order)), reverse=True
    )
    entries(audited)


def test_changes_that_nobody_seals_are_a_finding_after_a_while(audited):
    audited.add()
    assert audited.verify().findings == []
    assert [str(f.kind) for f in audited.verify(backlog_s=0.0).findings] == ["not sealed"]


def test_two_sealers_at_once_make_one_chain(audited):
    audited.add(40)
    with ThreadPoolExecutor(4) as pool:
        sealed = list(pool.map(lambda _: audited.seal(batch=3), range(4)))
    assert sum(sealed) == 40
    entries(audited)
    assert audited.verify().findings == []


def test_the_key_beside_the_checkpoints_can_be_read_at_any_moment(audited):
    book, stop = Book(audited.file, audited.key), threading.Event()

    def sign() -> None:
        with canonical.connect(audited.admin) as connection:
            while not stop.is_set():
                book.sign(connection)

    signing = threading.Thread(target=sign)
    signing.start()
    try:
        keys = {checkpoints.public_key(audited.file).public_bytes_raw() for _ in range(20_000)}
    finally:
        stop.set()
        signing.join()
    assert len(keys) == 1


def test_writers_a_sealer_and_a_verifier_do_not_disturb_each_other(audited):
    stop = threading.Event()
    broken = []

    def write() -> None:
        with psycopg.connect(audited.admin) as connection:
            while not stop.is_set():
                connection.execute(CHANGE)
                connection.execute(CHANGE)
                connection.rollback() if time.time_ns() % 3 == 0 else connection.commit()

    def chain() -> None:
        while not stop.is_set():
            audited.seal(batch=5)
            audited.sign()

    threads = [threading.Thread(target=f) for f in (write, write, write, chain, chain)]
    for thread in threads:
        thread.start()
    try:
        until = time.monotonic() + 4
        while time.monotonic() < until:
            broken += audited.verify().findings
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    audited.seal()
    assert broken == []
    final = audited.verify()
    assert (final.findings, final.waiting) == ([], 0)
    assert final.entries == entries(audited) > 50


def test_a_sealer_that_is_killed_in_the_middle_leaves_whole_batches(audited):
    audited.do(
        "insert into customer.tenants (tenant_id, name)"
        " select gen_random_uuid(), 'k' || g from generate_series(1, 1000) g",
    )
    code = (
        "import sys, os, signal; from oltp.audit import canonical, seal\n"
        "c = canonical.connect(sys.argv[1])\n"
        "def told(n):\n"
        "    if n >= 300: os.kill(os.getpid(), signal.SIGKILL)\n"
        "seal(c, 100, told)\n"
    )
    # Killed between batches here; the transaction makes any other moment the same.
    done = subprocess.run([sys.executable, "-c", code, audited.admin], check=False)
    assert done.returncode == -signal.SIGKILL
    middle = canonical.connect(audited.admin)
    pid = middle.execute("select pg_backend_pid()").fetchone()[0]
    middle.execute("select pg_advisory_xact_lock(hashtext('audit.chain'))")
    middle.execute(
        "insert into audit.chain select max(seq) + 1, 1, now(), '9', sha256('x'), now()"
        " from audit.chain"
    )
    audited.do(f"select pg_terminate_backend({pid})")
    middle.close()
    assert audited.seal() == 700
    entries(audited)
    assert audited.verify().findings == []


def test_the_process_seals_signs_and_stops_cleanly(audited):
    env = {
        **os.environ,
        "MILLRACE_HOME": str(audited.file.parent / "no-stack"),
        "MILLRACE_AUDIT_SEALER_DSN": audited.admin,
        "MILLRACE_AUDITOR_DSN": audited.admin,
        "MILLRACE_AUDIT_CHECKPOINTS": str(audited.file),
        "MILLRACE_AUDIT_KEY": audited.key,
    }
    command = [sys.executable, "-m", "millrace.cli", "audit"]
    process = subprocess.Popen(
        [*command, "seal", "--follow", "--every-s", "0.1"],
        env=env, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        audited.add(3)
        until = time.monotonic() + 20
        while time.monotonic() < until and audited.verify().waiting:
            time.sleep(0.1)
        audited.add(2)
    finally:
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=20)
    assert process.returncode == 0, output
    # What was there when it was told to stop is sealed and signed.
    assert checkpoints.load(audited.file)[-1].count == entries(audited)
    verified = subprocess.run(
        [*command, "verify"], env=env, capture_output=True, text=True, check=False
    )
    assert verified.returncode == 0, verified.stderr
    assert "intact" in verified.stdout
    audited.attack("update audit.changes set actor = 'x' where change_id ="
                   " (select change_id from audit.chain order by seq desc limit 1)")  # fmt: skip
    verified = subprocess.run(
        [*command, "verify"], env=env, capture_output=True, text=True, check=False
    )
    assert verified.returncode == 1
    assert "edited" in verified.stdout
    shown = subprocess.run([*command, "show", "--table", "customer.tenants"], env=env,
                           capture_output=True, text=True, check=False)  # fmt: skip
    assert "INSERT" in shown.stdout


def test_the_process_waits_for_a_database_that_is_away():
    stop, said = threading.Event(), []

    def say(line: str) -> None:
        said.append(line)
        stop.set()

    dsn = "postgresql://nobody@127.0.0.1:1/none"
    assert following.follow(dsn, None, stop, every_s=0.01, say=say) == 0
    assert "no database" in said[0]


def test_partitions_are_made_ahead_and_a_month_without_one_is_not_refused(audited):
    made = {name for (name,) in audited.rows("select audit.ensure_partitions(8)")}
    assert {name.rsplit("_", 2)[0] for name in made} == {"changes", "api_access_logs"}
    assert audited.rows("select audit.ensure_partitions(8)") == []
    audited.do(
        "insert into audit.changes (occurred_at, table_schema, table_name, operation, severity,"
        " compliance_category) values ('2001-02-03Z', 'a', 'b', 'INSERT', 'LOW', 'KYC')"
    )
    assert audited.rows("select count(*) from audit.changes_default") == [(1,)]
    now = audited.rows(
        "select to_regclass('audit.changes_' || to_char(now() at time zone 'UTC', 'YYYY_MM'))"
        " is not null"
    )
    assert now == [(True,)]


def test_a_sealer_makes_a_book_only_with_a_key(tmp_path):
    with pytest.raises(checkpoints.CheckpointError, match="MILLRACE_AUDIT_KEY"):
        Book(tmp_path / "x", "short")
