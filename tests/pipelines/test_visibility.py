"""What a cut sees of each transaction, in Spark as in plain Python."""

import pytest

from pipelines.visibility import EPOCH, Cut, SnapshotError, visible, widen


def test_a_change_belongs_to_a_cut_when_its_transaction_is_visible_in_the_snapshot() -> None:
    cut = Cut.from_snapshot(1000, "100:110:100,105")
    seen = {xid: visible(xid, "c", 5, cut) for xid in (99, 100, 101, 105, 109, 110, 111)}
    assert seen == {99: True, 100: False, 101: True, 105: False, 109: True, 110: False, 111: False}


def test_a_snapshot_row_belongs_to_a_cut_up_to_its_lsn() -> None:
    cut = Cut.from_snapshot(1000, "100:110:")
    assert visible(999, "r", 1000, cut)
    assert not visible(1, "r", 1001, cut)


def test_what_has_no_transaction_cannot_wait_for_one() -> None:
    assert visible(None, None, None, Cut.from_snapshot(1000, "100:110:"))


def test_transaction_ids_of_32_bits_are_widened_to_the_nearest_epoch() -> None:
    near = 3 * EPOCH + 10
    assert widen(9, near) == 3 * EPOCH + 9
    assert widen(EPOCH - 1, near) == 3 * EPOCH - 1
    assert widen(5, 3 * EPOCH - 2) == 3 * EPOCH + 5


def test_visibility_holds_across_a_wrap_of_the_transaction_counter() -> None:
    cut = Cut.from_snapshot(1000, f"{EPOCH - 2}:{EPOCH + 2}:{EPOCH - 1},{EPOCH}")
    seen = {xid: visible(xid, "u", 5, cut) for xid in (EPOCH - 3, EPOCH - 2, EPOCH - 1, 0, 1, 2)}
    assert list(seen.values()) == [True, True, False, False, True, False]


@pytest.mark.parametrize("text", ["", "1:2", "2:1:", "a:b:", "5:9:4", "5:9:9", "0:0:"])
def test_text_that_is_no_snapshot_is_refused(text: str) -> None:
    with pytest.raises(SnapshotError):
        Cut.from_snapshot(1, text)


@pytest.mark.spark
def test_spark_and_python_agree_on_visibility(spark) -> None:
    from pipelines.visibility import as_sql

    cut = Cut.from_snapshot(1000, f"{EPOCH - 2}:{EPOCH + 2}:{EPOCH - 1},{EPOCH}")
    cases = [
        (tx, op, lsn)
        for tx in (None, 0, 1, 2, 3, EPOCH - 3, EPOCH - 2, EPOCH - 1)
        for op in (None, "c", "r")
        for lsn in (None, 1000, 1001)
    ]
    frame = spark.createDataFrame(cases, "tx long, op string, lsn long")
    answers = frame.selectExpr("*", f"{as_sql(cut, 'tx', 'op', 'lsn')} as seen").collect()
    assert [row["seen"] for row in answers] == [visible(tx, op, lsn, cut) for tx, op, lsn in cases]
