-- Originated = repaid + outstanding: what the paid instalments repaid and what the servicer still
-- counts as outstanding give the disbursed principal. Partly paid instalments repay interest first.
-- Of a credit that is not followed to its end the status alone says that it was repaid.
with credits as (select * from {{ ref('stg_silver__active_credits') }}),

payments as (select * from {{ ref('stg_silver__payments') }}),

repaid as (
    select
        credit_id,
        sum(principal_minor) as scheduled_principal_minor,
        sum(greatest(0, least(paid_amount_minor, due_amount_minor) - interest_minor))
            as repaid_principal_minor
    from payments
    group by credit_id
)

select
    credits.credit_id,
    credits.principal_minor,
    credits.outstanding_principal_minor,
    repaid.scheduled_principal_minor,
    repaid.repaid_principal_minor
from credits
inner join repaid on credits.credit_id = repaid.credit_id
where
    credits.principal_minor <> repaid.scheduled_principal_minor
    or (
        credits.principal_minor
        <> repaid.repaid_principal_minor + credits.outstanding_principal_minor
        and not (credits.credit_status = 'PAID_OFF' and credits.observed_through is not null)
    )
