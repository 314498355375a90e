"""Generated passwords and keys of one stack, kept in secrets.env (readable by its owner only)."""

import base64
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
    "MILLRACE_MIGRATOR_PASSWORD",  # migrator: applies migrations where no superuser may
    "MILLRACE_PORTAL_PASSWORD",  # portal: what a customer's own app reads
    "MILLRACE_SUPPORT_PASSWORD",  # support: masked reads
    "MILLRACE_PII_READER_PASSWORD",  # pii_reader: opens sealed values, one audited call each
    "MILLRACE_AUDITOR_PASSWORD",  # auditor: reads the audit
    "MILLRACE_AUDIT_SEALER_PASSWORD",  # audit_sealer: chains it
    "MILLRACE_SAR_OFFICER_PASSWORD",  # sar_officer: suspicious-activity reports
    "MILLRACE_FAIR_LENDING_PASSWORD",  # fair_lending: demographics
    "MILLRACE_PII_KEYS",  # wrap subjects' data keys, by version; see oltp/privacy
    "MILLRACE_AUDIT_KEY",  # signs the audit's checkpoints
    "MILLRACE_PII_INDEX_KEY",  # key of the blind indexes that personal data is found by
)
# Whoever reads these can open personal data: no long-running part is given them.
PII_KEYS = ("MILLRACE_PII_KEYS", "MILLRACE_PII_INDEX_KEY")


def load_or_generate(file: Path) -> dict[str, str]:
    """The stack's passwords and keys; missing ones are generated and written back."""
    known = parse(file.read_text()) if file.exists() else {}
    missing = [name for name in NAMES if name not in known]
    if missing:
        known |= {name: _generate(name) for name in missing}
        write_private(file, "".join(f"{name}={value}\n" for name, value in known.items()))
    return known


def _generate(name: str) -> str:
    if name in (*PII_KEYS, "MILLRACE_AUDIT_KEY"):
        key = base64.b64encode(secrets.token_bytes(32)).decode()
        return f"1:{key}" if name == "MILLRACE_PII_KEYS" else key
    # Hexadecimal, so that it needs no quoting in a URL, a dotenv file or SQL.
    return secrets.token_hex(16)


def write_private(file: Path, text: str) -> None:
    """Replace the file at once, never readable by anybody else in between."""
    draft = file.with_name(file.name + ".new")
    draft.unlink(missing_ok=True)
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(text)
    draft.replace(file)
