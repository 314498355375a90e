"""The way back out of quarantine: what was released takes its own place, once, if it is valid."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from orchestration import kept_out
from pipelines import decisions, delta, lake, quarantined
from pipelines.decisions import FIXED, RELEASED, Decision, Row
from pipelines.patches import parse
from pipelines.quarantined import Wanted
from pipelines.refresh import SilverResult, build_silver

pytestmark = pytest.mark.spark
UNSEEN = 77


class Desk:
    """A captured table, its builds, and who decides about its quarantine."""

    def __init__(self, spark: Any, source: Any, cut: Any) -> None:
        self.spark, self.source, self.cut = spark, source, cut
        self.folder, self.contract = source.folder, source.contract

    def build(self) -> SilverResult:
        s = self.source
        return build_silver(self.spark, s.folder, s.contract, self.cut, s.schemas.get)

    def held(self, **wanted: Any) -> dict[int, quarantined.Quarantined]:
        """Offset -> how it stands."""
        found = quarantined.find(self.folder, Wanted(self.contract.entity, **wanted))
        return {one.place.offset: one for one in found}

    def decide(self, state: str, patches: dict[int, str | None]) -> None:
        every = self.held()
        rows = tuple(
            Row(
                every[offset].identity,
                every[offset].place,
                parse(patch, self.contract) if patch else None,
            )
            for offset, patch in patches.items()
        )
        entity = self.contract.entity
        after = decisions.last(self.folder, entity)
        decisions.decide(self.folder, entity, Decision(state, rows, "ada", "mended"), after)

    def current(self) -> dict[int, Any]:
        rows = delta.read(self.spark, lake.current(self.folder, self.contract)).collect()
        return {int(row[self.contract.key[0]][-12:]): row for row in rows}

    def history(self) -> dict[int, list[Any]]:
        found: dict[int, list[Any]] = {}
        for row in delta.read(self.spark, lake.history(self.folder, self.contract)).collect():
            found.setdefault(int(row[self.contract.key[0]][-12:]), []).append(row)
        for rows in found.values():
            rows.sort(key=lambda row: (row["_commit_lsn"], row["_streamed"], row["_lsn"]))
        return found

    def sums(self) -> tuple[Any, Any]:
        """Checksums of current and history, without what says when a build ran."""
        return tuple(
            delta.read(self.spark, path)
            .drop("_tick")
            .selectExpr("count(*)", "sum(cast(xxhash64(to_json(struct(*))) as decimal(38,0)))")
            .collect()[0]
            for path in (
                lake.current(self.folder, self.contract),
                lake.history(self.folder, self.contract),
            )
        )


@pytest.fixture(scope="module")
def lived(spark, make_source, everything) -> SimpleNamespace:
    """What stood so after each of three builds: broken, released, and after a second look."""
    s = make_source("active_credits")
    desk = Desk(spark, s, everything)
    texts = s.register(s.value_schema(change={"term_months": "string"}))
    later = s.change("c", s.row(5), 1500, 1490)
    late = later["value"][:1] + UNSEEN.to_bytes(4, "big") + later["value"][5:]
    records = {
        "superseded": s.change("c", s.row(1, status="FROZEN"), 1000, 990),
        "superseding": s.change("u", s.row(1, outstanding_principal_minor=11), 2000, 1990),
        "last": s.change("u", s.row(2, status="FROZEN"), 1100, 1090),
        "still broken": s.change("c", s.row(3, matures_on=1, status="FROZEN"), 1200, 1190),
        "released as it is": s.change("c", s.row(4, currency="czk"), 1300, 1290),
        "unknown schema": later | {"value": late},
        "wrong type": s.change("c", s.row(6) | {"term_months": "ten"}, 1600, 1590,
                               schema_id=texts),
        "base": s.change("c", s.row(7, status="FROZEN", source_status="kept"), 1700, 1690),
        "toast": s.change("u", s.row(7, source_status="__debezium_unavailable_value"), 1800, 1790),
    }  # fmt: skip
    s.land(*records.values())
    at = {name: record["offset"] for name, record in records.items()}
    first = desk.build()
    seen = desk.held()
    out_before = kept_out.by_entity(spark, s.folder)
    active = s.row(1)["status"]
    thawed = f'{{"status": "{active}"}}'
    desk.decide(FIXED, {at["superseded"]: thawed})
    fixed = desk.held()
    assert desk.build().rows_in == 0
    s.schemas[UNSEEN] = s.schemas[s.value_id]
    desk.decide(
        RELEASED,
        {
            at["superseded"]: thawed,
            at["last"]: thawed,
            at["still broken"]: thawed,
            at["released as it is"]: None,
            at["unknown schema"]: None,
            at["wrong type"]: '{"term_months": 10}',
            at["base"]: thawed,
        },
    )
    released = desk.held()
    second = desk.build()
    return SimpleNamespace(
        desk=desk, at=at, first=first, seen=seen, fixed=fixed, released=released, second=second,
        after=desk.held(), current=desk.current(), history=desk.history(), active=active,
        out_before=out_before, out=kept_out.by_entity(spark, s.folder), sums=desk.sums(),
    )  # fmt: skip


def test_what_breaks_its_contract_is_held_with_its_reasons(lived) -> None:
    assert {one.state for one in lived.seen.values()} == {"held"}
    assert len(lived.seen) == lived.first.quarantined == 7
    assert lived.seen[lived.at["last"]].rules == ("status.code",)
    assert lived.out_before == {"active_credits": 5}


def test_a_fix_alone_changes_nothing_and_a_release_waits_for_the_build(lived) -> None:
    one = lived.fixed[lived.at["superseded"]]
    assert (one.state, one.patch) == ("fixed", {"status": lived.active})
    assert {lived.released[lived.at[name]].state for name in ("last", "base")} == {"released"}


def test_a_released_change_takes_its_own_place_and_never_that_of_a_later_one(lived) -> None:
    before, now = lived.history[1]
    assert (before["_lsn"], before["status"], now["_lsn"]) == (1000, lived.active, 2000)
    assert before["_valid_to"] == now["_valid_from"]
    assert lived.current[1]["outstanding_principal_minor"] == 11


def test_the_last_change_of_its_key_becomes_current_with_its_patch(lived) -> None:
    assert (lived.current[2]["status"], lived.current[2]["_op"]) == (lived.active, "u")
    assert lived.after[lived.at["last"]].state == "applied"


def test_a_value_of_the_wrong_type_is_replaced_exactly(lived) -> None:
    assert lived.current[6]["term_months"] == 10


def test_what_came_later_without_a_column_finds_it_in_the_released_one(lived) -> None:
    assert [row["source_status"] for row in lived.history[7]] == ["kept", "kept"]


def test_without_a_patch_the_same_bytes_are_judged_by_todays_rules(lived) -> None:
    assert lived.after[lived.at["unknown schema"]].state == "applied"
    assert 5 in lived.current


def test_what_is_still_broken_stays_with_its_new_reasons(lived) -> None:
    one, before = lived.after[lived.at["still broken"]], lived.seen[lived.at["still broken"]]
    assert (one.state, one.rules) == ("held", ("matures_after_disbursement",))
    assert set(before.rules) == {"matures_after_disbursement", "status.code"}
    assert one.last_seen_at > one.first_seen_at == before.first_seen_at
    same = lived.after[lived.at["released as it is"]]
    assert (same.state, same.rules) == ("held", ("currency.pattern",))
    assert not {3, 4} & lived.current.keys()


def test_only_what_is_not_in_silver_as_captured_counts_as_kept_out(lived) -> None:
    # Two are held still and two have a patch; one came out as it was, two have later changes.
    assert lived.out == {"active_credits": 4}


def test_the_next_build_has_nothing_to_do(lived) -> None:
    assert lived.second.changed == 5
    again = lived.desk.build()
    assert (again.rows_in, again.changed) == (0, 0)


def test_a_build_that_died_before_it_wrote_down_what_it_applied_repeats_it_unharmed(lived) -> None:
    desk = lived.desk
    folder = lake.decisions(desk.folder) / "active_credits"
    written = sorted(folder.iterdir())
    assert len(written) == 4
    texts = {path: path.read_bytes() for path in written[2:]}
    for path in texts:
        path.unlink()
    assert desk.build().changed == 0
    assert desk.sums() == lived.sums
    assert {o: q.state for o, q in desk.held().items()} == {
        o: q.state for o, q in lived.after.items()
    }


def test_a_broken_change_that_is_delivered_again_is_still_the_one_that_was_applied(lived) -> None:
    desk, s = lived.desk, lived.desk.source
    again = s.change("u", s.row(2, status="FROZEN"), 1100, 1090)
    s.land(again)
    assert desk.build().changed == 0
    one = desk.held()[lived.at["last"]]
    assert (one.state, one.times) == ("applied", 2)
    assert again["offset"] not in desk.held()
    assert desk.sums() == lived.sums


def test_silver_built_from_nothing_is_the_same(lived) -> None:
    import shutil

    desk = lived.desk
    shutil.rmtree(lake.silver(desk.folder, desk.contract))
    desk.build()
    assert desk.sums() == lived.sums
    assert {o: q.state for o, q in desk.held().items()} == {
        o: q.state for o, q in lived.after.items()
    }
    assert desk.build().rows_in == 0


def test_sql_and_python_name_a_change_alike(lived, spark) -> None:
    from pyspark.sql import functions as F

    rows = (
        delta.read(spark, lake.quarantine(lived.desk.folder))
        .withColumn("identity", F.expr(decisions.IDENTITY))
        .collect()
    )
    assert rows
    for row in rows:
        place = decisions.Place(row["topic"], row["partition"], row["offset"])
        key = bytes(row["key"]) if row["key"] is not None else None
        named = decisions.identity(row["entity"], place, key, row["op"], row["lsn"])
        assert named == row["identity"]


def test_a_table_whose_first_rows_all_broke_the_contract_begins_with_the_first_valid_one(
    spark, make_source, everything
) -> None:
    s = make_source("active_credits")
    desk = Desk(spark, s, everything)
    s.land(s.change("c", s.row(1, principal_minor=-5), 10))
    assert desk.build().quarantined == 1
    s.land(s.change("c", s.row(2), 20))
    assert desk.build().changed == 1
    assert set(desk.current()) == {2}
    assert set(desk.history()) == {2}
