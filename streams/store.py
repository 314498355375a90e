"""Redis: copies and features, every write guarded so that an older one changes nothing.

Each verb is one round trip for the whole batch. All of it can be rebuilt, from the log or from the
database, and a repeated write is a no-op.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, cast

import orjson
from redis.asyncio import Connection, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError

from schemas import keys

# A copy read from the database has no place in the log, so any change from the log replaces it.
NO_POSITION = ""
COMPLETE = "complete"

# KEYS: hashes. ARGV: what to write to each, as JSON: guard, position, time to live, fields to drop,
# then fields and values to set. One command, so one answer to parse.
APPLY_IF_NEWER = """
local applied = {}
for i, key in ipairs(KEYS) do
  local guard, position, ttl, drop, fields = unpack(cjson.decode(ARGV[i]))
  local seen = redis.call('HGET', key, guard)
  applied[i] = (seen and seen >= position) and 0 or 1
  if applied[i] == 1 then
    redis.call('HSET', key, guard, position, unpack(fields))
    for _, name in ipairs(drop) do redis.call('HDEL', key, name) end
    redis.call('EXPIRE', key, ttl)
  end
end
return applied
"""

# KEYS: set, meta. ARGV: position, time to live, oldest age kept (ms), complete, (score, member)...
ADD_ATTEMPTS = """
local newest = tonumber(redis.call('HGET', KEYS[2], 'event_at_ms') or '0')
local added = 0
for i = 5, #ARGV, 2 do
  added = added + redis.call('ZADD', KEYS[1], ARGV[i], ARGV[i + 1])
  if tonumber(ARGV[i]) > newest then newest = tonumber(ARGV[i]) end
end
local oldest = string.format('%.0f', newest - tonumber(ARGV[3]))
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. oldest)
redis.call('HSET', KEYS[2], 'event_at_ms', string.format('%.0f', newest))
local seen = redis.call('HGET', KEYS[2], 'position')
if not seen or seen < ARGV[1] then redis.call('HSET', KEYS[2], 'position', ARGV[1]) end
if ARGV[4] == '1' then
  local run_id = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
  redis.call('HSET', KEYS[2], 'complete', run_id)
end
redis.call('EXPIRE', KEYS[1], ARGV[2])
redis.call('EXPIRE', KEYS[2], ARGV[2])
return added
"""

# KEYS: hashes, then strings. ARGV: how many hashes. One command, so one answer to parse.
READ = """
local found, hashes = {}, tonumber(ARGV[1])
for i, key in ipairs(KEYS) do found[i] = redis.call(i <= hashes and 'HGETALL' or 'GET', key) end
return found
"""

# KEYS: strings. ARGV: time to live, values.
PUT = """
for i, key in ipairs(KEYS) do redis.call('SET', key, ARGV[i + 1], 'EX', ARGV[1]) end
"""

# KEYS: which run of Redis the copies are of. ARGV: patterns of copies. Forgets other runs' copies.
# The first command on every connection, and a restart closes them all: nobody reads what is older.
FORGET_OTHER_RUNS = """
local run_id = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
if redis.call('GET', KEYS[1]) == run_id then return 0 end
for _, pattern in ipairs(ARGV) do
  for _, key in ipairs(redis.call('KEYS', pattern)) do redis.call('UNLINK', key) end
end
redis.call('SET', KEYS[1], run_id)
return 1
"""


@dataclass(frozen=True)
class Write:
    """Fields of one hash, to be set if `position` is later than the one under `guard`."""

    key: str
    guard: str
    position: str
    fields: Mapping[str, str]
    drop: tuple[str, ...]
    ttl_s: int


@dataclass(frozen=True)
class Attempts:
    """Members of one velocity set. `complete` says that nothing older is missing from it."""

    key: str
    meta_key: str
    position: str
    members: Mapping[str, int]
    ttl_s: int
    complete: bool = False


class Store:
    """The verbs the agents need; the client is made and closed by the composition root."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._apply = client.register_script(APPLY_IF_NEWER)
        self._add = client.register_script(ADD_ATTEMPTS)
        self._read = client.register_script(READ)
        self._put = client.register_script(PUT)

    async def apply(self, writes: Sequence[Write]) -> list[bool]:
        """Apply each write unless something newer is there already; says which were applied."""
        asked = [
            orjson.dumps((w.guard, w.position, w.ttl_s, w.drop, [*chain(*w.fields.items())]))
            for w in writes
        ]
        applied = await self._apply([write.key for write in writes], asked) if writes else []
        return [bool(one) for one in applied]

    async def add(self, additions: Sequence[Attempts]) -> int:
        """Add members to velocity sets and trim what no window reaches; says how many were new."""
        pipe = self._client.pipeline(transaction=False)
        for addition in additions:
            pairs = [part for member, ms in addition.members.items() for part in (ms, member)]
            head: list[Any] = [
                addition.position,
                addition.ttl_s,
                addition.ttl_s * 1000,
                int(addition.complete),
            ]
            await self._add([addition.key, addition.meta_key], [*head, *pairs], client=pipe)
        return sum(await pipe.execute())

    async def hashes(self, hash_keys: Sequence[str]) -> list[dict[str, str]]:
        """The hashes under the keys; an empty one for a missing key."""
        pipe = self._client.pipeline(transaction=False)
        for key in hash_keys:
            pipe.hgetall(key)
        return cast(list[dict[str, str]], await pipe.execute())

    async def read(
        self, hash_keys: Sequence[str], string_keys: Sequence[str]
    ) -> tuple[list[dict[str, str]], list[str | None]]:
        """Hashes (empty for a missing key) and strings, all at once and all of one moment.

        On a cluster each node's keys would have to be asked of it.
        """
        hashes = len(hash_keys)
        found = await self._read([*hash_keys, *string_keys], [hashes])
        return [dict(zip(h[::2], h[1::2], strict=True)) for h in found[:hashes]], found[hashes:]

    async def put(self, texts: Mapping[str, str], ttl_s: int) -> None:
        """Set strings, whatever was there."""
        await self._put(list(texts), [ttl_s, *texts.values()])

    async def complete(self, meta_keys: Iterable[str]) -> list[bool]:
        """Which velocity sets are known to miss nothing: filled since Redis last started.

        What was written just before it ended, or after an old dump was made, may be missing.
        """
        pipe = self._client.pipeline(transaction=False)
        pipe.info("server")
        for key in meta_keys:
            pipe.hget(key, COMPLETE)
        server, *marks = await pipe.execute()
        return [mark == server["run_id"] for mark in marks]

    async def counts(
        self, sets: Sequence[tuple[str, str]], windows_ms: Sequence[int], now_ms: int
    ) -> list[tuple[int, ...] | None]:
        """For each (set, meta), its members in each (now - window, now]; none if incomplete."""
        pipe = self._client.pipeline(transaction=False)
        for set_key, meta_key in sets:
            pipe.hget(meta_key, COMPLETE)
            for window_ms in windows_ms:
                pipe.zcount(set_key, f"({now_ms - window_ms}", now_ms)
        found: list[Any] = await pipe.execute()
        wide = 1 + len(windows_ms)
        rows = [found[i : i + wide] for i in range(0, len(found), wide)]
        return [None if row[0] is None else tuple(row[1:]) for row in rows]


class CopiesConnection(Connection):
    """A connection to copies that are of the running Redis."""

    async def on_connect_check_health(self, check_health: bool = True) -> None:
        """Before anything is read, forget what an earlier run left."""
        await super().on_connect_check_health(check_health=check_health)
        forget = (FORGET_OTHER_RUNS, 1, keys.copies_run(), *keys.UNFENCED)
        await self.send_command("EVAL", *forget, check_health=False)
        await self.read_response()

    async def send_packed_command(
        self, command: bytes | str | Iterable[bytes], check_health: bool = True
    ) -> None:
        """Send it; a closed connection is a ConnectionError, and no error of uvloop's own."""
        try:
            await super().send_packed_command(command, check_health)
        except RuntimeError as error:
            raise ConnectionError(str(error)) from error


def connect(url: str, timeout_ms: int) -> Redis:
    """A client that gives up soon: its callers have another way or their own patience."""
    timeout_s = timeout_ms / 1000
    # Once more on a connection that turns out to be closed; who has waited in vain has waited.
    options: dict[str, Any] = {
        "connection_class": CopiesConnection,
        "decode_responses": True,
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "retry": Retry(NoBackoff(), 1, supported_errors=(ConnectionError,)),
        "max_connections": 16,
    }
    return Redis.from_url(url, **options)
