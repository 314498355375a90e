-- How risky a customer, a case or an application is, and what says so.
-- depends: 0005.screening

create table risk.risk_assessments (
    risk_assessment_id uuid primary key,
    customer_id uuid references customer.customers,
    case_id uuid unique references kyc.onboarding_cases,
    application_id uuid references credit.applications,
    status text not null default 'IN_PROGRESS'
        check (status in ('IN_PROGRESS', 'COMPLETED', 'REJECTED')),
    risk_level text
        check (risk_level in ('LOW', 'MEDIUM_LOW', 'MEDIUM', 'MEDIUM_HIGH', 'HIGH')),
    -- The weighted mean of the factors when it was completed.
    risk_score numeric(5, 2) check (risk_score between 0 and 100 and risk_score <> 'NaN'),
    model_version text not null,
    completed_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    check (num_nonnulls(customer_id, case_id, application_id) > 0),
    check (status <> 'COMPLETED'
        or (risk_level is not null and risk_score is not null and completed_at is not null))
);
create index on risk.risk_assessments (customer_id);
create index on risk.risk_assessments (application_id);

create table risk.risk_factors (
    risk_factor_id uuid primary key,
    risk_assessment_id uuid not null references risk.risk_assessments,
    factor_type text not null
        check (factor_type in ('PEP', 'SANCTIONS', 'ADVERSE_MEDIA', 'GEOGRAPHY', 'INDUSTRY',
            'PAYMENT_HISTORY', 'DEBT_BURDEN', 'BUREAU_SCORE')),
    risk_level text not null check (risk_level in ('LOW', 'MEDIUM', 'HIGH')),
    score numeric(5, 2) not null check (score between 0 and 100 and score <> 'NaN'),
    -- Relative: the mean divides by their sum.
    weight numeric(9, 6) not null check (weight > 0 and weight <> 'NaN'),
    description text,
    source text,
    created_at timestamptz not null default now(),
    unique (risk_assessment_id, factor_type)
);

create table risk.bureau_scores (
    bureau_score_id uuid primary key,
    customer_id uuid not null references customer.customers,
    application_id uuid references credit.applications,
    bureau text not null check (bureau <> ''),
    model text not null,
    score integer not null,
    score_minimum integer not null,
    score_maximum integer not null check (score_maximum > score_minimum),
    is_hard_inquiry boolean not null default false,
    scored_at timestamptz not null,
    created_at timestamptz not null default now(),
    check (score between score_minimum and score_maximum)
);
create index on risk.bureau_scores (customer_id, scored_at);

-- The score that the factors give, beside the one that is written. `differs` is a finding.
create view risk.assessment_scores with (security_invoker = true) as
with means as (
    select
        r.risk_assessment_id,
        count(*) as factors,
        round(sum(r.score * r.weight) / sum(r.weight), 2)::numeric(5, 2) as weighted_score
    from risk.risk_factors as r
    group by r.risk_assessment_id
)

select
    a.risk_assessment_id,
    a.status,
    a.risk_level,
    a.risk_score,
    m.factors,
    m.weighted_score,
    a.status = 'COMPLETED' and (a.risk_score = m.weighted_score) is not true as differs
from risk.risk_assessments as a
left join means as m on a.risk_assessment_id = m.risk_assessment_id;

-- One row per case with what a case worker sees at once. A view: it can be neither stale nor fed
-- twice. Personal values are the masked ones, or sealed.
create view kyc.onboarding_case_projection with (security_invoker = true) as
with documents as (
    select
        x.customer_id,
        count(*) as documents,
        count(*) filter (where x.status = 'VERIFIED') as verified,
        count(*) filter (where x.status = 'PENDING') as pending,
        count(*) filter (where x.status = 'REJECTED') as rejected
    from customer.documents as x
    group by x.customer_id
)

select
    c.case_id,
    c.case_number,
    c.customer_id,
    c.case_type,
    c.status,
    c.partner_id,
    p.name as partner_name,
    c.partner_reference,
    a.full_name as applicant_full_name_sealed,
    a.birth_date as applicant_birth_date_sealed,
    a.email_masked as applicant_email_masked,
    a.phone_masked as applicant_phone_masked,
    a.birth_year as applicant_birth_year,
    a.nationality as applicant_nationality,
    d.street as applicant_street_sealed,
    d.city as applicant_city,
    d.country as applicant_country,
    coalesce(l.completion_percent, 0) as progress_percent,
    coalesce(l.total_items, 0) as total_steps,
    coalesce(l.completed_items, 0) as completed_steps,
    l.checklist_id,
    l.status as checklist_status,
    l.completion_percent as checklist_completion_percent,
    l.required_completion_percent as checklist_required_completion_percent,
    l.total_items as checklist_total_items,
    l.completed_items as checklist_completed_items,
    l.required_items as checklist_required_items,
    l.completed_required_items as checklist_completed_required_items,
    r.risk_assessment_id,
    r.risk_level,
    r.risk_score,
    r.status as risk_status,
    (select count(*) from risk.risk_factors as f where f.risk_assessment_id = r.risk_assessment_id)
        as risk_factor_count,
    (select count(*) from kyc.beneficial_owners as o where o.case_id = c.case_id)
        as beneficial_owner_count,
    coalesce(t.documents, 0) as document_count,
    coalesce(t.verified, 0) as verified_document_count,
    coalesce(t.pending, 0) as pending_document_count,
    coalesce(t.rejected, 0) as rejected_document_count,
    c.created_at,
    c.updated_at,
    c.submitted_at,
    c.approved_at,
    c.rejected_at,
    c.assigned_to,
    c.assigned_to_name,
    c.assigned_at,
    c.requires_manual_review,
    (
        select count(*) > 0
        from kyc.aml_checks as k
        where k.case_id = c.case_id
            and k.status in ('POTENTIAL_MATCH', 'CONFIRMED_MATCH', 'FAILED')
    ) as has_compliance_issues,
    c.compliance_notes
from kyc.onboarding_cases as c
left join kyc.partners as p on c.partner_id = p.partner_id
left join kyc.applicants as a on c.case_id = a.case_id and a.is_primary
left join customer.addresses as d
    on c.customer_id = d.customer_id and d.is_primary
    and d.kind = case c.case_type when 'INDIVIDUAL' then 'RESIDENTIAL' else 'BUSINESS' end
left join kyc.checklist_progress as l on c.case_id = l.case_id
left join risk.risk_assessments as r on c.case_id = r.case_id
left join documents as t on c.customer_id = t.customer_id;
