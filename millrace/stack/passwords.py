"""Generated passwords of one stack, kept in secrets.env (readable by its owner only)."""

import os
import secrets
from pathlib import Path

from millrace.stack.dotenv import parse

NAMES: tuple[str, ...] = (
    "MILLRACE_POSTGRES_PASSWORD",  # superuser: migrations, cuts, slot status
    "MILLRACE_APP_PASSWORD",  # app_rw: gateway, worker, simulator
    "MILLRACE_CDC_PASSWORD",  # cdc: Debezium
    "MILLRACE_WAREHOUSE_PASSWORD",  # warehouse_rw: publish and dbt
    "MILLRACE_ANALYST_PASSWORD",  # analyst: reads gold
    "MILLRACE_REGISTRY_PASSWORD",  # registry: schema storage
    "MILLRACE_SUPERVISOR_PASSWORD",  # the supervisor's control port
)


def load_or_generate(file: Path) -> dict[str, str]:
    """The stack's passwords; missing ones are generated and written back."""
    known = parse(file.read_text()) if file.exists() else {}
    missing = [name for name in NAMES if name not in known]
    if missing:
        # Hexadecimal, so that they need no quoting in a URL, a dotenv file or SQL.
        known |= {name: secrets.token_hex(16) for name in missing}
        write_private(file, "".join(f"{name}={value}\n" for name, value in known.items()))
    return known


def write_private(file: Path, text: str) -> None:
    """Replace the file at once, never readable by anybody else in between."""
    draft = file.with_name(file.name + ".new")
    draft.unlink(missing_ok=True)
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(text)
    draft.replace(file)
