with source as (select * from {{ source('silver', 'cards') }} where not _is_deleted)

select
    -- ids
    card_id,
    account_id,
    -- facts
    external_ref,
    product,
    status as card_status,
    -- dates and instants
    issued_on,
    expires_on,
    created_at,
    updated_at
from source
