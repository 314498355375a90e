-- Originated = repaid + outstanding + charged off + refinanced: what the paid instalments repaid,
-- what the servicer still counts as outstanding, what the ledger wrote off and what a replacing
-- credit took over give the disbursed principal. Partly paid instalments repay interest first;
-- those cancelled because all was paid before its time repay principal, their interest was not due.
-- Of a credit that is not followed to its end the status alone says that it was repaid.
with credits as (select * from {{ ref('stg_silver__active_credits') }}),

payments as (select * from {{ ref('stg_silver__payments') }}),

charge_offs as (select * from {{ ref('int_principal_charged_off') }}),

repaid as (
    select
        payments.credit_id,
        sum(payments.principal_minor) as scheduled_principal_minor,
        sum(
            case
                when payments.payment_status = 'CANCELLED' and credits.credit_status = 'PAID_OFF'
                    then least(payments.paid_amount_minor, payments.principal_minor)
                else
                    greatest(
                        0,
                        least(payments.paid_amount_minor, payments.due_amount_minor)
                        - payments.interest_minor
                    )
            end
        ) as repaid_principal_minor
    from payments
    inner join credits on payments.credit_id = credits.credit_id
    group by payments.credit_id
)

select
    credits.credit_id,
    credits.principal_minor,
    credits.outstanding_principal_minor,
    repaid.scheduled_principal_minor,
    repaid.repaid_principal_minor,
    charge_offs.charged_off_minor,
    replacing.principal_minor as refinanced_minor
from credits
inner join repaid on credits.credit_id = repaid.credit_id
left join charge_offs on credits.credit_id = charge_offs.credit_id
left join credits as replacing on credits.credit_id = replacing.replaces_credit_id
where
    credits.principal_minor <> repaid.scheduled_principal_minor
    or (
        credits.principal_minor
        <> repaid.repaid_principal_minor
        + credits.outstanding_principal_minor
        + coalesce(charge_offs.charged_off_minor, 0)
        + coalesce(replacing.principal_minor, 0)
        and not (credits.credit_status = 'PAID_OFF' and credits.observed_through is not null)
    )
