"""What the graph begins with and what runs beside it: tables, connector, topics, streams.

None of it is materialized by Dagster. The streams are observed: how far behind they are, and when
they last did something.
"""

import warnings
from collections.abc import Iterator, Mapping

import dagster as dg

from orchestration import columns
from orchestration.settings import Settings
from schemas import topics
from schemas.contract import Contract, load_published

# Observable sources are marked as beta; the version is pinned, so nothing changes unseen.
warnings.filterwarnings("ignore", category=dg.BetaWarning)

CONNECTOR = dg.AssetKey(["connectors", "oltp_postgres"])
# capability -> what it reads, what it does
STREAMS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "authorization": (
        (topics.AUTHORIZATION_REQUESTED,),
        "Decides card authorizations: request topic, policy, one Postgres transaction.",
    ),
    "risk": (
        (topics.AUTHORIZATION_DECIDED,),
        "Keeps velocity features per card and account in Redis.",
    ),
    "cache": (
        tuple(c.topic for c in load_published()),
        "Keeps account, card and customer snapshots in Redis, guarded by LSN.",
    ),
}


def table_key(contract: Contract) -> dg.AssetKey:
    """The table in the operational database."""
    return dg.AssetKey(["oltp", *contract.source.split(".")])


def topic_key(topic: str) -> dg.AssetKey:
    """A Kafka topic."""
    return dg.AssetKey(["kafka", topic])


def external_assets(contracts: tuple[Contract, ...]) -> list[dg.AssetSpec]:
    """Operational tables, the connector and the topics: made outside, shown in the graph."""
    tables = [
        dg.AssetSpec(
            table_key(c),
            group_name="operational",
            description=c.description,
            kinds={"postgres"},
            metadata={"dagster/column_schema": columns.schema(c, technical=False)},
        )
        for c in contracts
    ]
    connector = dg.AssetSpec(
        CONNECTOR,
        deps=[table_key(c) for c in contracts],
        group_name="capture",
        description="Debezium reads the log of the operational database: one slot, Avro, in order.",
        kinds={"debezium"},
    )
    captured = [
        dg.AssetSpec(
            topic_key(c.topic),
            deps=[table_key(c), CONNECTOR],
            group_name="capture",
            description=f"Every committed change of {c.source}, in commit order per key.",
            kinds={"kafka"},
            metadata={
                "dagster/column_schema": columns.schema(c, technical=False),
                "dagster/column_lineage": columns.lineage(c, table_key(c)),
            },
        )
        for c in contracts
    ]
    events = [
        dg.AssetSpec(topic_key(name), group_name="streams", kinds={"kafka"}, deps=deps)
        for name, deps in (
            (topics.AUTHORIZATION_REQUESTED, []),
            (topics.AUTHORIZATION_DECIDED, [stream_key("authorization")]),
        )
    ]
    return [*tables, connector, *captured, *events]


def stream_key(capability: str) -> dg.AssetKey:
    """A Faust agent's work, seen as an asset."""
    return dg.AssetKey(["streams", capability])


def observed_streams(settings: Settings) -> dg.AssetsDefinition:
    """The agents as observable assets; a sensor makes the same observation every minute."""

    @dg.multi_observable_source_asset(
        name="observe_streams",
        specs=[
            dg.AssetSpec(
                stream_key(name),
                deps=[topic_key(topic) for topic in reads],
                group_name="streams",
                description=purpose,
                kinds={"kafka", "redis"},
            )
            for name, (reads, purpose) in STREAMS.items()
        ],
        can_subset=True,
    )
    def observe_streams(context: dg.AssetExecutionContext) -> Iterator[dg.ObserveResult]:
        for name in STREAMS:
            if stream_key(name) in context.selected_asset_keys:
                seen = observation(settings, name)
                yield dg.ObserveResult(asset_key=seen.asset_key, metadata=seen.metadata)

    observed: dg.AssetsDefinition = observe_streams
    return observed


def observation(settings: Settings, name: str) -> dg.AssetObservation:
    """How far one stream is behind and when it last did its work."""
    from orchestration import streams_lag

    reads, _ = STREAMS[name]
    lag = streams_lag.of_group(settings.kafka, topics.consumer_group(name), reads)
    facts: dict[str, dg.MetadataValue] = {
        "lag_messages": dg.MetadataValue.int(sum(lag.values())),
        "lag_by_topic": dg.MetadataValue.json(lag),
        "consumer_group": dg.MetadataValue.text(topics.consumer_group(name)),
    }
    if name == "authorization" and (decided := streams_lag.last_decision_at(settings.oltp_dsn)):
        facts["last_decision_at"] = dg.MetadataValue.timestamp(decided)
    return dg.AssetObservation(asset_key=stream_key(name), metadata=facts)
