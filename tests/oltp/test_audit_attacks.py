"""F34: what a superuser does to the audit behind its triggers, and what the verifier calls it."""

from __future__ import annotations

import json

import pytest

from oltp.audit import CheckpointError, Kind, checkpoints
from oltp.audit.canonical import CHANGE, GENESIS, link
from tests.oltp.auditing import Audited, copy_of


@pytest.fixture
def audited(database, tmp_path) -> Audited:
    """Twelve more sealed changes than the migrations left, and a signed checkpoint."""
    made = copy_of(database.admin, tmp_path)
    made.add(6)
    made.seal()
    made.sign()
    made.add(6)
    made.seal()
    made.sign()
    return made


@pytest.fixture
def head(audited) -> int:
    """The number of the last entry."""
    return audited.rows("select max(seq) from audit.chain")[0][0]


def entry(audited: Audited, seq: int) -> int:
    """The change that an entry is about."""
    return audited.rows("select change_id from audit.chain where seq = %s", seq)[0][0]


def rewrite_from(audited: Audited, seq: int) -> None:
    """Compute every hash from `seq` on anew, as one who has read the code would."""
    with audited.acting() as connection:
        connection.execute("set session_replication_role = replica")
        previous = GENESIS
        rows = connection.execute(
            f"select n.seq, n.hash, {CHANGE}::text from audit.chain n"
            " join audit.changes c using (change_id) order by n.seq"
        ).fetchall()
        for number, (old_seq, old, change) in enumerate(rows, 1):
            made = link(previous, number, change) if number >= seq else old
            connection.execute(
                "update audit.chain set seq = %s, hash = %s where seq = %s",
                (number, made, old_seq),
            )
            previous = made


def test_an_untouched_audit_is_intact(audited, head):
    report = audited.verify()
    assert (report.findings, report.entries, report.checkpoints) == ([], head, 2)


EDITS = (
    "new_values = new_values || '{\"name\": \"x\"}'", "actor = 'nobody'", "row_count = 2",
    "reason = 'because'", "client_ip = '10.0.0.1'", "occurred_at = occurred_at + '1 us'",
    "occurred_at = occurred_at + '1 month'", "operation = 'DELETE'", "severity = 'LOW'",
    "table_name = 'other'", "txid = '5'", "old_values = '{}'", "changed_fields = '[]'",
)  # fmt: skip


def test_an_edited_change_is_found_whatever_the_column(audited, head):
    victim = entry(audited, head - 4)
    this = f"where change_id = {victim}"
    audited.attack(f"create table kept as select * from audit.changes {this}")
    for edit in EDITS:
        audited.attack(f"update audit.changes set {edit} {this}")
        found = audited.verify().first
        assert (found.kind, found.seq, found.change_id) == (Kind.EDITED, head - 4, victim), edit
        audited.attack(
            f"delete from audit.changes {this}",
            "insert into audit.changes overriding system value select * from kept",
        )
    assert audited.verify().findings == []


def test_a_deleted_change_is_found(audited, head):
    victim = entry(audited, head - 4)
    audited.attack(f"delete from audit.changes where change_id = {victim}")
    found = audited.verify().first
    assert (found.kind, found.seq, found.change_id) == (Kind.DELETED, head - 4, victim)


def test_a_change_deleted_with_its_entry_is_found(audited, head):
    victim = entry(audited, head - 4)
    audited.attack(
        f"delete from audit.changes where change_id = {victim}",
        f"delete from audit.chain where seq = {head - 4}",
    )
    found = audited.verify().first
    assert (found.kind, found.seq) == (Kind.DELETED, head - 4)


def test_two_entries_that_changed_places_are_found(audited, head):
    audited.attack(
        "alter table audit.chain drop constraint chain_seq_check",
        f"update audit.chain set seq = -1 where seq = {head - 4}",
        f"update audit.chain set seq = {head - 4} where seq = {head - 2}",
        f"update audit.chain set seq = {head - 2} where seq = -1",
    )
    found = audited.verify().first
    assert (found.kind, found.seq) == (Kind.REORDERED, head - 4)


def test_two_changes_that_exchanged_their_content_are_found(audited, head):
    one, other = entry(audited, head - 4), entry(audited, head - 2)
    audited.attack(
        "create temp table kept as select change_id, row_key, new_values from audit.changes",
        "update audit.changes c set row_key = k.row_key, new_values = k.new_values from kept k"
        f" where (c.change_id, k.change_id) in (({one}, {other}), ({other}, {one}))",
    )
    found = audited.verify().first
    assert (found.kind, found.seq, found.change_id) == (Kind.REORDERED, head - 4, one)
    assert str(other) in found.detail


def test_two_changes_that_exchanged_their_numbers_are_found(audited, head):
    one, other = entry(audited, head - 4), entry(audited, head - 2)
    audited.attack(
        "alter table audit.changes alter change_id drop identity",
        f"update audit.changes set change_id = -1 where change_id = {one}",
        f"update audit.changes set change_id = {one} where change_id = {other}",
        f"update audit.changes set change_id = {other} where change_id = -1",
    )
    found = audited.verify().first
    assert (found.kind, found.seq) == (Kind.REORDERED, head - 4)


def test_a_cut_tail_is_found_by_the_checkpoint_alone(audited, head):
    audited.attack(
        "delete from audit.changes c using audit.chain n"
        f" where c.change_id = n.change_id and n.seq > {head - 3}",
        f"delete from audit.chain where seq > {head - 3}",
    )
    found = audited.verify().first
    assert (found.kind, found.seq) == (Kind.TRUNCATED, head - 2)
    audited.file.unlink()
    assert [f.kind for f in audited.verify().findings] == [Kind.CHECKPOINT]


def test_a_tail_that_was_cut_and_grew_again_is_found(audited, head):
    audited.attack(
        "delete from audit.changes c using audit.chain n"
        f" where c.change_id = n.change_id and n.seq > {head - 3}",
        f"delete from audit.chain where seq > {head - 3}",
    )
    audited.add(5)
    audited.seal()
    found = audited.verify().first
    assert (found.kind, found.seq) == (Kind.REWRITTEN, head - 5)


def test_a_chain_written_anew_is_found_by_the_checkpoint_alone(audited, head):
    victim = entry(audited, head - 4)
    audited.attack(f"update audit.changes set actor = 'nobody' where change_id = {victim}")
    rewrite_from(audited, head - 4)
    found = audited.verify().first
    assert found.kind is Kind.REWRITTEN
    # Between the checkpoint that is still true and the one that is not.
    assert found.seq == head - 5
    audited.file.unlink()
    assert [f.kind for f in audited.verify().findings] == [Kind.CHECKPOINT]


def test_a_change_put_in_behind_the_head_is_found(audited, head):
    audited.attack(
        "insert into audit.changes (txid, table_schema, table_name, operation, severity,"
        " compliance_category) values ('5', 'customer', 'customers', 'INSERT', 'LOW', 'KYC')"
    )
    assert audited.verify().first.kind is Kind.INSERTED


def test_nothing_is_signed_on_top_of_a_chain_written_anew(audited, head):
    victim = entry(audited, head - 4)
    audited.attack(f"update audit.changes set actor = 'nobody' where change_id = {victim}")
    rewrite_from(audited, head - 4)
    audited.add()
    audited.seal()
    with pytest.raises(CheckpointError, match="does not go on"):
        audited.sign()


@pytest.mark.parametrize("change", [{"count": 3}, {"at": "2020-01-01T00:00:00+00:00"}])
def test_a_changed_checkpoint_is_found(audited, change):
    first, second = audited.file.read_text().splitlines()
    audited.file.write_text(f"{json.dumps(json.loads(first) | change)}\n{second}\n")
    findings = audited.verify().findings
    assert {f.kind for f in findings} == {Kind.CHECKPOINT}
    assert "signature" in findings[0].detail


def test_a_removed_checkpoint_is_found_by_the_next(audited):
    audited.file.write_text(audited.file.read_text().splitlines()[1] + "\n")
    found = audited.verify().first
    assert found.kind is Kind.CHECKPOINT
    assert "before it" in found.detail


def test_a_checkpoint_by_another_key_is_found(audited):
    other = Audited(audited.admin, audited.file.with_name("other.jsonl"))
    other.sign()
    audited.file.write_text(other.file.read_text())
    assert "not by this key" in audited.verify().first.detail


def test_a_checkpoint_file_that_is_none_says_which_line(audited):
    audited.file.write_text(audited.file.read_text() + "{}\n")
    with pytest.raises(CheckpointError, match="checkpoint 3 cannot be read"):
        checkpoints.load(audited.file)


def test_a_checkpoint_line_that_was_never_finished_is_written_again(audited, head):
    whole = audited.file.read_bytes()
    audited.file.write_bytes(whole[:-40])
    assert audited.sign().count == head
    assert audited.verify().findings == []
