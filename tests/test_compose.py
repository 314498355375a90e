"""docker-compose.yml is valid, complete, and made of the local stack's settings."""

import json
import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from millrace.stack import environment, rendering
from millrace.stack.layout import SHARED_CONF, Layout
from millrace.stack.parts import PARTS
from millrace.stack.passwords import NAMES
from millrace.stack.ports import settle

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def test_it_follows_the_compose_specification() -> None:
    found = find_spec("check_jsonschema")
    if found is None or found.origin is None:
        pytest.skip("the specification's schema comes with the package check-jsonschema")
    schema = Path(found.origin).parent / "builtin_schemas" / "vendor" / "compose-spec.json"
    jsonschema.Draft7Validator(json.loads(schema.read_text())).validate(COMPOSE)


def test_docker_itself_accepts_it(tmp_path: Path) -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], check=False,
                                        capture_output=True).returncode != 0:  # fmt: skip
        pytest.skip("docker compose is not here")
    command = [docker, "compose", "--env-file", str(ROOT / ".env.example"), "config", "-q"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_part_of_the_local_stack_is_a_service() -> None:
    assert set(PARTS) <= set(SERVICES)


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_has_a_health_check(name: str) -> None:
    check = SERVICES[name]["healthcheck"]
    assert check["test"][0] in ("CMD", "CMD-SHELL")
    assert {"interval", "timeout", "retries", "start_period"} <= set(check)


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_pinned_and_ports_stay_on_loopback(name: str) -> None:
    service = SERVICES[name]
    assert service["image"] == "millrace" or ":" in service["image"]
    assert not service["image"].endswith(":latest")
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))


def test_what_a_service_waits_for_exists_and_can_become_healthy() -> None:
    for service in SERVICES.values():
        for needed, how in service.get("depends_on", {}).items():
            assert needed in SERVICES
            if how["condition"] == "service_completed_successfully":
                assert SERVICES[needed]["restart"] == "no"


@pytest.mark.parametrize(
    ("service", "file", "local"),
    [
        ("postgres", "postgres.conf", rendering.postgres),
        ("redis", "redis.conf", lambda ports: rendering.redis(ports, Path("/data"))),
        ("kafka", "kafka.properties", lambda ports: rendering.kafka(ports, Path("/data"))),
    ],
)
def test_a_server_reads_the_file_the_local_stack_renders_from(
    service: str, file: str, local: Any
) -> None:
    mounts = dict(mount.split(":")[:2] for mount in SERVICES[service]["volumes"])
    source = f"./millrace/stack/conf/{file}"
    assert source in mounts
    assert (ROOT / source).resolve() == SHARED_CONF / file
    assert local(settle({}, "test")).startswith((ROOT / source).read_text())


@pytest.mark.parametrize(
    ("service", "file"),
    [
        ("connect", "connect.properties"),
        ("connect", "log4j2.properties"),
        ("dagster-webserver", "workspace.yaml"),
        ("dagster-daemon", "workspace.yaml"),
        ("registry", "registry.env"),
    ],
)
def test_other_services_name_the_shared_file(service: str, file: str) -> None:
    assert f"millrace/stack/conf/{file}" in json.dumps(SERVICES[service])
    assert (SHARED_CONF / file).is_file()


def test_the_image_holds_dagsters_settings() -> None:
    assert "millrace/stack/conf/dagster.yaml" in (ROOT / "Dockerfile").read_text()
    assert (SHARED_CONF / "dagster.yaml").is_file()


def test_both_stacks_together_use_exactly_the_documented_variables() -> None:
    documented = set(re.findall(r"^#? ?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.M))
    ours = {
        name
        for service in SERVICES.values()
        if service["image"] == "millrace"
        for name in service["environment"]
    }
    interpolated = set(re.findall(r"(?<!\$)\$\{([A-Z_]+)", TEXT))
    ports = settle({}, "test")
    passwords = dict.fromkeys(NAMES, "")
    local = environment.variables(Layout(ROOT), ports, passwords, ROOT, "local[2]")
    assert documented == ours | interpolated | set(local) | set(NAMES)


def test_only_those_who_need_passwords_get_them() -> None:
    knowing = {
        name
        for name, service in SERVICES.items()
        if service["image"] == "millrace" and "MILLRACE_CDC_PASSWORD" in service["environment"]
    }
    assert knowing == {"migrate", "connect", "connect-watch"}
