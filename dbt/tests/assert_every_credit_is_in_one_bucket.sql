-- Buckets hold every credit once, with all of its outstanding principal.
with buckets as (
    select
        currency,
        sum(credits) as credits,
        sum(outstanding_principal_minor) as outstanding_principal_minor
    from {{ ref('mart_delinquency_buckets') }}
    group by currency
),

credits as (
    select
        currency,
        count(*) as credits,
        sum(outstanding_principal_minor) as outstanding_principal_minor
    from {{ ref('stg_silver__active_credits') }}
    group by currency
)

select
    credits.currency,
    credits.credits,
    buckets.credits as bucket_credits
from credits
left join buckets on credits.currency = buckets.currency
where
    buckets.credits is distinct from credits.credits
    or buckets.outstanding_principal_minor is distinct from credits.outstanding_principal_minor
