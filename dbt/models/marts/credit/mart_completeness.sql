-- A view over what each build told of itself, so a mart that was not rebuilt shows as it is.
{{ config(materialized='view') }}

with builds as (
    select * from {{ ref('stg_control__mart_builds') }}
    where mart like 'gold%'
),

cuts as (select * from {{ ref('stg_control__cuts') }}),

shown as (select * from {{ ref('stg_control__shown_cuts') }}),

proven as (select * from {{ ref('stg_control__complete_through') }}),

newest as (select max(newest_cut_id) as cut_id from shown),

-- A mart is proven as far as every table that it reads is.
certified as (
    select
        builds.mart,
        case
            when bool_and(proven.entity is not null and not proven.is_broken)
                then least(min(proven.cut_id), min(builds.cut_id))
        end as cut_id
    from builds
    cross join unnest(builds.reads) as read (entity)
    left join proven on read.entity = proven.entity
    group by builds.mart
)

select
    builds.mart,
    builds.cut_id,
    coalesce(cuts.unchanged_through_lsn, cuts.lsn) as complete_through_lsn,
    coalesce(cuts.unchanged_through, cuts.taken_at) as complete_through,
    certified.cut_id as certified_cut_id,
    builds.newest_cut_id,
    builds.built_at,
    array_to_string(builds.reads, ', ') as reads,
    array_to_string(builds.behind, ', ') as behind,
    coalesce(builds.cut_id = builds.newest_cut_id, false) as is_one_cut,
    coalesce(builds.cut_id = newest.cut_id, false) as is_newest
from builds
cross join newest
left join cuts on builds.cut_id = cuts.cut_id
left join certified on builds.mart = certified.mart
