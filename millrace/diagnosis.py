"""What the stack needs from its machine, examined one by one; each finding says what to do."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import psutil

from millrace.stack import Stack, StackError, postgres
from millrace.stack.layout import CHECKOUT
from millrace.stack.ports import is_free

SETUP = "run scripts/setup (or `make setup`)"
MEMORY_NEEDED_MIB = 6 * 1024
DISK_NEEDED_MIB = 5 * 1024
JAR_FOLDERS = ("kafka", "connect", "debezium", "registry", "spark")


@dataclass(frozen=True)
class Finding:
    """One thing looked at; `level` is ok, warning or problem."""

    subject: str
    level: str
    fact: str
    advice: str = ""


def examine(stack: Stack) -> Iterator[Finding]:
    """Everything, in the order in which it is needed."""
    home = stack.layout.home
    yield _python()
    yield _postgres()
    yield _program("redis-server", "Redis", SETUP)
    yield _java()
    yield from _jars()
    yield _memory()
    yield _disk(home)
    yield _state_folder(home)
    if stack.layout.ports_file.exists():
        yield _ports(stack)
        yield _parts(stack)


def _python() -> Finding:
    version = f"Python {sys.version.split()[0]} in {sys.prefix}"
    stamps = list((CHECKOUT / ".venv").glob(".from-*"))
    if sys.version_info[:2] != (3, 11):
        return Finding("Python", "problem", version, f"Python 3.11 is needed: {SETUP}")
    if not stamps:
        return Finding("Python", "warning", f"{version}, set up by hand", SETUP)
    return Finding("Python", "ok", version)


def _postgres() -> Finding:
    try:
        binary = postgres.binary("postgres")
        runs_as = postgres.user() or "you"
    except StackError as error:
        return Finding("Postgres", "problem", str(error), SETUP)
    version = _output(binary, "--version")
    major = re.search(r"\) (\d+)", version)
    if major and int(major[1]) < 14:
        return Finding("Postgres", "problem", version, "14 or later is needed: install another one")
    return Finding("Postgres", "ok", f"{version}, runs as {runs_as}")


def _program(name: str, subject: str, advice: str) -> Finding:
    path = shutil.which(name)
    if path is None:
        return Finding(subject, "problem", f"{name} is not installed", advice)
    return Finding(subject, "ok", _output(path, "--version"))


def _java() -> Finding:
    path = shutil.which("java")
    if path is None:
        return Finding("Java", "problem", "java is not installed", SETUP)
    version = _output(path, "-version")
    major = re.search(r'version "(\d+)', version)
    if major is None or int(major[1]) < 17:
        return Finding("Java", "problem", version, "Java 17 or 21 must come first on PATH")
    if int(major[1]) not in (17, 21):
        return Finding("Java", "warning", version, "Spark 4.0 is made for Java 17 and 21")
    return Finding("Java", "ok", version)


def _jars() -> Iterator[Finding]:
    for name in JAR_FOLDERS:
        pom = CHECKOUT / "jars" / name / "pom.xml"
        folder = CHECKOUT / ".jars" / name
        expected = f".from-{sha256(pom.read_bytes()).hexdigest()[:16]}"
        if not folder.is_dir():
            yield Finding(f"jars: {name}", "problem", "not fetched", SETUP)
        elif not (folder / expected).exists():
            yield Finding(f"jars: {name}", "warning", "older than their pom.xml", SETUP)
        else:
            yield Finding(f"jars: {name}", "ok", f"{len(list(folder.glob('**/*.jar')))} files")


def _memory() -> Finding:
    free_mib = psutil.virtual_memory().available // 2**20
    fact = f"{free_mib} MiB available, {psutil.cpu_count()} processors"
    if free_mib < MEMORY_NEEDED_MIB:
        advice = f"everything together takes about {MEMORY_NEEDED_MIB} MiB: start fewer parts"
        return Finding("memory", "warning", fact, advice)
    return Finding("memory", "ok", fact)


def _disk(home: Path) -> Finding:
    place = next(folder for folder in (home, *home.parents) if folder.exists())
    free_mib = shutil.disk_usage(place).free // 2**20
    fact = f"{free_mib} MiB free at {place}"
    if free_mib < DISK_NEEDED_MIB:
        return Finding("disk", "warning", fact, "free some, or set MILLRACE_HOME to another disk")
    return Finding("disk", "ok", fact)


def _state_folder(home: Path) -> Finding:
    place = next(folder for folder in (home, *home.parents) if folder.exists())
    if not os.access(place, os.W_OK):
        advice = "set MILLRACE_HOME to a folder you may write"
        return Finding("state folder", "problem", f"{place} is not writable", advice)
    return Finding("state folder", "ok", str(home))


def _ports(stack: Stack) -> Finding:
    """Ports of parts that do not run must be free; `up` chooses others by itself."""
    states = stack.status()
    if any(state.running for state in states.values()):
        return Finding("ports", "ok", "in use by this stack")
    taken = [f"{name} {port}" for name, port in stack.ports.items() if not is_free(port)]
    if taken:
        advice = "none needed: the next `millrace up` chooses others"
        return Finding("ports", "warning", f"taken by others: {', '.join(taken)}", advice)
    return Finding("ports", "ok", "free")


def _parts(stack: Stack) -> Finding:
    states = stack.status().values()
    broken = [state.name for state in states if state.state in ("FATAL", "BACKOFF", "EXITED")]
    if broken:
        advice = f"see why: millrace logs {broken[0]}"
        return Finding("parts", "problem", f"do not run: {', '.join(broken)}", advice)
    running = sum(state.running for state in states)
    return Finding("parts", "ok", f"{running} running")


def _output(*command: str) -> str:
    """First line of what a program says about itself (Java says it on standard error)."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return ((done.stdout or done.stderr).splitlines() or ["?"])[0]
