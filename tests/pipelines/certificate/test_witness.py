"""The witness' slot: made once, by a role that may do just that; lost loudly, never fatally."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from pipelines.certificate import source_state, witness
from pipelines.certificate.source_state import SESSION, SourceStateError
from pipelines.certificate.window import WitnessLost
from pipelines.visibility import Cut, visible
from schemas import contract as contracts

CAPTURE = "witness_test_capture"
SLOT = "witness_test_life"
CUSTOMER = "insert into customer.customers (customer_id, country) values (gen_random_uuid(), %s)"


@pytest.fixture
def captured(witnessed) -> Iterator[str]:
    """A slot as capture has one, and no witness before or after."""
    with witnessed.connect() as connection:
        connection.execute("select pg_create_logical_replication_slot(%s, 'pgoutput')", (CAPTURE,))
    yield CAPTURE
    witnessed.drop(CAPTURE)
    witnessed.drop(SLOT)
    with psycopg.connect(witnessed.warehouse_dsn) as warehouse:
        warehouse.execute(
            "update control.witnesses set ended_at = now(), ended_because = 'the test is over'"
            " where slot = %s and ended_at is null",
            (SLOT,),
        )


def ensured(witnessed, dsn: str = "") -> witness.Witness | None:
    return witness.ensure(dsn or witnessed.dsn, witnessed.warehouse_dsn, SLOT, CAPTURE)


def stored(witnessed, cut: Cut) -> int:
    with psycopg.connect(witnessed.warehouse_dsn) as warehouse:
        row = warehouse.execute(
            "insert into control.cuts (lsn, snapshot, taken_at, totals)"
            " values (%s, %s, %s, '{}') returning cut_id",
            (cut.lsn, cut.snapshot, cut.taken_at),
        ).fetchone()
    assert row is not None
    return int(row[0])


def based(witnessed) -> tuple[int, Cut]:
    assert ensured(witnessed) is not None
    cut = witnessed.cut()
    cut_id = stored(witnessed, cut)
    witness.start_at(witnessed.warehouse_dsn, cut_id, cut, SLOT)
    return cut_id, cut


def test_there_is_no_witness_before_capture_has_a_slot(witnessed) -> None:
    assert witness.ensure(witnessed.dsn, witnessed.warehouse_dsn, SLOT, "no_capture") is None
    with witnessed.connect() as connection:
        names = connection.execute("select slot_name from pg_replication_slots").fetchall()
    assert (SLOT,) not in names


def test_it_is_made_once_and_moves_only_when_a_window_is_agreed(witnessed, captured) -> None:
    made = ensured(witnessed)
    assert made is not None
    assert (made.base_cut_id, made.agreed_cut_id, made.lost) == (None, None, None)
    assert ensured(witnessed) == made
    assert witness.agreed(witnessed.warehouse_dsn, SLOT) is None
    base_id, base = based(witnessed)
    assert witness.agreed(witnessed.warehouse_dsn, SLOT) == (base_id, base)
    with witnessed.connect() as connection:
        connection.execute(CUSTOMER, ("CZ",))
    cut = witnessed.cut()
    cut_id = stored(witnessed, cut)
    window = witness.window(witnessed.dsn, base, cut, SLOT)
    for _ in range(2):
        (change,) = window.changes()
        assert (change.entity, change.op) == ("customers", "c")
    witness.agree(witnessed.dsn, witnessed.warehouse_dsn, cut_id, window, SLOT)
    now = ensured(witnessed)
    assert now is not None
    assert (now.base_cut_id, now.agreed_cut_id, now.agreed_lsn) == (base_id, cut_id, cut.lsn)
    assert witness.agreed(witnessed.warehouse_dsn, SLOT) == (cut_id, cut)
    # The agreed window's log is gone: the slot has nothing to say of it any more.
    assert not list(witness.window(witnessed.dsn, base, cut, SLOT).changes())


def test_a_window_without_a_change_lets_its_log_go_and_the_cut_stands(witnessed, captured) -> None:
    base_id, base = based(witnessed)
    with witnessed.connect() as connection, psycopg.connect(witnessed.dsn) as slow:
        slow.execute(CUSTOMER, ("PL",))
        now = witnessed.cut()
        window = witness.window(witnessed.dsn, base, now, SLOT)
        assert not list(window.changes())
        witness.stay(witnessed.dsn, witnessed.warehouse_dsn, base_id, window, SLOT)
        slow.commit()
        stands = ensured(witnessed)
        assert stands is not None
        assert (stands.agreed_cut_id, stands.agreed_lsn, stands.lost) == (base_id, now.lsn, None)
        slot = "select confirmed_flush_lsn - '0/0' from pg_replication_slots where slot_name = %s"
        (confirmed,) = connection.execute(slot, (SLOT,)).fetchone() or (0,)
        assert confirmed > base.lsn
    # What was open at that moment is of the next window, though it was written before.
    later = witness.window(witnessed.dsn, base, witnessed.cut(), SLOT)
    assert [(change.entity, change.op) for change in later.changes()] == [("customers", "c")]
    # Another cut has been agreed meanwhile: nothing is let go in its name.
    witness.stay(witnessed.dsn, witnessed.warehouse_dsn, base_id - 1, later, SLOT)
    assert len(list(later.changes())) == 1


def test_a_commit_that_did_not_wait_for_the_disk_is_seen(witnessed, captured) -> None:
    _, base = based(witnessed)
    with witnessed.connect() as connection:
        connection.execute("set synchronous_commit = off")
        for _ in range(20):
            connection.execute(CUSTOMER, ("DE",))
        cut = witnessed.cut()
    window = witness.window(witnessed.dsn, base, cut, SLOT)
    assert len(list(window.changes())) == 20


def test_a_role_that_may_only_become_cdc_is_enough(witnessed, captured) -> None:
    with witnessed.connect() as connection:
        connection.execute("create role clerk login password 'clerk' in role cdc")
        connection.execute("grant connect on database oltp to clerk")
    address = witnessed.dsn.split("@", 1)[1]
    dsn = f"postgresql://clerk:clerk@{address}"
    try:
        assert ensured(witnessed, dsn) is not None
        with psycopg.connect(dsn, options=SESSION) as connection:
            row = connection.execute("select current_user, usesuper from pg_user where usename ="
                                     " current_user").fetchone()  # fmt: skip
            assert row == ("cdc", False)
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("update customer.customers set country = 'XX'")
        _, base = based(witnessed)
        assert not list(witness.window(dsn, base, witnessed.cut(), SLOT).changes())
    finally:
        with witnessed.connect() as connection:
            connection.execute("revoke connect on database oltp from clerk")
            connection.execute("drop role clerk")


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        ("select pg_drop_replication_slot('{slot}')", "is gone"),
        (
            "select pg_replication_slot_advance('{slot}', pg_current_wal_flush_lsn())",
            "somebody moved",
        ),
        (
            "select pg_drop_replication_slot('{slot}');"
            "select pg_create_logical_replication_slot('{slot}', 'test_decoding')",
            "plugin test_decoding",
        ),
    ],
)
def test_a_lost_witness_is_said_once_and_a_new_one_starts(
    witnessed, captured, caplog, harm, said
) -> None:
    based(witnessed)
    with witnessed.connect() as connection:
        connection.execute(CUSTOMER, ("AT",))
        for statement in harm.format(slot=SLOT).split(";"):
            connection.execute(statement)
    new = ensured(witnessed)
    assert new is not None
    assert said in (new.lost or "")
    assert said in caplog.text
    assert new.base_cut_id is None
    assert witness.agreed(witnessed.warehouse_dsn, SLOT) is None
    again = ensured(witnessed)
    assert again is not None
    assert (again.witness_id, again.lost) == (new.witness_id, None)
    with psycopg.connect(witnessed.warehouse_dsn) as warehouse:
        (reason,) = warehouse.execute(
            "select ended_because from control.witnesses where slot = %s and ended_at is not null"
            " order by witness_id desc limit 1",
            (SLOT,),
        ).fetchone() or ("",)
    assert said in reason


def test_another_cluster_is_another_log(witnessed, captured) -> None:
    based(witnessed)
    with psycopg.connect(witnessed.warehouse_dsn) as warehouse:
        warehouse.execute(
            "update control.witnesses set system_identifier = 1"
            " where slot = %s and ended_at is null",
            (SLOT,),
        )
    new = ensured(witnessed)
    assert new is not None
    assert "another cluster" in (new.lost or "")


@contextmanager
def _log_kept(witnessed, limit: str) -> Iterator[psycopg.Connection]:
    with witnessed.connect() as connection:
        connection.execute(f"alter system set max_slot_wal_keep_size = '{limit}'")
        connection.execute("select pg_reload_conf()")
        try:
            yield connection
        finally:
            connection.execute("alter system reset max_slot_wal_keep_size")
            connection.execute("select pg_reload_conf()")


def test_a_witness_that_holds_too_much_log_is_given_up_by_the_server(witnessed, captured) -> None:
    _, base = based(witnessed)
    cut = witnessed.cut()
    window = witness.window(witnessed.dsn, base, cut, SLOT)
    with _log_kept(witnessed, "1MB") as connection:
        for _ in range(4):
            connection.execute(CUSTOMER, ("FR",))
            connection.execute("select pg_switch_wal()")
        connection.execute("checkpoint")
        with pytest.raises(WitnessLost):
            list(window.changes())
        with pytest.raises(WitnessLost, match="lost"):
            witness.window(witnessed.dsn, base, cut, SLOT)
        witnessed.drop(CAPTURE)
        connection.execute("select pg_create_logical_replication_slot(%s, 'pgoutput')", (CAPTURE,))
    new = ensured(witnessed)
    assert new is not None
    assert "max_slot_wal_keep_size" in (new.lost or "")


def test_it_starts_anew_at_a_cut_whose_state_was_compared(witnessed, captured) -> None:
    based(witnessed)
    cut = witnessed.cut()
    cut_id = stored(witnessed, cut)
    witness.restart(witnessed.warehouse_dsn, cut_id, cut, "states agree", SLOT)
    now = ensured(witnessed)
    assert now is not None
    assert (now.base_cut_id, now.agreed_cut_id, now.lost) == (cut_id, cut_id, None)


def test_a_transaction_that_runs_on_delays_the_witness_and_nothing_else(
    witnessed, captured, caplog, monkeypatch
) -> None:
    monkeypatch.setattr(witness, "MAKING_LIMIT_S", 1)
    with psycopg.connect(witnessed.dsn) as running:
        running.execute(CUSTOMER, ("IT",))
        assert ensured(witnessed) is None
        assert "run on" in caplog.text
        running.rollback()
    assert ensured(witnessed) is not None


def test_the_state_is_read_in_the_cuts_own_snapshot(witnessed) -> None:
    customers = contracts.load("customers")
    with psycopg.connect(witnessed.dsn) as running:
        running.execute(CUSTOMER, ("PL",))
        (xid,) = running.execute("select pg_current_xact_id()::text::bigint").fetchone() or (0,)
        with source_state.reading(witnessed.dsn) as state:
            before = state.sums(customers)
            running.commit()
            assert state.sums(customers) == before
            assert not visible(xid, "c", None, state.cut)
            assert sum(s.changes for s in before.values()) == state.cut.totals["customers"]["rows"]
            keys = [k for b in before for k, _ in state.digests(customers, b)]
            assert len(keys) == len(set(keys)) == sum(s.changes for s in before.values())
    with source_state.reading(witnessed.dsn) as state:
        assert state.sums(customers) != before
        assert sum(s.changes for s in state.sums(customers, ["country"]).values()) == len(keys) + 1


def test_a_table_that_is_not_as_its_contract_says_is_named_and_the_others_are_read(
    witnessed,
) -> None:
    with witnessed.connect() as connection:
        connection.execute("alter table credit.recoveries rename received_at to written_at")
    try:
        with source_state.reading(witnessed.dsn) as state:
            with pytest.raises(SourceStateError, match="received_at"):
                state.sums(contracts.load("recoveries"))
            state.sums(contracts.load("payments"))
    finally:
        with witnessed.connect() as connection:
            connection.execute("alter table credit.recoveries rename written_at to received_at")
