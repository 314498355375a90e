"""`millrace slot` and the slot's line in `millrace status`, on a real slot."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from click.testing import Result
from typer.testing import CliRunner

from millrace import cli
from millrace.commands.slot import PLOT_WIDTH, buckets
from millrace.commands.status import _capture
from orchestration import capture_looks
from pipelines.capture import remembering
from pipelines.capture.showing import size

SLOT = "millrace"


@pytest.fixture
def run(postgres_only, monkeypatch) -> Callable[..., Result]:
    monkeypatch.setattr(capture_looks, "BROKER_TIMEOUT_S", 0.2)

    def ran(*words: str) -> Result:
        with pytest.MonkeyPatch.context() as patch:
            for name, text in postgres_only.env.items():
                patch.setenv(name, text)
            patch.setenv("MILLRACE_KAFKA", "127.0.0.1:9")
            patch.setenv("COLUMNS", "140")
            return CliRunner().invoke(cli.app, ["slot", *words])

    return ran


@pytest.fixture
def slot(postgres_only) -> Iterator[psycopg.Connection]:
    """The connector's slot, made by hand and read by nobody."""
    env = postgres_only.env
    with psycopg.connect(env["MILLRACE_OLTP_ADMIN_DSN"], autocommit=True) as connection:
        connection.execute("select pg_create_logical_replication_slot(%s, 'pgoutput')", (SLOT,))
        yield connection
        connection.execute(
            "select pg_drop_replication_slot(slot_name) from pg_replication_slots"
            " where slot_name = %s",
            (SLOT,),
        )
    remembering.resolve(env["MILLRACE_WAREHOUSE_DSN"], SLOT, "the test is over")


@pytest.mark.stack
def test_the_page_says_what_the_slot_keeps_and_the_exit_code_what_that_means(
    postgres_only, run, slot
) -> None:
    first = run()
    assert first.exit_code == 0, first.output
    for words in ("timeline 1", "2.0 GiB", "nobody", "kept, 60 min", "lag is unknown"):
        assert words in first.output
    told = json.loads(run("--json").output)
    assert (told["slot"], told["level"], told["breaks"]) == (SLOT, "warning", [])
    line = _capture(postgres_only.env)
    assert line is not None
    assert line["slot"].startswith("slot millrace warning: keeps ")
    slot.execute("select pg_drop_replication_slot(%s)", (SLOT,))
    broken = run()
    assert broken.exit_code == 2
    assert "was dropped" in broken.output
    assert "millrace connectors recover" in broken.output


def test_a_plot_has_one_mark_for_each_stretch_of_time_and_shows_its_highest() -> None:
    now = datetime(2026, 1, 5, tzinfo=UTC)
    seen = [(now - timedelta(minutes=m), value) for m, value in ((90, 9), (59.5, 5), (0.5, 7))]
    bars = buckets([*seen, (now, 3)], minutes=60)
    assert len(bars) == PLOT_WIDTH
    assert (bars[0], bars[-1], sum(bars)) == (5, 7, 12)


def test_sizes_are_read_at_a_glance() -> None:
    assert [size(n) for n in (None, 12, 2048, 3 << 20, 5 << 30)] == [
        "-", "12 B", "2.0 KiB", "3.0 MiB", "5.0 GiB",
    ]  # fmt: skip
