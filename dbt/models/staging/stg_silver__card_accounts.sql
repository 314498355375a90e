with source as (select * from {{ source('silver', 'card_accounts') }} where not _is_deleted)

select
    -- ids
    account_id,
    customer_id,
    program_id,
    -- facts
    external_ref,
    currency,
    credit_limit_minor,
    posted_minor,
    held_minor,
    status as account_status,
    -- dates and instants
    opened_on,
    created_at,
    updated_at
from source
