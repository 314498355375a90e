"""I10: every key in Redis is what Postgres says, recomputed and compared field by field."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
import redis
from psycopg.rows import dict_row

from schemas import keys
from schemas.codes_compliance import AmlCheckStatus
from streams.authorization.history import Attempt, CardHistory
from streams.cache import policy as cache
from streams.risk import policy as risk
from streams.stand_in import policy as stand_in

KEY = re.compile(r"^(?P<entity>[a-z_]+):\{(?P<id>[^}]*)\}:(?P<what>[a-z_]+)$")
COMPLETE = "complete"
CLEAR = AmlCheckStatus.CLEAR
# Where a copy that was read from the database stood in the log: says when, not what.
READ_AT = "_lsn"
KYC_ROWS = "select * from kyc.kyc_records where customer_id = any(%s::uuid[])"
SCREENING_ROWS = """
select * from kyc.aml_checks where customer_id = any(%s::uuid[]) order by checked_at, updated_at
"""
ATTEMPT_ROWS = """
select authorization_id::text, card_id::text, account_id::text, amount_minor, merchant_id,
    merchant_country::text, decision, decided_at
from card.authorizations where {column} = %s::uuid
"""
DECIDED_ROWS = """
select decided_at, decision, amount_minor, approved_amount_minor, merchant_id, mcc::text,
    merchant_country::text, channel, terminal_latitude_e6, terminal_longitude_e6, currency::text
from card.authorizations
where card_id = %s::uuid and card_version <= %s order by card_version
"""
STAND_IN_ROWS = {
    stand_in.CARD: "select * from card.cards where card_id = any(%s::uuid[])",
    stand_in.ACCOUNT: "select * from card.card_accounts where account_id = any(%s::uuid[])",
    stand_in.PROGRAM: "select * from card.programs where program_id = any(%s)",
    stand_in.CUSTOMER: """
        select c.*, coalesce((
            select s.status = 'CONFIRMED_MATCH' from kyc.aml_checks s
            where s.customer_id = c.customer_id and s.check_type = 'SANCTIONS'
                and s.status in ('CONFIRMED_MATCH', 'CLEAR')
            order by s.checked_at desc, s.updated_at desc limit 1
        ), false) as is_sanctioned
        from customer.customers c where c.customer_id = any(%s::uuid[])
    """,
}
ADVISED = """
select original_key from card.card_messages
where message_kind = 'ADVICE' and state <> 'PARKED' and original_key = any(%s)
"""
# Snapshot of an entity -> where its rows are.
TABLES = {
    "card": ("cards", "card.cards"),
    "account": ("card_accounts", "card.card_accounts"),
    "customer": ("customers", "customer.customers"),
}
Recount = Callable[["Copies", str, list[str]], Iterator[str]]


@dataclass
class Copies:
    """One Redis and the database it copies."""

    redis: redis.Redis
    database: psycopg.Connection[dict[str, Any]]

    def rows(self, statement: str, *arguments: Any) -> list[dict[str, Any]]:
        return self.database.execute(statement, arguments).fetchall()


def settled(
    env: Mapping[str, str], only: Collection[str] | None = None, within_s: float = 60
) -> list[str]:
    """The differences that are left when the copies have had time to catch up."""
    until = time.monotonic() + within_s
    while (wrong := differences(env, only)) and time.monotonic() < until:
        time.sleep(0.5)
    return wrong


def differences(env: Mapping[str, str], only: Collection[str] | None = None) -> list[str]:
    """A line for each key that is not as Postgres has it. A key that is not there is no error.

    `only` names the kinds of keys to look at: where nothing is captured, copies that follow capture
    stand still.
    """
    reader = redis.Redis.from_url(env["MILLRACE_REDIS"], decode_responses=True)
    dsn = env["MILLRACE_OLTP_ADMIN_DSN"]
    with psycopg.connect(dsn, row_factory=dict_row) as database:
        database.execute("set transaction isolation level repeatable read")
        copies = Copies(reader, database)
        kinds: dict[tuple[str, str], set[str]] = {}
        wrong = []
        for key in reader.scan_iter(count=1000):
            match = KEY.match(key)
            if match is None:
                if key not in APART:
                    wrong.append(f"I10 {key}: nobody can recompute this key")
                continue
            if match["what"] in TOLD:
                continue
            what = BELONGS_TO.get(match["what"], match["what"])
            kinds.setdefault((match["entity"], what), set()).add(match["id"])
        for (entity, what), ids in sorted(kinds.items()):
            if only is not None and what not in only:
                continue
            recount = RECOUNTS.get(what)
            if recount is None:
                wrong.append(f"I10 {entity}:*:{what}: nobody can recompute these keys")
            else:
                wrong += [f"I10 {line}" for line in recount(copies, entity, sorted(ids))]
    reader.close()
    return wrong


def snapshots(copies: Copies, entity: str, ids: list[str]) -> Iterator[str]:
    """Hashes of rows: every field as the row has it; of a row that is gone only the guard."""
    name, table = TABLES[entity]
    column = cache.SNAPSHOTS[name].id_column
    rows = {
        str(row[column]): row
        for row in copies.rows(f"select * from {table} where {column} = any(%s::uuid[])", ids)
    }
    hashes = _hashes(copies, (cache.SNAPSHOTS[name].key(one) for one in ids))
    for one, found in zip(ids, hashes, strict=True):
        row = rows.get(one)
        wanted = dict(cache.edits(name, None, row)[0].fields) if row else {}
        yield from _compared(cache.SNAPSHOTS[name].key(one), found, wanted)


def kyc(copies: Copies, _entity: str, ids: list[str]) -> Iterator[str]:
    """Hashes of KYC records: where the hash is complete, every record; else none that is not."""
    wanted: dict[str, dict[str, Any]] = {one: {} for one in ids}
    for entity, statement in ((cache.KYC, KYC_ROWS), (cache.SCREENING, SCREENING_ROWS)):
        for row in copies.rows(statement, ids):
            for edit in cache.edits(entity, None, row):
                wanted[str(row["customer_id"])].update(edit.fields)
    hashes = _hashes(copies, map(keys.kyc_snapshot, ids))
    for one, found in zip(ids, hashes, strict=True):
        is_complete = found.pop(COMPLETE, None) is not None
        told = {name: _record(text) for name, text in found.items() if not _is_guard(name)}
        true = {name: _record(text) for name, text in wanted[one].items()}
        if not is_complete:
            true = {name: record for name, record in true.items() if name in told}
        if true.get(cache.SANCTIONS) == CLEAR:  # as good as no answer
            told.setdefault(cache.SANCTIONS, CLEAR)
        yield from _compared(keys.kyc_snapshot(one), told, true)


def velocity(copies: Copies, entity: str, ids: list[str]) -> Iterator[str]:
    """Sorted sets of attempts: no member that is not; where complete, none is missing.

    Complete is what was filled since Redis last started: its readers ask for that.
    """
    run_id = copies.redis.info("server")["run_id"]
    for one in ids:
        key = keys.velocity(entity, one)
        found = {m: int(ms) for m, ms in copies.redis.zrange(key, 0, -1, withscores=True)}
        attempts = map(
            risk.attempt, copies.rows(ATTEMPT_ROWS.format(column=risk.ID_COLUMN[entity]), one)
        )
        wanted = {attempt.member(): attempt.decided_at_ms for attempt in attempts}
        newest = max(wanted.values(), default=0)
        is_complete = copies.redis.hget(keys.velocity_meta(entity, one), COMPLETE) == run_id
        phantom = found.items() - wanted.items()
        if phantom:
            yield f"{key}: {len(phantom)} members that Postgres does not know"
        kept = {m for m, ms in wanted.items() if ms >= newest - keys.VELOCITY_TTL_S * 1000}
        missing = kept - found.keys()
        if is_complete and missing:
            yield f"{key}: complete, and {len(missing)} of {len(kept)} attempts are missing"


def history(copies: Copies, _entity: str, ids: list[str]) -> Iterator[str]:
    """What decisions remember of a card: what the rows tell, as of the decision it knows of.

    A history may be behind the card, for whoever judges on it is told; it must not be untrue.
    """
    for one in ids:
        data = copies.redis.get(keys.card_history(one))
        if data is None:
            continue
        found = CardHistory.loads(data)
        rows = copies.rows(DECIDED_ROWS, one, found.version)
        wanted = CardHistory.of(
            found.version,
            (Attempt.from_row(row, risk.milliseconds(row["decided_at"])) for row in rows),
        )
        if found != wanted:
            yield f"{keys.card_history(one)}: {_told_apart(found, wanted)}"


def stand_in_copies(copies: Copies, entity: str, ids: list[str]) -> Iterator[str]:
    """Hashes that stand-in approves on: true where they carry the epoch, else they are fenced."""
    epoch = copies.redis.hget(keys.epoch(), "epoch")
    if epoch is None:
        return
    rows = {str(row[f"{entity}_id"]): row for row in copies.rows(STAND_IN_ROWS[entity], ids)}
    names = [keys.stand_in_copy(entity, one) for one in ids]
    for one, name, found in zip(ids, names, _hashes(copies, names), strict=True):
        row = rows.get(one)
        wanted = dict(stand_in.part(entity, row).fields) if row else {}
        if row and entity == stand_in.CUSTOMER:
            wanted |= stand_in.screening(one, row["is_sanctioned"]).fields
        guards = stand_in.GUARDS[entity]
        if all(found.get(guard, "").startswith(epoch) for guard in guards):
            told = {field: value for field, value in found.items() if field not in guards}
            yield from _compared(name, told, wanted)


def open_stand_ins(copies: Copies, entity: str, ids: list[str]) -> Iterator[str]:
    """Hashes of approvals that Postgres does not know: none that it does know."""
    names = [keys.stand_ins(entity, one) for one in ids]
    for name, found in zip(names, _hashes(copies, names), strict=True):
        for row in copies.rows(ADVISED, list(found)):
            yield f"{name}: {row['original_key']} is open, and its advice has been applied"


# The last part of a key -> how its keys are recomputed.
RECOUNTS: dict[str, Recount] = {
    "snapshot": snapshots,
    "kyc": kyc,
    "velocity": velocity,
    "history": history,
    "stand_in": stand_in_copies,
    "stand_ins": open_stand_ins,
}
# What was told to a caller follows from nothing else.
TOLD = ("told",)
# What says something about another key is checked with that one.
BELONGS_TO = {"velocity_meta": "velocity"}
# Kinds that whoever decides writes with each decision.
WRITTEN_THROUGH = ("history",)
# Keys that belong to no entity.
APART = {keys.epoch(), keys.epoch_builder(), keys.copies_run()}


def _hashes(copies: Copies, names: Iterable[str]) -> list[dict[str, str]]:
    pipe = copies.redis.pipeline(transaction=False)
    for name in names:
        pipe.hgetall(name)
    return pipe.execute()


def _record(text: str) -> Any:
    """A KYC record with its times as times: capture and database write them in two ways."""
    if not text.startswith("{"):
        return text
    found = json.loads(text)
    moments = {name for name in found if name.endswith("_at")}
    return {
        name: datetime.fromisoformat(value) if name in moments else value
        for name, value in found.items()
    }


def _told_apart(found: CardHistory, wanted: CardHistory) -> str:
    parts = ("version", "last decided", "times", "totals", "merchants, countries", "place")
    return "; ".join(
        f"{part} {here}, and it is {true}"
        for part, here, true in zip(parts, found._visible(), wanted._visible(), strict=True)
        if here != true
    )


def _is_guard(field: str) -> bool:
    return field.endswith(cache.POSITION) or field == READ_AT


def _compared(key: str, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[str]:
    told = {name: value for name, value in found.items() if not _is_guard(name)}
    for name in sorted(told.keys() | wanted.keys()):
        if told.get(name) != wanted.get(name):
            yield f"{key} {name}: {told.get(name)!r}, and it is {wanted.get(name)!r}"
