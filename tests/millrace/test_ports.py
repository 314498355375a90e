"""Ports are chosen once, kept while they are ours or free, and replaced when taken."""

import socket

from millrace.stack import ports
from millrace.stack.parts import PORT_NAMES


def test_every_part_gets_a_port_of_its_own() -> None:
    chosen = ports.settle({}, seed="a", free=lambda port: True)
    assert set(chosen) == set(PORT_NAMES)
    assert len(set(chosen.values())) == len(PORT_NAMES)


def test_ports_stay_below_the_range_of_outgoing_connections() -> None:
    for seed in ("a", "b", "c", "/some/long/path"):
        chosen = ports.settle({}, seed=seed, free=lambda port: True)
        assert all(ports.FIRST_PORT <= port < 32_768 for port in chosen.values())


def test_remembered_ports_are_kept() -> None:
    first = ports.settle({}, seed="a", free=lambda port: True)
    assert ports.settle(first, seed="b", free=lambda port: True) == first


def test_a_taken_port_is_replaced_and_the_others_stay() -> None:
    first = ports.settle({}, seed="a", free=lambda port: True)
    second = ports.settle(first, seed="a", free=lambda port: port != first["kafka"])
    assert {name for name in first if first[name] != second[name]} == {"kafka"}
    assert second["kafka"] not in first.values()


def test_a_port_our_own_part_listens_on_is_not_taken() -> None:
    first = ports.settle({}, seed="a", free=lambda port: True)
    assert ports.settle(first, seed="a", in_use=first, free=lambda port: False) == first


def test_two_stacks_look_at_different_ports() -> None:
    one, other = (ports.settle({}, seed=seed, free=lambda port: True) for seed in ("a", "b"))
    assert not set(one.values()) & set(other.values())


def test_a_listening_port_is_not_free() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        assert not ports.is_free(server.getsockname()[1])
