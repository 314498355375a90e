"""Reads at a cut: one transaction of the warehouse, history of the lake, stamps of copies."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from itertools import count

import psycopg
import pytest

from pipelines import publish, reading
from pipelines.copies_at import belongs, texts
from pipelines.publish import Due
from pipelines.reading import NotAtCut
from pipelines.refresh import build_silver
from pipelines.visibility import Cut
from schemas import contract
from schemas.cached_rows import CACHED_ROWS, stamped
from streams.cache import policy
from streams.changes import position
from tests.beside import beside
from tests.pipelines.published import ACCOUNTS, POSTINGS, a_cut, emptied, rows

BOTH = (POSTINGS, ACCOUNTS)
NAMES = tuple(c.entity for c in BOTH)


@pytest.fixture
def dsn(postgres_only) -> str:
    return emptied(postgres_only.env["MILLRACE_WAREHOUSE_DSN"])


def show(dsn: str, tick: int, cut_id: int | None = None) -> int:
    """Publish the tick's number in both tables."""
    cut_id = cut_id or a_cut(dsn)
    due = [Due(c, rows(c, tick, currency=str(tick)), tick) for c in BOTH]
    publish.publish_together(dsn, cut_id, due)
    return cut_id


@contextmanager
def publishing(dsn: str) -> Iterator[None]:
    ticks = count(2)
    with beside(lambda: show(dsn, next(ticks))):
        yield


def numbers(shown: reading.Warehouse) -> set[str]:
    return {row["currency"] for c in BOTH for row in shown.rows(c)}


def test_a_reader_sees_one_cut_however_often_others_publish(dsn) -> None:
    show(dsn, 1)
    seen, mixed, give_up_at = set(), 0, time.monotonic() + 30
    with publishing(dsn):
        while (len(seen) < 20 or not mixed) and time.monotonic() < give_up_at:
            with reading.warehouse(dsn, NAMES) as shown:
                found = numbers(shown)
                assert len(found) == 1
                seen |= found
            # The negative control: one table in each of two reads.
            pair = set()
            for c in BOTH:
                with reading.warehouse(dsn, (c.entity,)) as shown:
                    pair |= {row["currency"] for row in shown.rows(c)}
            mixed += len(pair) == 2
    assert len(seen) >= 20
    assert mixed


def test_a_table_that_was_held_back_is_refused_with_its_reason_and_others_are_read(dsn) -> None:
    first, second = show(dsn, 1), a_cut(dsn)
    held = Due(ACCOUNTS, rows(ACCOUNTS, 2), 2, held_back_by="a_rule")
    publish.publish_together(dsn, second, [held, Due(POSTINGS, rows(POSTINGS, 2), 2)])
    why = f"does not show cut {second}: card_accounts shows cut {first}, held back by a_rule"
    with pytest.raises(NotAtCut, match=why), reading.warehouse(dsn, NAMES):
        pass
    with reading.warehouse(dsn, ("ledger_postings",)) as shown:
        assert shown.at.cut_id == second
    with reading.warehouse(dsn, ("card_accounts",), first) as shown:
        assert shown.totals(ACCOUNTS)["rows"] == 1


def test_a_cut_that_has_passed_is_refused(dsn) -> None:
    first = show(dsn, 1)
    show(dsn, 2)
    with (
        pytest.raises(NotAtCut, match=f"does not show cut {first}"),
        reading.warehouse(dsn, NAMES, first),
    ):
        pass
    assert reading.known(dsn, first).cut_id == first


def test_the_lake_is_refused_before_silver_has_reached_the_cut(dsn) -> None:
    cut_id = show(dsn, 1)
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "insert into control.silver_cuts values (%s, %s) on conflict (entity)"
            " do update set cut_id = excluded.cut_id",
            ("card_accounts", cut_id),
        )
    reading.require_silver(dsn, cut_id, ("card_accounts",))
    with pytest.raises(NotAtCut, match="silver has not reached"):
        reading.require_silver(dsn, a_cut(dsn), ("card_accounts",))


def test_a_copy_belongs_to_a_cut_when_its_change_does() -> None:
    cut = Cut.from_snapshot(1000, "50:60:55")
    at = position(900, True, 950)
    assert belongs(stamped(at, 49), cut)
    assert belongs(stamped(at, 56), cut)
    assert not belongs(stamped(at, 55), cut), "it was running when the cut was taken"
    assert not belongs(stamped(at, 60), cut)
    assert not belongs(at, cut), "no transaction: it cannot be told"
    assert not belongs("", cut), "read from the database, at any time"
    assert not belongs(None, cut)
    assert belongs(position(900, False, 1000), cut)
    assert not belongs(position(900, False, 1001), cut)
    assert not belongs(position(0, False, 0), cut), "a chunk of a snapshot, of no known time"


@pytest.mark.spark
def test_the_lake_is_read_at_every_cut_it_has_reached(make_source) -> None:
    source = make_source("card_accounts")

    def row(key: int, posted: int) -> dict:
        return source.row(key, posted_minor=posted)

    one, two, three = (row(key, 0)["account_id"] for key in (1, 2, 3))
    source.land(
        source.change("r", row(1, 1), lsn=10, tx=9),
        source.change("c", row(2, 2), lsn=20, tx=20),
        # It commits first, and wrote last.
        source.change("u", row(1, 3), lsn=40, commit=20, tx=31),
        source.change("u", row(2, 4), lsn=30, commit=41, tx=30),
        source.change("d", row(1, 3), lsn=60, commit=50, tx=40),
        source.change("c", row(3, 5), lsn=70, commit=61, tx=41),
        source.change("c", row(1, 6), lsn=80, commit=71, tx=42),
        # What a recovery found to be gone has no transaction.
        source.change("d", row(2, 4), lsn=85, commit=85, tx=None),
    )
    everything = Cut.from_snapshot(1000, "100:100:")
    build_silver(source.spark, source.folder, source.contract, everything, source.schemas.get)

    def at(lsn: int, snapshot: str, keys: list | None = None) -> dict[str, int]:
        cut = Cut.from_snapshot(lsn, snapshot)
        found = reading.lake_at(source.spark, source.folder, source.contract, cut, keys).collect()
        return {r.account_id: r.posted_minor for r in found}

    assert at(5, "9:9:") == {}
    assert at(15, "10:10:") == {one: 1}
    assert at(45, "30:32:30") == {one: 3, two: 2}
    assert at(55, "32:32:") == {one: 3, two: 4}
    assert at(65, "41:41:") == {two: 4}
    assert at(84, "43:43:") == {one: 6, two: 4, three: 5}
    assert at(84, "43:43:", [(two,), ("nobody",)]) == {two: 4}
    assert at(90, "43:43:") == {one: 6, three: 5}
    totals = reading.lake_totals(
        source.spark, source.folder, source.contract, Cut.from_snapshot(45, "30:32:30")
    )
    assert totals["rows"] == 2
    assert totals["money"]["posted_minor"] == {"CZK": 5}


@pytest.mark.parametrize("entity", CACHED_ROWS)
def test_a_row_of_the_lake_has_the_text_of_its_copy(entity: str) -> None:
    """Capture tells dates as days; in the lake they are dates."""
    types = {c.name: c.type for c in contract.load(entity).columns}
    told, kept = {}, {}
    for name in (CACHED_ROWS[entity].id_column, *CACHED_ROWS[entity].columns):
        told[name] = {"long": 70, "date": 20_000}.get(types[name], "CZ ")
        kept[name] = date(2024, 10, 4) if types[name] == "date" else told[name]
    (edit,) = policy.edits(entity, None, told)
    assert texts(CACHED_ROWS[entity], kept) == edit.fields
    assert texts(CACHED_ROWS[entity], dict.fromkeys(kept)) == {}
