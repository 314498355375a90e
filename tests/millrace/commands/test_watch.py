"""`millrace watch` on a page that somebody serves, and on a stack that is not up."""

import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

DECIDED = 'millrace_decisions_total{reason="APPROVED",replayed="false"} %d\n'


class Worker(http.server.BaseHTTPRequestHandler):
    """Ten decisions more each time that it is asked."""

    decided = 0

    def do_GET(self) -> None:
        if self.path == "/metrics":
            Worker.decided += 5  # the gateway's page and the worker's are one here
            body = (DECIDED % Worker.decided).encode()
        else:
            body = json.dumps(
                {"agents": {"authorization": {"lag": 42, "waits_for": None}}}
            ).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Worker)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    yield {
        "PATH": os.environ["PATH"],
        "COLUMNS": "110",
        "MILLRACE_HOME": str(tmp_path),
        "MILLRACE_GATEWAY": url,
        "MILLRACE_WORKER": url,
        "MILLRACE_OLTP_DSN": "postgresql://nobody@127.0.0.1:1/oltp",
    }
    server.shutdown()


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "millrace.cli", "watch", *words]


def test_one_frame_is_printed_and_names_what_does_not_answer(environment: dict[str, str]) -> None:
    done = subprocess.run(
        command("--once", "--interval", "0.1"),
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "10 of 10" in done.stdout
    assert "42" in done.stdout
    assert "postgres does not answer" in done.stdout


def test_ctrl_c_ends_it_without_a_word(environment: dict[str, str]) -> None:
    process = subprocess.Popen(
        command("--interval", "0.1"),
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    asked = Worker.decided
    until = time.monotonic() + 30
    while Worker.decided < asked + 40 and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (0, "")


def test_a_stack_that_is_not_up_is_said_with_what_to_do(tmp_path: Path) -> None:
    done = subprocess.run(
        command("--once"),
        env={"PATH": os.environ["PATH"], "MILLRACE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "not running: start with `millrace up gateway worker postgres`" in done.stderr


def test_addresses_where_nothing_answers_are_said_and_not_watched(tmp_path: Path) -> None:
    nowhere = "http://127.0.0.1:1"
    done = subprocess.run(
        command("--once"),
        env={
            "PATH": os.environ["PATH"],
            "MILLRACE_HOME": str(tmp_path),
            "MILLRACE_GATEWAY": nowhere,
            "MILLRACE_WORKER": nowhere,
            "MILLRACE_OLTP_DSN": "postgresql://nobody@127.0.0.1:1/oltp",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "neither gateway nor worker nor database answers" in done.stderr
