"""Which records a replay takes, as they are asked for on the command line."""

from datetime import UTC, datetime

import pytest
import typer

from millrace.lake_repair import condition


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ((None, None, None, None, None), "true"),
        ((None, None, "3..7", None, None), "true and batch_id between 3 and 7"),
        ((None, None, "3", None, None), "true and batch_id between 3 and 3"),
        ((None, None, None, 1, "5..9"), "true and partition = 1 and offset between 5 and 9"),
        (
            (datetime(2026, 1, 2, tzinfo=UTC), None, None, None, None),
            "true and kafka_timestamp >= timestamp'2026-01-02T00:00:00+00:00'",
        ),
    ],
)
def test_a_range_becomes_sql(asked, said) -> None:
    assert condition(*asked) == said


@pytest.mark.parametrize("asked", [("a..b", None, None), ("3..", None, None), (None, None, "1..2")])
def test_what_is_no_range_is_refused(asked) -> None:
    with pytest.raises(typer.BadParameter, match=r"no range|say --partition"):
        condition(None, None, *asked)
