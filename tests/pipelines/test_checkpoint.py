"""Whether a checkpoint fits bronze, told from its files alone."""

import json

import pytest

from pipelines import checkpoint, lake

ENDS = {"oltp.credit.offers": {"0": 12, "1": 7}}


@pytest.fixture
def folder(tmp_path):
    """A checkpoint that has done batches 0 and 1."""
    place = lake.bronze_checkpoint(tmp_path)
    for log in ("offsets", "commits"):
        (place / log).mkdir(parents=True)
    (place / "metadata").write_text('{"id": "first"}')
    for batch in range(2):
        (place / "offsets" / str(batch)).write_text(f"v1\n{{}}\n{json.dumps(ENDS)}")
        (place / "commits" / str(batch)).write_text('v1\n{"nextBatchWatermarkMs":0}')
    return tmp_path


def test_one_that_was_killed_at_any_point_fits(folder) -> None:
    noted = checkpoint.plan(folder, 1)
    checkpoint.require(folder, 1, noted)
    # The table has the batch, the checkpoint has not marked it as done yet.
    (lake.bronze_checkpoint(folder) / "commits" / "1").unlink()
    checkpoint.require(folder, 1, noted)
    # Planned, and not in the table.
    checkpoint.require(folder, 0, checkpoint.plan(folder, 0))
    assert checkpoint.planned_ends(folder) == ENDS


def test_an_empty_lake_needs_none(tmp_path) -> None:
    checkpoint.require(tmp_path, checkpoint.NEVER, None)
    assert checkpoint.starting(tmp_path, {"t": [0]}) == "earliest"


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("offsets/1", "v1\n{}", "plan 1 cannot be read"),
        ("offsets/1", "", "plan 1 cannot be read"),
        ("commits/1", "v1", "batch 1 cannot be read"),
        ("metadata", "{", "metadata cannot be read"),
    ],
)
def test_one_that_is_damaged_is_named(folder, file, text, said) -> None:
    (lake.bronze_checkpoint(folder) / file).write_text(text)
    with pytest.raises(checkpoint.CheckpointUnfit, match=f"{said}.*millrace lake recover"):
        checkpoint.require(folder, 1, None)


def test_a_new_one_goes_on_with_the_numbers_and_the_name(folder) -> None:
    aside = checkpoint.renew(folder, "bronze:first", 1, ENDS)
    assert aside is not None
    assert (aside / "offsets" / "1").exists()
    checkpoint.require(folder, 1, "whatever the old one had planned")
    assert (checkpoint.source(folder), checkpoint.base(folder)) == ("bronze:first", 2)
    starting = json.loads(
        checkpoint.starting(folder, {"oltp.credit.offers": [0, 1, 2], "new": [0]})
    )
    assert starting == {
        "oltp.credit.offers": {"0": 12, "1": 7, "2": checkpoint.EARLIEST},
        "new": {"0": checkpoint.EARLIEST},
    }
    # The old one put back is not taken for it.
    (lake.bronze_checkpoint(folder) / "metadata").write_text('{"id": "first"}')
    with pytest.raises(checkpoint.CheckpointUnfit, match="not the one that bronze goes on with"):
        checkpoint.require(folder, 1, None)


def test_what_is_given_up_is_remembered_once(folder) -> None:
    checkpoint.give_up(folder, [("t", 0, 5, 9)])
    checkpoint.give_up(folder, [("t", 0, 5, 9), ("t", 1, 0, 2)])
    assert checkpoint.given_up(folder) == [("t", 0, 5, 9), ("t", 1, 0, 2)]
