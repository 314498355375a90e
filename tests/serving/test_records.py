"""What the gateway asks the operational database: also after Postgres was away."""

import psycopg
import pytest

from serving import records
from serving.records import Records

pytestmark = pytest.mark.postgres


async def test_a_connection_that_was_cut_unused_costs_no_answer(postgres_only) -> None:
    pool = records.pool(postgres_only.env["MILLRACE_OLTP_DSN"])
    await pool.open()
    try:
        asked = Records(pool)
        assert await asked.decision("K-none") is None
        with psycopg.connect(postgres_only.env["MILLRACE_OLTP_ADMIN_DSN"]) as connection:
            cut = connection.execute(
                "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
                " where application_name = 'millrace-gateway'"
            ).fetchall()
        assert cut == [(True,)]
        assert await asked.decision("K-none") is None
    finally:
        await pool.close()
