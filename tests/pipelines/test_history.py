"""History is a function of the set of changes: not of their order, their batches or repetition."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines import cdc, history
from schemas import contract as contracts

pytestmark = pytest.mark.spark
CARDS = contracts.load("cards")
START = datetime(2026, 1, 1, tzinfo=UTC)
SCHEMA = ", ".join(
    f"`{n}` {kind}"
    for n, kind in (
        {c.name: cdc.sql_type(c) for c in CARDS.columns}
        | cdc.TECHNICAL
        | {"_unchanged": "array<string>"}
    ).items()
)
OTHERS = [c.name for c in CARDS.columns if c.name not in CARDS.key]
ARRIVAL = {"_offset", "_partition", "_batch_id", "_ingested_at"}


def change(key: int, place: int, op: str, limit: int | None, out_of_line: bool) -> dict[str, Any]:
    """The `place`th change of a key; some clocks run backwards."""
    row: dict[str, Any] = {c.name: None for c in CARDS.columns} | {"card_id": f"card-{key}"}
    unchanged = OTHERS if op == "d" else ["external_ref"] if out_of_line else []
    if op != "d":
        row |= {"product": limit and f"P{limit}", "status": "ACTIVE"}
        row |= {"external_ref": None if out_of_line else f"ref-{place}"}
    return row | {
        "_op": op,
        "_is_deleted": op == "d",
        "_commit_lsn": 1000 + place,
        "_lsn": 1005 - place,
        "_streamed": 1,
        "_tx_id": 7,
        "_topic": CARDS.topic,
        "_partition": 0,
        "_offset": place,
        "_changed_at": START + timedelta(seconds=place if place % 3 else -place),
        "_ingested_at": START,
        "_batch_id": 0,
        "_unchanged": unchanged,
    }


kinds = st.tuples(st.sampled_from("ccud"), st.none() | st.integers(1, 9), st.booleans())


@st.composite
def arrivals(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[list[dict[str, Any]]]]:
    """All changes of a few keys, and the same ones shuffled, repeated and cut into batches."""
    changes = [
        change(key, place, *kind)
        for key in range(3)
        for place, kind in enumerate(draw(st.lists(kinds, min_size=1, max_size=4)))
    ]
    repeated = draw(st.lists(st.sampled_from(changes), max_size=4))
    mixed = draw(st.permutations(changes + [r | {"_offset": 99} for r in repeated]))
    at = draw(st.integers(0, len(mixed)))
    return changes, [mixed[:at], mixed[at:]]


def fold(spark: Any, batches: list[list[dict[str, Any]]]) -> dict[Any, dict[str, Any]]:
    """What a MERGE of each batch's states leaves in the history table."""
    table: dict[Any, dict[str, Any]] = {}
    columns = history.columns(CARDS)
    known_schema = f"{SCHEMA}, _valid_from timestamp, _valid_to timestamp, _is_current boolean"
    for batch in filter(None, batches):
        arrived = spark.createDataFrame([tuple(r.values()) for r in batch], SCHEMA)
        keys = {r["card_id"] for r in batch}
        before = [tuple(r[n] for n in columns) for r in table.values() if r["card_id"] in keys]
        known = spark.createDataFrame(before, known_schema) if before else None
        states = history.states(arrived, known, CARDS, fill=True).where("_is_new")
        for row in states.select(*columns).collect():
            table[row["card_id"], row["_streamed"], row["_lsn"]] = row.asDict()
    return {k: {n: v for n, v in r.items() if n not in ARRIVAL} for k, r in table.items()}


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(case=arrivals())
def test_any_arrival_of_the_same_changes_gives_the_same_history(spark, case) -> None:
    changes, batches = case
    assert fold(spark, batches) == fold(spark, [changes])


@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(case=arrivals())
def test_intervals_of_a_key_touch_and_never_overlap(spark, case) -> None:
    by_key: dict[str, list[dict[str, Any]]] = {}
    for row in fold(spark, case[1]).values():
        by_key.setdefault(row["card_id"], []).append(row)
    for rows in by_key.values():
        rows.sort(key=lambda r: (r["_commit_lsn"], r["_streamed"], r["_lsn"]))
        assert [r["_is_current"] for r in rows] == [False] * (len(rows) - 1) + [True]
        assert [r["_valid_to"] for r in rows[:-1]] == [r["_valid_from"] for r in rows[1:]]
        assert all(r["_valid_from"] <= r["_valid_to"] for r in rows[:-1])
