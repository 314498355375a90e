"""`millrace quarantine`: what is held, shown without what is personal, and its way back."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from millrace import cli, current
from pipelines import delta, lake
from pipelines.refresh import build_silver
from schemas import contract
from tests.pipelines.conftest import EVERYTHING, Source

pytestmark = pytest.mark.spark
SEALED = "enc:1:c2VhbGVk"
IN_CLEAR = "Ada in clear"


@pytest.fixture(scope="module")
def desk(spark, tmp_path_factory) -> Iterator[SimpleNamespace]:
    """Payments and customers, some broken, and a registry that knows their schemas."""
    folder = tmp_path_factory.mktemp("lake")
    payments = Source(spark, folder, contract.load("payments"))
    customers = Source(spark, folder, contract.load("customers"))
    # One registry for both: ids go on.
    customers.schemas = payments.schemas
    customers.value_id = customers.register(customers.value_schema())
    customers.key_id = customers.register(customers.key_schema())
    sealed = {c.name: None for c in customers.contract.columns if c.classification == "pii"}
    payments.land(
        payments.change("c", payments.row(1, status="FROZEN"), 1000, 990),
        payments.change("c", payments.row(2, status="FROZEN"), 1100, 1090),
        payments.change("c", payments.row(3), 1200, 1190),
        payments.record(b"k", b"no wire format"),
    )
    customers.batch = payments.batch
    customers.land(
        customers.change(
            "c",
            customers.row(1, **sealed | {"full_name": IN_CLEAR, "email": SEALED}, country="cz"),
            1300,
            1290,
        )
    )
    for one in (payments, customers):
        build_silver(spark, folder, one.contract, EVERYTHING, payments.schemas.get)
    with registry(payments.schemas) as url, pytest.MonkeyPatch.context() as patch:
        patch.setattr(current, "_NAMED_FROM_OUTSIDE", True)
        patch.setenv("MILLRACE_LAKE", str(folder))
        patch.setenv("MILLRACE_REGISTRY", url)
        patch.setenv("COLUMNS", "200")
        yield SimpleNamespace(spark=spark, folder=folder, source=payments)


class registry:
    """Schemas by their ids, as the registry's own API gives them."""

    def __init__(self, schemas: dict[int, str]) -> None:
        class Answers(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                text = schemas.get(int(self.path.rpartition("/")[2]))
                self.send_response(200 if text else 404)
                self.end_headers()
                self.wfile.write(json.dumps({"schema": text}).encode())

            def log_message(self, *said: Any) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)

    def __enter__(self) -> str:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self.server.server_port}"

    def __exit__(self, *said: object) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def run(desk) -> Callable[..., Result]:
    return lambda *words: CliRunner().invoke(cli.app, ["quarantine", *map(str, words)])


def test_the_list_names_each_change_its_rules_and_counts_them(run) -> None:
    shown = run("list")
    assert shown.exit_code == 0, shown.output
    assert "payments/0@1" in shown.output
    assert "4 changes" in shown.output
    broken = run("list", "--rule", "status.code", "--entity", "payments")
    assert "2 changes" in broken.output
    assert run("list", "--state", "fixed").output == "Nothing is in quarantine.\n"
    assert run("list", "--state", "mended").exit_code == 2


def test_a_change_is_shown_with_its_row_and_bytes(run) -> None:
    shown = run("show", "payments/0@1").output
    assert "status.code: status is not one of" in shown
    assert "FROZEN" in shown
    assert "00000000-0000-4000-8000-000000000001" in shown
    unread = run("show", "payments/0@4").output
    assert "wire_format" in unread
    assert "6e 6f 20 77 69 72 65" in unread
    missing = run("show", "payments/0@3")
    assert (missing.exit_code, "is not in quarantine" in missing.output) == (1, True)


def test_personal_values_are_not_shown_beyond_the_bytes_that_are_there(run) -> None:
    shown = run("show", "customers/0@1").output
    words = shown[: shown.index("\nkey\n")]
    assert "full_name                (pii)" in words
    assert "national_id              null" in words
    assert IN_CLEAR not in words
    assert SEALED not in words
    assert "country                  cz" in words


def test_a_patch_that_does_not_fit_is_refused_with_all_that_is_wrong(run) -> None:
    refused = run("fix", "payments/0@1", "--why", "x", "--patch",
                  '{"status": "MELTED", "due_date": "soon"}')  # fmt: skip
    assert refused.exit_code == 1
    assert "status: is not one of" in refused.output
    assert "due_date: is not of type date" in refused.output
    in_clear = run("fix", "customers/0@1", "--why", "x", "--patch", '{"full_name": "Ada"}')
    assert (in_clear.exit_code, "full_name: does not match" in in_clear.output) == (1, True)
    unread = run("fix", "payments/0@4", "--why", "x", "--patch", '{"status": "SCHEDULED"}')
    assert (unread.exit_code, "there is no row to fix" in unread.output) == (1, True)


def test_who_decides_says_which_and_why(run) -> None:
    assert run("release", "--why", "x").exit_code == 2
    assert run("release", "payments/0@1").exit_code == 2
    missing = run("release", "payments/0@99", "--why", "x")
    assert (missing.exit_code, "payments/0@99" in missing.output) == (1, True)


def test_a_dry_run_decides_nothing(run, desk) -> None:
    dry = run("release", "--rule", "status.code", "--dry-run")
    assert (dry.exit_code, "2 would be released" in dry.output) == (0, True), dry.output
    dry = run("fix", "--rule", "status.code", "--dry-run", "--patch", '{"status": "SCHEDULED"}')
    assert "2 would be fixed" in dry.output
    assert not lake.decisions(desk.folder).exists()


def test_the_way_back_from_held_to_applied(run, desk) -> None:
    status = desk.source.row(3)["status"]
    patch = json.dumps({"status": status})
    fixed = run("fix", "--rule", "status.code", "--patch", patch, "--why", "thawed", "--by", "ada")
    assert (fixed.exit_code, "2 fixed" in fixed.output) == (0, True), fixed.output
    assert "1 held" in run("hold", "payments/0@2", "--why", "not that one").output
    released = run("release", "payments/0@1", "--why", "go", "--by", "ada")
    assert (released.exit_code, "1 released" in released.output) == (0, True), released.output
    again = run("release", "payments/0@1", "--why", "go")
    assert (again.exit_code, "it is released already" in again.output) == (1, True)
    s = desk.source
    built = build_silver(desk.spark, desk.folder, s.contract, EVERYTHING, s.schemas.get)
    assert built.changed == 1
    rows = delta.read(desk.spark, lake.current(desk.folder, s.contract)).collect()
    assert {(row["payment_id"][-1], row["status"]) for row in rows} == {
        ("1", status),
        ("3", status),
    }
    shown = run("show", "payments/0@1").output
    assert "by ada: thawed" in shown
    assert "by build: applied at tick" in shown
    assert f"patch        status = {status}" in shown
    late = run("hold", "payments/0@1", "--why", "no")
    assert (late.exit_code, "it is applied already" in late.output) == (1, True)
    # By rule only what is not on its way yet: the other one, as it came, and so held again.
    rest = run("release", "--rule", "status.code", "--why", "hoping")
    assert (rest.exit_code, "1 released" in rest.output) == (0, True), rest.output
    build_silver(desk.spark, desk.folder, s.contract, EVERYTHING, s.schemas.get)
    assert "by build: it is still broken" in run("show", "payments/0@2").output
