select
    entity,
    cut_id,
    newest_cut_id,
    held_back_by,
    is_newest
from {{ source('control', 'shown_cuts') }}
