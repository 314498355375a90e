"""What may be approved for a card while nobody can decide: a small allowance, kept in Redis.

One call checks everything and takes the amount, or nothing. It refuses unless the copies it reads
were all made for this very run of Redis: a copy that may be old approves nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from redis.asyncio import Redis

from schemas import keys
from schemas.events import AuthorizationRequested
from streams.stand_in.policy import ACCOUNT, CARD, CUSTOMER, PROGRAM, ROW, SCREENING

# KEYS: epoch, the card's copy, its open stand-ins, what the key was told.
# ARGV: idempotency key, amount, currency, today; how the keys of an account, customer, program and
# of an account's open stand-ins are made; guards of a row and of a screening; what is journaled for
# the card (count, amount) and not known to Kafka; how long it is remembered what was told, and open
# ones; the request's hash.
# Gives what was told: "APPROVED", or why not; and the account.
TAKE = """
local told = redis.call('GET', KEYS[4])
if told then
  local verdict, hash, account = string.match(told, '^(%S+) (%S+) ?(%S*)$')
  if hash ~= ARGV[15] then verdict = 'KEY_REUSED' end
  return {verdict, account}
end
local function tell(verdict, account)
  redis.call('SET', KEYS[4], verdict .. ' ' .. ARGV[15] .. ' ' .. account, 'EX', ARGV[13])
  return {verdict, account}
end
local run_id = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local known = redis.call('HMGET', KEYS[1], 'run_id', 'epoch')
if known[1] ~= run_id or not known[2] then return tell('NO_EPOCH', '') end
local function is_current(place)
  return place and string.sub(place, 1, #known[2]) == known[2]
end
local function usable(copy) return copy == '1' end

local card = redis.call('HMGET', KEYS[2], ARGV[9], 'is_usable', 'account_id', 'expires_on')
if not is_current(card[1]) or not card[3] then return tell('NO_COPY', '') end
local account_id = card[3]
if not usable(card[2]) or card[4] < ARGV[4] then return tell('NOT_USABLE', account_id) end
local account = redis.call('HMGET', string.format(ARGV[5], account_id), ARGV[9], 'is_usable',
  'currency', 'available_minor', 'customer_id', 'program_id')
if not is_current(account[1]) or not account[6] then return tell('NO_COPY', account_id) end
if not usable(account[2]) or account[3] ~= ARGV[3] then return tell('NOT_USABLE', account_id) end
local customer = redis.call('HMGET', string.format(ARGV[6], account[5]), ARGV[9], ARGV[10],
  'is_usable', 'is_sanctioned')
if not is_current(customer[1]) or not is_current(customer[2]) then
  return tell('NO_COPY', account_id)
end
if not usable(customer[3]) or customer[4] ~= '0' then return tell('NOT_USABLE', account_id) end
local program = redis.call('HMGET', string.format(ARGV[7], account[6]), ARGV[9], 'amount_minor',
  'count')
if not is_current(program[1]) or not program[2] then return tell('NO_COPY', account_id) end

local function total(key)
  local count, amount = 0, 0
  for _, open in ipairs(redis.call('HVALS', key)) do
    count, amount = count + 1, amount + tonumber(string.match(open, '^%d+'))
  end
  return count, amount
end
local asked = tonumber(ARGV[2])
local account_open = string.format(ARGV[8], account_id)
local count, amount = total(KEYS[3])
local _, of_account = total(account_open)
count, amount = math.max(count, tonumber(ARGV[11])), math.max(amount, tonumber(ARGV[12]))
of_account = math.max(of_account, amount)
if count >= tonumber(program[3]) or amount + asked > tonumber(program[2])
    or of_account + asked > tonumber(account[4]) then
  return tell('ALLOWANCE_SPENT', account_id)
end
redis.call('HSET', KEYS[3], ARGV[1], ARGV[2] .. ':' .. account_id)
redis.call('HSET', account_open, ARGV[1], ARGV[2])
redis.call('EXPIRE', KEYS[3], ARGV[14])
redis.call('EXPIRE', account_open, ARGV[14])
return tell('APPROVED', account_id)
"""
APPROVED, KEY_REUSED = "APPROVED", "KEY_REUSED"


@dataclass(frozen=True)
class Grant:
    """What the allowance says: `verdict` is APPROVED, or why not."""

    verdict: str
    account_id: str | None

    @property
    def approved(self) -> bool:
        """Whether the amount was taken."""
        return self.verdict == APPROVED


class Allowance:
    """The allowances of all cards."""

    def __init__(self, client: Redis) -> None:
        self._take = client.register_script(TAKE)

    async def take(
        self, request: AuthorizationRequested, journaled: tuple[int, int] = (0, 0)
    ) -> Grant:
        """Take the request's amount, once for its key; `journaled` is at least what is open."""
        arguments: list[Any] = [
            request.idempotency_key,
            request.amount_minor,
            request.currency,
            datetime.now(UTC).date().isoformat(),
            *(keys.stand_in_copy(entity, "%s") for entity in (ACCOUNT, CUSTOMER, PROGRAM)),
            keys.stand_ins(ACCOUNT, "%s"),
            ROW,
            SCREENING,
            *journaled,
            keys.STAND_IN_TOLD_TTL_S,
            keys.STAND_INS_TTL_S,
            request.request_hash,
        ]
        card_id = request.card_id.lower()
        verdict, account_id = await self._take(
            [
                keys.epoch(),
                keys.stand_in_copy(CARD, card_id),
                keys.stand_ins(CARD, card_id),
                keys.stand_in_told(request.idempotency_key),
            ],
            arguments,
        )
        return Grant(str(verdict), str(account_id) or None)
