"""The window read back from real tables: clean runs agree, tampered tables are named."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from pipelines import delta, lake
from pipelines.certificate import comparing, hops
from pipelines.certificate.comparing import Evidence, Figures, Verdict
from pipelines.refresh import build_silver
from pipelines.visibility import Cut

pytestmark = pytest.mark.spark

# Transaction 10 is in the agreed cut, transaction 100 only in the new one.
AGREED = Cut.from_snapshot(150, "50:50:")
CUT = Cut.from_snapshot(10**9, "1000:1000:")


class Lake:
    """A lake of cards with an agreed cut and one more build, and what that build was shown."""

    def __init__(self, source: Any) -> None:
        self.source, self.spark, self.seen = source, source.spark, []
        s = source
        s.land(
            *(s.change("c", s.row(n), 100 + n, 90, tx=10) for n in range(20)),
            # Committed after the agreed cut was taken, and in Kafka before bronze read on.
            s.change("u", s.row(3, status="LOST"), 160, 155),
        )
        first = build_silver(self.spark, s.folder, s.contract, AGREED, s.schemas.get)
        self.window = hops.Window(AGREED, CUT, first.last_batch_id, first.last_batch_id, 0)
        updates = [s.change("u", s.row(n, status="LOST"), 200 + n, 190) for n in range(10)]
        s.land(
            *updates,
            *(s.change("c", s.row(n), 300 + n, 290) for n in range(20, 25)),
            s.change("u", s.row(12, status="NEVER"), 405, 290),
            s.change("d", {"card_id": s.row(15)["card_id"]}, 410, 290),
            s.record(None, b"nothing"),
        )
        build_silver(self.spark, s.folder, s.contract, CUT, s.schemas.get, self._witness)
        self.source_figures = self.log_figures()

    def _witness(self, session: Any, judged: Any, since: int) -> None:
        assert since == self.window.after_batch
        began = time.monotonic()
        s = self.source
        self.seen.append(hops.evidence(session, s.folder, s.contract, judged, self.window))
        self.took_s = time.monotonic() - began

    def read_again(self) -> Evidence:
        s = self.source
        judged = hops.records(self.spark, s.folder, s.contract, self.window, s.schemas.get)
        return hops.evidence(self.spark, s.folder, s.contract, judged, self.window)

    def log_figures(self) -> Figures:
        first = {a.change.identity: a.change for a in self.seen[0].bronze}
        return Figures(len(first), sum(c.digest for c in first.values()))

    def verdict(self, evidence: Evidence) -> Verdict:
        clean = self.seen[0].bronze
        told = [a.change._replace(order=0) for a in clean]
        return comparing.judge(self.source_figures, evidence, lambda: told, lambda: clean)

    def tampered(self, table: Path, rows: Any) -> Evidence:
        """What is read again of a table with these rows instead; then it is as it was."""
        version = delta.last_version(table)
        _overwrite(table, rows)
        try:
            return self.read_again()
        finally:
            reader = self.spark.read.format("delta").option("versionAsOf", version)
            _overwrite(table, reader.load(str(table)))


@pytest.fixture(scope="module")
def cards(make_source: Any) -> Lake:
    return Lake(make_source("cards"))


def _overwrite(table: Path, rows: Any) -> None:
    rows.localCheckpoint().write.format("delta").mode("overwrite").save(str(table))


def with_column(rows: Any, name: str, text: str) -> Any:
    """The rows with another value of a column."""
    return rows.selectExpr(*(f"{text} as {c}" if c == name else c for c in rows.columns))


def named(verdict: Verdict) -> set[tuple[str, str]]:
    return {(b.hop, b.kind) for b in verdict.breaks if not b.is_lawful}


def test_a_clean_window_agrees_at_every_hop_in_the_build_and_read_again(cards: Lake) -> None:
    (in_build,) = cards.seen
    for evidence in (in_build, cards.read_again()):
        found = cards.verdict(evidence)
        assert found.breaks == ()
        # 1 that had waited, 10 updates, 5 inserts, a delete, one broken
        assert found.hops["bronze"].changes == 18
        assert found.hops["bronze"].quarantined == 2
        assert found.hops["silver"].changes == 17
        assert found.hops["current"].changes == 16
        assert {c.identity for c in evidence.shown} >= {c.identity for c in evidence.current}
        assert evidence.unreadable == 1
    assert cards.took_s < 5


def test_what_is_missing_doubled_altered_or_moved_in_bronze_is_named(cards: Lake) -> None:
    s, path = cards.source, lake.bronze(cards.source.folder)
    rows = delta.read(cards.spark, path)
    place = "offset = 24"
    lost = cards.tampered(path, rows.where(f"not ({place})"))
    assert named(cards.verdict(lost)) == {("bronze", "missing")}
    twice = cards.tampered(path, rows.unionAll(rows.where(place)))
    assert named(cards.verdict(twice)) == {("bronze", "duplicated")}
    swapped = "case offset when 24 then 27L when 27 then 24L else offset end"
    moved = cards.tampered(path, with_column(rows, "offset", swapped))
    assert named(cards.verdict(moved)) == {("bronze", "re-ordered")}
    other = s.change("u", s.row(2, status="LOST", external_ref="X"), 202, 190)["value"]
    value = f"if({place}, unhex('{other.hex()}'), value)"
    found = cards.verdict(cards.tampered(path, with_column(rows, "value", value)))
    assert named(found) == {("bronze", "altered")}
    (one,) = [b for b in found.breaks if b.hop == "bronze"]
    assert one.first_key == one.last_key == s.row(2)["card_id"]
    assert one.first_lsn == one.last_lsn == 202


def test_what_is_wrong_in_history_or_current_is_named(cards: Lake) -> None:
    s = cards.source
    key = s.row(4)["card_id"]
    mine = f"(card_id = '{key}' and _lsn = 204)"
    history = lake.history(s.folder, s.contract)
    rows = delta.read(cards.spark, history)
    lost = cards.tampered(history, rows.where(f"not {mine}"))
    assert named(cards.verdict(lost)) == {("silver", "missing"), ("current", "extra")}
    twice = cards.tampered(history, rows.unionAll(rows.where(mine)))
    assert ("silver", "duplicated") in named(cards.verdict(twice))
    later = with_column(rows, "_commit_lsn", f"if({mine}, 1L, _commit_lsn)")
    assert ("silver", "re-ordered") in named(cards.verdict(cards.tampered(history, later)))
    current = lake.current(s.folder, s.contract)
    states = with_column(
        delta.read(cards.spark, current), "status", f"if({mine}, 'ACTIVE', status)"
    )
    found = cards.verdict(cards.tampered(current, states))
    assert named(found) == {("current", "altered")}
    (one,) = found.breaks
    assert (one.first_key, one.keys, one.first_lsn) == (key, 1, 204)
