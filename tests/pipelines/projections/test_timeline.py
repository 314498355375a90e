"""Timelines out of bronze: the same whatever the batches, the duplicates and the arrival."""

from __future__ import annotations

import json
import random
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from typer.testing import CliRunner

from millrace import cli, current
from pipelines import delta, lake
from pipelines.projections import runner
from pipelines.projections.columns import COLUMNS
from pipelines.projections.runner import STATES, TIMELINE, Built
from pipelines.visibility import Cut
from tests.pipelines.projections.announced import SCHEMAS, Outbox, Record, land, life

pytestmark = pytest.mark.spark
NOW = Cut.from_snapshot(10**9, "1000:1000:")
# Where it came from, and where it stands in bronze, differ with the arrival.
PLACES = ("topic", "partition", "offset")


@pytest.fixture(scope="module")
def told() -> SimpleNamespace:
    """What 40 applications announce, interleaved as one log has it."""
    chance, box = random.Random(3), Outbox()
    lives = [life(box, number, chance) for number in range(1, 41)]
    return SimpleNamespace(lives=lives, records=[record for one in lives for record in one])


def built(spark: Any, folder: Any, cut: Cut = NOW, **how: bool) -> dict[str, Built]:
    return {b.name: b for b in runner.build(spark, folder, cut, SCHEMAS.get, **how)}


def table(spark: Any, folder: Any, name: str) -> list[Any]:
    return sorted(
        (tuple(row) for row in delta.read(spark, lake.projection(folder, name)).drop(*PLACES)
         .collect()), key=repr
    )  # fmt: skip


def tables(spark: Any, folder: Any) -> tuple[list[Any], list[Any]]:
    return table(spark, folder, TIMELINE), table(spark, folder, STATES)


@pytest.fixture(scope="module")
def whole(spark: Any, told: SimpleNamespace, tmp_path_factory: Any) -> SimpleNamespace:
    """Everything in one batch, in the order of the log."""
    folder = tmp_path_factory.mktemp("whole")
    land(spark, folder, 0, told.records)
    first = built(spark, folder)
    return SimpleNamespace(folder=folder, first=first, tables=tables(spark, folder))


def test_every_event_has_its_place_and_every_application_its_end(
    spark: Any, told: SimpleNamespace, whole: SimpleNamespace
) -> None:
    assert whole.first[TIMELINE].rows == len(told.records)
    assert whole.first[STATES].rows == 40
    for name in (TIMELINE, STATES):
        columns = delta.read(spark, lake.projection(whole.folder, name)).columns
        assert columns == list(COLUMNS[name])
    rows = delta.read(spark, lake.projection(whole.folder, STATES)).collect()
    ends: dict[int, str] = {}
    for n, one in enumerate(told.lives, 1):
        topics = [record[0] for record in one]
        words = {"credit.application.withdrawn.v1": "WITHDRAWN",
                 "credit.credit.disbursed.v1": "APPROVED",
                 "credit.application.decided.v1": "DECLINED"}  # fmt: skip
        ends[n] = next((word for topic, word in words.items() if topic in topics), "SUBMITTED")
    assert {row["requested_amount_minor"]: row["status"] for row in rows} == ends
    assert {row["events"] for row in rows} == {len(one) for one in told.lives}
    assert all(row["is_complete"] and not row["remarks"] for row in rows)
    paid = [row for row in rows if row["credit_state"] == "PAID_OFF"]
    assert paid
    steps = delta.read(spark, lake.projection(whole.folder, TIMELINE)).collect()
    assert {step["application_id"] for step in steps} == {row["application_id"] for row in rows}
    for row in rows:
        own = sorted(s["position"] for s in steps if s["application_id"] == row["application_id"])
        assert own == list(range(1, row["events"] + 1))


def test_without_news_nothing_is_read_or_written(spark: Any, whole: SimpleNamespace) -> None:
    assert built(spark, whole.folder)[TIMELINE].rows is None
    assert tables(spark, whole.folder) == whole.tables
    # A lost note is no harm: everything is folded again, to the same.
    (lake.projections(whole.folder) / f"{TIMELINE}.json").unlink()
    assert built(spark, whole.folder)[TIMELINE].rows == len(whole.tables[0])
    assert tables(spark, whole.folder) == whole.tables


def test_batches_duplicates_and_arrival_change_nothing(
    spark: Any, told: SimpleNamespace, whole: SimpleNamespace, tmp_path: Any
) -> None:
    """Payments before their credits, credits before their offers, and most of it twice."""
    chance = random.Random(9)
    arrived: list[Record] = [*told.records, *chance.choices(told.records, k=60)]
    chance.shuffle(arrived)
    orphans = 0
    for batch in range(3):
        land(spark, tmp_path, batch, arrived[batch::3])
        built(spark, tmp_path)
        orphans += sum(row[3] is None for row in table(spark, tmp_path, TIMELINE))
    assert orphans > 0
    assert tables(spark, tmp_path) == whole.tables
    built(spark, tmp_path, anew=True)
    assert tables(spark, tmp_path) == whole.tables


def test_an_event_waits_for_the_cut_that_sees_its_transaction(spark: Any, tmp_path: Any) -> None:
    chance, box = random.Random(1), Outbox()
    first, second = life(box, 1, chance), life(box, 2, chance)
    late = Cut.from_snapshot(10**9, "100:1000:555")
    box.lsn += 1000
    open_ = box.announce("application.withdrawn", _id(1), tx=555, customer_id="c", reason=None)
    unread = (*first[0][:2], 77, b"k", b"\x00\x00\x00\x00\x01short", first[0][5])
    strange = (*first[0][:2], 78, b"k", b"no wire format", None)
    land(spark, tmp_path, 0, [*first, open_, unread, strange])
    did = built(spark, tmp_path, late)
    assert (did[TIMELINE].waiting, did[TIMELINE].unreadable) == (1, 2)
    before = table(spark, tmp_path, TIMELINE)
    land(spark, tmp_path, 1, second)
    did = built(spark, tmp_path, NOW)
    assert (did[TIMELINE].waiting, did[TIMELINE].unreadable) == (0, 2)
    after = table(spark, tmp_path, TIMELINE)
    assert len(after) == len(before) + 1 + len(second)
    (withdrawn,) = (row for row in delta.read(spark, lake.projection(tmp_path, STATES)).collect()
                    if row["application_id"] == str(_id(1)))  # fmt: skip
    assert withdrawn["status"] == "WITHDRAWN"


def test_a_person_reads_a_timeline_without_spark(
    whole: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = {row[0]: row for row in whole.tables[1]}
    financed = next(id_ for id_, row in states.items() if "PAID_OFF" in row)
    monkeypatch.setattr(current, "_NAMED_FROM_OUTSIDE", True)
    monkeypatch.setenv("MILLRACE_LAKE", str(whole.folder))
    shown = CliRunner().invoke(cli.app, ["timeline", financed.upper()])
    assert shown.exit_code == 0, shown.output
    words = ("application.submitted", "offer.accepted", "credit.paid_off", "APPROVED")
    assert [word for word in words if word not in shown.output] == []
    told = json.loads(CliRunner().invoke(cli.app, ["timeline", financed, "--json"]).output)
    assert [step["position"] for step in told["steps"]] == list(range(1, len(told["steps"]) + 1))
    assert told["state"]["credit_state"] == "PAID_OFF"
    unknown = CliRunner().invoke(cli.app, ["timeline", str(_id(99))])
    assert unknown.exit_code == 1
    assert "no event of application" in unknown.output


def _id(number: int) -> UUID:
    return UUID(int=number << 32)
