"""Registration without a running Connect: what it says, and at once."""

from __future__ import annotations

from connectors import register

NOWHERE = "http://127.0.0.1:1"


def test_a_connect_that_does_not_run_is_said_plainly():
    status = register.status(NOWHERE)
    assert status.state == "UNREACHABLE"
    assert f"does not answer at {NOWHERE}" in status.error


def test_nothing_is_restarted_while_connect_is_away():
    assert register.restart_failed(NOWHERE) is False
