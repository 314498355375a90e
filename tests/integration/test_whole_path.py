"""The main job end to end on the bank's files, while parts of it are killed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import psycopg
import pytest

from millrace.stack import Stack
from oltp import importing, privacy, settings, simulator
from oltp.importing import location
from orchestration.run import refresh
from tests.conftest import DATA_PATH, temporary_stack

pytestmark = pytest.mark.stack

# domain.md's oracle, computed from the files alone: loans and their principal by the bank's code.
BERKA_LOANS = {
    ("A", "PAID_OFF"): (203, 1_860_321_600),
    ("B", "CHARGED_OFF"): (31, 436_234_800),
    ("C", "CURRENT"): (403, 6_907_837_200),
    ("D", "DELINQUENT"): (45, 1_121_780_400),
}


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A stack of its own: what other tests leave behind would not add up."""
    yield from temporary_stack(DATA_PATH)


def rows(dsn: str, query: str) -> list[tuple]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(query.encode()).fetchall()


def kill_by_turns(stack: Stack, over: threading.Event) -> None:
    """SIGKILL the worker, then Connect, each once it runs again."""
    while not over.is_set():
        for part in ("worker", "connect"):
            if over.wait(4):
                return
            while stack.pid(part) is None:
                if over.wait(0.1):
                    return
            stack.kill(part)


def test_gold_equals_the_source_after_kills_of_worker_and_connect(
    stack: Stack, stack_env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in stack.privileged.items():
        monkeypatch.setenv(name, text)
    operational, warehouse = stack_env["MILLRACE_OLTP_DSN"], stack_env["MILLRACE_WAREHOUSE_DSN"]
    folder = location.find("berka")
    simulator.seed(operational, customers=60, seed=11)
    over = threading.Event()
    killing = threading.Thread(target=kill_by_turns, args=(stack, over))
    killing.start()
    try:
        if folder:
            vault = privacy.Vault.from_settings(settings.read("pii_keys", "pii_index_key"))
            importing.run(operational, "berka", [folder], lambda: vault)
        simulator.traffic(
            dsn=operational,
            gateway=stack_env["MILLRACE_GATEWAY"],
            kafka=stack_env["MILLRACE_KAFKA"],
            registry=stack_env["MILLRACE_REGISTRY"],
            rate=20,
            seconds=15,
            seed=11,
        )
    finally:
        over.set()
        killing.join()
    stack.up(DATA_PATH)

    result = refresh()

    assert [str(figure) for figure in result.tie_out if not figure.is_exact] == []
    assert result.is_exact, result.errors
    decided = rows(operational, "select count(*), count(distinct idempotency_key) from"
                   " card.authorizations")[0]  # fmt: skip
    assert decided[0] == decided[1] > 0
    assert rows(warehouse, "select count(*) from gold_credit.fct_authorizations")[0][0] > 0
    unproved = "posted_difference_minor <> 0 or held_difference_minor <> 0"
    balances = "select count(*) from gold_credit.mart_account_balances"
    assert rows(warehouse, f"{balances} where {unproved}") == [(0,)]
    if folder is None:
        pytest.skip("the Berka files are not here: everything but their figures was tested")
    portfolio = berka_portfolio(warehouse)
    assert portfolio["credit"] == BERKA_LOANS
    assert sum(minor for _, minor in BERKA_LOANS.values()) == 10_326_174_000
    counted = {item: sum(n for n, _ in portfolio[item].values()) for item in ("account", "card")}
    assert counted == {"account": 4_500, "card": 892}


def berka_portfolio(warehouse: str) -> dict[str, dict[tuple[str, str], tuple[int, int]]]:
    """item -> (the bank's code, our status) -> (how many, principal)."""
    found: dict[str, dict[tuple[str, str], tuple[int, int]]] = {}
    for item, code, status, items, minor in rows(
        warehouse,
        "select item, source_status, status, items, principal_minor"
        " from gold_credit.mart_portfolio where origin = 'berka'",
    ):
        found.setdefault(item, {})[code, status] = (int(items), int(minor))
    return found


def test_parts_that_were_killed_run_again(stack: Stack) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        states = stack.status()
        if all(states[part].running for part in DATA_PATH):
            return
        time.sleep(1)
    pytest.fail(f"not running: {[p for p in DATA_PATH if not stack.status()[p].running]}")
