with customers as (select * from {{ ref('mart_kyc_status') }}),

cut as (select * from {{ ref('int_cuts_selected') }}),

-- No group by: there is a row, of zeros, before the first customer.
counted as (
    select
        count(*) as customers,
        count(*) filter (where is_in_scope) as in_scope,
        count(*) filter (where is_in_scope and kyc_status = 'VALID') as covered,
        count(*) filter (where is_in_scope and kyc_status = 'EXPIRED') as expired,
        count(*) filter (where is_in_scope and kyc_status = 'PENDING') as pending,
        count(*) filter (where is_in_scope and kyc_status = 'REJECTED') as rejected,
        count(*) filter (where is_in_scope and kyc_status = 'NEVER_CHECKED') as never_checked,
        count(*) filter (where is_in_scope and expires_in_30_days) as expires_in_30_days,
        count(*) filter (where is_in_scope and expires_in_60_days) as expires_in_60_days,
        count(*) filter (where is_in_scope and expires_in_90_days) as expires_in_90_days,
        count(*) filter (where is_in_scope and is_high_risk_without_enhanced)
            as high_risk_without_enhanced
    from customers
)

select
    {{ as_of() }} as as_of_date,
    counted.customers,
    counted.in_scope,
    counted.covered,
    counted.expired,
    counted.pending,
    counted.rejected,
    counted.never_checked,
    counted.expires_in_30_days,
    counted.expires_in_60_days,
    counted.expires_in_90_days,
    counted.high_risk_without_enhanced,
    (counted.covered::numeric / nullif(counted.in_scope, 0))::numeric(9, 6) as coverage_rate,
    cut.complete_through_lsn,
    cut.taken_at
from counted
cross join cut
