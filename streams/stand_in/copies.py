"""Redis: stand-in copies and the epoch that says whether they are complete.

The epoch is one hash: `run_id` and `epoch` of the last complete rebuild, and `building`, the newest
one that has begun. Every write is stamped with `building` in the same step that reads it: whatever
was written before a rebuild began was committed before, and so is seen by the rebuild itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from redis.asyncio import Redis

from schemas import keys
from streams.stand_in.policy import ACCOUNT, CARD, Part

# KEYS: epoch, copy. ARGV: guard, place in the log (none when read from the database), the epoch it
# belongs to (none: the newest), then field and value of the part. A part without fields is gone.
# Gives -1 when there is no such epoch (any more).
KEEP = """
local building = redis.call('HGET', KEYS[1], 'building')
if not building or (ARGV[3] ~= '' and ARGV[3] ~= building) then return -1 end
local place = building .. '.' .. ARGV[2]
local seen = redis.call('HGET', KEYS[2], ARGV[1])
if seen and seen >= place then return 0 end
redis.call('HSET', KEYS[2], ARGV[1], place)
if #ARGV == 3 then
  for _, name in ipairs(redis.call('HKEYS', KEYS[2])) do
    if string.sub(name, 1, 1) ~= '_' then redis.call('HDEL', KEYS[2], name) end
  end
end
for i = 4, #ARGV, 2 do redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1]) end
return 1
"""

# A number lower than one that has begun loses: its builder finds that out and stops.
BEGIN = """
local building = redis.call('HGET', KEYS[1], 'building')
if building and building >= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'building', ARGV[1])
return 1
"""

# Complete, if nobody began a later one and Redis is still the one that was filled.
COMPLETE = """
local run_id = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
if redis.call('HGET', KEYS[1], 'building') ~= ARGV[1] or run_id ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'run_id', ARGV[2])
return 1
"""

# KEYS: the card's open stand-ins. ARGV: idempotency key, and how its account's key is made.
# What is open is kept as "amount:account".
RELEASE = """
local open = redis.call('HGET', KEYS[1], ARGV[1])
if not open then return 0 end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('HDEL', string.format(ARGV[2], string.match(open, ':(.+)$')), ARGV[1])
return 1
"""
HOLD_BUILDER = "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end " + (
    "return redis.call('PEXPIRE', KEYS[1], ARGV[2])"
)
BUILDER_MS = 15_000


class Superseded(Exception):
    """Somebody began a later rebuild, or Redis was emptied meanwhile."""


class Copies:
    """The verbs over the copies; each is one round trip."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._keep = client.register_script(KEEP)
        self._begin = client.register_script(BEGIN)
        self._complete = client.register_script(COMPLETE)
        self._release = client.register_script(RELEASE)
        self._hold_builder = client.register_script(HOLD_BUILDER)

    async def follow(self, parts: Sequence[tuple[Part, str]]) -> int:
        """Write parts with their places in the log, unless something later is there; how many."""
        return await self._write(parts, "")

    async def rebuild(self, parts: Iterable[Part], epoch: str) -> int:
        """Write parts as the database had them after `epoch` began; later words of the log stay."""
        return await self._write([(part, "") for part in parts], epoch)

    async def is_complete(self) -> bool:
        """Whether the copies are those of this very run of Redis."""
        run_id = await self._run_id()
        known = cast(Mapping[str, str], await self._client.hgetall(keys.epoch()))
        return known.get("run_id") == run_id and known.get("epoch") == known.get("building")

    async def begin(self, epoch: str) -> str:
        """Begin a rebuild; the run of Redis that it is for."""
        run_id = await self._run_id()
        if not await self._begin([keys.epoch()], [epoch]):
            raise Superseded(f"an epoch later than {int(epoch)} has begun")
        return run_id

    async def complete(self, epoch: str, run_id: str) -> None:
        """From now on the copies of `epoch` may approve."""
        if not await self._complete([keys.epoch()], [epoch, run_id]):
            raise Superseded(f"epoch {int(epoch)} is not the latest any more")

    async def is_builder(self, name: str) -> bool:
        """Whether `name` may rebuild now; to be asked again before each page."""
        lock = keys.epoch_builder()
        if await self._client.set(lock, name, nx=True, px=BUILDER_MS):
            return True
        return bool(await self._hold_builder([lock], [name, BUILDER_MS]))

    async def release(self, stand_ins: Iterable[tuple[str, str]]) -> int:
        """Forget open stand-ins, each a card and an idempotency key; says how many there were."""
        pipe = self._client.pipeline(transaction=False)
        for card_id, key in stand_ins:
            account_key = keys.stand_ins(ACCOUNT, "%s")
            await self._release([keys.stand_ins(CARD, card_id)], [key, account_key], client=pipe)
        return sum(await pipe.execute())

    async def _write(self, parts: Sequence[tuple[Part, str]], epoch: str) -> int:
        pipe = self._client.pipeline(transaction=False)
        for part, position in parts:
            fields = [one for pair in part.fields.items() for one in pair]
            arguments: list[Any] = [part.guard, position, epoch, *fields]
            await self._keep([keys.epoch(), part.key], arguments, client=pipe)
        results = cast(list[int], await pipe.execute())
        if epoch and -1 in results:
            raise Superseded(f"epoch {int(epoch)} is not the latest any more")
        return sum(1 for one in results if one == 1)

    async def _run_id(self) -> str:
        return str((await self._client.info("server"))["run_id"])
