"""`millrace lake` on real services: storage, care, damage found, healed, replayed and rebuilt."""

import json
import shutil
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from click.testing import Result
from typer.testing import CliRunner

from millrace import cli, current
from orchestration import control
from pipelines import bronze, cut, delta, delta_log, lake
from pipelines.refresh import build_silver
from pipelines.registry import WriterSchemas
from schemas import contract as contracts

pytestmark = [pytest.mark.spark, pytest.mark.stack, pytest.mark.long]
CUSTOMERS = contracts.load("customers")


@pytest.fixture
def run(stack_env, monkeypatch, tmp_path):
    """The command on a lake of the test's own."""
    monkeypatch.setattr(current, "_NAMED_FROM_OUTSIDE", True)
    monkeypatch.setenv("MILLRACE_LAKE", str(tmp_path / "lake"))

    def run_(*words: str) -> Result:
        result = CliRunner().invoke(cli.app, ["lake", *words])
        print(result.output)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run_


def tick(spark, env, folder: Path) -> None:
    """What a tick does of it: a cut, bronze, the silver of one entity."""
    taken = cut.take(env["MILLRACE_OLTP_ADMIN_DSN"])
    control.record_cut(env["MILLRACE_WAREHOUSE_DSN"], taken)
    cut.wait_for_capture(env["MILLRACE_OLTP_ADMIN_DSN"], taken, 60)
    bronze.ingest(spark, folder, env["MILLRACE_KAFKA"])
    build_silver(spark, folder, CUSTOMERS, taken, WriterSchemas(env["MILLRACE_REGISTRY"]))


def test_a_lake_is_shown_cared_for_broken_healed_and_rebuilt(
    spark, stack_env, run, tmp_path
) -> None:
    assert "no lake" in run("tables").output
    folder = tmp_path / "lake"
    folder.mkdir()
    ids = {str(uuid4()) for _ in range(5)}
    with psycopg.connect(stack_env["MILLRACE_OLTP_ADMIN_DSN"]) as connection:
        connection.cursor().executemany(
            "insert into customer.customers (customer_id, country) values (%s, 'DE')",
            [(key,) for key in ids],
        )
    tick(spark, stack_env, folder)

    told = {row["name"]: row for row in json.loads(run("tables", "--json").output)}
    assert told["bronze"]["rows"] > 5
    assert told["silver/customers/current"]["rows"] >= 5
    assert run("care", "bronze").exit_code == 0
    assert "no table nothing" in run("care", "nothing").output
    assert run("check").exit_code == 0

    table = lake.bronze(folder)
    for name, file in delta_log.read(table).files.items():
        if file.partition["entity"] == "customers":
            (table / name).unlink()
    shutil.rmtree(lake.bronze_checkpoint(folder))
    silver = lake.current(folder, CUSTOMERS)
    (silver / "_delta_log" / f"{0:020}.json").write_text("{")
    broken = run("check")
    assert broken.exit_code == 1
    for word in ("entity=customers", "silver/customers/current", "bronze"):
        assert word in broken.output
    healed = run("heal")
    assert healed.exit_code == 0, healed.output
    assert "read again from Kafka" in healed.output
    assert run("check").exit_code == 0
    known = delta.read(spark, silver).select("customer_id").collect()
    assert ids <= {row["customer_id"] for row in known}

    assert "Nothing to recover" in run("recover").output
    assert "Nothing to heal" in run("heal").output
    assert "0 keys changed" in run("replay", "customers").output
    again = run("rebuild", "customers")
    assert again.exit_code == 0
    assert "yes" in again.output
    assert run("rebuild").exit_code == 2
    assert run("replay", "nobody").exit_code == 2
