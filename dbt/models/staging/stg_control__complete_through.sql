select
    entity,
    cut_id,
    is_broken
from {{ source('control', 'complete_through') }}
