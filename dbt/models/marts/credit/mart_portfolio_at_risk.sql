-- At risk is the whole outstanding principal of a late credit, not the part that is late.
-- Written-off and restructured credits are in neither side (what replaces one is); nor are those
-- whose payments are not known.
with credits as (select * from {{ ref('mart_delinquency_credits') }}),

cut as (select * from {{ ref('int_cuts_selected') }}),

at_risk as (
    select
        currency,
        count(*) as credits,
        sum(outstanding_principal_minor) as outstanding,
        coalesce(sum(outstanding_principal_minor) filter (where days_past_due > 1), 0) as par1,
        coalesce(sum(outstanding_principal_minor) filter (where days_past_due > 30), 0) as par30,
        coalesce(sum(outstanding_principal_minor) filter (where days_past_due > 60), 0) as par60,
        coalesce(sum(outstanding_principal_minor) filter (where days_past_due > 90), 0) as par90
    from credits
    where bucket not in ('paid_off', 'charged_off', 'restructured', 'not_observed')
    group by currency
)

select
    at_risk.currency,
    at_risk.credits,
    at_risk.outstanding::bigint as outstanding_principal_minor,
    at_risk.par1::bigint as par1_minor,
    at_risk.par30::bigint as par30_minor,
    at_risk.par60::bigint as par60_minor,
    at_risk.par90::bigint as par90_minor,
    (at_risk.par1 / nullif(at_risk.outstanding, 0))::numeric(9, 6) as par1_ratio,
    (at_risk.par30 / nullif(at_risk.outstanding, 0))::numeric(9, 6) as par30_ratio,
    (at_risk.par60 / nullif(at_risk.outstanding, 0))::numeric(9, 6) as par60_ratio,
    (at_risk.par90 / nullif(at_risk.outstanding, 0))::numeric(9, 6) as par90_ratio,
    {{ as_of() }} as as_of_date,
    cut.complete_through_lsn,
    cut.taken_at
from at_risk
cross join cut
