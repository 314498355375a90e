"""Registers the connector with Kafka Connect and keeps it running; every call may be repeated."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
from tenacity import (
    retry,
    retry_if_exception_type,
    stop_after_delay,
    wait_random_exponential,
)

from connectors import config, lineage, rewinding

# A worker that has just started answers 404 or 409 until it has read its topics.
PATIENCE_S = 90
POLL_S = 0.25
STOP_WITHIN_S = 60.0
# A failed task is started again: what it needs, Postgres or the registry, may be on its way back.
# A lasting fault is told when it has failed after all of these.
RESTART_PAUSES_S = (1, 2, 4, 8, 15)
RUNNING, FAILED, STOPPED = "RUNNING", "FAILED", "STOPPED"


class ConnectorError(RuntimeError):
    """The connector does not run; the message says why and what to do."""


class _NotYet(Exception):
    """Connect cannot take the request now, but soon."""


@dataclass(frozen=True)
class Status:
    """How the connector is: `state` is the worst of connector and task, `error` its last words."""

    state: str
    tasks: tuple[str, ...] = ()
    error: str = ""


def apply(
    *,
    connect_url: str,
    kafka: str,
    registry_url: str,
    oltp_host: str,
    oltp_port: int,
    oltp_db: str,
    within_s: float = 180,
) -> str:
    """Make the connector run with the settings of oltp.json; returns once its snapshot is over.

    A connector that already has them is not touched. Says what was done.
    """
    settings = config.render(
        registry_url=registry_url, oltp_host=oltp_host, oltp_port=oltp_port, oltp_db=oltp_db
    )
    with _client(connect_url) as client:
        changed = _put(client, settings)
        if _status(client, _send).state == STOPPED:
            # Whoever stopped it to change its offsets was ended before it went on.
            ask(client, "PUT", f"/connectors/{config.NAME}/resume")
        _wait_until_streaming(client, time.monotonic() + within_s)
    if changed:
        lineage.emit(kafka, oltp_host, oltp_port, oltp_db)
    return f"connector {config.NAME} {'registered' if changed else 'unchanged'}, streaming"


def status(connect_url: str) -> Status:
    """How the connector is now, asked once; UNREACHABLE or MISSING when there is nothing to ask."""
    try:
        with _client(connect_url) as client:
            return _status(client, _send_once)
    except (httpx.TransportError, _NotYet) as error:
        return Status("UNREACHABLE", error=f"Connect does not answer at {connect_url}: {error}")


def restart_failed(connect_url: str) -> bool:
    """Restart the connector's failed parts; true when there were some.

    Safe at any time: the slot and the stored offsets say where capture goes on.
    """
    now = status(connect_url)
    if now.state != FAILED:
        return False
    with _client(connect_url) as client:
        _restart(client)
    return True


def wait_until_streaming(connect_url: str, within_s: float = 180) -> None:
    """Return once the connector runs and its snapshot is over; ConnectorError says why not."""
    with _client(connect_url) as client:
        _wait_until_streaming(client, time.monotonic() + within_s)


def _put(client: httpx.Client, settings: dict[str, str]) -> bool:
    known = ask(client, "GET", f"/connectors/{config.NAME}/config", missing={})
    if known == {**settings, "name": config.NAME}:
        return False
    ask(client, "PUT", f"/connectors/{config.NAME}/config", json=settings)
    return True


def _wait_until_streaming(client: httpx.Client, deadline: float) -> None:
    pauses_s = iter(RESTART_PAUSES_S)
    while True:
        now = _status(client, _send)
        if now.state == RUNNING and _snapshot_is_over(client):
            return
        if now.state == FAILED:
            pause_s = next(pauses_s, None)
            if pause_s is None:
                raise ConnectorError(_explain(now.error))
            _restart(client)
            time.sleep(pause_s)
        if time.monotonic() > deadline:
            raise ConnectorError(
                f"connector {config.NAME} is {now.state} and its snapshot is not over in time; it"
                f" goes on by itself: ask again, or look at Connect's log. {now.error}"
            )
        time.sleep(POLL_S)


def _snapshot_is_over(client: httpx.Client) -> bool:
    """A stored offset without the snapshot mark: the first heartbeat after it leaves one.

    Killed earlier, Debezium would take the snapshot anew and leave out the changes in between.
    """
    answer = ask(client, "GET", f"/connectors/{config.NAME}/offsets", missing={})
    offsets = [entry["offset"] for entry in answer.get("offsets", ()) if entry["offset"]]
    return any(
        "snapshot" not in offset or offset.get("snapshot_completed") is True for offset in offsets
    )


def _status(client: httpx.Client, send: Send) -> Status:
    response = send(client, "GET", f"/connectors/{config.NAME}/status", None)
    if response.status_code == 404:
        return Status("MISSING", error=f"connector {config.NAME} is not registered")
    answer = response.raise_for_status().json()
    parts = [answer["connector"], *answer["tasks"]]
    tasks = tuple(task["state"] for task in answer["tasks"])
    traces = [part.get("trace", "") for part in parts if part["state"] == FAILED]
    if traces:
        return Status(FAILED, tasks, _causes(traces[0]))
    others = [part["state"] for part in parts if part["state"] != RUNNING]
    if not tasks:
        others.append("UNASSIGNED")
    return Status(others[0] if others else RUNNING, tasks)


def _restart(client: httpx.Client) -> None:
    """Start failed parts again, from a position that leaves nothing out (rewinding)."""
    path = f"/connectors/{config.NAME}"
    if not _rewound(client):
        ask(client, "POST", f"{path}/restart?includeTasks=true&onlyFailed=true")
        return
    stop(client)
    try:
        if offsets := _rewound(client):
            ask(client, "PATCH", f"{path}/offsets", {"offsets": offsets})
    finally:
        ask(client, "PUT", f"{path}/resume")


def _rewound(client: httpx.Client) -> list[dict[str, Any]]:
    """The stored positions that would leave something out, put back."""
    answer = ask(client, "GET", f"/connectors/{config.NAME}/offsets", missing={})
    return [
        {"partition": entry["partition"], "offset": before}
        for entry in answer.get("offsets", ())
        if entry["offset"] and (before := rewinding.rewound(entry["offset"]))
    ]


def stop(client: httpx.Client) -> None:
    """Stopped, not paused: only then may its offsets be changed. Its absence is fine too."""
    if ask(client, "PUT", f"/connectors/{config.NAME}/stop", missing="") == "":
        return
    deadline = time.monotonic() + STOP_WITHIN_S
    while time.monotonic() < deadline:
        answer = client.get(f"/connectors/{config.NAME}/status")
        if answer.is_success:
            found = answer.json()
            if found["connector"]["state"] == "STOPPED" and not found["tasks"]:
                return
        time.sleep(POLL_S)
    raise ConnectorError(f"the connector did not stop in {STOP_WITHIN_S:.0f} s")


def _client(connect_url: str) -> httpx.Client:
    return httpx.Client(base_url=connect_url, timeout=15)


def _send_once(client: httpx.Client, method: str, path: str, body: Any) -> httpx.Response:
    response = client.request(method, path, json=body)
    if response.status_code in (409, 500, 503):
        raise _NotYet(f"{method} {path} answers {response.status_code}: {response.text[:500]}")
    return response


Send = Callable[[httpx.Client, str, str, Any], httpx.Response]
_retried: Send = retry(
    retry=retry_if_exception_type((_NotYet, httpx.ConnectError)),
    wait=wait_random_exponential(multiplier=0.2, max=2),
    stop=stop_after_delay(PATIENCE_S),
    reraise=True,
)(_send_once)


def _send(client: httpx.Client, method: str, path: str, body: Any) -> httpx.Response:
    """Ask again for as long as Connect may still be starting."""
    try:
        return _retried(client, method, path, body)
    except (_NotYet, httpx.TransportError) as error:
        raise ConnectorError(f"Kafka Connect was not ready in {PATIENCE_S} s: {error}") from error


def ask(client: httpx.Client, method: str, path: str, json: Any = None, **otherwise: Any) -> Any:
    """Connect's answer; `missing` is returned instead when there is no such connector."""
    response = _send(client, method, path, json)
    if response.status_code == 404 and "missing" in otherwise:
        return otherwise["missing"]
    if response.is_error:
        raise ConnectorError(
            f"Kafka Connect refused {method} {path} ({response.status_code}): "
            f"{_explain(response.text)}"
        )
    return response.json() if response.content else None


def _causes(trace: str) -> str:
    """The exceptions of a Java stack trace, outermost first, without their frames."""
    lines = (line.strip() for line in trace.splitlines())
    return " / ".join(line[:300] for line in lines if not line.startswith(("at ", "... ")))


HINTS = {
    "password authentication failed": "MILLRACE_CDC_PASSWORD is not the role's password",
    'role "cdc" does not exist': "apply the migrations of oltp first",
    "no pg_hba.conf entry": "Postgres does not let the role cdc in from this address",
    'replication slot "millrace" is active': "another connector reads the slot: stop that one",
    "can no longer be accessed": "the slot was lost: drop it, take a new snapshot, reconcile",
    'publication "millrace" does not exist': "apply the migrations of oltp first",
    " refused": "Postgres or the schema registry does not answer",
    "Failed to find any class that implements Connector": "Debezium is not in plugin.path",
}


def _explain(error: str) -> str:
    hints = [hint for mark, hint in HINTS.items() if mark in error]
    return error[:2000] + (f"\nWhat to do: {'; '.join(hints)}" if hints else "")
