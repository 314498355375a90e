"""Column lineage read from SQL."""

from orchestration import column_lineage
from schemas import contract

TABLES = {
    "silver.active_credits": ["credit_id", "customer_id", "outstanding_principal_minor"],
    "silver.payments": ["credit_id", "currency", "paid_amount_minor"],
}
SQL = """
with credits as (select * from "warehouse"."silver"."active_credits"),
     paid as (
         select credit_id, sum(paid_amount_minor) as paid_minor, count(*) as payments
         from "warehouse"."silver"."payments" group by credit_id
     )
select
    credits.credit_id,
    outstanding_principal_minor + coalesce(paid.paid_minor, 0) as lent_minor,
    paid.payments,
    current_date as as_of_date
from credits
left join paid using (credit_id)
"""


def test_an_expression_comes_from_every_column_in_it() -> None:
    assert column_lineage.of_query(SQL, TABLES)["lent_minor"] == (
        ("silver.active_credits", "outstanding_principal_minor"),
        ("silver.payments", "paid_amount_minor"),
    )


def test_a_star_is_followed_to_the_table() -> None:
    found = column_lineage.of_query(SQL, TABLES)
    assert ("silver.active_credits", "credit_id") in found["credit_id"]


def test_counts_and_clocks_come_from_no_column() -> None:
    found = column_lineage.of_query(SQL, TABLES)
    assert found["payments"] == found["as_of_date"] == ()


def test_both_sides_of_a_union_are_sources() -> None:
    sql = (
        "select credit_id as id from silver.payments union all "
        "select credit_id from silver.active_credits"
    )
    assert column_lineage.of_query(sql, TABLES)["id"] == (
        ("silver.active_credits", "credit_id"),
        ("silver.payments", "credit_id"),
    )


def test_what_cannot_be_parsed_has_no_lineage_and_does_no_harm() -> None:
    assert column_lineage.of_query("select from where (", TABLES) == {}


def test_a_contract_declares_every_column() -> None:
    payments = contract.load("payments")
    declared = column_lineage.declared(payments, "bronze")
    assert set(declared) == {column.name for column in payments.columns}
    assert declared["currency"] == (("bronze", "currency"),)
