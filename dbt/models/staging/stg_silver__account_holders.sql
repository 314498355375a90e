with source as (select * from {{ source('silver', 'account_holders') }} where not _is_deleted)

select
    -- ids
    account_holder_id,
    account_id,
    customer_id,
    -- facts
    role,
    -- dates and instants
    created_at,
    updated_at
from source
