"""How new each layer is, read where the layer itself says so; no time when it cannot answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

# A status page must not wait for a table scan.
PATIENCE_MS = 5000


@dataclass(frozen=True)
class Freshness:
    """A layer, since when it has had nothing newer, and what that time is."""

    layer: str
    at: datetime | None
    meaning: str


def of_layers(env: Mapping[str, str]) -> list[Freshness]:
    """From the operational database to the marts."""
    lake = Path(env["MILLRACE_LAKE"])
    return [
        Freshness("operational", _newest_change(env["MILLRACE_OLTP_DSN"]), "newest change"),
        Freshness("bronze", _last_commit(lake / "bronze"), "last written"),
        Freshness(
            "silver",
            max(filter(None, map(_last_commit, (lake / "silver").glob("*/current"))), default=None),
            "last written",
        ),
        Freshness(
            "warehouse",
            _ask(env["MILLRACE_WAREHOUSE_DSN"], "select max(published_at) from control.published"),
            "last published",
        ),
        Freshness(
            "gold",
            _ask(
                env["MILLRACE_WAREHOUSE_DSN"],
                "select max(coalesce(unchanged_through, taken_at)) from control.cuts"
                " where completed_at is not null",
            ),
            "complete through",
        ),
    ]


def _newest_change(dsn: str) -> datetime | None:
    """The newest event time of any table that silver is built for."""
    from schemas import contract

    newest = " union all ".join(
        f"(select max({c.event_time})::timestamptz as at from {c.source})"  # noqa: S608
        for c in contract.load_published()
    )
    return _ask(dsn, f"select max(at) from ({newest}) newest")  # noqa: S608


def _ask(dsn: str, query: str) -> datetime | None:
    import psycopg

    options = f"-c statement_timeout={PATIENCE_MS}"
    try:
        with psycopg.connect(dsn, connect_timeout=2, options=options) as connection:
            row = connection.execute(query.encode()).fetchone()
    except psycopg.Error:
        return None
    return row[0] if row else None


def _last_commit(table: Path) -> datetime | None:
    """When a Delta table was last written: its newest log entry is its newest version."""
    entries = (table / "_delta_log").glob("*.json")
    newest = max(entries, key=lambda entry: entry.name, default=None)
    return datetime.fromtimestamp(newest.stat().st_mtime, UTC) if newest else None
