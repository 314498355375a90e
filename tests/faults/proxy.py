"""A TCP proxy that misbehaves on demand, in Toxiproxy's words; needs no root.

It runs on a thread of its own, so a test may be plain or asynchronous:

    with Proxy(redis_port) as proxy:
        proxy.latency(2.0)
        ...
        proxy.heal()
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

HOST = "127.0.0.1"
CHUNK = 64 * 1024
# How often a held-back connection looks whether it may go on.
LOOK_S = 0.02
UP, DOWN = "up", "down"


@dataclass(frozen=True)
class Weather:
    """What the proxy does to every connection, open or new; by default nothing."""

    refuses: bool = False
    latency_s: float = 0.0
    bytes_per_s: float | None = None
    # Directions in which nothing passes, while both ends think that they are connected.
    silent: frozenset[str] = frozenset()
    # Bytes that still pass from the server to the client; then the client's end is reset.
    answer_limit: int | None = None


class Proxy:
    """Listens on a free port of the loopback address and passes on to `port`."""

    def __init__(self, port: int, listen_on: int = 0) -> None:
        self._target = port
        self.port = listen_on
        self._weather = Weather()
        self._passed = 0
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: asyncio.Server | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._listen)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._run(self._close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._links)

    def latency(self, seconds: float) -> None:
        """Each piece of data arrives that much later, in both directions."""
        self._change(latency_s=seconds)

    def bandwidth(self, bytes_per_s: float) -> None:
        """No connection passes more than that in either direction."""
        self._change(bytes_per_s=bytes_per_s)

    def half_open(self, *directions: str) -> None:
        """Nothing passes any more (in either direction, or those named) and nothing is closed."""
        self._change(silent=frozenset(directions or (UP, DOWN)))

    def cut(self) -> None:
        """Reset every connection and refuse new ones."""
        self._change(refuses=True)
        self.reset_peer()

    def reset_peer(self) -> None:
        """Reset every open connection, on both sides; new ones are welcome."""
        self._run(self._reset)

    def limit_answers(self, size: int) -> None:
        """Pass that many more bytes from the server to clients, then reset the client's end."""
        self._passed = 0
        self._change(answer_limit=size)

    def heal(self) -> None:
        """Be an honest proxy again. What was held back is delivered."""
        self._weather = Weather()

    def _change(self, **changes: object) -> None:
        self._weather = replace(self._weather, **changes)  # type: ignore[arg-type]

    def _run(self, work: Callable[[], object]) -> None:
        async def here() -> None:
            found = work()
            if asyncio.iscoroutine(found):
                await found

        asyncio.run_coroutine_threadsafe(here(), self._loop).result(10)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, HOST, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        self._reset()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _reset(self) -> None:
        for link in tuple(self._links):
            link.reset()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._weather.refuses:
            _reset(writer)
            return
        try:
            there_reader, there_writer = await asyncio.open_connection(HOST, self._target)
        except OSError:
            _reset(writer)
            return
        link = _Link(writer, there_writer)
        self._links.add(link)
        ways = ((UP, reader, there_writer), (DOWN, there_reader, writer))
        tasks = [asyncio.ensure_future(self._pass(*way, link)) for way in ways]
        self._tasks.update(tasks)
        try:
            await asyncio.wait(tasks)
        finally:
            self._links.discard(link)
            self._tasks.difference_update(tasks)
            link.close()

    async def _pass(
        self,
        direction: str,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        link: _Link,
    ) -> None:
        """Carry one direction. Delayed data keeps its order and does not delay what follows."""
        due: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        carrier = asyncio.ensure_future(self._deliver(direction, due, sink, link))
        try:
            with suppress(OSError):
                while data := await source.read(CHUNK):
                    due.put_nowait((self._loop.time() + self._weather.latency_s, data))
            due.put_nowait((self._loop.time() + self._weather.latency_s, b""))
            await carrier
        finally:
            carrier.cancel()

    async def _deliver(
        self,
        direction: str,
        due: asyncio.Queue[tuple[float, bytes]],
        sink: asyncio.StreamWriter,
        link: _Link,
    ) -> None:
        while True:
            moment, data = await due.get()
            await asyncio.sleep(max(0.0, moment - self._loop.time()))
            while direction in self._weather.silent:
                await asyncio.sleep(LOOK_S)
            if self._weather.bytes_per_s:
                await asyncio.sleep(len(data) / self._weather.bytes_per_s)
            limit = self._weather.answer_limit if direction == DOWN else None
            if limit is not None and data:
                data = data[: max(0, limit - self._passed)]
                self._passed += len(data)
            is_spent = limit is not None and self._passed >= limit
            try:
                if data:
                    sink.write(data)
                    await sink.drain()
                elif not is_spent:
                    sink.write_eof()
                    return
            except OSError:
                is_spent = True
            if is_spent:
                await asyncio.sleep(LOOK_S)
                link.reset()
                return


class _Link:
    """The two ends of one proxied connection."""

    def __init__(self, *ends: asyncio.StreamWriter) -> None:
        self._ends = ends

    def reset(self) -> None:
        for end in self._ends:
            _reset(end)

    def close(self) -> None:
        for end in self._ends:
            with suppress(OSError, RuntimeError):
                end.close()


def _reset(end: asyncio.StreamWriter) -> None:
    """Close at once with RST instead of FIN."""
    found = end.get_extra_info("socket")
    if found is not None:
        with suppress(OSError):
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end.transport.abort()
