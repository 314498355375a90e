"""The window read back from real tables: clean runs agree, tampered tables are named."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from pipelines import delta, lake
from pipelines.certificate import canonical, comparing, comparing_sums, hops, reading_back
from pipelines.certificate.comparing import Evidence, Figures, Verdict
from pipelines.certificate.comparing_sums import Tallied
from pipelines.certificate.drilling import Arrival, Change
from pipelines.certificate.sums import Sum
from pipelines.refresh import build_silver
from pipelines.visibility import Cut

pytestmark = pytest.mark.spark

# Transaction 10 is in the agreed cut, transaction 100 only in the new one.
AGREED = Cut.from_snapshot(150, "50:50:")
CUT = Cut.from_snapshot(10**9, "1000:1000:")
# The lake's window has more changes than this.
FEW = 3


class Told:
    """What the source and Kafka say of the window: what bronze said before anybody touched it."""

    def __init__(self, clean: list[Arrival], sums: comparing_sums.Sums) -> None:
        self.clean, self.of_log = clean, sums

    def arrivals(self, buckets: Any = None) -> list[Arrival]:
        return [
            a
            for a in self.clean
            if buckets is None
            or canonical.bucket(a.change.key, canonical.WINDOW_BUCKETS) in buckets
        ]

    def changes(self, buckets: Any = None) -> list[Change]:
        return [a.change._replace(order=0) for a in self.arrivals(buckets)]

    def sums(self) -> Any:
        return self.of_log


class OfSource(Told):
    """The source knows sums of changes only."""

    def sums(self) -> dict[int, Sum]:
        return dict(self.of_log["bronze"])


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
        clean = self.read_again(FEW)
        assert isinstance(clean, Tallied)
        self.log = Told(list(self.seen[0].bronze), clean.sums)
        self.told = OfSource(list(self.seen[0].bronze), clean.sums)

    def _witness(self, session: Any, judged: Any, since: int) -> None:
        assert since == self.window.after_batch
        began = time.monotonic()
        s = self.source
        self.seen.append(hops.evidence(session, s.folder, s.contract, judged, self.window))
        self.took_s = time.monotonic() - began

    def read_again(self, limit: int = hops.ROWS_BROUGHT) -> Evidence | Tallied:
        s = self.source
        session = reading_back.session(self.spark, s.folder, s.contract, 0)
        judged = hops.records(session, s.folder, s.contract, self.window, s.schemas.get)
        judged = judged.localCheckpoint()
        return hops.evidence(session, s.folder, s.contract, judged, self.window, limit)

    def log_figures(self) -> Figures:
        first = {a.change.identity: a.change for a in self.seen[0].bronze}
        return Figures(len(first), sum(c.digest for c in first.values()))

    def verdict(self, evidence: Evidence | Tallied, looked_at: int = 1000) -> Verdict:
        figures = self.source_figures
        if isinstance(evidence, Tallied):
            return comparing_sums.judge(figures, evidence, self.told, self.log, looked_at)
        return comparing.judge(figures, evidence, self.told.changes, self.log.arrivals)

    def tampered(self, table: Path, rows: Any, limit: int, looked_at: int = 1000) -> Verdict:
        """The verdict on a table with these rows instead; then it is as it was."""
        version = delta.last_version(table)
        _overwrite(table, rows)
        try:
            return self.verdict(self.read_again(limit), looked_at)
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


@pytest.fixture(params=[hops.ROWS_BROUGHT, FEW], ids=["by rows", "by sums"])
def limit(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def brought(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows of changes came to this process, at each time."""
    counts: list[int] = []
    rows = hops._rows

    def counted(frame: Any) -> Any:
        found = rows(frame)
        counts.append(len(found))
        return found

    monkeypatch.setattr(hops, "_rows", counted)
    return counts


def test_a_clean_window_agrees_at_every_hop_in_the_build_and_read_again(
    cards: Lake, limit: int
) -> None:
    (in_build,) = cards.seen
    for evidence in (in_build, cards.read_again(limit)):
        found = cards.verdict(evidence)
        assert found.breaks == ()
        # 1 that had waited, 10 updates, 5 inserts, a delete, one broken
        assert found.hops["bronze"].changes == 18
        assert found.hops["bronze"].quarantined == 2
        assert found.hops["silver"].changes == 17
        assert found.hops["current"].changes == 16
        assert found.hops["source"].agrees(found.hops["bronze"])
    assert {c.identity for c in in_build.shown} >= {c.identity for c in in_build.current}
    assert in_build.unreadable == 1
    assert cards.took_s < 5


def test_the_figures_are_the_same_by_rows_and_by_sums(cards: Lake) -> None:
    rows, sums = cards.read_again(), cards.read_again(FEW)
    assert isinstance(sums, Tallied)
    assert cards.verdict(rows).hops == cards.verdict(sums).hops
    assert sums.count("shown") == len(rows.shown)


def test_a_large_window_that_agrees_brings_no_row_to_this_process(
    cards: Lake, brought: list[int]
) -> None:
    assert cards.verdict(cards.read_again(FEW)).breaks == ()
    assert brought == []


def test_of_a_large_window_only_buckets_that_differ_are_brought(
    cards: Lake, brought: list[int]
) -> None:
    current = lake.current(cards.source.folder, cards.source.contract)
    rows = delta.read(cards.spark, current)
    all_wrong = with_column(rows, "status", "'XX'")
    some = cards.tampered(current, all_wrong, FEW, looked_at=4)
    assert sum(brought) <= 3 * 4
    (one,) = some.breaks
    assert one.is_partial
    assert "at least" in str(one)
    (every,) = cards.tampered(current, all_wrong, FEW).breaks
    assert (every.hop, every.kind, every.keys) == ("current", "altered", 16)
    assert not every.is_partial


def test_copies_of_a_large_window_are_lawful_and_counted(make_source: Any) -> None:
    s = make_source("card_accounts")
    made = [s.change("c", s.row(n), 200 + n, 190) for n in range(8)]
    s.land(*made, *(one | {"offset": one["offset"] + 100} for one in made))
    seen: list[Any] = []
    window = hops.Window(AGREED, CUT, -1, -1, -1)

    def look(session: Any, judged: Any, since: int) -> None:
        seen.append(hops.evidence(session, s.folder, s.contract, judged, window, FEW))

    build_silver(s.spark, s.folder, s.contract, CUT, s.schemas.get, look)
    (held,) = seen
    assert isinstance(held, Tallied)
    whole = sum(x.digest for x in held.of("bronze").values())
    told = Told([], held.sums)
    log = Told(list(held.rows(range(canonical.WINDOW_BUCKETS)).bronze), held.sums)
    found = comparing_sums.judge(Figures(8, whole), held, told, log)
    assert found.holds
    assert found.hops["bronze"].duplicates == 8
    assert [(b.hop, b.kind, b.keys) for b in found.breaks] == [("capture", "duplicated", 8)]


def test_what_is_missing_doubled_altered_or_moved_in_bronze_is_named(
    cards: Lake, limit: int
) -> None:
    s, path = cards.source, lake.bronze(cards.source.folder)
    rows = delta.read(cards.spark, path)
    place = "offset = 24"
    lost = cards.tampered(path, rows.where(f"not ({place})"), limit)
    assert named(lost) == {("bronze", "missing")}
    twice = cards.tampered(path, rows.unionAll(rows.where(place)), limit)
    assert named(twice) == {("bronze", "duplicated")}
    swapped = "case offset when 24 then 27L when 27 then 24L else offset end"
    moved = cards.tampered(path, with_column(rows, "offset", swapped), limit)
    assert named(moved) == {("bronze", "re-ordered")}
    other = s.change("u", s.row(2, status="LOST", external_ref="X"), 202, 190)["value"]
    value = f"if({place}, unhex('{other.hex()}'), value)"
    found = cards.tampered(path, with_column(rows, "value", value), limit)
    assert named(found) == {("bronze", "altered")}
    (one,) = [b for b in found.breaks if b.hop == "bronze"]
    assert one.first_key == one.last_key == s.row(2)["card_id"]
    assert one.first_lsn == one.last_lsn == 202


def test_what_is_wrong_in_history_or_current_is_named(cards: Lake, limit: int) -> None:
    s = cards.source
    key = s.row(4)["card_id"]
    mine = f"(card_id = '{key}' and _lsn = 204)"
    history = lake.history(s.folder, s.contract)
    rows = delta.read(cards.spark, history)
    lost = cards.tampered(history, rows.where(f"not {mine}"), limit)
    assert named(lost) == {("silver", "missing"), ("current", "extra")}
    twice = cards.tampered(history, rows.unionAll(rows.where(mine)), limit)
    assert ("silver", "duplicated") in named(twice)
    later = with_column(rows, "_commit_lsn", f"if({mine}, 1L, _commit_lsn)")
    assert ("silver", "re-ordered") in named(cards.tampered(history, later, limit))
    current = lake.current(s.folder, s.contract)
    states = with_column(
        delta.read(cards.spark, current), "status", f"if({mine}, 'ACTIVE', status)"
    )
    found = cards.tampered(current, states, limit)
    assert named(found) == {("current", "altered")}
    (one,) = found.breaks
    assert (one.first_key, one.keys, one.first_lsn) == (key, 1, 204)
