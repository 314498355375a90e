-- The cut that the published tables are complete through; one row even before the first cut.
with cuts as (select * from {{ ref('stg_control__cuts') }}),

latest as (select max(cut_id) as cut_id from cuts)

select
    latest.cut_id,
    cuts.lsn as complete_through_lsn,
    cuts.taken_at
from latest
left join cuts on latest.cut_id = cuts.cut_id
