"""One message dropped, doubled, altered or moved at a hop: named by hop, kind and keys; pure."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from pipelines.certificate.comparing import Evidence, Figures, judge, with_warehouse
from pipelines.certificate.drilling import Arrival, Break, Change

LOG = [
    Arrival(
        Change(f"k{n % 7}", 1000 + 10 * n, "c" if n < 7 else "u", 77 * n + 1, 900 + n), n % 3, n
    )
    for n in range(40)
]
SOURCE = [a.change._replace(order=0) for a in LOG]
Altered = Callable[[list], list]


def figures(changes: list[Change]) -> Figures:
    return Figures(len(changes), sum(c.digest for c in changes))


def verdict(source=SOURCE, log=LOG, bronze=None, silver=None, last=None, current=None):
    bronze = log if bronze is None else bronze
    first = list({a.change.identity: a for a in reversed(bronze)}.values())
    expected = [a.change for a in first if not a.is_quarantined]
    states = [c for c in expected if c.lsn >= 1330] if last is None else last
    evidence = Evidence(
        "cards",
        bronze=bronze,
        expected=expected,
        silver=expected if silver is None else silver,
        last=states,
        current=states if current is None else current,
    )
    return judge(figures(source), evidence, lambda: source, lambda: log)


def dropped(changes: list) -> list:
    return changes[:17] + changes[18:]


def altered(changes: list) -> list:
    one = changes[17]
    if isinstance(one, Arrival):
        return [*changes[:17], one._replace(change=one.change._replace(digest=5)), *changes[18:]]
    return [*changes[:17], one._replace(digest=5), *changes[18:]]


def doubled(changes: list) -> list:
    one = changes[17]
    return [*changes, one._replace(offset=900) if isinstance(one, Arrival) else one]


def moved(changes: list) -> list:
    """Two neighbours of a partition change places."""
    one, other = changes[17], changes[20]
    if isinstance(one, Arrival):
        swapped = one._replace(change=other.change), other._replace(change=one.change)
    else:
        swapped = one._replace(order=other.order), other._replace(order=one.order)
    return [*changes[:17], swapped[0], *changes[18:20], swapped[1], *changes[21:]]


def places(breaks: tuple[Break, ...]) -> set[tuple[str, str]]:
    return {(b.hop, b.kind) for b in breaks if not b.is_lawful}


def test_what_agrees_holds_and_asks_neither_the_source_nor_kafka() -> None:
    changes = [a.change for a in LOG]
    evidence = Evidence("cards", LOG, changes, changes, last=changes[-7:], current=changes[-7:])
    found = judge(figures(SOURCE), evidence, pytest.fail, pytest.fail)
    assert found.holds
    assert found.breaks == ()
    assert found.hops["source"].agrees(found.hops["bronze"])
    assert found.hops["silver"].agrees(found.hops["bronze"])


@pytest.mark.parametrize(
    ("tamper", "kind"),
    [(dropped, "missing"), (altered, "altered"), (moved, "re-ordered"), (doubled, "duplicated")],
)
def test_one_message_tampered_with_is_named_by_its_hop(tamper: Altered, kind: str) -> None:
    key = LOG[17].change.key
    at_capture = verdict(log=tamper(LOG))
    if kind == "duplicated":  # at least once is what capture promises
        assert at_capture.holds
        assert [(b.hop, b.kind) for b in at_capture.breaks] == [("capture", "duplicated")]
    else:
        assert places(at_capture.breaks) == {("capture", kind)}
    at_bronze = verdict(bronze=tamper(LOG))
    assert places(at_bronze.breaks) == {("bronze", kind)}
    changes = [a.change for a in LOG]
    at_silver = verdict(silver=tamper(changes))
    assert places(at_silver.breaks) == {("silver", kind)}
    at_current = verdict(last=changes, current=tamper(changes))
    assert places(at_current.breaks) == {("current", kind)}
    at_warehouse = with_warehouse(verdict(), changes, tamper(changes))
    assert places(at_warehouse.breaks) == {("warehouse", kind)}
    for found in (at_capture, at_bronze, at_silver, at_current, at_warehouse):
        (one,) = [b for b in found.breaks if b.kind == kind]
        assert one.first_key <= key <= one.last_key
        assert one.first_lsn <= LOG[17].change.lsn <= one.last_lsn
        assert one.keys <= 2


def test_a_change_that_nobody_committed_is_extra() -> None:
    phantom = Arrival(Change("k99", 1500, "u", 3, 1400), 0, 50)
    assert places(verdict(log=[*LOG, phantom]).breaks) == {("capture", "extra")}
    assert places(verdict(bronze=[*LOG, phantom]).breaks) == {("bronze", "extra")}


def test_what_was_committed_before_the_window_and_comes_only_now_was_made_up() -> None:
    late = [Change("k5", 20, "u", 9)]
    found = judge(figures([]), Evidence("cards", late=late), pytest.fail, pytest.fail)
    assert places(found.breaks) == {("capture", "extra")}


def test_replays_of_whole_transactions_are_lawful_and_counted() -> None:
    again = [a._replace(offset=a.offset + 100) for a in LOG[10:]]
    found = verdict(log=[*LOG, *again])
    assert found.holds
    assert found.hops["bronze"].duplicates == 30
    assert found.hops["bronze"].reordered == 0


def test_a_copy_that_says_something_else_is_an_altered_one() -> None:
    forged = LOG[11]._replace(change=LOG[11].change._replace(digest=1), offset=200)
    assert places(verdict(log=[*LOG, forged]).breaks) == {("capture", "altered")}


def test_quarantined_changes_are_counted_and_no_break() -> None:
    log = [a._replace(is_quarantined=n in (3, 9)) for n, a in enumerate(LOG)]
    found = verdict(log=log)
    assert found.breaks == ()
    assert found.hops["bronze"].quarantined == 2
    assert found.hops["silver"].changes == found.hops["bronze"].changes - 2


def test_a_whole_range_lost_is_one_break() -> None:
    (one,) = verdict(bronze=LOG[:20]).breaks
    assert (one.hop, one.kind, one.keys) == ("bronze", "missing", 7)
    assert (one.first_lsn, one.last_lsn) == (1200, 1390)
    assert "LSN 0/4B0 .. 0/56E" in str(one)


def test_without_kafka_the_first_hop_of_the_lake_is_told_from_silver_all_the_same() -> None:
    evidence = Evidence("cards", dropped(LOG))
    found = judge(figures(SOURCE), evidence, lambda: SOURCE, lambda: None)
    assert ("capture", "missing") in places(found.breaks)


def test_the_order_in_which_things_are_compared_does_not_matter() -> None:
    shuffled = random.Random(6)
    source, bronze = SOURCE[:], LOG[:]
    shuffled.shuffle(source)
    shuffled.shuffle(bronze)
    assert verdict(source=source, bronze=bronze).breaks == ()
