"""Where Connect starts again: at the commit before, where a position may cut a change in two."""

import pytest

from connectors.rewinding import rewound

INSIDE = {
    "lsn": 300,
    "lsn_proc": 300,
    "lsn_commit": 200,
    "lsn_events_processed": 1,
    "messageType": "UPDATE",
    "txId": 7,
    "incremental_snapshot_primary_key": "ac",
}


def test_a_position_at_an_update_inside_a_transaction_goes_back_to_the_commit_before_it() -> None:
    assert rewound(INSIDE) == {
        "lsn": 200,
        "lsn_proc": 199,
        "lsn_commit": 200,
        "messageType": "UPDATE",
        "txId": 7,
        "incremental_snapshot_primary_key": "ac",
    }


@pytest.mark.parametrize(
    "other",
    [
        {"messageType": "INSERT"},
        {"messageType": "DELETE"},
        {"messageType": "COMMIT"},
        {"lsn_commit": None},
    ],
    ids=["one record", "one record and its tombstone", "at a commit", "no commit yet"],
)
def test_a_position_that_cuts_nothing_in_two_is_left_alone(other: dict[str, object]) -> None:
    assert rewound({**INSIDE, **other}) is None


def test_the_first_change_after_a_commit_stands_where_the_commit_ends() -> None:
    assert (rewound({**INSIDE, "lsn": 200, "lsn_proc": 200}) or {})["lsn_proc"] == 199


def test_rewinding_twice_is_rewinding_once() -> None:
    assert rewound(rewound(INSIDE) or {}) is None
