with source as (select * from {{ source('silver', 'active_credits') }} where not _is_deleted)

select
    -- ids
    credit_id,
    customer_id,
    account_id,
    offer_id,
    replaces_credit_id,
    -- facts
    credit_number,
    principal_minor,
    outstanding_principal_minor,
    currency,
    interest_rate,
    term_months,
    monthly_payment_minor,
    status as credit_status,
    source_status,
    -- dates and instants
    observed_through,
    disbursed_on,
    matures_on,
    created_at,
    updated_at
from source
