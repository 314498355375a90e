"""The connector's settings: oltp.json with its addresses and the captured tables filled in."""

from __future__ import annotations

import json
import re
from pathlib import Path

from schemas import contract, topics

NAME = "oltp"
FILE = Path(__file__).with_name(f"{NAME}.json")
PLACEHOLDER = re.compile(r"@(\w+)@")
# Tables of capture itself; what contracts describe comes before them.
OWN_TABLES = (topics.OUTBOX_TABLE, topics.HEARTBEAT_TABLE, topics.SIGNAL_TABLE)


def render(*, registry_url: str, oltp_host: str, oltp_port: int, oltp_db: str) -> dict[str, str]:
    """What Connect is sent. The password stays a reference that only the worker resolves."""
    values = {
        "oltp_host": oltp_host,
        "oltp_port": str(oltp_port),
        "oltp_db": oltp_db,
        "captured_tables": ",".join(table.replace(".", r"\.") for table in captured_tables()),
        # The converter speaks the registry's own interface, everybody else the Confluent one.
        "registry": re.sub(r"/apis/.*$", "", registry_url) + "/apis/registry/v2",
    }
    settings: dict[str, str] = json.loads(FILE.read_text(encoding="utf-8"))
    return {
        name: PLACEHOLDER.sub(lambda found: values[found[1]], text)
        for name, text in settings.items()
    }


def captured_tables() -> tuple[str, ...]:
    """Every schema.table the connector reads; the publication holds the same ones."""
    own = (topic.removeprefix(f"{topics.PREFIX}.") for topic in OWN_TABLES)
    return (*(c.source for c in contract.load_all()), *own)
