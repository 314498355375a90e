"""Tables on disk: marks, what the log says, upserts, cleaning, one writer."""

from pathlib import Path

import pytest

from pipelines import checking, delta, delta_log
from pipelines.delta import NEVER, Mark, SecondWriter

pytestmark = pytest.mark.spark


@pytest.fixture
def table(tmp_path) -> Path:
    return tmp_path / "table"


def rows(spark, *ids: int):
    return spark.createDataFrame([(i, f"value {i}") for i in ids], "id long, text string").coalesce(
        1
    )


def ids(spark, table: Path) -> list[int]:
    return sorted(row["id"] for row in delta.read(spark, table).collect())


def test_a_mark_moves_with_its_rows_and_a_repeated_one_is_skipped(spark, table) -> None:
    assert delta.watermark(spark, table, "loader") == NEVER
    assert delta.append(rows(spark, 1, 2), table, Mark("loader", 7)) == 2
    assert delta.append(rows(spark, 3), table, Mark("loader", 7)) == 0
    assert delta.append(rows(spark, 4), table, Mark("other", 1)) == 1
    assert delta.watermark(spark, table, "loader") == 7
    assert ids(spark, table) == [1, 2, 4]


def test_the_log_tells_what_was_added_without_reading_the_table(spark, table) -> None:
    delta.append(rows(spark, 1), table, Mark("loader", 0), statistics=("id",))
    delta.append(rows(spark, 5, 9), table, Mark("loader", 1))
    delta.append(rows(spark, 3), table, Mark("other", 1))
    (added,) = delta.added_since(table, "loader", 0)
    assert (added.version, added.rows, added.lowest["id"], added.highest["id"]) == (1, 2, 5, 9)
    assert delta.added_since(table, "loader", 1) == []
    assert len(delta.added_since(table, "loader", NEVER)) == 2


@pytest.mark.parametrize("rewrite_bytes", [0, delta.REWRITE_BYTES], ids=["merged", "rewritten"])
def test_an_upsert_replaces_by_key_either_way(spark, table, monkeypatch, rewrite_bytes) -> None:
    monkeypatch.setattr(delta, "REWRITE_BYTES", rewrite_bytes)
    delta.append(rows(spark, 1, 2), table)
    changed = spark.createDataFrame([(2, "new"), (3, "added")], "id long, text string")
    delta.upsert(changed, table, ["id"], Mark("build", 5))
    found = {row["id"]: row["text"] for row in delta.read(spark, table).collect()}
    assert found == {1: "value 1", 2: "new", 3: "added"}
    assert delta.watermark(spark, table, "build") == 5


def test_a_merge_marks_the_rows_that_it_replaces_and_the_log_knows(
    spark, table, monkeypatch
) -> None:
    monkeypatch.setattr(delta, "REWRITE_BYTES", 0)
    delta.append(rows(spark, *range(100)), table, properties=delta.MERGED)
    changed = spark.createDataFrame([(7, "new"), (100, "added")], "id long, text string")
    delta.upsert(changed, table, ["id"], within="t.id >= 7")
    assert ids(spark, table) == list(range(101))
    state = delta_log.read(table)
    assert state.rows == 101
    (deletions,) = filter(None, (file.deletions for file in state.files.values()))
    assert list(checking.damages(table)) == []
    data = bytearray((table / deletions).read_bytes())
    data[-3] ^= 4
    (table / deletions).write_bytes(data)
    (found,) = checking.damages(table)
    assert (found.file, found.kind) == (table / deletions, checking.Kind.DATA)


def test_cleaning_keeps_the_rows_and_leaves_few_files(spark, table) -> None:
    for i in range(4):
        delta.append(rows(spark, i), table)
    delta.clean(spark, table, before=2, every=100)
    assert len(delta.read(spark, table).inputFiles()) == 4
    delta.clean(spark, table, before=2, every=3)
    assert len(delta.read(spark, table).inputFiles()) == 1
    assert ids(spark, table) == [0, 1, 2, 3]


def test_a_second_writer_is_refused(table) -> None:
    with (
        delta.writing(table),
        pytest.raises(SecondWriter, match="being written by process"),
        delta.writing(table),
    ):
        pass
