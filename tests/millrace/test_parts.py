"""What starts with what."""

import pytest

from millrace.stack.parts import ALL, PARTS, STORES, with_needs


def test_a_part_brings_what_it_needs_in_starting_order() -> None:
    assert with_needs(("registry",)) == ("postgres", "registry")
    assert with_needs(("gateway",)) == ("postgres", "redis", "kafka", "registry", "gateway")


def test_everything_is_its_own_closure() -> None:
    assert with_needs(PARTS) == PARTS


def test_an_unknown_part_is_named_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="no part called 'zookeeper'; the parts are postgres"):
        with_needs(("zookeeper",))


def test_waiting_for_each_other_never_becomes_a_circle() -> None:
    order = list(PARTS)
    for part in ALL.values():
        assert all(order.index(earlier) < order.index(part.name) for earlier in part.after)
        assert set(part.after) <= set(with_needs((part.name,)))


def test_stores_need_nothing_that_stops_before_them() -> None:
    assert all(set(with_needs((store,))) <= set(STORES) for store in STORES)
