with credits as (select * from {{ ref('mart_delinquency_credits') }}),

cut as (select * from {{ ref('int_cuts_selected') }}),

buckets (bucket_order, bucket) as (
    values
    (0, 'current'), (1, '1-29'), (2, '30-59'), (3, '60-89'), (4, '90-119'), (5, '120-149'),
    (6, '150-179'), (7, '180+'), (8, 'charged_off'), (9, 'paid_off'), (10, 'restructured'),
    (11, 'not_observed')
),

currencies as (select distinct currency from credits),

-- Every bucket of a currency has a row, so that an empty one reads 0 and not nothing.
totals as (
    select
        currencies.currency,
        buckets.bucket,
        buckets.bucket_order,
        count(credits.credit_id) as credits,
        coalesce(sum(credits.outstanding_principal_minor), 0) as outstanding_principal_minor,
        coalesce(sum(credits.overdue_amount_minor), 0) as overdue_amount_minor
    from currencies
    cross join buckets
    left join credits
        on currencies.currency = credits.currency and buckets.bucket = credits.bucket
    group by currencies.currency, buckets.bucket, buckets.bucket_order
)

select
    totals.currency,
    totals.bucket,
    totals.bucket_order,
    totals.credits,
    totals.outstanding_principal_minor::bigint as outstanding_principal_minor,
    totals.overdue_amount_minor::bigint as overdue_amount_minor,
    {{ as_of() }} as as_of_date,
    cut.complete_through_lsn,
    cut.taken_at
from totals
cross join cut
