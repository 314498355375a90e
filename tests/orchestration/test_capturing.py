"""The guard's sensor on a real slot: it observes, it tells, and a break stops the cut."""

from collections.abc import Iterator

import dagster as dg
import psycopg
import pytest

from orchestration import capture_looks, sources
from orchestration.capturing import capture_guard
from orchestration.settings import Settings
from pipelines.capture import remembering
from pipelines.capture.guarding import CaptureBroken
from pipelines.capture.reading import SLOT

pytestmark = pytest.mark.stack


@pytest.fixture
def settings(postgres_only, monkeypatch) -> Settings:
    """Without Kafka and Connect: the guard must do without them."""
    monkeypatch.setattr(capture_looks, "BROKER_TIMEOUT_S", 0.2)
    env = postgres_only.env
    return Settings(
        oltp_admin_dsn=env["MILLRACE_OLTP_ADMIN_DSN"],
        warehouse_dsn=env["MILLRACE_WAREHOUSE_DSN"],
        kafka="127.0.0.1:9",
        connect="http://127.0.0.1:9",
    )


@pytest.fixture
def slot(settings) -> Iterator[psycopg.Connection]:
    with psycopg.connect(settings.oltp_admin_dsn, autocommit=True) as connection:
        connection.execute("select pg_create_logical_replication_slot(%s, 'pgoutput')", (SLOT,))
        yield connection
        connection.execute(
            "select pg_drop_replication_slot(slot_name) from pg_replication_slots"
            " where slot_name = %s",
            (SLOT,),
        )
    remembering.resolve(settings.warehouse_dsn, SLOT, "the test is over")


def looked(settings: Settings) -> dict[str, dg.MetadataValue]:
    with dg.build_sensor_context() as context:
        result = capture_guard(settings)(context)
    assert isinstance(result, dg.SensorResult)
    (seen,) = result.asset_events
    assert seen.asset_key == sources.CONNECTOR
    return {name: entry.value for name, entry in seen.metadata.items()}


def test_each_look_is_an_observation_of_the_connector(settings, slot) -> None:
    seen = looked(settings)
    assert seen["level"] == "warning"
    assert "nobody reads slot millrace" in seen["findings"]
    assert seen["safe_bytes"] > 0
    slot.execute("select pg_logical_emit_message(false, 'guard', repeat('x', 2000000))")
    assert looked(settings)["kept_bytes"] > seen["kept_bytes"] + 1_000_000
    assert len(remembering.looks(settings.warehouse_dsn, SLOT)) == 2


def test_a_break_is_told_each_time_and_no_cut_is_taken(settings, slot) -> None:
    looked(settings)
    slot.execute("select pg_drop_replication_slot(%s)", (SLOT,))
    for _ in range(2):
        seen = looked(settings)
        assert seen["level"] == "broken"
        assert "was dropped" in seen["findings"]
    with pytest.raises(CaptureBroken, match="millrace connectors recover"):
        capture_looks.require(settings)


def test_a_database_that_is_away_is_said_and_nothing_else(settings) -> None:
    away = settings.model_copy(update={"oltp_admin_dsn": "postgresql://127.0.0.1:9/oltp"})
    with dg.build_sensor_context() as context:
        result = capture_guard(away)(context)
    assert isinstance(result, dg.SkipReason)
    assert "cannot be looked at" in str(result.skip_message)
