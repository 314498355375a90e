with authorizations as (select * from {{ ref('fct_authorizations') }}),

cut as (select * from {{ ref('int_cuts_selected') }}),

daily as (
    select
        decided_date,
        currency,
        count(*) as authorizations,
        count(*) filter (where is_approved) as approved,
        count(*) filter (where not is_approved) as declined,
        count(*) filter (where is_partly_approved) as partly_approved,
        count(*) filter (where message_kind = 'VERIFICATION') as verifications,
        count(*) filter (where message_kind = 'INCREMENT') as increments,
        sum(amount_minor) as amount_minor,
        sum(approved_amount_minor) as approved_amount_minor,
        percentile_cont(0.50) within group (order by latency_ms::double precision)
            as latency_p50_ms,
        percentile_cont(0.95) within group (order by latency_ms::double precision)
            as latency_p95_ms
    from authorizations
    group by decided_date, currency
)

select
    daily.decided_date,
    daily.currency,
    daily.authorizations,
    daily.approved,
    daily.declined,
    daily.partly_approved,
    daily.verifications,
    daily.increments,
    daily.amount_minor::bigint as amount_minor,
    daily.approved_amount_minor::bigint as approved_amount_minor,
    (daily.approved::numeric / daily.authorizations)::numeric(9, 6) as approval_rate_by_count,
    -- A day of account verifications only has no amount, so it has no rate by amount.
    (daily.approved_amount_minor / nullif(daily.amount_minor, 0))::numeric(9, 6)
        as approval_rate_by_amount,
    daily.latency_p50_ms,
    daily.latency_p95_ms,
    cut.complete_through_lsn,
    cut.taken_at
from daily
cross join cut
