with source as (select * from {{ source('silver', 'offers') }} where not _is_deleted)

select
    -- ids
    offer_id,
    application_id,
    provider_id,
    -- facts
    provider,
    amount_minor,
    currency,
    interest_rate,
    apr,
    term_months,
    monthly_payment_minor,
    status as offer_status,
    -- dates and instants
    valid_until,
    created_at,
    updated_at
from source
