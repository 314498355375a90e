with source as (select * from {{ source('silver', 'applications') }} where not _is_deleted)

select
    -- ids
    application_id,
    customer_id,
    -- facts
    application_number,
    requested_amount_minor,
    currency,
    term_months,
    purpose,
    status as application_status,
    decision_reason,
    -- dates and instants
    submitted_at,
    decided_at,
    created_at,
    updated_at
from source
