"""Whole tables compared on a real lake: clean ones agree, what was changed by hand is named."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines import delta, lake
from pipelines.certificate import arrived, canonical, states, whole
from pipelines.certificate.comparing import Verdict
from pipelines.certificate.sums import Sum
from pipelines.refresh import build_silver
from pipelines.visibility import Cut
from schemas import contract as contracts

pytestmark = pytest.mark.spark
CUT = Cut.from_snapshot(10**9, "1000:1000:")
KEYS = 20


class Lake:
    """Cards in two builds, with an update, a delete, a copy and a record that nobody can read."""

    def __init__(self, source: Any) -> None:
        self.source, self.spark = source, source.spark
        s = source
        s.land(*(s.change("c", s.row(n), 100 + n, 90) for n in range(KEYS)))
        build_silver(s.spark, s.folder, s.contract, CUT, s.schemas.get)
        again = s.change("u", s.row(3, status="LOST"), 160, 155)
        s.land(
            again,
            again | {"offset": s.record(None, None)["offset"]},
            s.change("d", {"card_id": s.row(4)["card_id"]}, 170, 165),
            s.record(None, b"nothing"),
            s.change("u", s.row(5, status="NEVER"), 180, 175),
        )
        build_silver(s.spark, s.folder, s.contract, CUT, s.schemas.get)
        live = delta.read(s.spark, lake.current(s.folder, s.contract)).where(states.LIVE)
        self.told = states.sums(live, s.contract)
        self.at = whole.Place(s.spark, s.folder, CUT, s.schemas.get)

    def certify(self, at: whole.Place | None = None, **other: Any) -> Verdict:
        """The verdict on cards; the source says what silver said before anybody touched it."""
        told: dict[int, Sum] = other.get("told", self.told)
        there = arrived.look(self.spark, self.source.folder, [self.source.contract])
        cards = self.source.contract
        digests = other.get("digests", lambda bucket: pytest.fail("asked again"))
        return whole.certify(at or self.at, cards, told, digests, there[cards.entity])

    @contextmanager
    def tampered(self, table: Path, rows: Any) -> Iterator[None]:
        """The table with these rows; afterwards it is as it was."""
        version = delta.last_version(table)
        _overwrite(table, rows)
        try:
            yield
        finally:
            reader = self.spark.read.format("delta").option("versionAsOf", version)
            _overwrite(table, reader.load(str(table)))


def _overwrite(table: Path, rows: Any) -> None:
    rows.localCheckpoint().write.format("delta").mode("overwrite").save(str(table))


@pytest.fixture(scope="module")
def cards(make_source: Any) -> Lake:
    return Lake(make_source("cards"))


@pytest.fixture
def jobs(spark: Any) -> Any:
    """How many Spark jobs there have been."""
    return spark.sparkContext._jsc.sc().dagScheduler().numTotalJobs


def named(verdict: Verdict) -> set[tuple[str, str]]:
    return {(b.hop, b.kind) for b in verdict.breaks}


def test_a_clean_table_agrees_at_every_hop_in_few_jobs(cards: Lake, jobs: Any) -> None:
    there = arrived.look(cards.spark, cards.source.folder, [cards.source.contract])
    before = jobs()
    found = whole.certify(cards.at, cards.source.contract, cards.told, pytest.fail, there["cards"])
    assert found.breaks == ()
    figures = {hop: figure.changes for hop, figure in found.hops.items()}
    live = KEYS - 1
    assert figures == {"source": live, "bronze": live, "silver": KEYS + 2, "current": live}
    assert found.hops["bronze"].quarantined == 1
    # The facts of the fold, the sums, the one key that is kept out.
    assert jobs() - before <= 6


def test_a_table_without_a_row_anywhere_costs_no_job(cards: Lake, jobs: Any) -> None:
    before = jobs()
    found = whole.certify(cards.at, contracts.load("holds"), {}, pytest.fail, arrived.Arrived())
    assert found.holds
    assert jobs() == before


def test_what_the_source_has_and_bronze_has_not_is_named_by_its_key(cards: Lake) -> None:
    key = cards.source.row(99)["card_id"]
    bucket = canonical.bucket(key)
    more = cards.told | {bucket: cards.told.get(bucket, Sum()) + Sum(1, 5)}
    current = delta.read(cards.spark, lake.current(cards.source.folder, cards.source.contract))
    text = canonical.row_text_spark(
        cards.source.contract, [c.name for c in cards.source.contract.columns]
    )
    own = canonical.bucket_spark("card_id")
    rows = current.where(states.LIVE).where(f"{own} = {bucket}")
    has = [tuple(r) for r in rows.selectExpr("card_id", canonical.digest_spark(text)).collect()]
    found = cards.certify(told=more, digests=lambda b: [*has, (key, 5)] if b == bucket else [])
    assert named(found) == {("bronze", "missing")}
    assert found.breaks[0].first_key == key


def test_what_was_changed_in_history_or_current_by_hand_is_named(cards: Lake) -> None:
    s = cards.source
    key = s.row(7)["card_id"]
    mine = f"card_id = '{key}'"
    for table, hop in (
        (lake.history(s.folder, s.contract), "silver"),
        (lake.current(s.folder, s.contract), "current"),
    ):
        rows = delta.read(cards.spark, table)
        other = [f"if({mine}, 'XX', {c}) as {c}" if c == "status" else c for c in rows.columns]
        with cards.tampered(table, rows.selectExpr(*other)):
            (one,) = cards.certify().breaks
        assert (one.hop, one.kind, one.keys, one.first_key) == (hop, "altered", 1, key)
        with cards.tampered(table, rows.where(f"not ({mine})")):
            assert (hop, "missing") in named(cards.certify())


def test_history_that_contradicts_itself_is_named(cards: Lake) -> None:
    s = cards.source
    history = lake.history(s.folder, s.contract)
    rows = delta.read(cards.spark, history)
    turned = [
        f"if(_lsn = 103, timestamp'1970-01-01', {c}) as {c}" if c == "_valid_to" else c
        for c in rows.columns
    ]
    with cards.tampered(history, rows.selectExpr(*turned)):
        assert {("silver", "re-ordered"), ("silver", "altered")} <= named(cards.certify())


def test_of_many_differences_as_many_are_looked_at_as_the_limit_says(cards: Lake) -> None:
    s = cards.source
    current = lake.current(s.folder, s.contract)
    rows = delta.read(cards.spark, current)
    wrong = [f"'XX' as {c}" if c == "status" else c for c in rows.columns]
    with cards.tampered(current, rows.selectExpr(*wrong)):
        (some,) = cards.certify(replace(cards.at, rows_looked_at=5)).breaks
        (every,) = cards.certify().breaks
    assert some.is_partial
    assert 0 < some.keys <= 5
    assert "at least" in str(some)
    assert (every.keys, every.is_partial) == (KEYS - 1, False)


def test_a_table_that_was_emptied_is_folded_by_its_own_builds(make_source: Any) -> None:
    s = make_source("addresses")
    s.land(*(s.change("c", s.row(n), 100 + n, 90) for n in range(3)))
    s.land(s.change("t", None, 150, 145), s.change("c", s.row(7), 160, 155))
    build_silver(s.spark, s.folder, s.contract, CUT, s.schemas.get)
    live = delta.read(s.spark, lake.current(s.folder, s.contract)).where(states.LIVE)
    there = arrived.look(s.spark, s.folder, [s.contract])[s.contract.entity]
    at = whole.Place(s.spark, s.folder, CUT, s.schemas.get)
    found = whole.certify(at, s.contract, states.sums(live, s.contract), pytest.fail, there)
    assert found.breaks == ()
    assert found.hops["current"].changes == 1
    assert not list(lake.aside(s.folder).iterdir())
