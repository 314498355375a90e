"""The circuit: five failures open it, a pause half-opens it for three, three successes close it."""

import asyncio
from contextlib import suppress

import pytest

from serving.circuit import FAILURES, PROBES, Circuit, CircuitOpen, Inconclusive

PAUSE_S = 0.05


class Away(Exception):
    """The decider does not answer."""


def succeed(circuit: Circuit) -> None:
    with circuit.attempt():
        pass


def fail(circuit: Circuit) -> None:
    with suppress(Away), circuit.attempt():
        raise Away


def opened() -> Circuit:
    circuit = Circuit(PAUSE_S)
    for _ in range(FAILURES):
        fail(circuit)
    return circuit


def test_the_fifth_failure_in_a_row_opens_it() -> None:
    circuit = Circuit()
    for _ in range(FAILURES - 1):
        fail(circuit)
    assert circuit.state == "closed"
    succeed(circuit)
    for _ in range(FAILURES - 1):
        fail(circuit)
    assert circuit.state == "closed"
    fail(circuit)
    assert circuit.state == "open"
    with pytest.raises(CircuitOpen), circuit.attempt():
        raise AssertionError("nobody waits for the decider now")


def test_the_error_of_a_failure_is_the_callers() -> None:
    circuit = Circuit()
    for _ in range(FAILURES):
        with pytest.raises(Away), circuit.attempt():
            raise Away


def test_impatience_is_no_failure_and_no_success() -> None:
    circuit = Circuit()
    for _ in range(FAILURES - 1):
        fail(circuit)
    for _ in range(FAILURES):
        with pytest.raises(Inconclusive), circuit.attempt():
            raise Inconclusive
    assert circuit.state == "closed"
    fail(circuit)
    assert circuit.state == "open"


async def test_after_the_pause_three_may_try_at_a_time_and_three_successes_close_it() -> None:
    circuit = opened()
    await asyncio.sleep(PAUSE_S)
    gate = asyncio.Event()
    outcomes: list[str] = []

    async def ask() -> None:
        try:
            with circuit.attempt():
                await gate.wait()
            outcomes.append("answered")
        except CircuitOpen:
            outcomes.append("refused")

    asking = [asyncio.create_task(ask()) for _ in range(10)]
    await asyncio.sleep(0)
    assert outcomes == ["refused"] * (10 - PROBES)
    assert circuit.state == "half-open"
    gate.set()
    await asyncio.gather(*asking)
    assert outcomes.count("answered") == PROBES
    assert circuit.state == "closed"


async def test_a_probe_that_fails_opens_it_for_another_pause() -> None:
    circuit = opened()
    await asyncio.sleep(PAUSE_S)
    succeed(circuit)
    fail(circuit)
    assert circuit.state == "open"
    with pytest.raises(CircuitOpen):
        succeed(circuit)
    await asyncio.sleep(PAUSE_S)
    for _ in range(PROBES):
        succeed(circuit)
    assert circuit.state == "closed"


async def test_what_was_asked_before_it_opened_and_succeeds_later_does_not_close_it() -> None:
    circuit = Circuit(PAUSE_S)
    with circuit.attempt():
        for _ in range(FAILURES):
            fail(circuit)
    assert circuit.state == "open"


async def test_late_failures_of_before_do_not_prolong_the_pause() -> None:
    circuit = Circuit(PAUSE_S)
    gate = asyncio.Event()

    async def ask() -> None:
        with suppress(Away), circuit.attempt():
            await gate.wait()
            raise Away

    asking = [asyncio.create_task(ask()) for _ in range(3)]
    await asyncio.sleep(0)
    for _ in range(FAILURES):
        fail(circuit)
    await asyncio.sleep(PAUSE_S)
    gate.set()
    await asyncio.gather(*asking)
    succeed(circuit)
    assert circuit.state == "half-open"
