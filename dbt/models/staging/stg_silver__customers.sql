with source as (select * from {{ source('silver', 'customers') }} where not _is_deleted)

select
    -- ids
    customer_id,
    tenant_id,
    -- facts
    external_ref,
    email_masked,
    phone_masked,
    birth_year,
    country,
    status as customer_status,
    -- dates and instants
    closed_at,
    created_at,
    updated_at
from source
