"""What a card had done before a decision, counted row by row from the table.

It knows no histories, no windows kept ahead, no rule sets: for each decision it looks at every
earlier one of the card.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from math import asin, cos, radians, sin, sqrt
from typing import Any

import psycopg
from psycopg.rows import dict_row

SMALL = {"USD": 200, "EUR": 200, "GBP": 200, "CZK": 5000, "JPY": 300, "KWD": 600}
Row = dict[str, Any]


def rows_of(dsn: str) -> list[Row]:
    """Every decision that was taken here, as the table has it."""
    with psycopg.connect(dsn, row_factory=dict_row) as connection:
        return connection.execute(
            "select *, authorization_id::text as id, card_id::text as card from card.authorizations"
            " where card_version is not null order by card_id, card_version"
        ).fetchall()


def before(rows: list[Row], row: Row) -> list[Row]:
    """The card's earlier decisions."""
    return [r for r in rows if r["card"] == row["card"] and r["card_version"] < row["card_version"]]


def within(rows: list[Row], row: Row, **window: float) -> list[Row]:
    """Those of them in the window, (t - window, t], in whole milliseconds."""
    start = _ms(row["decided_at"]) - timedelta(**window) // timedelta(milliseconds=1)
    return [r for r in before(rows, row) if _ms(r["decided_at"]) > start]


def approved(rows: list[Row]) -> int:
    """What was approved of them."""
    return sum(
        r["amount_minor"] if r["approved_amount_minor"] is None else r["approved_amount_minor"]
        for r in rows
        if r["decision"] == "APPROVED"
    )


def features(rows: list[Row], row: Row) -> dict[str, int | None]:
    """Every feature that needs no map of countries."""
    minute, hour, day = (within(rows, row, **{unit: 1}) for unit in ("minutes", "hours", "days"))
    ten = within(rows, row, minutes=10)
    since_ms = _ms(row["decided_at"]) - _ms(day[-1]["decided_at"]) if day else None
    return {
        "card_attempts_1m": len(minute),
        "card_attempts_5m": len(within(rows, row, minutes=5)),
        "card_attempts_1h": len(hour),
        "card_attempts_24h": len(day),
        "card_declines_1h": sum(r["decision"] == "DECLINED" for r in hour),
        "card_spend_1h": approved(hour),
        "card_spend_24h": approved(day),
        "card_merchants_24h": len({r["merchant_id"] for r in day}),
        "card_countries_24h": len({r["merchant_country"] for r in day}),
        "card_small_amounts_10m": sum(
            r["amount_minor"] < SMALL[r["currency"]] for r in ten if r["channel"] == "ECOMMERCE"
        ),
        "card_not_present_1h": sum(r["channel"] == "ECOMMERCE" for r in hour),
        "card_seconds_since_last": None if since_ms is None else since_ms // 1000,
        "card_is_new_merchant": int(row["merchant_id"] not in {r["merchant_id"] for r in day}),
        "card_is_new_country": int(
            row["merchant_country"] not in {r["merchant_country"] for r in day}
        ),
    }


def kmh(rows: list[Row], row: Row) -> int | None:
    """Speed from where the card was last present and accepted, when both terminals say where."""
    present = [
        r for r in within(rows, row, days=1)
        if r["decision"] == "APPROVED" and r["channel"] != "ECOMMERCE"
    ]  # fmt: skip
    if not present or row["channel"] == "ECOMMERCE":
        return None
    last = present[-1]
    if None in (row["terminal_latitude_e6"], last["terminal_latitude_e6"]):
        return None
    ms = max(_ms(row["decided_at"]) - _ms(last["decided_at"]), 1)
    return int(_km(last, row)) * 3_600_000 // ms


def _km(one: Row, other: Row) -> float:
    a, b = radians(one["terminal_latitude_e6"] / 1e6), radians(other["terminal_latitude_e6"] / 1e6)
    east = radians((other["terminal_longitude_e6"] - one["terminal_longitude_e6"]) / 1e6)
    h = sin((b - a) / 2) ** 2 + cos(a) * cos(b) * sin(east / 2) ** 2
    return 2 * 6371 * asin(min(1, sqrt(h)))


def _ms(moment: datetime) -> int:
    return (moment - datetime.fromtimestamp(0, moment.tzinfo)) // timedelta(milliseconds=1)
