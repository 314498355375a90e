"""The client of Redis: it gives up soon, and a connection that was reset is an outage to it."""

from __future__ import annotations

from collections.abc import Iterable

import redis
from redis.asyncio import Connection, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

TIMEOUT_S = 0.5


class ResetConnection(Connection):
    """uvloop refuses to write where the other side has hung up, with an error of its own."""

    async def send_packed_command(
        self, command: bytes | str | Iterable[bytes], check_health: bool = True
    ) -> None:
        """Send it; a closed connection is a ConnectionError, as without uvloop."""
        try:
            await super().send_packed_command(command, check_health)
        except RuntimeError as error:
            raise redis.ConnectionError(str(error)) from error


def connect(url: str) -> Redis:
    """A client; connected when it is first asked, and once more on a connection that was closed."""
    return Redis.from_url(
        url,
        connection_class=ResetConnection,
        decode_responses=True,
        socket_timeout=TIMEOUT_S,
        socket_connect_timeout=TIMEOUT_S,
        retry=Retry(NoBackoff(), 1),
    )
