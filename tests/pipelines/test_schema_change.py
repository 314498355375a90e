"""A table changes its shape at the source: what is added flows, what is gone is never null."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from pipelines import delta, lake
from pipelines.refresh import build_silver

pytestmark = pytest.mark.spark
MORE = {
    "note": "string",
    "score": "int",
    "weight": "double",
    "seen_at": {"type": "string", "connect.name": "io.debezium.time.ZonedTimestamp"},
}


class Registry:
    """The versions of one topic's values, oldest first, as the registry keeps them."""

    def __init__(self, schemas: dict[int, str], *versions: int) -> None:
        self.schemas, self.versions = schemas, versions

    def __call__(self, schema_id: int) -> str | None:
        return self.schemas.get(schema_id)

    def before(self, topic: str, schema_id: int) -> list[str]:
        earlier = self.versions[: self.versions.index(schema_id)]
        return [self.schemas[i] for i in earlier]


@pytest.fixture(scope="module")
def changed(spark, make_source, everything) -> SimpleNamespace:
    """Documents: columns added, one widened, one renamed; a state that counts as deleted."""
    s = make_source("documents")
    contract = replace(s.contract, deleted_when="status = 'REJECTED'")
    added = s.register(_with(s, MORE))
    widened = s.register(_with(s, MORE | {"score": "long"}))
    renamed = s.register(_with(s, {"place": "string"}, drop=("storage_ref",)))
    registry = Registry(s.schemas, s.value_id, added, widened, renamed)
    row = {"note": "first", "score": 7, "weight": 0.5, "seen_at": "2026-03-01T10:00:00Z"}
    s.land(
        s.change("c", s.row(1, storage_ref="a"), 100, 90),
        s.change("c", s.row(2), 101, 90),
        s.change("c", s.row(3) | row, 102, 90, schema_id=added),
        s.change("c", s.row(5), 103, 90),
    )
    first = build_silver(spark, s.folder, contract, everything, registry)
    moved = {"place": "here"}
    s.land(
        s.change("u", s.row(2) | row | {"score": 2**40}, 200, 190, schema_id=widened),
        s.change("u", s.row(1) | moved, 201, 190, schema_id=renamed),
        s.change("d", s.row(5), 202, 190, schema_id=renamed),
        s.change("c", s.row(4, status="REJECTED"), 203, 190),
        # An update with the oldest schema, late: it knows nothing of the columns that came after.
        s.change("u", s.row(3), 99, 85),
    )
    second = build_silver(spark, s.folder, contract, everything, registry)
    s.land(s.change("u", s.row(4, status="VERIFIED"), 300, 290))
    third = build_silver(spark, s.folder, contract, everything, registry)
    current = delta.read(spark, lake.current(s.folder, contract)).collect()
    past = delta.read(spark, lake.history(s.folder, contract)).orderBy("_lsn").collect()
    kept = delta.read(spark, lake.quarantine(s.folder)).collect()
    return SimpleNamespace(
        results=(first, second, third),
        current={_number(row): row for row in current},
        past={n: [row for row in past if _number(row) == n] for n in range(1, 6)},
        quarantine=[[reason["rule"] for reason in row["reasons"]] for row in kept],
    )


def test_a_column_that_nobody_declared_is_kept_and_reported(changed) -> None:
    assert changed.results[0].undeclared == tuple(MORE)
    row = changed.current[3]
    assert (row["note"], row["score"], row["weight"]) == ("first", 7, "0.5")
    assert row["seen_at"].isoformat() == "2026-03-01T10:00:00"


def test_a_wider_number_fits(changed) -> None:
    assert changed.current[2]["score"] == 2**40


def test_rows_of_an_older_shape_have_no_value_for_what_came_after(changed) -> None:
    late, now = changed.past[3]
    assert (late["note"], now["note"]) == (None, "first")


def test_a_renamed_column_is_quarantined_as_dropped_and_never_null(changed) -> None:
    assert changed.quarantine == [["storage_ref.dropped"]]
    assert changed.current[1]["storage_ref"] == "a"
    assert "place" in changed.results[1].undeclared


def test_a_delete_is_judged_by_its_key_whatever_was_dropped(changed) -> None:
    assert changed.current[5]["_is_deleted"]


def test_a_row_that_says_it_is_deleted_counts_as_deleted_until_it_says_otherwise(changed) -> None:
    gone, back = changed.past[4]
    assert (gone["_op"], gone["_is_deleted"], back["_is_deleted"]) == ("c", True, False)
    assert not changed.current[4]["_is_deleted"]
    assert (gone["_version"], back["_version"]) == (1, 2)


def _with(s: Any, more: dict[str, Any], drop: tuple[str, ...] = ()) -> Any:
    schema = s.value_schema(drop=drop)
    row = schema["fields"][0]["type"][1]
    row["fields"] += [{"name": n, "type": ["null", t], "default": None} for n, t in more.items()]
    return schema


def _number(row: Any) -> int:
    return int(row["document_id"][-12:])
