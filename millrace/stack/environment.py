"""The MILLRACE_ variables of one stack: every address, path and credential its processes read."""

from collections.abc import Mapping
from pathlib import Path

from millrace.stack.layout import Layout
from millrace.stack.passwords import PII_KEYS

HOST = "127.0.0.1"


def variables(
    layout: Layout,
    ports: Mapping[str, int],
    passwords: Mapping[str, str],
    jars: Path,
    spark_master: str,
) -> dict[str, str]:
    """What `millrace up` writes to the env file and gives to every supervised process."""

    def dsn(role: str, password: str, database: str) -> str:
        return _dsn(role, passwords[password], ports, database)

    return {
        "MILLRACE_HOME": str(layout.home),
        "MILLRACE_OLTP_DSN": dsn("app_rw", "MILLRACE_APP_PASSWORD", "oltp"),
        "MILLRACE_OLTP_ADMIN_DSN": dsn("postgres", "MILLRACE_POSTGRES_PASSWORD", "oltp"),
        "MILLRACE_WAREHOUSE_DSN": dsn("warehouse_rw", "MILLRACE_WAREHOUSE_PASSWORD", "warehouse"),
        "MILLRACE_DAGSTER_DSN": dsn("postgres", "MILLRACE_POSTGRES_PASSWORD", "dagster"),
        "MILLRACE_KAFKA": f"{HOST}:{ports['kafka']}",
        "MILLRACE_REGISTRY": f"http://{HOST}:{ports['registry']}/apis/ccompat/v7",
        "MILLRACE_CONNECT": f"http://{HOST}:{ports['connect']}",
        "MILLRACE_REDIS": f"redis://{HOST}:{ports['redis']}/0",
        "MILLRACE_GATEWAY": f"http://{HOST}:{ports['gateway']}",
        "MILLRACE_WORKER": f"http://{HOST}:{ports['worker']}",
        "MILLRACE_DAGSTER": f"http://{HOST}:{ports['dagster-webserver']}",
        "MILLRACE_DAGSTER_CODE_HOST": HOST,
        "MILLRACE_DAGSTER_CODE_PORT": str(ports["dagster-code"]),
        "MILLRACE_LAKE": str(layout.lake),
        "MILLRACE_SPARK_MASTER": spark_master,
        "MILLRACE_JARS": str(jars),
        "DAGSTER_HOME": str(layout.dagster),
        "OPENLINEAGE__TRANSPORT__TYPE": "file",
        "OPENLINEAGE__TRANSPORT__LOG_FILE_PATH": str(layout.lineage_events),
        "OPENLINEAGE__TRANSPORT__APPEND": "true",
    }


def privileged(
    layout: Layout, ports: Mapping[str, int], passwords: Mapping[str, str]
) -> dict[str, str]:
    """Addresses and keys that only a command that needs them is given, never a running part."""

    def dsn(role: str) -> str:
        return _dsn(role, passwords[f"MILLRACE_{role.upper()}_PASSWORD"], ports, "oltp")

    return {
        **{name: passwords[name] for name in PII_KEYS},
        "MILLRACE_PII_READER_DSN": dsn("pii_reader"),
        "MILLRACE_AUDITOR_DSN": dsn("auditor"),
        "MILLRACE_AUDIT_SEALER_DSN": dsn("audit_sealer"),
        "MILLRACE_AUDIT_KEY": passwords["MILLRACE_AUDIT_KEY"],
        "MILLRACE_AUDIT_CHECKPOINTS": str(layout.audit_checkpoints),
    }


def _dsn(role: str, password: str, ports: Mapping[str, int], database: str) -> str:
    return f"postgresql://{role}:{password}@{HOST}:{ports['postgres']}/{database}"
