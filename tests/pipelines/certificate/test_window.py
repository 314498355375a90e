"""The witness sees every committed change once, in commit order, as capture's contract names it."""

import random
from collections import Counter
from contextlib import ExitStack

import psycopg
import pytest

from pipelines.certificate import canonical
from pipelines.certificate.source_state import SESSION, SourceState
from pipelines.certificate.sums import Sum
from pipelines.certificate.window import Change, Source, Window, WitnessLost
from pipelines.visibility import Cut
from tests.pipelines.certificate.conftest import CONTRACTS, MONTHS, PUBLICATION, THINGS, Witnessed

# Stored out of line: an update that leaves it alone does not send it.
LONG = "(select string_agg(md5(n::text), '') from generate_series(1, 700) as n)"
MARKS = {canonical.NULL: "null", canonical.NOT_CARRIED: "-", canonical.UNFIT: "unfit"}


def told(changes: list[Change]) -> list[str]:
    """Operation and columns of each change, long values by their length."""
    rows = []
    for change in changes:
        op, _, *columns = change.text.split(canonical.SEPARATOR)
        shown = (MARKS.get(c, c if len(c) < 60 else f"<{len(c)}>") for c in columns)
        rows.append(f"{op} {change.entity} {' '.join(shown)}")
    return rows


def test_rows_come_made_changed_and_removed(emptied) -> None:
    changes = emptied.changes(
        "insert into witnessed.things values (1, 'a', 'one', 0.000001, '1969-12-31 23:59:59Z')",
        "update witnessed.things set words = null, mood = 'calm'",
        "delete from witnessed.things",
    )
    assert told(changes) == [
        "c things 1 a   one 0.000001 -1000000 null",
        "u things 1 a   null 0.000001 -1000000 calm",
        "d things 1 a   - - - -",
    ]
    assert sorted(c.lsn for c in changes) == [c.lsn for c in changes]
    assert all(c.lsn < c.commit_lsn for c in changes)
    # Capture's order: the end of the commit before.
    assert changes[0].commit_lsn < (changes[1].commit_before or 0)


def test_a_new_key_ends_the_old_row_at_the_same_position(emptied) -> None:
    made, *changed = emptied.changes(
        "insert into witnessed.things values (1, 'a', 'one')",
        "update witnessed.things set id = 2",
    )
    assert told([made, *changed]) == [
        "c things 1 a   one null null null",
        "d things 1 a   - - - -",
        "c things 2 a   one null null null",
    ]
    assert changed[0].lsn == changed[1].lsn > made.lsn


def test_what_is_stored_out_of_line_is_sent_only_when_it_changed_or_identity_is_full(
    emptied,
) -> None:
    changes = emptied.changes(
        f"insert into witnessed.things values (1, 'a', {LONG})",
        "update witnessed.things set amount = 1",
        "update witnessed.things set id = 2",
        f"insert into witnessed.whole values (1, {LONG}, 5)",
        "update witnessed.whole set count = 6",
        "update witnessed.whole set id = 7",
        "delete from witnessed.whole",
    )
    assert told(changes) == [
        "c things 1 a   <22400> null null null",
        "u things 1 a   - 1.000000 null null",
        "d things 1 a   - - - -",
        # The old row's key was sent, not its words.
        "c things 2 a   - 1.000000 null null",
        "c whole 1 <22400> 5",
        "u whole 1 <22400> 6",
        "d whole 1 - -",
        "c whole 7 <22400> 6",
        "d whole 7 - -",
    ]


def test_rows_copied_together_share_their_position(emptied) -> None:
    slot, since = emptied.slot(), emptied.cut()
    with (
        emptied.connect() as connection,
        connection.cursor() as cursor,
        cursor.copy("copy witnessed.things (id, place, words) from stdin") as copy,
    ):
        for number in range(50):
            copy.write_row((number, "x", "copied"))
    changes = list(emptied.window(slot, since, emptied.cut()).changes())
    assert len(changes) == 50
    assert len({c.lsn for c in changes}) == 1
    assert len({c.key_text for c in changes}) == 50


def test_partitions_send_their_rows_as_the_table_itself(emptied) -> None:
    changes = emptied.changes(
        "insert into witnessed.months values (1, '2026-01-05Z', 'one'), (2, '2026-02-05Z', 'two')",
        "update witnessed.months set words = 'three' where id = 2",
        "update witnessed.months set seen_at = '2026-02-07Z' where id = 1",
        "truncate witnessed.months",
    )
    day = 86_400_000_000
    first = 20458 * day
    assert told(changes) == [
        f"c months 1 {first} one",
        f"c months 2 {first + 31 * day} two",
        f"u months 2 {first + 31 * day} three",
        f"d months 1 {first} -",
        f"c months 1 {first + 33 * day} one",
        "t months - - -",
    ]


def test_a_truncate_is_told_of_every_table_it_empties(emptied) -> None:
    changes = emptied.changes("truncate witnessed.things, witnessed.unknown, witnessed.whole")
    assert told(changes) == ["t things - - - - - -", "t whole - - -"]
    assert len({c.lsn for c in changes}) == 1


def test_what_was_rolled_back_never_was(emptied) -> None:
    slot, since = emptied.slot(), emptied.cut()
    with psycopg.connect(emptied.dsn) as connection:
        connection.execute("insert into witnessed.things values (1, 'a', 'gone')")
        connection.rollback()
        connection.execute("insert into witnessed.things values (2, 'b', 'stays')")
        with pytest.raises(psycopg.errors.UniqueViolation), connection.transaction():
            connection.execute(
                "insert into witnessed.things values (3, 'c', 'gone'), (2, 'b', 'gone')"
            )
        with connection.transaction():
            connection.execute("update witnessed.things set words = 'in a subtransaction'")
        connection.commit()
    changes = list(emptied.window(slot, since, emptied.cut()).changes())
    assert [c.split()[0] for c in told(changes)] == ["c", "u"]
    assert len({c.xid for c in changes}) == 1


def test_a_column_of_another_type_is_unfit_and_an_absent_one_null(emptied) -> None:
    with emptied.connect() as connection:
        connection.execute("alter table witnessed.things rename words to called")
        connection.execute("alter table witnessed.things alter amount type text")
    try:
        changes = emptied.changes("insert into witnessed.things values (1, 'a', 'one', '0.5')")
        assert told(changes) == ["c things 1 a   null unfit null null"]
    finally:
        with emptied.connect() as connection:
            connection.execute("truncate witnessed.things")
            connection.execute("alter table witnessed.things rename called to words")
            connection.execute(
                "alter table witnessed.things alter amount type numeric(9,6) using 0"
            )


def test_a_change_belongs_to_the_first_cut_that_sees_it(emptied) -> None:
    slot, start = emptied.slot(), emptied.cut()
    with psycopg.connect(emptied.dsn) as late, emptied.connect() as early:
        late.execute("insert into witnessed.things values (1, 'a', 'late')")
        early.execute("insert into witnessed.things values (2, 'a', 'early')")
        first = emptied.cut()
        late.commit()
        early.execute("insert into witnessed.things values (3, 'a', 'after')")
        second = emptied.cut()
    one, two = emptied.window(slot, start, first), emptied.window(slot, first, second)
    assert [c.text.split(canonical.SEPARATOR)[4] for c in one.changes()] == ["early"]
    assert [c.text.split(canonical.SEPARATOR)[4] for c in two.changes()] == ["late", "after"]
    # Committed before the position that the first cut gives, and not in its snapshot.
    wide = Cut.from_snapshot(second.lsn, first.snapshot)
    window = emptied.window(slot, start, wide)
    with pytest.raises(RuntimeError, match="not been read"):
        _ = window.resume_lsn
    changes = list(window.changes())
    assert [c.xid for c in changes] == [c.xid for c in one.changes()]
    assert changes[0].commit_lsn < window.resume_lsn < second.lsn
    emptied.advance(slot, window.resume_lsn)
    assert [c.text for c in emptied.window(slot, first, second).changes()] == [
        c.text for c in two.changes()
    ]
    assert not list(emptied.window(slot, start, wide).changes())


def _fold(state: dict[str, int], changes: list[Change]) -> None:
    """Rows by key, from changes: digests of rows as the source's state has them."""
    for change in changes:
        if change.op == "d":
            del state[change.key_text]
        elif change.op == "t":
            state.clear()
        else:
            columns = change.text.split(canonical.SEPARATOR, 2)[2]
            state[change.key_text] = canonical.digest(columns)


def test_windows_of_interleaved_transactions_fold_to_every_cuts_state(emptied) -> None:
    """Writers commit, roll back and run on across cuts; windows are agreed or kept at random."""
    seed = 20261130
    chance = random.Random(seed)
    slot = emptied.slot()
    since = emptied.cut()
    state: dict[str, int] = {}
    seen: Counter[tuple[str, int, str]] = Counter()
    with ExitStack() as open_:
        writers = [psycopg.connect(emptied.dsn, options="-c lock_timeout=20ms") for _ in range(4)]
        for writer in writers:
            open_.callback(writer.close)
        for round_ in range(12):
            for _ in range(25):
                _write(chance, chance.choice(writers))
            with _state(emptied) as source:
                rows = {key: d for b in range(64) for key, d in source.digests(THINGS, b)}
                sums = source.sums(THINGS)
            window = emptied.window(slot, since, source.cut)
            changes = [c for c in window.changes() if c.entity == "things"]
            _fold(state, changes)
            seen.update((c.key_text, c.lsn, c.op) for c in changes)
            assert state == rows, f"seed {seed}, round {round_}"
            assert sums == _summed(rows)
            since = source.cut
            if chance.random() < 0.5:
                emptied.advance(slot, window.resume_lsn)
    assert max(seen.values()) == 1
    assert len(seen) >= 40


def _summed(rows: dict[str, int]) -> dict[int, Sum]:
    sums: dict[int, Sum] = {}
    for key, digest in rows.items():
        place = canonical.bucket(key)
        sums[place] = sums.get(place, Sum()) + Sum(1, digest)
    return sums


def _write(chance: random.Random, writer: psycopg.Connection) -> None:
    key, place = chance.randrange(12), chance.choice("ab")
    statement = chance.choice(
        (
            "insert into witnessed.things (id, place, words) values (%(key)s, %(place)s, md5('x'))",
            "update witnessed.things set amount = coalesce(amount, 0) + 1 where id = %(key)s",
            "update witnessed.things set id = id + 12 where id = %(key)s and place = %(place)s",
            "delete from witnessed.things where id >= %(key)s and place = %(place)s",
            "commit",
            "commit",
            "rollback",
        )
    )
    try:
        writer.execute(statement, {"key": key, "place": place})
    except (
        psycopg.errors.UniqueViolation,
        psycopg.errors.LockNotAvailable,
        psycopg.errors.DeadlockDetected,
    ):
        writer.rollback()


class _state:
    """The state of the test's tables with a cut that has no totals."""

    def __init__(self, database: Witnessed) -> None:
        self.connection = psycopg.connect(database.dsn, options=SESSION, autocommit=True)

    def __enter__(self) -> SourceState:
        self.connection.execute("begin transaction isolation level repeatable read read only")
        snapshot = self.connection.execute("select pg_current_snapshot()::text").fetchone()
        lsn = self.connection.execute("select pg_current_wal_insert_lsn() - '0/0'").fetchone()
        assert snapshot is not None
        assert lsn is not None
        return SourceState(Cut.from_snapshot(int(lsn[0]), snapshot[0]), self.connection)

    def __exit__(self, *_: object) -> None:
        self.connection.close()


def test_sums_are_those_of_the_changes(emptied) -> None:
    slot, since = emptied.slot(), emptied.cut()
    with emptied.connect() as connection:
        connection.execute(
            "insert into witnessed.months select n, '2026-01-05Z', 'x' from"
            " generate_series(1, 500) as n"
        )
        connection.execute("truncate witnessed.whole")
    window = emptied.window(slot, since, emptied.cut())
    expected: dict[int, Sum] = {}
    for change in window.changes():
        if change.entity == "months":
            now = expected.get(change.bucket, Sum())
            expected[change.bucket] = now + Sum(1, change.digest)
    assert window.sums() == {MONTHS.entity: expected}
    assert len(expected) > 40


def test_a_slot_that_cannot_tell_says_so(emptied) -> None:
    cut = emptied.cut()
    gone = Window(Source(emptied.dsn, "no_such_slot", PUBLICATION), cut, cut, CONTRACTS)
    with pytest.raises(WitnessLost, match="no_such_slot"):
        list(gone.changes())
