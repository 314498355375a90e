"""One lake, many keys: each key lives through one of the ways in which changes arrive."""

from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest

from pipelines import delta, lake, totals
from pipelines.quarantine import TruncateRefused
from pipelines.refresh import build_silver
from pipelines.visibility import Cut

pytestmark = pytest.mark.spark
PLACEHOLDER = "__debezium_unavailable_value"


@pytest.fixture(scope="module")
def lived(spark, make_source, everything) -> SimpleNamespace:
    """Silver of active_credits after two builds over two bronze batches."""
    s = make_source("active_credits")
    without = s.register(s.value_schema(drop=("source_status",)))
    texts = s.register(s.value_schema(change={"term_months": "string"}))
    required = s.register(s.value_schema(drop=("currency",)))
    s.offset = 0
    old = s.change("u", s.row(9, outstanding_principal_minor=40), 2010, 2000)
    same = s.change("c", s.row(10), 2100, 2050)
    snapshot = s.change("r", s.row(11, outstanding_principal_minor=1), 1500)
    s.land(
        s.change("r", s.row(1), 1500),
        s.change("r", s.row(2), 1500),
        s.change("c", s.row(3), 1600, 1550),
        s.change("c", s.row(4), 1601, 1550),
        s.change("d", s.row(4), 1610, 1605),
        s.record(s.key({"credit_id": s.row(4)["credit_id"]}), None),
        s.change("c", s.row(4, outstanding_principal_minor=33), 1620, 1615),
        s.change("c", s.row(5), 1600, 1550),
        # The later transaction (wrote at 1810) committed first, so positions go down.
        s.change("c", s.row(8), 1810, 1700, tx=727),
        s.change("c", s.row(7), 1800, 1820, tx=726),
        s.change("c", s.row(9, outstanding_principal_minor=50), 2000, 1990),
        old,
        s.change("u", s.row(9, outstanding_principal_minor=20), 2020, 2015),
        same,
        same | {"offset": 900},
        s.change("c", s.row(11, outstanding_principal_minor=7), 1700, 1650),
        s.change("c", s.row(12, source_status="A"), 1701, 1650),
        s.change("c", s.row(13, source_status="B"), 1702, 1650),
    )
    first = build_silver(spark, s.folder, s.contract, everything, s.schemas.get)
    truncated = s.change("c", s.row(20), 2500, 2400)
    s.land(
        s.change("u", s.row(2, outstanding_principal_minor=25), 3000, 2990),
        s.change("d", s.row(3), 3010, 3001),
        s.record(s.key({"credit_id": s.row(3)["credit_id"]}), None),
        s.change("d", s.row(5), 3020, 3015),
        s.record(s.key({"credit_id": s.row(5)["credit_id"]}), None),
        s.change("c", s.row(6), 3020, 3015),
        old | {"offset": 901},
        snapshot,
        s.change(
            "u", s.row(12, source_status=PLACEHOLDER, outstanding_principal_minor=3), 3030, 3025
        ),
        s.change("u", s.row(13, source_status=None), 3031, 3025),
        s.change("c", s.row(14), 3040, 3035, schema_id=without),
        s.change("c", s.row(15) | {"term_months": "twelve"}, 3041, 3035, schema_id=texts),
        s.change("c", s.row(16) | {"term_months": "24"}, 3042, 3035, schema_id=texts),
        s.change("c", s.row(17), 3043, 3035, schema_id=required),
        s.record(b"x", b"\x00\x00\x00\x00\x01junk"),
        s.record(b"x", b"no wire format"),
        s.record(b"x", b"\x00\x00\x00\x03\xe7" + b"x" * 9),
        truncated | {"value": truncated["value"][:-30]},
        s.change("c", s.row(18, status="FROZEN", currency="czk", principal_minor=0), 3050, 3045),
        s.change("c", s.row(19, matures_on=1), 3051, 3045),
        s.change("c", s.row(21), 3052, 3045, table="offers"),
        s.change("c", s.row(22), 3053, 3052, tx=5000),
    )
    second = build_silver(spark, s.folder, s.contract, everything, s.schemas.get)
    return SimpleNamespace(source=s, first=first, second=second, **_read(spark, s))


def _read(spark: Any, source: Any) -> dict[str, Any]:
    def number(row: Any) -> int:
        return int(row["credit_id"][-12:])

    current = delta.read(spark, lake.current(source.folder, source.contract)).collect()
    past = defaultdict(list)
    for row in delta.read(spark, lake.history(source.folder, source.contract)).collect():
        past[number(row)].append(row)
    for rows in past.values():
        rows.sort(key=lambda r: (r["_commit_lsn"], r["_streamed"], r["_lsn"]))
    kept = delta.read(spark, lake.quarantine(source.folder)).collect()
    return {
        "current": {number(row): row for row in current},
        "rows": len(current),
        "history": past,
        "quarantine": {
            row["offset"]: [reason["rule"] for reason in row["reasons"]] for row in kept
        },
        "kept": kept,
    }


def test_every_key_has_one_current_row(lived) -> None:
    assert lived.rows == len(lived.current)
    assert lived.current[1]["outstanding_principal_minor"] == 50


def test_an_update_replaces_and_keeps_the_state_before_it(lived) -> None:
    assert lived.current[2]["outstanding_principal_minor"] == 25
    before, now = lived.history[2]
    assert before["_valid_to"] == now["_valid_from"]
    assert (before["_is_current"], now["_is_current"], now["_valid_to"]) == (False, True, None)


def test_a_delete_is_kept_as_a_deleted_row_with_its_last_values(lived) -> None:
    row = lived.current[3]
    assert row["_is_deleted"]
    assert row["principal_minor"] == 60
    assert [r["_op"] for r in lived.history[3]] == ["c", "d"]


def test_a_deleted_key_may_come_back(lived) -> None:
    assert not lived.current[4]["_is_deleted"]
    assert lived.current[4]["outstanding_principal_minor"] == 33
    assert [r["_op"] for r in lived.history[4]] == ["c", "d", "c"]


def test_a_changed_primary_key_ends_one_row_and_begins_another(lived) -> None:
    assert lived.current[5]["_is_deleted"]
    assert not lived.current[6]["_is_deleted"]


def test_interleaved_transactions_with_falling_positions_lose_nothing(lived) -> None:
    assert {7, 8} <= lived.current.keys()


def test_a_replay_at_higher_offsets_changes_nothing(lived) -> None:
    assert lived.current[9]["outstanding_principal_minor"] == 20
    assert [r["outstanding_principal_minor"] for r in lived.history[9]] == [50, 40, 20]


def test_a_duplicate_counts_once(lived) -> None:
    assert len(lived.history[10]) == 1


def test_a_late_snapshot_row_loses_to_the_streamed_one_and_takes_its_place_in_time(lived) -> None:
    assert lived.current[11]["outstanding_principal_minor"] == 7
    assert [r["outstanding_principal_minor"] for r in lived.history[11]] == [1, 7]


def test_an_unchanged_column_stored_out_of_line_keeps_its_value(lived) -> None:
    assert lived.current[12]["source_status"] == "A"
    assert lived.current[12]["outstanding_principal_minor"] == 3


def test_null_is_a_value_and_absent_is_not(lived) -> None:
    assert lived.current[13]["source_status"] is None
    assert lived.current[14]["source_status"] is None
    assert 17 not in lived.current
    assert ["currency.required"] in lived.quarantine.values()


def test_each_record_is_read_with_its_own_writer_schema(lived) -> None:
    assert lived.current[14]["term_months"] == 12
    assert ["term_months.type"] in lived.quarantine.values()
    assert not {15, 16} & lived.current.keys()


def test_what_cannot_be_read_is_kept_with_its_bytes_and_its_reason(lived) -> None:
    rules = [rule for found in lived.quarantine.values() for rule in found]
    assert rules.count("undecodable") == 2
    assert rules.count("wire_format") == 1
    assert rules.count("unknown_schema") == 1
    assert b"no wire format" in [bytes(row["value"]) for row in lived.kept]


def test_a_broken_contract_names_every_rule(lived) -> None:
    broken = {rule for found in lived.quarantine.values() for rule in found}
    assert {"status.code", "currency.pattern", "principal_minor.minimum"} <= broken
    assert ["matures_after_disbursement"] in lived.quarantine.values()
    assert ["wrong_source"] in lived.quarantine.values()


def test_a_change_after_the_cut_waits_and_holds_the_watermark(lived, spark) -> None:
    assert lived.second.waiting == 1
    assert lived.second.last_batch_id == lived.first.last_batch_id == 0
    assert 22 not in lived.current


def test_building_again_changes_nothing_and_a_later_cut_takes_what_waited(lived, spark) -> None:
    s = lived.source
    again = build_silver(
        spark, s.folder, s.contract, Cut.from_snapshot(10**9, "1000:1000:"), s.schemas.get
    )
    assert again.changed == 0
    later = build_silver(
        spark, s.folder, s.contract, Cut.from_snapshot(10**9, "9000:9000:"), s.schemas.get
    )
    assert (later.changed, later.waiting, later.last_batch_id) == (1, 0, 1)
    after = _read(spark, s)
    assert after["current"].keys() - lived.current.keys() == {22}
    assert after["quarantine"] == lived.quarantine
    untouched = {k: r.asDict() for k, r in after["current"].items() if k != 22}
    assert untouched == {k: r.asDict() for k, r in lived.current.items()}
    live = [r for r in after["current"].values() if not r["_is_deleted"]]
    assert totals.silver_totals(spark, s.folder, s.contract) == {
        "rows": len(live),
        "money": {column: {"CZK": sum(r[column] for r in live)} for column in s.contract.money},
    }


def test_nothing_new_costs_nothing(spark, make_source, everything) -> None:
    s = make_source("cards")
    result = build_silver(spark, s.folder, s.contract, everything, s.schemas.get)
    assert (result.rows_in, result.changed) == (0, 0)
    assert not delta.exists(lake.current(s.folder, s.contract))


def test_a_truncate_of_a_money_table_stops_the_line(spark, make_source, everything) -> None:
    s = make_source("payments")
    s.land(s.change("t", None, 100, 90))
    with pytest.raises(TruncateRefused, match="holds money"):
        build_silver(spark, s.folder, s.contract, everything, s.schemas.get)
