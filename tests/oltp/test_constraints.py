"""What the operational database refuses."""

from __future__ import annotations

from uuid import uuid4

import psycopg
import pytest

CREDIT = """
    insert into credit.active_credits (credit_id, customer_id, credit_number, principal_minor,
        outstanding_principal_minor, currency, interest_rate, term_months, monthly_payment_minor,
        status, disbursed_on, matures_on)
    values (%(id)s, %(customer)s, %(id)s, 1000, %(outstanding)s, 'USD', %(rate)s, 12, 100,
        'CURRENT', '2024-01-31', '2025-01-31')
"""


@pytest.fixture
def session(database):
    """A session of the application with one customer; rolled back afterwards."""
    with psycopg.connect(database.app) as connection:
        customer = uuid4()
        connection.execute(
            "insert into customer.customers (customer_id, country) values (%s, 'US')",
            (customer,),
        )
        yield (
            connection,
            {"id": uuid4(), "customer": customer, "outstanding": 1000, "rate": "0.071250"},
        )
        connection.rollback()


def test_a_customer_with_a_credit_cannot_be_deleted(session):
    connection, values = session
    connection.execute(CREDIT, values)
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        connection.execute(
            "delete from customer.customers where customer_id = %(customer)s", values
        )


def test_a_customer_without_records_can_be_deleted(session):
    connection, values = session
    done = connection.execute(
        "delete from customer.customers where customer_id = %(customer)s", values
    )
    assert done.rowcount == 1


@pytest.mark.parametrize("rate", ["NaN", "-0.01"])
def test_a_rate_that_is_no_number_or_negative_is_refused(session, rate):
    connection, values = session
    with pytest.raises(psycopg.errors.CheckViolation):
        connection.execute(CREDIT, values | {"rate": rate})


@pytest.mark.parametrize("rate", ["Infinity", "1000"])
def test_a_rate_beyond_its_precision_is_refused(session, rate):
    connection, values = session
    with pytest.raises(psycopg.errors.NumericValueOutOfRange):
        connection.execute(CREDIT, values | {"rate": rate})


def test_more_cannot_be_outstanding_than_was_lent(session):
    connection, values = session
    with pytest.raises(psycopg.errors.CheckViolation):
        connection.execute(CREDIT, values | {"outstanding": 1001})


def test_an_offer_costs_at_least_its_rate(session):
    connection, values = session
    application = uuid4()
    connection.execute(
        "insert into credit.applications (application_id, customer_id, application_number,"
        " requested_amount_minor, currency, term_months, purpose, status, submitted_at)"
        " values (%s, %s, %s, 1, 'USD', 12, 'car', 'SUBMITTED', now())",
        (application, values["customer"], str(application)),
    )
    with pytest.raises(psycopg.errors.CheckViolation):
        connection.execute(
            "insert into credit.offers (offer_id, application_id, provider, amount_minor, currency,"
            " interest_rate, apr, term_months, monthly_payment_minor, status, valid_until)"
            " values (%s, %s, 'p', 1, 'USD', 0.07, 0.06, 12, 1, 'PRESENTED', now())",
            (uuid4(), application),
        )
