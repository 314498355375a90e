"""Puts a part of a running stack behind a proxy or under another clock, and workers beside ours."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from millrace.stack import Stack
from millrace.stack.environment import HOST
from millrace.stack.layout import CHECKOUT
from millrace.stack.ports import FIRST_PORT, LAST_PORT, is_free
from tests.cards import eventually
from tests.faults.proxy import Proxy

LISTENER = "PROXIED"
# A caller's patience with a decider that fails is a minute; a test's is shorter.
CIRCUIT_OPEN_S = "1"


@contextmanager
def rerouted(stack: Stack, *parts: str, **variables: str) -> Iterator[None]:
    """The parts run with other variables inside, and as before afterwards."""
    before = {part: stack.layout.launch(part).read_text() for part in parts}
    try:
        for part, text in before.items():
            launch = json.loads(text)
            launch["environment"] |= variables
            stack.layout.launch(part).write_text(json.dumps(launch))
            _restart(stack, part)
        yield
    finally:
        for part, text in before.items():
            stack.layout.launch(part).write_text(text)
            _restart(stack, part)


@contextmanager
def own_gateway(stack: Stack, folder: Path, **variables: str) -> Iterator[httpx.Client]:
    """A gateway of the test's own: its addresses, its journal, a circuit that closes soon."""
    port = str(_free_port())
    url = f"http://{HOST}:{port}"
    own = {"MILLRACE_HOME": str(folder), "PORT": port, "CIRCUIT_OPEN_S": CIRCUIT_OPEN_S}
    log = folder / "gateway.log"
    with (
        _process(stack, (sys.executable, "-m", "tests.faults.serve"), {**own, **variables}, log),
        httpx.Client(base_url=url, timeout=40) as client,
    ):
        try:
            eventually(lambda: _hears_decisions(client))
            yield client
        finally:
            print(log.read_text()[-4000:])


@contextmanager
def proxied_redis(stack: Stack, *parts: str) -> Iterator[tuple[Proxy, str]]:
    """The parts reach Redis through the proxy; gives it and its address."""
    url = urlsplit(stack.env["MILLRACE_REDIS"])
    with Proxy(int(url.port or 0)) as proxy:
        through = url._replace(netloc=f"{HOST}:{proxy.port}").geturl()
        with rerouted(stack, *parts, MILLRACE_REDIS=through):
            yield proxy, through
            proxy.heal()


@contextmanager
def proxied_broker(stack: Stack) -> Iterator[tuple[Proxy, str]]:
    """Kafka has a second listener, which is reached through the proxy; gives it and its address."""
    properties = stack.layout.conf / "kafka.properties"
    before = properties.read_text()
    port = _free_port()
    with Proxy(port) as proxy:
        try:
            properties.write_text(_with_listener(before, port, proxy.port))
            _restart(stack, "kafka")
            yield proxy, f"{HOST}:{proxy.port}"
            proxy.heal()
        finally:
            properties.write_text(before)
            _restart(stack, "kafka")


def _with_listener(properties: str, port: int, advertised: int) -> str:
    added = {
        "listeners": f"{LISTENER}://{HOST}:{port}",
        "advertised.listeners": f"{LISTENER}://{HOST}:{advertised}",
        "listener.security.protocol.map": f"{LISTENER}:PLAINTEXT",
    }
    lines = (
        f"{line},{added[name]}" if (name := line.partition("=")[0]) in added else line
        for line in properties.splitlines()
    )
    return "\n".join(lines) + "\n"


@contextmanager
def another_worker(stack: Stack) -> Iterator[subprocess.Popen[bytes]]:
    """One more worker process of the same stack; it is gone afterwards."""
    launch = json.loads(stack.layout.launch("worker").read_text())
    port = _free_port()
    words = list(launch["command"])
    words[words.index("-p") + 1] = str(port)
    words[words.index("-D") + 1] = str(stack.layout.home / f"faust-{port}")
    log = stack.layout.log(f"worker-{port}")
    with _process(stack, words, launch["environment"], log) as process:
        yield process


@contextmanager
def _process(
    stack: Stack, words: Sequence[str], variables: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as out:
        process = subprocess.Popen(
            words,
            cwd=CHECKOUT,
            env={**os.environ, **stack.env, **variables},
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _hears_decisions(gateway: httpx.Client) -> bool:
    try:
        return gateway.get("/health").json()["parts"]["kafka"]["status"] == "pass"
    except httpx.HTTPError:
        return False


def killed(stack: Stack, part: str) -> None:
    """SIGKILL, and wait until the supervisor has another one."""
    gone = stack.kill(part)
    eventually(lambda: stack.pid(part) not in (None, gone))


def deciding(stack: Stack) -> None:
    """Wait until the worker has its partitions."""

    def is_ready() -> bool:
        try:
            return httpx.get(f"{stack.env['MILLRACE_WORKER']}/health", timeout=2).is_success
        except httpx.HTTPError:
            return False

    eventually(is_ready)


def _restart(stack: Stack, part: str) -> None:
    stack.stop(part)
    stack.start(part)


def _free_port() -> int:
    ports = range(FIRST_PORT, LAST_PORT)
    return next(p for p in iter(lambda: random.choice(ports), None) if is_free(p))
