with payments as (select * from {{ ref('stg_silver__payments') }}),

allocated as (select * from {{ ref('int_payments_allocated') }})

select
    payments.payment_id,
    payments.credit_id,
    allocated.customer_id,
    payments.installment_number,
    payments.due_date,
    payments.currency,
    payments.due_amount_minor,
    payments.principal_minor,
    payments.interest_minor,
    payments.paid_amount_minor,
    allocated.unpaid_amount_minor,
    payments.payment_status,
    payments.paid_at,
    case
        when allocated.unpaid_amount_minor > {{ var('dpd_tolerance_minor') }}
            then greatest(0, allocated.known_through - payments.due_date)
        else 0
    end as days_past_due,
    allocated.known_through,
    {{ as_of() }} as as_of_date
from payments
inner join allocated on payments.payment_id = allocated.payment_id
