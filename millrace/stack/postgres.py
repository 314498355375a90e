"""The Postgres cluster's folder: where the unprivileged user can reach it, made by initdb."""

import os
import pwd
import shutil
import subprocess
import zlib
from collections.abc import Mapping
from pathlib import Path

from millrace.stack import rendering
from millrace.stack.errors import StackError
from millrace.stack.layout import Layout

# Where the data goes when the state folder lies under one that only root may enter (/root).
SYSTEM_STATE = Path("/var/lib/millrace")
DEBIAN_BINARIES = Path("/usr/lib/postgresql")


def prepare(layout: Layout, ports: Mapping[str, int], password: str) -> None:
    """Make the cluster when there is none, and write its configuration."""
    data = data_folder(layout)
    if not (data / "PG_VERSION").exists():
        _make_cluster(data, password)
    conf = data / "postgresql.conf"
    conf.write_text(rendering.postgres(ports))
    _give_to_user(conf)


def data_folder(layout: Layout) -> Path:
    """Where the cluster lives; below the state folder unless its user cannot get there."""
    name = user()
    beside = layout.home / "postgres"
    if name is None or _can_enter(layout.home, name):
        return beside
    if (beside / "PG_VERSION").exists():
        raise StackError(
            f"user {name} can no longer reach {beside}: allow it again (chmod o+x on"
            f" {layout.home} and the folders above it)"
        )
    return SYSTEM_STATE / f"{layout.home.name}-{zlib.crc32(str(layout.home).encode()):08x}"


def user() -> str | None:
    """Who runs Postgres: it refuses to be root, so root gives it away; nothing otherwise."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    raise StackError("Postgres cannot run as root and there is no user `postgres` or `nobody`")


def binary(name: str) -> str:
    """A Postgres program: Debian keeps servers outside PATH, by version."""
    versions = sorted(
        (folder for folder in DEBIAN_BINARIES.glob("*/bin") if (folder / name).exists()),
        key=lambda folder: int(folder.parent.name) if folder.parent.name.isdigit() else 0,
    )
    found = str(versions[-1] / name) if versions else shutil.which(name)
    if not found:
        raise StackError("Postgres is not installed: run scripts/setup")
    return found


def _make_cluster(data: Path, password: str) -> None:
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True, mode=0o700)
    password_file = data.with_name(data.name + ".password")
    try:
        password_file.touch(mode=0o600)
        password_file.write_text(password)
        for path in (data, password_file):
            _give_to_user(path)
        command = [binary("initdb"), "-D", str(data), "-U", "postgres", "--auth=scram-sha-256"]
        command += [f"--pwfile={password_file}", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]
        name = user()
        done = subprocess.run(
            command,
            user=name,
            group=pwd.getpwnam(name).pw_gid if name else None,
            extra_groups=[] if name else None,
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        password_file.unlink(missing_ok=True)
    if done.returncode != 0:
        shutil.rmtree(data, ignore_errors=True)
        raise StackError(f"initdb failed for {data}:\n{done.stderr.strip()}")


def _give_to_user(path: Path) -> None:
    name = user()
    if name:
        entry = pwd.getpwnam(name)
        os.chown(path, entry.pw_uid, entry.pw_gid)


def _can_enter(folder: Path, name: str) -> bool:
    done = subprocess.run(
        ["test", "-x", str(folder)],
        user=name,
        group=pwd.getpwnam(name).pw_gid,
        extra_groups=[],
        cwd="/",
        check=False,
    )
    return done.returncode == 0
