with credits as (select * from {{ ref('stg_silver__active_credits') }}),

payments as (select * from {{ ref('int_payments_allocated') }}),

overdue as (
    select * from payments
    where unpaid_amount_minor > {{ var('dpd_tolerance_minor') }} and due_date < known_through
),

oldest_unpaid as (
    select
        credit_id,
        min(due_date) as oldest_unpaid_due_date,
        count(*) as overdue_payments,
        sum(unpaid_amount_minor) as overdue_amount_minor
    from overdue
    group by credit_id
),

aged as (
    select
        credits.*,
        least({{ as_of() }}, credits.observed_through) as known_through,
        oldest_unpaid.oldest_unpaid_due_date,
        coalesce(oldest_unpaid.overdue_payments, 0) as overdue_payments,
        coalesce(oldest_unpaid.overdue_amount_minor, 0) as overdue_amount_minor,
        coalesce(
            least({{ as_of() }}, credits.observed_through) - oldest_unpaid.oldest_unpaid_due_date, 0
        ) as days_past_due
    from credits
    left join oldest_unpaid on credits.credit_id = oldest_unpaid.credit_id
)

select
    credit_id,
    customer_id,
    currency,
    credit_status,
    source_status,
    principal_minor,
    outstanding_principal_minor,
    oldest_unpaid_due_date,
    overdue_payments,
    overdue_amount_minor::bigint as overdue_amount_minor,
    days_past_due,
    case
        when credit_status = 'PAID_OFF' then 'paid_off'
        when credit_status = 'CHARGED_OFF' then 'charged_off'
        when credit_status = 'RESTRUCTURED' then 'restructured'
        when disbursed_on > known_through then 'not_observed'
        else {{ dpd_bucket('days_past_due') }}
    end as bucket,
    known_through,
    {{ as_of() }} as as_of_date
from aged
