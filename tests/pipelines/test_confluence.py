"""Many lives of rows in one lake: whatever way their changes arrive, silver is the same, and right.

Lives are drawn by hypothesis: inserts, updates, deletes, returns, key changes, truncates, values
out of line, nulls, snapshot rows, rolled-back work. Their changes are repeated, delayed, put in
another order across keys and partitions, and cut into batches. Python says what must come out.
"""

import random
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from pipelines import delta, delta_log, history, lake, silver_tables
from pipelines.refresh import build_silver
from tests.pipelines import lives as led
from tests.pipelines import reference
from tests.pipelines.reference import Change

pytestmark = pytest.mark.spark
LIVES = 100
MADE = datetime(2026, 1, 1, tzinfo=UTC)
CLOCK_MS = 1_700_000_000_000
VALUES = ("status", "storage_ref", "expires_on", "updated_at")
# What depends on the way that a change arrived, not on what it says.
ARRIVAL = ("_topic", "_partition", "_offset", "_ingested_at", "_batch_id")
ENDS = [Change(None, "t", (lsn - 500) * led.APART, lsn * led.APART, lsn) for lsn in led.TRUNCATES]


@pytest.fixture(
    scope="module", params=["rewritten", pytest.param("merged", marks=pytest.mark.long)]
)
def arrived(spark, make_source, everything, request) -> Iterator[SimpleNamespace]:
    """Silver built batch by batch from changes in disorder, and again from all of it at once.

    Small tables are rewritten, large ones merged into.
    """
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "merged":
            as_large(patch)
        yield _arrived(spark, make_source("documents"), everything)


def as_large(patch: pytest.MonkeyPatch) -> None:
    """From now on every table counts as a large one."""
    patch.setattr(delta, "REWRITE_BYTES", 0)
    patch.setattr(silver_tables, "SMALL_TABLE_BYTES", 0)


def _arrived(spark: Any, s: Any, everything: Any) -> SimpleNamespace:
    lives = led.lives(LIVES)
    for batch in _batches(s, lives):
        s.land(*batch)
        built = build_silver(spark, s.folder, s.contract, everything, s.schemas.get)
        assert (built.quarantined, built.waiting) == (0, 0)
    by_batches = _read(spark, s)
    shutil.rmtree(lake.silver(s.folder, s.contract))
    build_silver(spark, s.folder, s.contract, everything, s.schemas.get)
    return SimpleNamespace(source=s, lives=lives, by_batches=by_batches, at_once=_read(spark, s))


def test_history_is_what_plain_python_says(arrived) -> None:
    expected = {
        (number, key): [_as_row(state) for state in states]
        for number, life in enumerate(arrived.lives)
        for key, states in reference.history(life.changes, ENDS, _tracked(arrived)).items()
    }
    found = arrived.by_batches.past
    assert found.keys() == expected.keys()
    for key, states in expected.items():
        assert found[key] == states, f"life {key[0]}: {arrived.lives[key[0]]}"


def test_current_is_what_the_database_has(arrived) -> None:
    truth = {
        (number, key): row
        for number, life in enumerate(arrived.lives)
        for key, row in life.alive.items()
    }
    now = arrived.by_batches.current
    live = {key: row["values"] for key, row in now.items() if not row["is_deleted"]}
    assert live == truth
    last = {key: states[-1]["order"] for key, states in arrived.by_batches.past.items()}
    assert {key: row["order"] for key, row in now.items()} == last


def test_batch_by_batch_is_the_same_as_all_at_once_by_checksum(arrived) -> None:
    assert arrived.by_batches.checksums == arrived.at_once.checksums


def test_tracked_versions_have_one_interval_each(arrived, spark) -> None:
    past = delta.read(spark, lake.history(arrived.source.folder, arrived.source.contract))
    found: dict[Any, list[Any]] = {}
    for row in history.versions(past, arrived.source.contract).orderBy("_version").collect():
        found.setdefault(_key(row), []).append(row)
    for key, versions in found.items():
        states = arrived.at_once.past[key]
        assert [v["_version"] for v in versions] == list(range(1, states[-1]["version"] + 1))
        assert [v["_is_current"] for v in versions] == [False] * (len(versions) - 1) + [True]
        assert [v["_valid_to"] for v in versions[:-1]] == [v["_valid_from"] for v in versions[1:]]
        assert sum(v["_changes"] for v in versions) == len(states)
    assert any(len(v) < len(arrived.at_once.past[k]) for k, v in found.items())


def test_the_lives_have_seen_everything(arrived) -> None:
    ops = {state["op"] for states in arrived.at_once.past.values() for state in states}
    assert ops == set("crudt")
    moves = [c for life in arrived.lives for c in life.changes if c.moved_from is not None]
    assert sum(c.values["storage_ref"] == reference.UNCHANGED for c in moves) > 3
    assert sum(len(set(b)) > 1 for life in arrived.lives for b in life.arrivals) > LIVES


def test_a_merge_into_old_and_new_files_misses_no_row(
    spark, make_source, everything, monkeypatch
) -> None:
    """Without a truncate a MERGE leaves files alone that are older than what it replaces."""
    as_large(monkeypatch)
    s, chance = make_source("documents"), random.Random(11)
    lsns = {key: iter(range(key, 10**6, 100)) for key in range(1, 41)}
    held_back: list[Any] = []
    for number in range(5):
        keys = lsns if number == 0 else chance.sample(sorted(lsns), 12)
        changes = [_next_of(s, key, next(lsns[key])) for key in keys]
        late = [change for change in changes if number and chance.random() < 0.3]
        s.land(*(c for c in changes if c not in late), *held_back, *held_back[:1])
        held_back = late
        build_silver(spark, s.folder, s.contract, everything, s.schemas.get)
    current = lake.current(s.folder, s.contract)
    assert any(file.deletions for file in delta_log.read(current).files.values())
    by_batches = _read(spark, s)
    shutil.rmtree(lake.silver(s.folder, s.contract))
    build_silver(spark, s.folder, s.contract, everything, s.schemas.get)
    assert by_batches.checksums == _read(spark, s).checksums


def _next_of(s: Any, key: int, lsn: int) -> Any:
    return s.change("c" if lsn < 100 else "u", s.row(key, storage_ref=f"at {lsn}"), lsn, lsn)


def _batches(s: Any, lives: list[led.Life]) -> list[list[Any]]:
    batches: list[list[tuple[int, Any]]] = [[] for _ in range(led.BATCHES)]
    for number, life in enumerate(lives):
        for change, arrivals, place in zip(life.changes, life.arrivals, life.shuffle, strict=True):
            record = _record(s, number, change)
            for batch in arrivals:
                batches[batch].append((place, record))
    # The first truncate comes late and twice, the second one before most of what it ends.
    first, second = (_record(s, 0, end) for end in ENDS)
    batches[1].append((50, first))
    batches[2].append((0, first))
    batches[0].append((10, second))
    landed = []
    for batch in batches:
        # Each with an offset of its own, in the order of arrival, over three partitions.
        rows = [r for _, r in sorted(batch, key=lambda placed: placed[0])]
        landed.append([_at(s, row, place % 3) for place, row in enumerate(rows)])
    return landed


def _at(s: Any, record: dict[str, Any], partition: int) -> dict[str, Any]:
    s.offset += 1
    return record | {"offset": s.offset, "partition": partition}


def _record(s: Any, number: int, change: Change) -> dict[str, Any]:
    facts: dict[str, Any] = {"ts_ms": CLOCK_MS + change.changed_at}
    if change.op == "t":
        return s.change("t", None, change.lsn, change.commit_lsn, **facts)
    values = dict(change.values)
    if values:
        values["updated_at"] = (MADE + timedelta(seconds=values["updated_at"])).isoformat()
    row = s.row(number * 100 + change.key, **values)
    # Some snapshots are taken at the start, some while changes stream.
    facts["is_between"] = change.op == "r" and number % 2 == 1
    return s.change(change.op, row, change.lsn, change.commit_lsn, **facts)


def _read(spark: Any, s: Any) -> SimpleNamespace:
    past: dict[Any, list[dict[str, Any]]] = {}
    table = delta.read(spark, lake.history(s.folder, s.contract))
    current = delta.read(spark, lake.current(s.folder, s.contract))
    for row in table.orderBy("_commit_lsn", "_streamed", "_lsn").collect():
        past.setdefault(_key(row), []).append(
            _said(row)
            | {
                "valid_from": _clock(row["_valid_from"]),
                "valid_to": _clock(row["_valid_to"]),
                "version": row["_version"],
                "is_current": row["_is_current"],
            }
        )
    return SimpleNamespace(
        past=past,
        current={_key(row): _said(row) for row in current.collect()},
        checksums=(_checksum(table), _checksum(current)),
    )


def _said(row: Any) -> dict[str, Any]:
    values = {name: row[name] for name in VALUES}
    values["expires_on"] = (
        values["expires_on"] and (values["expires_on"] - MADE.date()).days + 20454
    )
    values["updated_at"] = int((values["updated_at"].replace(tzinfo=UTC) - MADE).total_seconds())
    return {
        "op": row["_op"],
        "order": (row["_commit_lsn"], row["_streamed"], row["_lsn"]),
        "values": values,
        "is_deleted": row["_is_deleted"],
    }


def _as_row(state: reference.State) -> dict[str, Any]:
    return {
        "op": state.op,
        "order": state.order,
        "values": {name: state.values[name] for name in VALUES},
        "is_deleted": state.is_deleted,
        "valid_from": state.valid_from,
        "valid_to": state.valid_to,
        "version": state.version,
        "is_current": state.valid_to is None,
    }


def _checksum(table: Any) -> Any:
    names = sorted(n for n in table.columns if n not in (*ARRIVAL, "_tick"))
    digests = table.selectExpr(f"cast(xxhash64({', '.join(names)}) as decimal(38,0)) as digest")
    return tuple(digests.selectExpr("count(*)", "sum(digest)").collect()[0])


def _tracked(arrived: SimpleNamespace) -> list[str]:
    return [name for name in VALUES if name in arrived.source.contract.tracked]


def _key(row: Any) -> tuple[int, int]:
    return divmod(int(row["document_id"][-12:]), 100)


def _clock(moment: Any) -> int | None:
    if moment is None:
        return None
    return round((moment.replace(tzinfo=UTC).timestamp()) * 1000) - CLOCK_MS
