"""What is proven, what is broken, what readers are shown: kept and read in a real warehouse."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from pipelines import publish
from pipelines.certificate import canonical, ledger, showing
from pipelines.certificate.comparing import Figures, Verdict
from pipelines.certificate.drilling import Break
from pipelines.certificate.ledger import STATE, WINDOW, Place
from pipelines.certificate.sums import Sum, total
from tests.pipelines.published import ACCOUNTS, a_cut, emptied, rows

KEYS = [f"00000000-0000-4000-8000-{n:012d}" for n in range(1, 4)]


@pytest.fixture(scope="module")
def dsn(postgres_only) -> str:
    return postgres_only.env["MILLRACE_WAREHOUSE_DSN"]


@pytest.fixture(autouse=True)
def clean(dsn: str) -> Iterator[None]:
    yield
    ledger.settle(dsn, ["cards", "holds"], "the test is over")


def broken(hop: str = "bronze", kind: str = "missing", keys: int = 1) -> Break:
    return Break("cards", hop, kind, keys, "k1", "k9", 100, 900)


def verdict(*breaks: Break, entity: str = "cards") -> Verdict:
    return Verdict(entity, {"source": Figures(3, 2**90), "bronze": Figures(2, 7)}, breaks)


def record(dsn: str, cut_id: int, mode: str, verdicts: list[Verdict]) -> None:
    since = {v.entity: cut_id for v in verdicts} if mode == WINDOW else {}
    ledger.record(dsn, cut_id, mode, since, verdicts)


def open_now(dsn: str) -> list[tuple[str, str]]:
    return [(one.hop, one.kind) for _, _, one in ledger.open_breaks(dsn)]


def test_a_break_is_one_row_until_its_window_agrees(dsn: str) -> None:
    first, second, third = a_cut(dsn), a_cut(dsn), a_cut(dsn)
    record(dsn, first, WINDOW, [verdict(broken())])
    record(dsn, second, WINDOW, [verdict(broken(keys=4)), verdict(entity="holds")])
    ((cut_id, _, one),) = ledger.open_breaks(dsn)
    assert (cut_id, one) == (first, broken(keys=4))
    record(dsn, third, WINDOW, [verdict(broken("silver", "extra"))])
    assert open_now(dsn) == [("silver", "extra")]
    record(dsn, third, WINDOW, [verdict()])
    assert open_now(dsn) == []


def test_what_a_state_has_found_only_a_state_settles(dsn: str) -> None:
    cut_id = a_cut(dsn)
    record(dsn, cut_id, STATE, [verdict(broken("current", "altered"))])
    record(dsn, cut_id, WINDOW, [verdict()])
    assert open_now(dsn) == [("current", "altered")]
    assert ledger.open_breaks(dsn, WINDOW) == []
    record(dsn, cut_id, STATE, [verdict()])
    assert open_now(dsn) == []


def test_tables_reach_as_far_as_they_agreed_and_never_back(dsn: str) -> None:
    early, late = a_cut(dsn), a_cut(dsn)
    ledger.certify(dsn, late, "bronze:x", {"cards": Place(7, 5, 9)})
    ledger.certify(dsn, early, "bronze:x", {"cards": Place(3, 3, 9), "holds": Place(3, 3, 9)})
    found = ledger.reaches(dsn)
    assert (found["cards"].cut_id, found["holds"].cut_id) == (late, early)
    assert (found["cards"].after_batch, found["cards"].shown_after_batch) == (7, 5)
    assert found["cards"].cut.snapshot == "5:5:"


def test_the_last_certificate_is_printed_with_its_breaks(dsn: str) -> None:
    cut_id = a_cut(dsn)
    ledger.certify(dsn, cut_id, "bronze:x", {"holds": Place(1, 1, 9)})
    record(dsn, cut_id, WINDOW, [verdict(broken()), verdict(entity="holds")])
    ledger.close(dsn, cut_id, WINDOW, None, 6, 0.25)
    last, _, seconds, lines = ledger.last_window(dsn) or pytest.fail("none")
    assert (last, seconds) == (cut_id, 0.25)
    by_entity = {line.entity: line for line in lines}
    assert by_entity["holds"].cut_id == cut_id
    assert by_entity["holds"].hops["source"][:2] == (3, 2**90)
    (told,) = by_entity["cards"].breaks
    assert "missing at bronze" in told


def test_what_is_shown_of_keys_is_read_by_key(dsn: str) -> None:
    emptied(dsn)
    with psycopg.connect(dsn) as connection:
        assert showing.states(connection, ACCOUNTS, KEYS) == []
        assert showing.sums(connection, ACCOUNTS) == {}
    for tick, key in enumerate(KEYS, 1):
        publish.publish(dsn, ACCOUNTS, rows(ACCOUNTS, tick, account_id=key, _op="u"), tick)
    with psycopg.connect(dsn) as connection:
        two = showing.states(connection, ACCOUNTS, [KEYS[2], KEYS[0], KEYS[0]])
        assert [(c.key, c.lsn, c.op, c.order) for c in sorted(two)] == [
            (KEYS[0], 1, "u", 1),
            (KEYS[2], 3, "u", 3),
        ]
        every = list(showing.every(connection, ACCOUNTS))
        assert set(two) < set(every)
        whole = total(showing.sums(connection, ACCOUNTS).values())
        assert (whole.changes, whole.digest) == (3, sum(c.digest for c in every))
        connection.execute("update silver.card_accounts set _is_deleted = true")
        (gone,) = showing.states(connection, ACCOUNTS, [KEYS[0]])
    assert gone.digest not in {c.digest for c in every}
    assert gone.digest != canonical.digest("")


def test_what_is_shown_of_a_large_window_is_summed_by_its_buckets(dsn: str) -> None:
    emptied(dsn)
    with psycopg.connect(dsn) as connection:
        assert showing.sums_after(connection, ACCOUNTS, -1) == {}
    for tick, key in enumerate(KEYS, 1):
        publish.publish(dsn, ACCOUNTS, rows(ACCOUNTS, tick, account_id=key, _op="u"), tick)
    with psycopg.connect(dsn) as connection:
        connection.execute("update silver.card_accounts set _batch_id = _lsn")
        found = showing.sums_after(connection, ACCOUNTS, 1)
        _, *later = sorted(showing.every(connection, ACCOUNTS))
        buckets = {canonical.bucket(c.key, canonical.WINDOW_BUCKETS): c for c in later}
        for bucket, one in buckets.items():
            assert found["shown"][bucket] == Sum(1, one.digest)
            # As tallying.placed says it to Spark and to Postgres.
            placed = (one.digest % 1000003 + 1) * (one.lsn + 3 * one.order)
            assert found["shown_places"][bucket] == Sum(1, placed)
        assert found["shown"].keys() == buckets.keys()
        (bucket, one), *_ = buckets.items()
        here = showing.of_window(connection, ACCOUNTS, 1, [bucket], [KEYS[0], one.key])
        assert {c.key for c in here} == {KEYS[0], one.key}
        assert one in here
