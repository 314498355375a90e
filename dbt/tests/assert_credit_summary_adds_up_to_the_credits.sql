-- Summed over customers, the summary is the credits themselves, per currency.
with summary as (
    select
        currency,
        sum(credits) as credits,
        sum(principal_minor) as principal_minor,
        sum(outstanding_principal_minor) as outstanding_principal_minor
    from {{ ref('mart_credit_summary') }}
    group by currency
),

credits as (
    select
        currency,
        count(*) as credits,
        sum(principal_minor) as principal_minor,
        sum(outstanding_principal_minor) as outstanding_principal_minor
    from {{ ref('stg_silver__active_credits') }}
    group by currency
)

select
    credits.currency,
    credits.credits,
    summary.credits as summary_credits
from credits
left join summary on credits.currency = summary.currency
where
    summary.credits is distinct from credits.credits
    or summary.principal_minor is distinct from credits.principal_minor
    or summary.outstanding_principal_minor is distinct from credits.outstanding_principal_minor
