with source as (select * from {{ source('silver', 'payments') }} where not _is_deleted)

select
    -- ids
    payment_id,
    credit_id,
    -- facts
    installment_number,
    due_amount_minor,
    principal_minor,
    interest_minor,
    paid_amount_minor,
    currency,
    status as payment_status,
    -- dates and instants
    due_date,
    paid_at,
    created_at,
    updated_at
from source
