"""Three writers, one text: Python from what Postgres prints, Spark SQL, Postgres SQL."""

import json
import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.certificate import canonical
from pipelines.certificate.canonical import NOT_CARRIED, NULL, UNCHANGED, UNFIT
from schemas import contract as contracts
from schemas.contract import Column, Contract

SQL_TYPES = {
    "id": "uuid",
    "country": "char(2)",
    "padded": "char(6)",
    "address": "inet",
    "words": "text",
    "status": "text",
    "amount_minor": "bigint",
    "count": "integer",
    "rate": "numeric(9,6)",
    "score": "numeric(5,2)",
    "price": "numeric(38,18)",
    "due_on": "date",
    "seen_at": "timestamptz",
    "is_open": "boolean",
    "details": "jsonb",
}
TYPES = {
    "id": ("uuid", {}),
    "status": ("code", {"codes": "payment_status"}),
    "amount_minor": ("long", {}),
    "count": ("integer", {}),
    "rate": ("decimal", {"precision": 9, "scale": 6}),
    "score": ("decimal", {"precision": 5, "scale": 2}),
    "price": ("decimal", {"precision": 38, "scale": 18}),
    "due_on": ("date", {}),
    "seen_at": ("timestamp", {}),
    "is_open": ("boolean", {}),
    "details": ("json", {}),
}
COLUMNS = tuple(
    Column(name, TYPES.get(name, ("string", {}))[0], "", **TYPES.get(name, ("", {}))[1])
    for name in SQL_TYPES
)
NAMES = tuple(SQL_TYPES)
CONTRACT = Contract(
    "things", "", "test.things", ("id", "country"), "seen_at", "", "", columns=COLUMNS
)
# What is hardest to print: signs, smallest and largest, before 1970, before Christ, padding.
EDGES: dict[str, tuple[str, ...]] = {
    "country": ("CZ", "C", ""),
    "padded": ("ab", "  cd", "sixsix"),
    "address": ("10.0.0.1", "10.0.0.0/8", "::1", "2001:db8::/32", "10.0.0.7/32"),
    "words": ("", "ž\x7f%s {} ' \\ \"", "null", "\n\t", "😀", " trailing "),
    "amount_minor": ("0", "-1", str(2**63 - 1), str(-(2**63))),
    "count": ("0", "-7", str(2**31 - 1), str(-(2**31))),
    "rate": ("0", "0.000001", "-0.000001", "999.999999", "-1"),
    "score": ("0", "-0.01", "100", "999.99"),
    "price": (
        "0",
        "0.000000000000000001",
        "-0.000000000000000001",
        "99999999999999999999.999999999999999999",
        "-1",
        "1.5",
    ),
    "due_on": (
        "1970-01-01",
        "1969-12-31",
        "1900-02-28",
        "2000-02-29",
        "0044-03-15 BC",
        "9999-12-31",
    ),
    "seen_at": (
        "1970-01-01 00:00:00+00",
        "1969-12-31 23:59:59.999999+00",
        "2026-01-02 03:04:05.120000+05:30",
        "0001-01-01 00:00:00+00",
        "0044-03-15 10:00:00.000001+00 BC",
        "9999-12-31 23:59:59.999999+00",
    ),
    "is_open": ("true", "false"),
    "details": ('{"b": 1, "aa": [1.50, null], "a": "ž"}', "[]", "null", '"x"', "1e2"),
}
# Postgres holds them, the contract's types do not.
IMPOSSIBLE = {
    "rate": ("NaN",),
    "price": ("NaN",),
    "due_on": ("infinity", "-infinity"),
    "seen_at": ("infinity", "-infinity", "294270-01-01 00:00:00+00"),
}


@pytest.fixture(scope="module")
def database(postgres_only: Any) -> Iterator[psycopg.Connection]:
    with psycopg.connect(postgres_only.env["MILLRACE_OLTP_ADMIN_DSN"]) as connection:
        columns = ", ".join(f'"{name}" {kind}' for name, kind in SQL_TYPES.items())
        connection.execute(f"create temporary table things (n serial, {columns})")
        yield connection
        connection.rollback()


def stored(database: psycopg.Connection, rows: list[dict[str, str | None]]) -> list[Any]:
    """Each row as Postgres prints it (as a stream of changes does), its text and its digest."""
    database.execute("truncate things restart identity")
    names = ", ".join(f'"{n}"' for n in NAMES)
    holes = ", ".join(f"%s::{kind}" for kind in SQL_TYPES.values())
    with database.cursor() as cursor:
        cursor.executemany(
            f"insert into things ({names}) values ({holes})",
            [[row.get(n) for n in NAMES] for row in rows],
        )
    text = canonical.row_text_postgres(CONTRACT, NAMES)
    key = canonical.key_text_postgres(CONTRACT)
    printed = ", ".join(f'case when "{n}" is not null then concat("{n}") end' for n in NAMES)
    return database.execute(
        f"select array[{printed}], {text}, {canonical.digest_postgres(text)},"
        f" {canonical.bucket_postgres(key)} from things order by n"
    ).fetchall()


def random_rows(count: int, seed: int = 20261130) -> list[dict[str, str | None]]:
    chance = random.Random(seed)
    rows = []
    for number in range(count):
        row: dict[str, str | None] = {n: chance.choice((None, *v)) for n, v in EDGES.items()}
        row["id"] = f"00000000-0000-4000-8000-{number:012d}"
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(
            microseconds=chance.randrange(-(10**16), 10**17)
        )
        if number % 2:
            row["seen_at"] = str(moment)
            row["due_on"] = str(moment.date())
            row["price"] = str(Decimal(chance.randrange(-(10**37), 10**37)).scaleb(-18))
            row["rate"] = str(Decimal(chance.randrange(-(10**9) + 1, 10**9)).scaleb(-6))
        rows.append(row)
    return rows


def test_python_and_postgres_write_the_same(database) -> None:
    rows = random_rows(400)
    for given_row, (printed, text, digest, bucket) in zip(
        rows, stored(database, rows), strict=True
    ):
        values = dict(zip(NAMES, printed, strict=True))
        assert canonical.row_text(CONTRACT, NAMES, values) == text, given_row
        assert UNFIT not in text
        assert canonical.digest(text) == digest
        assert canonical.bucket(canonical.key_text(CONTRACT, values)) == bucket


FREE_TEXT = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"))


def as_json(text: str) -> str:
    return json.dumps({"text": text})


ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.uuids().map(str),
            "words": st.none() | FREE_TEXT,
            "padded": st.none() | FREE_TEXT.map(lambda t: t[:6]),
            "amount_minor": st.integers(-(2**63), 2**63 - 1).map(str),
            "count": st.integers(-(2**31), 2**31 - 1).map(str),
            "rate": st.just("NaN") | st.decimals(-999, 999, places=6).map(str),
            "price": st.decimals(-(10**19), 10**19, places=18).map(str),
            "due_on": st.dates().map(str),
            "seen_at": st.datetimes(timezones=st.just(UTC)).map(str),
            "details": st.none() | FREE_TEXT.map(as_json),
        }
    ),
    min_size=1,
    max_size=20,
)


@given(ROWS)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_whatever_is_stored_python_and_postgres_write_the_same(database, rows) -> None:
    for printed, text, digest, _ in stored(database, rows):
        written = canonical.row_text(CONTRACT, NAMES, dict(zip(NAMES, printed, strict=True)))
        assert (written, canonical.digest(written)) == (text, digest)


def test_what_the_contract_cannot_hold_has_a_mark_of_its_own(database) -> None:
    rows = [{n: v} for n, values in IMPOSSIBLE.items() for v in values]
    for row, (printed, text, _, _) in zip(rows, stored(database, rows), strict=True):
        written = canonical.row_text(CONTRACT, NAMES, dict(zip(NAMES, printed, strict=True)))
        assert written == text
        (name,) = row
        assert text.split(canonical.SEPARATOR)[NAMES.index(name)] == UNFIT


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("count", str(2**31)),
        ("count", "many"),
        ("amount_minor", str(-(2**63) - 1)),
        ("amount_minor", "1.5"),
        ("rate", "1000"),
        ("rate", "0.0000001"),
        ("rate", "Infinity"),
        ("price", "100000000000000000000"),
        ("due_on", "yesterday"),
        ("seen_at", "2026-01-02"),
        ("is_open", "yes"),
    ],
)
def test_a_value_of_another_type_is_unfit(name, value) -> None:
    assert canonical.column_text(CONTRACT.column(name), value) == UNFIT


def test_a_change_says_what_it_does_not_carry() -> None:
    values = {"id": "k", "country": "CZ", "words": UNCHANGED, "count": "007"}
    width = 2 + len(NAMES)
    made = canonical.change_text(CONTRACT, "u", 7, values).split(canonical.SEPARATOR)
    assert made[:4] == ["u", "7", "k", "CZ"]
    assert made[2 + NAMES.index("words")] == NOT_CARRIED
    assert made[2 + NAMES.index("count")] == "7"
    assert made[2 + NAMES.index("rate")] == NULL
    gone = canonical.change_text(CONTRACT, "d", 7, values).split(canonical.SEPARATOR)
    assert gone == ["d", "7", "k", "CZ", *[NOT_CARRIED] * (width - 4)]
    emptied = canonical.change_text(CONTRACT, "t", 7, values).split(canonical.SEPARATOR)
    assert emptied == ["t", "7", *[NOT_CARRIED] * (width - 2)]


def _typed(column: Column, printed: str | None) -> Any:
    """What silver holds of it; None when it cannot."""
    if printed is None:
        return None
    if column.type == "decimal":
        return Decimal(printed)
    if column.type in ("long", "integer"):
        return int(printed)
    if column.type == "boolean":
        return printed == "t"
    # Days and microseconds: Python's own dates end where Postgres's go on.
    if column.type in ("date", "timestamp"):
        return int(canonical.column_text(column, printed))
    return printed


@pytest.mark.spark
def test_spark_writes_the_same(spark, database) -> None:
    from pyspark.sql import types as T

    from pipelines import cdc

    rows = random_rows(300)
    expected = stored(database, rows)
    held = {"date": "int", "timestamp": "bigint"}
    ddl = ", ".join(f"`{c.name}` {held.get(c.type) or cdc.sql_type(c)}" for c in COLUMNS)
    made = {"date": "date_from_unix_date(`{}`)", "timestamp": "timestamp_micros(`{}`)"}
    frame = spark.createDataFrame(
        [
            (n, *(_typed(c, v) for c, v in zip(COLUMNS, printed, strict=True)))
            for n, (printed, *_) in enumerate(expected)
        ],
        T._parse_datatype_string(f"n int, {ddl}"),
    ).selectExpr(
        "n",
        *(f"{made.get(c.type, '`{}`').format(c.name)} as `{c.name}`" for c in COLUMNS),
        "element_at(array('c', 'u', 'd', 't'), n % 4 + 1) as _op",
        "1000000L + n as _lsn",
        "case when n % 3 = 0 then array('words', 'details')"
        " else cast(array() as array<string>) end as _unchanged",
        "case when n % 5 = 0 then array('price') else cast(array() as array<string>) end as _wrong",
    )
    text = canonical.row_text_spark(CONTRACT, NAMES)
    change = canonical.change_text_spark(CONTRACT)
    key = canonical.key_text_spark(CONTRACT)
    found = frame.selectExpr(
        "n", f"{text} as t", f"{canonical.digest_spark(text)} as d", f"{change} as c",
        f"{canonical.bucket_spark(key)} as b", "_op", "_lsn",
    ).collect()  # fmt: skip
    assert len(found) == len(rows)
    for row in found:
        printed, text, digest, bucket = expected[row.n]
        assert row.t == text
        assert (row.d, row.b) == (digest, bucket)
        values: dict[str, Any] = dict(zip(NAMES, printed, strict=True))
        if row.n % 5 == 0:
            values["price"] = "NaN"
        if row.n % 3 == 0:
            values |= {"words": UNCHANGED, "details": UNCHANGED}
        assert row.c == canonical.change_text(CONTRACT, row._op, row._lsn, values)


def test_every_contract_has_its_sql_and_the_source_takes_it(postgres_only) -> None:
    with psycopg.connect(postgres_only.env["MILLRACE_OLTP_ADMIN_DSN"]) as connection:
        for contract in contracts.load_all():
            names = [c.name for c in contract.columns]
            text = canonical.row_text_postgres(contract, names)
            connection.execute(
                f"select {canonical.digest_postgres(text)},"
                f" {canonical.bucket_postgres(canonical.key_text_postgres(contract))}"
                f" from {contract.source} limit 1"
            )


def test_days_are_counted_as_the_calendar_does() -> None:
    column = CONTRACT.column("due_on")
    for day in range(-800_000, 800_000, 997):
        when = date(1970, 1, 1).toordinal() + day
        if when >= 1:
            assert canonical.column_text(column, str(date.fromordinal(when))) == str(day)
