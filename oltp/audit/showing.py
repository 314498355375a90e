"""Reads the audit for people: who changed what, newest first."""

from __future__ import annotations

import psycopg

CHANGES = """
select c.change_id, n.seq, c.occurred_at, coalesce(c.actor, '-') || ' (' || c.actor_role || ')',
    c.operation || ' ' || c.table_schema || '.' || c.table_name
        || case when c.operation = 'BATCH' then ': ' || c.batch_of || ' of ' || c.row_count
            else '' end,
    (select string_agg(value, ', ') from jsonb_each_text(c.row_key)),
    (select string_agg(f, ', ') from jsonb_array_elements_text(c.changed_fields) f),
    c.reason
from audit.changes c
left join audit.chain n on n.change_id = c.change_id and n.occurred_at = c.occurred_at
where (%(table)s::text is null or c.table_schema || '.' || c.table_name = %(table)s)
    and (%(actor)s::text is null or c.actor = %(actor)s)
    and (%(key)s::text is null
        or exists (select from jsonb_each_text(c.row_key) k where k.value = %(key)s))
order by c.txid desc, c.change_id desc
limit %(most)s
"""


def changes(
    connection: psycopg.Connection,
    *,
    table: str | None = None,
    key: str | None = None,
    actor: str | None = None,
    most: int = 20,
) -> list[list[str]]:
    """Lines of text: change, entry, time (UTC), who, what, key, changed columns, why.

    Values are not shown: what is personal is sealed, and the rest is asked for in the tables.
    """
    asked = {"table": table, "key": key, "actor": actor, "most": most}
    return [
        [str(change), str(seq or "-"), f"{at:%Y-%m-%d %H:%M:%S}", *(str(x or "") for x in rest)]
        for change, seq, at, *rest in connection.execute(CHANGES, asked)
    ]
