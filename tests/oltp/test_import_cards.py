"""Card payments of another system become posted history with their own times."""

from __future__ import annotations

import csv
import os
import random
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from tests.imports import bring, digests

CHECKOUT = Path(__file__).parents[2]
WRITTEN_AT = ("created_at", "updated_at", "started_at", "completed_at", "rejected_at")


def example(folder: Path, rows: int, seed: int = 7) -> Path:
    """A file of payments as another system would export them."""
    draw = random.Random(seed)
    path = folder / "payments.csv"
    at = datetime(2023, 1, 1, tzinfo=UTC)
    with path.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["time", "card", "merchant", "amount"])
        for _ in range(rows):
            at += timedelta(seconds=draw.randint(1, 3_600))
            amount = f"{draw.randint(1, 20_000) / 100:.2f}"
            writer.writerow([at.isoformat(), f"card-{draw.randint(1, 40)}", "Shop & Co", amount])
    return path


def test_payments_are_approvals_clearings_and_postings_at_their_own_times(empty_migrated, tmp_path):
    path = example(tmp_path, 300)
    report = bring(empty_migrated, "card_transactions", path)
    assert (report.rows_taken, report.rejections) == (300, [])
    with path.open() as read:
        rows = list(csv.DictReader(read))
    total = sum(round(float(row["amount"]) * 100) for row in rows)
    assert empty_migrated.one("select sum(posted_minor) from card.card_accounts") == (total,)
    assert empty_migrated.one(
        "select count(*), min(e.effective_at), max(e.effective_at), bool_and("
        " e.effective_at = a.decided_at and e.effective_at = c.cleared_at"
        " and c.entry_id = e.entry_id and a.decision = 'APPROVED')"
        " from ledger.entries e join card.authorizations a using (authorization_id)"
        " join card.clearings c using (authorization_id)"
    ) == (
        300,
        datetime.fromisoformat(rows[0]["time"]),
        datetime.fromisoformat(rows[-1]["time"]),
        True,
    )
    cards = len({row["card"] for row in rows})
    assert empty_migrated.one(
        "select count(*) from card.cards join card.card_accounts a using (account_id)"
        " where starts_with(a.external_ref, 'external:') and credit_limit_minor = 0"
    ) == (cards,)
    for view in ("unbalanced_entries", "card_totals", "over_limit", "empty_entries"):
        assert empty_migrated.one(f"select count(*) from ledger.control_{view}") == (0,)


def test_two_equal_payments_in_one_moment_are_two_and_stay_two(empty_migrated, tmp_path):
    path = tmp_path / "two.csv"
    one = "2024-05-01T12:00:00Z,c1,Shop,3.00\n"
    path.write_text("time,card,merchant,amount\n" + one + one)
    bring(empty_migrated, "card_transactions", path)
    bring(empty_migrated, "card_transactions", path)
    assert empty_migrated.one("select sum(posted_minor) from card.card_accounts") == (600,)


def importing_process(database, path: Path) -> subprocess.Popen[bytes]:
    code = (
        "import sys; from pathlib import Path; from oltp import importing;"
        "from oltp.importing import writing; writing.CHUNK = 200;"
        "from tests.imports import VAULT;"
        "importing.run(sys.argv[1], 'card_transactions', [Path(sys.argv[2])], lambda: VAULT)"
    )
    return subprocess.Popen([sys.executable, "-c", code, database.app, str(path)], cwd=CHECKOUT)


def wait_until_some_entries(database, process: subprocess.Popen[bytes]) -> None:
    with psycopg.connect(database.admin, autocommit=True) as connection:
        while process.poll() is None:
            (found,) = connection.execute("select count(*) from ledger.entries").fetchone()
            if found:
                return
            time.sleep(0.01)


def test_a_run_that_was_killed_in_the_middle_is_completed_by_the_next(empty_database, tmp_path):
    from tests.oltp.conftest import migrate

    path = example(tmp_path, 3_000)
    killed, whole = empty_database(), empty_database()
    for database in (killed, whole):
        migrate(database.admin)
    process = importing_process(killed, path)
    try:
        wait_until_some_entries(killed, process)
    finally:
        process.kill()
        process.wait()
    (some,) = killed.one("select count(*) from ledger.entries")
    assert 0 < some < 3_000
    assert killed.one("select status from ops.import_runs") == ("RUNNING",)
    bring(killed, "card_transactions", path)
    assert killed.one("select status from ops.import_runs") == ("COMPLETED",)
    bring(whole, "card_transactions", path)
    same, other = digests(killed, WRITTEN_AT), digests(whole, WRITTEN_AT)
    # The two runs differ in how much of it was there already, and in nothing else.
    assert same.pop("ops.import_runs") != other.pop("ops.import_runs")
    # House accounts come from the migration, the others with their card accounts.
    assert same == other


@pytest.fixture
def command_line(empty_migrated):
    """Runs `millrace` against the test's database."""
    env = {
        **os.environ,
        "MILLRACE_OLTP_DSN": empty_migrated.app,
        "MILLRACE_PII_KEYS": "",
        "MILLRACE_HOME": "/nonexistent",
    }

    def start(*words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "millrace.cli", *words],
            cwd=CHECKOUT, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    return start


def test_the_command_reports_what_came_in_and_what_did_not(command_line, tmp_path):
    path = example(tmp_path, 20)
    with path.open("a") as out:
        out.write("2024-05-01T12:00:00Z,c1,=cmd,1e5\n")
    out, err = command_line("import", "card_transactions", str(path), "--dry-run").communicate()
    assert "21 rows read, 1 would be left out; nothing was written" in out, err
    out, err = command_line("import", "card_transactions", str(path)).communicate()
    assert "21 rows read: 20 taken, 0 already there, 1 left out" in out, err
    refused = "left out: payments.csv:22:amount: '1e5' is not a plain amount of money [amount]"
    assert refused in out
    out, _ = command_line("import", "report").communicate()
    assert "card_transactions" in out
    assert "COMPLETED" in out
    run = next(line for line in out.splitlines() if "COMPLETED" in line).split("│")[1].strip()
    out, err = command_line("import", "report", run).communicate()
    assert refused in out, err
    process = command_line("import", "card_transactions", str(tmp_path / "none.csv"))
    _, err = process.communicate()
    assert (process.returncode, err) == (1, f"{tmp_path / 'none.csv'} is not there\n")


def test_control_c_ends_the_command_with_one_line_and_the_run_goes_on_later(
    empty_migrated, command_line, tmp_path
):
    path = example(tmp_path, 5_500)
    process = command_line("import", "card_transactions", str(path))
    with psycopg.connect(empty_migrated.admin, autocommit=True) as connection:
        while process.poll() is None:
            found = connection.execute("select count(*) from ops.import_runs").fetchone()
            if found[0]:
                break
            time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert err == "Stopped. Run the same import again: it goes on where it was.\n"
    assert empty_migrated.one("select status, error from ops.import_runs") == (
        "FAILED",
        "stopped by its user",
    )
    bring(empty_migrated, "card_transactions", path)
    assert empty_migrated.one("select status, error from ops.import_runs") == ("COMPLETED", None)
    assert empty_migrated.one("select count(*) from ledger.entries") == (5_500,)


def test_a_completed_run_is_announced_once(empty_migrated, tmp_path):
    with psycopg.connect(empty_migrated.admin, autocommit=True) as connection:
        connection.execute(
            "insert into ops.event_schemas values"
            " ('credit.import.completed', 1, 'SYSTEM', 5, repeat('a', 64))"
        )
        # The table is always empty: what passed through it is seen by a trigger.
        connection.execute(
            "create table public.seen (topic text);"
            " create function public.see() returns trigger language plpgsql security definer as"
            " $$ begin insert into public.seen values (new.topic); return new; end $$;"
            " create trigger see after insert on ops.outbox for each row"
            " execute function public.see()"
        )
    path = example(tmp_path, 3)
    for _ in range(2):
        bring(empty_migrated, "card_transactions", path)
    assert empty_migrated.one("select array_agg(topic) from public.seen") == (
        ["credit.import.completed.v1"],
    )
