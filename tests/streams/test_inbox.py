"""Batches from what waits: order, whole partitions, what stays."""

from aiokafka import TopicPartition
from aiokafka.structs import ConsumerRecord
from hypothesis import given
from hypothesis import strategies as st

from streams.inbox import Inbox

PARTS = [TopicPartition("t", n) for n in range(3)]


def records(part: TopicPartition, first: int, count: int) -> list[ConsumerRecord]:
    return [
        ConsumerRecord("t", part.partition, first + n, 0, 0, None, b"x", None, 1, 1, ())
        for n in range(count)
    ]


def test_a_batch_of_another_partition_is_made_only_when_there_is_enough_for_both() -> None:
    inbox = Inbox(100)
    inbox.put({PARTS[0]: records(PARTS[0], 0, 2), PARTS[1]: records(PARTS[1], 0, 1)})
    assert [list(batch) for batch in inbox.take(3, 4, 10)] == [[PARTS[0], PARTS[1]]]
    inbox.put({PARTS[0]: records(PARTS[0], 2, 4), PARTS[1]: records(PARTS[1], 1, 1)})
    assert [list(batch) for batch in inbox.take(3, 4, 10)] == [[PARTS[0]], [PARTS[1]]]


def test_no_more_batches_are_made_than_there_are_lanes() -> None:
    inbox = Inbox(100)
    inbox.put({part: records(part, 0, 10) for part in PARTS})
    assert len(inbox.take(2, 4, 10)) == 2
    assert (len(inbox), inbox.room) == (10, 90)


def test_what_somebody_else_works_on_is_dropped() -> None:
    inbox = Inbox(100)
    inbox.put({part: records(part, 0, 1) for part in PARTS})
    inbox.forget(PARTS[1:])
    assert inbox.take(1, 4, 10) == [{PARTS[0]: records(PARTS[0], 0, 1)}]
    assert inbox.take(1, 4, 10) == []


@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.integers(0, 2), st.integers(1, 9)),
            st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(4, 6)).map(
                lambda take: ("take", *take)
            ),
        )
    )
)
def test_every_record_is_taken_once_in_order_and_batches_side_by_side_share_no_partition(
    steps: list[tuple],
) -> None:
    inbox = Inbox(10**6)
    put: dict[TopicPartition, int] = dict.fromkeys(PARTS, 0)
    seen: dict[TopicPartition, list[int]] = {part: [] for part in PARTS}

    def take(lanes: int, lane_size: int, batch_max: int) -> int:
        made = inbox.take(lanes, lane_size, batch_max)
        assert len(made) <= lanes
        assert all(0 < sum(map(len, batch.values())) <= batch_max for batch in made)
        assert all(sum(map(len, batch.values())) >= lane_size for batch in made[:-1])
        assert len({part for batch in made for part in batch}) == sum(map(len, made))
        for batch in made:
            for part, some in batch.items():
                seen[part] += [one.offset for one in some]
        return len(made)

    for step in steps:
        if step[0] == "take":
            take(*step[1:])
        else:
            part = PARTS[step[0]]
            inbox.put({part: records(part, put[part], step[1])})
            put[part] += step[1]
    while take(2, 2, 4):
        pass
    assert len(inbox) == 0
    assert seen == {part: list(range(count)) for part, count in put.items()}
