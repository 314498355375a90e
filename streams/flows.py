"""What each agent reads and writes, declared for lineage."""

from __future__ import annotations

from collections.abc import Mapping

from schemas import contract, features, topics
from streams.cache import policy as cache
from streams.lineage import Dataset, Flow, Output, Places, same_columns
from streams.stand_in import agent as stand_in

Columns = Mapping[str, tuple[tuple[Dataset, str], ...]]

AS_REQUESTED = (
    "idempotency_key",
    "request_hash",
    "card_id",
    "amount_minor",
    "currency",
    "merchant_id",
    "mcc",
    "merchant_country",
    "channel",
    "requested_at",
)
SHADOWED = ("authorization_id",)
REMEMBERED = ("decided_at", "decision", "amount_minor", "merchant_id", "merchant_country")
SNAPSHOT_COLUMNS = {
    **{entity: snapshot.columns for entity, snapshot in cache.SNAPSHOTS.items()},
    cache.KYC: cache.KYC_COLUMNS,
    cache.SCREENING: ("status", "checked_at"),
}


def flows(places: Places) -> tuple[Flow, ...]:
    """Every agent of the worker."""
    return (
        _authorization(places),
        _risk(places),
        _cache(places),
        _stand_in(places),
        _dead_letters(places),
    )


def _authorization(places: Places) -> Flow:
    requested = places.topic(topics.AUTHORIZATION_REQUESTED)
    facts = tuple(places.keyspace(f"snapshots.{entity}") for entity in SNAPSHOT_COLUMNS)
    history = places.keyspace(f"history.{features.CARD}")
    authorizations = places.table("card.authorizations")
    holds, entries = places.table("card.holds"), places.table("ledger.postings")
    decided_columns: Columns = {
        **same_columns(requested, AS_REQUESTED),
        "decision": ((requested, "amount_minor"), *((one, "status") for one in facts)),
    }
    amount: Columns = {
        "amount_minor": ((requested, "amount_minor"),),
        "currency": ((requested, "currency"),),
    }
    answer: Columns = {
        **same_columns(requested, ("request_id", "idempotency_key", "card_id", "currency")),
        **same_columns(authorizations, ("authorization_id", "decision", "reason_code")),
        "approved_amount_minor": ((authorizations, "amount_minor"),),
    }
    return Flow(
        "authorization",
        (requested, *facts, history, places.table("card.card_accounts")),
        (
            Output(authorizations, decided_columns),
            Output(holds, amount),
            Output(entries, amount),
            Output(places.table("card.shadow_verdicts"), same_columns(authorizations, SHADOWED)),
            Output(history, same_columns(authorizations, REMEMBERED)),
            Output(places.topic(topics.AUTHORIZATION_DECIDED), answer),
        ),
    )


def _risk(places: Places) -> Flow:
    source = places.topic(contract.load("authorizations").topic)
    outputs = tuple(
        Output(
            places.keyspace(f"velocity.{entity}"),
            {
                feature.name: tuple(
                    (source, column)
                    for column in ("decided_at", feature.value, feature.where and "decision")
                    if column
                )
                for feature in features.of(entity)
            },
        )
        for entity in features.ENTITIES
    )
    return Flow("risk", (source,), outputs)


def _cache(places: Places) -> Flow:
    sources = {entity: places.topic(contract.load(entity).topic) for entity in SNAPSHOT_COLUMNS}
    outputs = tuple(
        Output(places.keyspace(f"snapshots.{entity}"), same_columns(sources[entity], columns))
        for entity, columns in SNAPSHOT_COLUMNS.items()
    )
    return Flow("cache", tuple(sources.values()), outputs)


def _stand_in(places: Places) -> Flow:
    read = tuple(places.topic(name) for name in stand_in.follow.topics)
    return Flow(stand_in.follow.name, read, (Output(places.keyspace("stand_in")),))


def _dead_letters(places: Places) -> Flow:
    return Flow(
        "dead_letters",
        tuple(places.topic(name) for name in topics.dead_letters()),
        (Output(places.table("ops.dead_letters")),),
    )
