"""The command line works without a terminal, and says what is wrong in one line."""

import subprocess
import sys
from pathlib import Path

import pytest


def millrace(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {"MILLRACE_HOME": str(home), "PATH": "/usr/bin:/bin"}
    return subprocess.run(
        [sys.executable, "-m", "millrace.cli", *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_help_names_the_commands(tmp_path: Path) -> None:
    done = millrace(tmp_path, "--help")
    assert done.returncode == 0
    for command in ("up", "down", "status", "logs", "doctor", "env", "migrate", "connectors"):
        assert f" {command} " in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("up", "zookeeper"), "there is no part called 'zookeeper'"),
        (("migrate",), "postgres not running: start with `millrace up postgres`"),
        (("connectors", "apply"), "not running: start with `millrace up"),
        (("logs", "redis"), "redis has no log yet"),
    ],
)
def test_a_failure_is_one_message_and_exit_code_1(
    tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    done = millrace(tmp_path, *words)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_status_of_a_stack_that_never_ran(tmp_path: Path) -> None:
    done = millrace(tmp_path, "status")
    assert done.returncode == 0
    assert "postgres" in done.stdout
    assert "running" not in done.stdout


def test_down_without_a_stack_has_nothing_to_do(tmp_path: Path) -> None:
    done = millrace(tmp_path / "none", "down")
    assert done.returncode == 0
    assert not (tmp_path / "none").exists()
