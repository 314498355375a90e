"""Keeps stand-in copies up to date: rows of cards, accounts, customers and programs, screenings.

Any order of arrival, and any repetition, ends in the same copies. An approval by stand-in is open
until its advice has been applied; then the account's own figures say what is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from schemas import contract
from schemas.codes_card import CardMessageKind, CardMessageState
from streams import changes
from streams.batch_agents import Message, batches
from streams.changes import Change
from streams.stand_in import policy
from streams.stand_in.copies import Copies
from streams.stand_in.policy import ACCOUNT, CARD, CUSTOMER, PROGRAM, Part
from streams.stand_in.records import Records

ROWS = {
    contract.load(entity).topic: kind
    for entity, kind in (
        ("cards", CARD),
        ("card_accounts", ACCOUNT),
        ("customers", CUSTOMER),
        ("programs", PROGRAM),
    )
}
CUSTOMERS = contract.load("customers").topic
CHECKS = contract.load("aml_checks").topic
MESSAGES = contract.load("card_messages").topic


@dataclass(frozen=True)
class Means:
    """What the agent works with."""

    copies: Copies
    records: Records


@batches(*ROWS, CHECKS, MESSAGES, capability="stand-in", decode=changes.decode)
async def follow(messages: Sequence[Message], means: Means) -> None:
    """Apply each row's latest change, look up how customers stand, end what is applied."""
    found = [message.event for message in messages]
    parts = latest(found) + await _screenings(found, means.records)
    if parts:
        await means.copies.follow(parts)
    if over := [one for change in found if (one := applied_advice(change)) is not None]:
        await means.copies.release(over)


def latest(found: Sequence[Change]) -> list[tuple[Part, str]]:
    """The parts that the changes come to, with their places: one for each row."""
    newest: dict[tuple[str, str], tuple[Part, str]] = {}
    for change in found:
        row = change.after if change.after is not None else change.before
        if change.topic not in ROWS or row is None:
            continue
        part = policy.part(ROWS[change.topic], row, is_there=change.after is not None)
        seen = newest.get((part.key, part.guard))
        if seen is None or seen[1] < change.position:
            newest[part.key, part.guard] = (part, change.position)
    return list(newest.values())


def applied_advice(change: Change) -> tuple[str, str] | None:
    """The card and key of a stand-in that Postgres now knows; none for any other change."""
    row = change.after
    if change.topic != MESSAGES or row is None or row["message_kind"] != CardMessageKind.ADVICE:
        return None
    is_known = row["state"] != CardMessageState.PARKED
    if not is_known or row["card_id"] is None or row["original_key"] is None:
        return None
    return str(row["card_id"]), str(row["original_key"])


async def _screenings(found: Sequence[Change], records: Records) -> list[tuple[Part, str]]:
    """How customers stand who are new, changed or checked.

    It is read again: whatever one check says, the database says which is the latest.
    """
    customers, places = set(), []
    for change in found:
        row = change.after
        if row is not None and change.topic in (CUSTOMERS, CHECKS) and row["customer_id"]:
            customers.add(str(row["customer_id"]))
            places.append(change.position)
    if not customers:
        return []
    return [
        (policy.screening(str(row["customer_id"]), row["is_sanctioned"]), max(places))
        for row in await records.screened(sorted(customers))
    ]
