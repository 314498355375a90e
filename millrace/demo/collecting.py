"""Gathers the demo's report from the running system; reads, changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import httpx
import psycopg

from millrace import freshness
from millrace.demo.report import CheckSummary, DemoReport, LayerRow, Proof
from oltp.simulator import Summary
from orchestration import control
from orchestration.run import RefreshResult
from pipelines.visibility import Cut
from schemas import contract, features


def report(
    env: Mapping[str, str],
    summary: Summary,
    result: RefreshResult,
    sources: tuple[str, ...],
    seconds: Mapping[str, float],
    proofs: tuple[Proof, ...] = (),
) -> DemoReport:
    """Everything the closing screen needs."""
    cut = control.last_cut(env["MILLRACE_WAREHOUSE_DSN"])[1] if result.cut_id else None
    card_id = _busiest_card(env["MILLRACE_OLTP_DSN"])
    values, note = _vector(env["MILLRACE_GATEWAY"], card_id)
    return DemoReport(
        sources=sources,
        layers=_layers(result),
        answers=(summary.http, summary.topic),
        changes=summary.changes,
        feature_entity=f"card {card_id}",
        features=values,
        features_note=note,
        freshness=tuple((layer.layer, layer.at) for layer in freshness.of_layers(env)),
        checks=CheckSummary(
            passed=sum(check.passed for check in result.checks),
            failed=tuple(f"{check.asset} {check.name}" for check in result.failed_checks),
        ),
        tie_out=result.tie_out,
        cut_lsn=_lsn(cut),
        cut_at=cut.taken_at if cut else None,
        addresses=_addresses(env),
        proofs=proofs,
        errors=result.errors,
        seconds=dict(seconds),
    )


def _layers(result: RefreshResult) -> tuple[LayerRow, ...]:
    def quarantined(entity: str) -> int:
        return int(result.metadata.get(f"silver/{entity}", {}).get("quarantined", 0))

    added = result.rows.get("bronze", {})
    return tuple(
        LayerRow(c.entity, added.get(c.entity, 0), quarantined(c.entity))
        for c in contract.load_published()
    )


def _busiest_card(dsn: str) -> str:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(
            "select card_id::text from card.authorizations where account_id is not null"
            " and decided_at > now() - interval '1 day' group by card_id"
            " order by count(*) desc, card_id limit 1"
        ).fetchone()
    return row[0] if row else ""


def _vector(gateway: str, card_id: str) -> tuple[dict[str, int], str]:
    if not card_id:
        return {}, "no card has been used yet"
    answer = httpx.get(f"{gateway}/v1/features/{features.CARD}/{card_id}", timeout=5)
    answer.raise_for_status()
    vector = answer.json()
    age_s = (vector["freshness_ms"] or 0) / 1000
    return vector["values"], f"{vector['version']}, newest event {age_s:.0f} s ago"


def _lsn(cut: Cut | None) -> str:
    return f"{cut.lsn >> 32:X}/{cut.lsn & 0xFFFFFFFF:X}" if cut else "-"


def _addresses(env: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    docs = Path(env["MILLRACE_HOME"]) / "quality"
    index = next(docs.rglob("index.html"), None) if docs.is_dir() else None
    return (
        ("Dagster: graph, runs, checks", env["MILLRACE_DAGSTER"]),
        ("Authorization API", f"{env['MILLRACE_GATEWAY']}/docs"),
        ("Health and metrics", f"{env['MILLRACE_GATEWAY']}/health, /metrics"),
        ("Quality report", index.as_uri() if index else "(made by the next run)"),
        ("Gold marts", 'eval "$(millrace env --export)"; psql $MILLRACE_WAREHOUSE_DSN'),
        ("State of every part", "millrace status"),
        ("Where a number comes from", "millrace lineage gold_credit.mart_portfolio"),
        ("Who changed what", "millrace audit show, millrace audit verify"),
        ("Stop everything", "make down"),
    )
