-- Each table is brought to the grain before it is joined: no join can multiply another's amounts.
with credits as (select * from {{ ref('stg_silver__active_credits') }}),

payments as (select * from {{ ref('int_payments_allocated') }}),

accounts as (select * from {{ ref('stg_silver__card_accounts') }}),

charge_offs as (select * from {{ ref('int_principal_charged_off') }}),

cut as (select * from {{ ref('int_cuts_selected') }}),

credits_per_customer as (
    select
        credits.customer_id,
        credits.currency,
        count(*) as credits,
        count(*) filter (where credits.credit_status in ('CURRENT', 'DELINQUENT'))
            as running_credits,
        sum(credits.principal_minor) as principal_minor,
        sum(credits.outstanding_principal_minor) as outstanding_principal_minor,
        -- Imported credits say that they were given up and keep what is outstanding.
        sum(credits.outstanding_principal_minor + coalesce(charge_offs.charged_off_minor, 0))
        filter (where credits.credit_status = 'CHARGED_OFF') as charged_off_principal_minor
    from credits
    left join charge_offs on credits.credit_id = charge_offs.credit_id
    group by credits.customer_id, credits.currency
),

payments_per_customer as (
    select
        customer_id,
        currency,
        count(*) filter (where unpaid_amount_minor > 0) as pending_payments,
        sum(unpaid_amount_minor) as pending_amount_minor,
        sum(unpaid_amount_minor) filter (where due_date < known_through) as overdue_amount_minor,
        min(due_date) filter (where unpaid_amount_minor > 0 and due_date >= known_through)
            as next_due_date
    from payments
    where customer_id is not null
    group by customer_id, currency
),

accounts_per_customer as (
    select
        customer_id,
        currency,
        count(*) as accounts,
        sum(credit_limit_minor) as credit_limit_minor,
        sum(posted_minor) as posted_minor,
        sum(held_minor) as held_minor
    from accounts
    group by customer_id, currency
),

customer_currencies as (
    select
        customer_id,
        currency
    from credits_per_customer
    union
    select
        customer_id,
        currency
    from payments_per_customer
    union
    select
        customer_id,
        currency
    from accounts_per_customer
)

select
    customer_currencies.customer_id,
    customer_currencies.currency,
    coalesce(credits.credits, 0) as credits,
    coalesce(credits.running_credits, 0) as running_credits,
    coalesce(credits.principal_minor, 0)::bigint as principal_minor,
    coalesce(credits.outstanding_principal_minor, 0)::bigint as outstanding_principal_minor,
    coalesce(credits.charged_off_principal_minor, 0)::bigint as charged_off_principal_minor,
    coalesce(payments.pending_payments, 0) as pending_payments,
    coalesce(payments.pending_amount_minor, 0)::bigint as pending_amount_minor,
    coalesce(payments.overdue_amount_minor, 0)::bigint as overdue_amount_minor,
    payments.next_due_date,
    coalesce(accounts.accounts, 0) as accounts,
    coalesce(accounts.credit_limit_minor, 0)::bigint as credit_limit_minor,
    coalesce(accounts.posted_minor, 0)::bigint as posted_minor,
    coalesce(accounts.held_minor, 0)::bigint as held_minor,
    coalesce(accounts.credit_limit_minor - accounts.posted_minor - accounts.held_minor, 0)::bigint
        as available_minor,
    {{ as_of() }} as as_of_date,
    cut.complete_through_lsn,
    cut.taken_at
from customer_currencies
left join credits_per_customer as credits
    on
        customer_currencies.customer_id = credits.customer_id
        and customer_currencies.currency = credits.currency
left join payments_per_customer as payments
    on
        customer_currencies.customer_id = payments.customer_id
        and customer_currencies.currency = payments.currency
left join accounts_per_customer as accounts
    on
        customer_currencies.customer_id = accounts.customer_id
        and customer_currencies.currency = accounts.currency
cross join cut
