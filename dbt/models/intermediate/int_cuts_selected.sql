-- The cut that every published table has reached; one row even before the first publish.
with cuts as (select * from {{ ref('stg_control__cuts') }}),

shown as (select * from {{ ref('stg_control__shown_cuts') }}),

reached as (
    select case when bool_and(cut_id is not null) then min(cut_id) end as cut_id
    from shown
)

select
    reached.cut_id,
    cuts.lsn as complete_through_lsn,
    cuts.taken_at
from reached
left join cuts on reached.cut_id = cuts.cut_id
