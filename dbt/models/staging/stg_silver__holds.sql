with source as (select * from {{ source('silver', 'holds') }} where not _is_deleted)

select
    -- ids
    hold_id,
    authorization_id,
    account_id,
    -- facts
    amount_minor,
    captured_amount_minor,
    currency,
    status as hold_status,
    -- dates and instants
    expires_at,
    created_at,
    updated_at
from source
