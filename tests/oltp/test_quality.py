"""Quality rules: data that is checked when written, results that are never unknown."""

from __future__ import annotations

import json
from uuid import uuid4

import psycopg
import pytest
from psycopg import errors

from oltp import quality
from tests.oltp.auditing import Audited, copy_of


@pytest.fixture(scope="module")
def audited(database, tmp_path_factory) -> Audited:
    made = copy_of(database.admin, tmp_path_factory.mktemp("quality"))
    made.do(
        "create table risk.parents (parent_id int primary key, status text)",
        "create table risk.samples (sample_id int primary key, name text, amount numeric, part_a"
        " bigint, part_b bigint, total bigint, email text, parent_id int)",
        "insert into risk.parents values (1, 'OPEN'), (2, 'OPEN'), (3, 'CLOSED'), (4, null)",
        "insert into risk.samples values"
        " (1, 'ABC', 5, 1, 2, 3, 'ada@x.io', 1), (2, 'abc', -1, 1, 2, 4, 'nobody', 9),"
        " (3, null, 'NaN', 1, 2, null, null, null), (4, 'X', null, null, 2, 2, 'x@y.zz', 1)",
    )
    return made


@pytest.fixture
def connection(audited):
    with psycopg.connect(audited.admin) as opened:
        yield opened
        opened.rollback()


def rule(connection, kind: str, column: str, config: dict | None = None, table="samples") -> str:
    name = f"r{uuid4().hex[:8]}"
    connection.execute(
        "insert into audit.quality_rules (name, table_schema, table_name, column_name, rule_type,"
        " rule_config) values (%s, 'risk', %s, %s, %s, %s)",
        (name, table, column, kind, json.dumps(config or {})),
    )
    return name


@pytest.mark.parametrize(
    ("kind", "column", "config", "failing"),
    [
        ("NOT_NULL", "name", {}, [3]),
        # NaN is greater than every number, so it is in no range.
        ("RANGE", "amount", {"min": 0, "max": 100}, [2, 3]),
        ("RANGE", "amount", {"min": 0}, [2]),
        ("PATTERN", "name", {"regex": "^[A-Z]+$"}, [2]),
        ("REFERENCE", "parent_id", {"table": "risk.parents", "column": "parent_id"}, [2]),
        # A total that is missing, or of which a part is missing, is not the sum.
        ("SUM", "total", {"parts": ["part_a", "part_b"]}, [2, 3, 4]),
    ],
)
def test_a_rule_finds_the_rows_that_break_it(connection, kind, column, config, failing):
    name = rule(connection, kind, column, config)
    (result,) = quality.check(connection, only=name)
    assert (result.records, result.failed, result.passed) == (4, len(failing), False)
    assert [int(sample["sample_id"]) for sample in result.samples] == failing


def test_a_rule_about_some_rows_finds_those_without_a_row_elsewhere(connection):
    config = {"where": {"status": "OPEN"}, "table": "risk.samples", "column": "parent_id"}
    name = rule(connection, "EXISTS", "parent_id", config, table="parents")
    (result,) = quality.check(connection, only=name)
    assert [sample["parent_id"] for sample in result.samples] == ["2"]


def test_samples_are_masked(connection):
    name = rule(connection, "PATTERN", "email", {"regex": "^$"})
    (result,) = quality.check(connection, only=name)
    assert [s["value"] for s in result.samples] == ["ad***@x.io", "***", "***@y.zz"]
    stored = connection.execute(
        "select sample_failures::text from audit.quality_results order by checked_at desc limit 1"
    ).fetchone()[0]
    assert "ada@x.io" not in stored


def test_a_result_says_counts_and_rate(connection):
    name = rule(connection, "NOT_NULL", "name")
    list(quality.check(connection, only=name))
    row = connection.execute(
        "select passed, record_count, failed_count, success_rate from audit.quality_results"
        " order by checked_at desc limit 1"
    ).fetchone()
    assert (row[0], row[1], row[2], float(row[3])) == (False, 4, 1, 75.0)


def test_a_rule_that_can_no_longer_be_evaluated_has_not_passed_and_stops_no_other(connection):
    broken = rule(connection, "NOT_NULL", "email")
    connection.execute("alter table risk.samples drop column email")
    results = {result.rule: result for result in quality.check(connection)}
    assert not results[broken].passed
    assert "email" in results[broken].error
    assert results["orphaned_offers"].passed


@pytest.mark.parametrize(
    ("kind", "column", "config", "error"),
    [
        ("NOT_NULL", 'name"; drop table audit.chain; --', {}, errors.UndefinedColumn),
        ("REFERENCE", "parent_id", {"table": "x\"; drop", "column": "y"}, errors.UndefinedColumn),
        ("REFERENCE", "parent_id", {"table": "pg_catalog.pg_class", "column": "oid"},
         errors.UndefinedColumn),
        ("SUM", "total", {"parts": ["1; drop table x"]}, errors.UndefinedColumn),
        ("EXISTS", "name", {"where": {"nowhere": 1}, "table": "risk.parents",
                            "column": "parent_id"}, errors.UndefinedColumn),
        ("RANGE", "amount", {}, errors.CheckViolation),
        ("RANGE", "amount", {"min": 0, "query": "select 1"}, errors.CheckViolation),
        ("PATTERN", "name", {"regex": "("}, errors.InvalidRegularExpression),
        ("SQL", "name", {"query": "select 1"}, errors.CheckViolation),
    ],
)  # fmt: skip
def test_a_rule_that_is_none_is_refused_when_it_is_written(connection, kind, column, config, error):
    with pytest.raises(error):
        rule(connection, kind, column, config)


def test_an_unknown_rule_is_named(connection):
    with pytest.raises(LookupError, match="no active quality rule nothing"):
        list(quality.check(connection, only="nothing"))


def test_no_rule_and_no_policy_stores_sql(connection):
    rows = connection.execute(
        "select column_name from information_schema.columns where table_schema = 'audit'"
        " and table_name in ('quality_rules', 'retention_policies')"
    ).fetchall()
    assert not {name for (name,) in rows} & {"query", "sql", "expression", "condition"}
