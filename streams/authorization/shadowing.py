"""What a version in shadow would have changed so far, from the verdicts stored beside decisions."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
from psycopg.rows import dict_row

from streams.authorization.comparing import MOST_EXAMPLES, Compared, Comparison, outcome

ROWS_AT_A_TIME = 2000
VERDICTS = """
select a.authorization_id::text, a.idempotency_key, a.decided_at, a.amount_minor,
    a.currency::text, a.reason_code as was, a.rule_hits, s.reason_code as would_be,
    s.rule_hits as shadow_hits
from card.shadow_verdicts s
join card.authorizations a on a.authorization_id = s.authorization_id
where s.version = %s
order by a.decided_at, a.authorization_id
"""


def report(
    connection: psycopg.Connection, version: str, most_examples: int = MOST_EXAMPLES
) -> Comparison:
    """The comparison of the version with what was decided while it was in shadow."""
    return Comparison(version, most_examples).add_all(compared(connection, version))


def compared(connection: psycopg.Connection, version: str) -> Iterator[Compared]:
    """Each decision that the version watched, in order."""
    with (
        connection.transaction(),
        connection.cursor("shadow_verdicts", row_factory=dict_row) as cursor,
    ):
        cursor.itersize = ROWS_AT_A_TIME
        for row in cursor.execute(VERDICTS, (version,)):
            hits = row["shadow_hits"] or row["rule_hits"]
            yield Compared(
                row["authorization_id"],
                row["idempotency_key"],
                row["decided_at"],
                row["amount_minor"],
                row["currency"],
                row["was"],
                outcome(row["was"], bool(row["rule_hits"]), row["would_be"]),
                hits[0]["explanation"] if hits else "",
            )
