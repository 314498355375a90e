with source as (select * from {{ source('silver', 'customers') }} where not _is_deleted)

select
    -- ids
    customer_id,
    -- facts
    external_ref,
    country,
    status as customer_status,
    -- dates and instants
    created_at,
    updated_at
from source
