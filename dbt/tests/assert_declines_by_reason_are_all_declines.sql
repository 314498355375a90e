-- Per day and currency the reasons add up to the declines.
with daily as (
    select
        decided_date,
        currency,
        declined
    from {{ ref('mart_authorizations_daily') }}
),

by_reason as (
    select
        decided_date,
        currency,
        sum(declined) as declined
    from {{ ref('mart_declines_daily') }}
    group by decided_date, currency
)

select
    daily.decided_date,
    daily.currency,
    daily.declined,
    by_reason.declined as declined_by_reason
from daily
left join by_reason
    on daily.decided_date = by_reason.decided_date and daily.currency = by_reason.currency
where daily.declined <> coalesce(by_reason.declined, 0)
