"""Local configuration is the shared file plus this stack's addresses, nothing else."""

import uuid
from pathlib import Path

import pytest

from millrace.stack import commands, environment, rendering
from millrace.stack import ports as stack_ports
from millrace.stack.layout import SHARED_CONF, Layout
from millrace.stack.parts import ALL, PARTS
from millrace.stack.passwords import NAMES

PORTS = stack_ports.settle({}, seed="test", free=lambda port: True)
PASSWORDS = {name: f"secret-{name.lower()}" for name in NAMES}


@pytest.fixture
def site(tmp_path: Path) -> commands.Site:
    layout = Layout(tmp_path / "state")
    layout.make()
    jars = tmp_path / "jars"
    variables = environment.variables(layout, PORTS, PASSWORDS, jars, "local[2]")
    privileged = environment.privileged(layout, PORTS, PASSWORDS)
    return commands.Site(layout, PORTS, PASSWORDS, variables, privileged, jars, "/usr/bin/java")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("postgres.conf", rendering.postgres(PORTS)),
        ("redis.conf", rendering.redis(PORTS, Path("/data"))),
        ("kafka.properties", rendering.kafka(PORTS, Path("/data"))),
        ("connect.properties", rendering.connect(PORTS, Path("/plugins"))),
    ],
)
def test_the_shared_settings_come_first_and_unchanged(name: str, text: str) -> None:
    shared = (SHARED_CONF / name).read_text()
    assert text.startswith(shared)
    added = text.removeprefix(shared)
    assert set(settings(shared)).isdisjoint(settings(added))


def test_every_server_listens_on_loopback_only() -> None:
    assert "listen_addresses = '127.0.0.1'" in rendering.postgres(PORTS)
    assert "\nbind 127.0.0.1\n" in rendering.redis(PORTS, Path("/data"))
    kafka = rendering.kafka(PORTS, Path("/data"))
    assert f"listeners=PLAINTEXT://127.0.0.1:{PORTS['kafka']},CONTROLLER://127.0.0.1:" in kafka
    connect = rendering.connect(PORTS, Path("/plugins"))
    assert f"listeners=http://127.0.0.1:{PORTS['connect']}" in connect


def test_every_part_has_a_command(site: commands.Site) -> None:
    assert set(commands.commands(site)) == set(PARTS)


def test_commands_never_show_a_password(site: commands.Site) -> None:
    for name, command in commands.commands(site).items():
        assert not any("secret-" in word for word in command.words), name


def test_only_connect_gets_the_raw_passwords(site: commands.Site) -> None:
    knowing = {
        name
        for name, command in commands.commands(site).items()
        if "MILLRACE_CDC_PASSWORD" in command.environment
    }
    assert knowing == {"connect"}


def test_files_with_passwords_are_private(site: commands.Site) -> None:
    commands.write_launches(site)
    for name in PARTS:
        assert site.layout.launch(name).stat().st_mode & 0o077 == 0
    assert site.layout.conf.stat().st_mode & 0o077 == 0


def test_a_program_section_survives_spaces_and_percent_signs(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "my 100% state")
    section = rendering.program(layout, "redis", "/usr/bin/python", "TERM", 5)
    assert '100%% state/conf/redis.launch.json"' in section
    assert ALL["postgres"].stop_signal == "INT"


def settings(text: str) -> list[str]:
    """Names that a properties-like file sets."""
    lines = (line.strip() for line in text.splitlines())
    return [
        line.replace("=", " ").split()[0] for line in lines if line and not line.startswith("#")
    ]


def test_a_cluster_id_is_never_taken_for_an_option() -> None:
    dashed, plain = uuid.UUID(bytes=b"\xf8" + bytes(15)), uuid.UUID(bytes=bytes(16))
    assert commands.cluster_id(iter((dashed, plain)).__next__) == "A" * 22
