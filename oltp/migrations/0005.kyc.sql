-- Who a customer is, and whether the lender may deal with them: onboarding cases of persons and
-- companies, checks against lists, alerts, investigations, reports. Personal values are sealed.
-- depends: 0004.credit

-- Equality and ranges in one exclusion constraint: reports of a kind do not overlap.
create extension if not exists btree_gist with schema public;

create table kyc.kyc_records (
    kyc_record_id uuid primary key,
    customer_id uuid not null references customer.customers,
    verification_type text not null
        check (verification_type in ('IDENTITY', 'ADDRESS', 'ENHANCED')),
    status text not null
        check (status in ('PENDING', 'VERIFIED', 'REJECTED')),
    provider text not null,
    provider_reference text,
    risk_level text not null check (risk_level in ('LOW', 'MEDIUM', 'HIGH')),
    risk_score numeric(5, 2) check (risk_score between 0 and 100 and risk_score <> 'NaN'),
    verified_at timestamptz,
    expires_at timestamptz,
    details jsonb not null default '{}',
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    check (status <> 'VERIFIED' or verified_at is not null),
    check (expires_at > verified_at)
);
create index on kyc.kyc_records (customer_id);

-- Who sends customers to us.
create table kyc.partners (
    partner_id uuid primary key,
    name text not null unique check (name <> ''),
    is_active boolean not null default true,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

create table kyc.onboarding_cases (
    case_id uuid primary key,
    case_number text not null unique,
    customer_id uuid references customer.customers,
    case_type text not null
        check (case_type in ('INDIVIDUAL', 'CORPORATE', 'TRUST', 'PARTNERSHIP')),
    status text not null default 'DRAFT'
        check (status in ('DRAFT', 'IN_PROGRESS', 'PENDING_REVIEW', 'APPROVED', 'REJECTED')),
    partner_id uuid references kyc.partners,
    partner_reference text,
    requires_manual_review boolean not null default false,
    compliance_notes text,
    assigned_to text,
    assigned_to_name text,
    assigned_at timestamptz,
    submitted_at timestamptz,
    approved_at timestamptz,
    rejected_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    unique (partner_id, partner_reference),
    check ((status = 'APPROVED') = (approved_at is not null)),
    check ((status = 'REJECTED') = (rejected_at is not null)),
    check (status in ('DRAFT', 'IN_PROGRESS') or submitted_at is not null),
    check (approved_at >= submitted_at),
    check (rejected_at >= submitted_at)
);
create index on kyc.onboarding_cases (customer_id);
create index on kyc.onboarding_cases (status, created_at);

-- The person who applies, for themselves or for a company. Sealed under the case's customer's key.
create table kyc.applicants (
    applicant_id uuid primary key,
    case_id uuid not null references kyc.onboarding_cases,
    full_name customer.sealed not null,
    birth_date customer.sealed,
    email customer.sealed,
    phone customer.sealed,
    email_masked text,
    phone_masked text,
    birth_year integer check (birth_year between 1880 and 2100),
    nationality char(2) check (nationality ~ '^[A-Z]{2}$'),
    is_primary boolean not null default true,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
create unique index one_primary_applicant on kyc.applicants (case_id) where is_primary;
create index on kyc.applicants (case_id);

-- Who owns or controls a company, trust or partnership. Sealed under the case's customer's key.
create table kyc.beneficial_owners (
    beneficial_owner_id uuid primary key,
    case_id uuid not null references kyc.onboarding_cases,
    full_name customer.sealed not null,
    birth_date customer.sealed,
    national_id customer.sealed,
    national_id_index customer.blind_index,
    nationality char(2) check (nationality ~ '^[A-Z]{2}$'),
    control_type text not null
        check (control_type in ('OWNERSHIP', 'VOTING', 'MANAGEMENT', 'TRUSTEE', 'BENEFICIARY')),
    -- Percent of the company, held directly or through others; none for mere control.
    ownership_percent numeric(5, 2) not null default 0
        check (ownership_percent between 0 and 100 and ownership_percent <> 'NaN'),
    is_pep boolean not null default false,
    verified_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    unique (case_id, national_id_index),
    check (control_type <> 'OWNERSHIP' or ownership_percent > 0)
);

-- Owners of one case hold at most all of it. The case is locked first, so that two transactions
-- cannot each add what fits alone; judged at commit, so that a share may move between owners.
create function kyc.refuse_more_than_whole() returns trigger
language plpgsql as $$
declare
    total numeric;
begin
    perform from kyc.onboarding_cases c where c.case_id = new.case_id for no key update;
    select sum(o.ownership_percent) into total
    from kyc.beneficial_owners o where o.case_id = new.case_id;
    if total > 100 then
        raise exception 'kyc.beneficial_owners: owners of case % hold % percent', new.case_id, total
            using errcode = 'check_violation', schema = 'kyc', table = 'beneficial_owners',
            column = 'ownership_percent', constraint = 'owners_hold_at_most_all';
    end if;
    return null;
end
$$;
create constraint trigger owners_hold_at_most_all
after insert or update of case_id, ownership_percent on kyc.beneficial_owners
deferrable initially deferred for each row execute function kyc.refuse_more_than_whole();

-- What a case of a type must show. A template in use is not changed; the next version replaces it.
create table kyc.checklist_templates (
    checklist_template_id uuid primary key,
    case_type text not null
        check (case_type in ('INDIVIDUAL', 'CORPORATE', 'TRUST', 'PARTNERSHIP')),
    version integer not null check (version > 0),
    valid_from date not null,
    created_at timestamptz not null default now(),
    unique (case_type, version)
);

create table kyc.checklist_template_items (
    checklist_template_item_id uuid primary key,
    checklist_template_id uuid not null references kyc.checklist_templates,
    position integer not null check (position > 0),
    name text not null check (name <> ''),
    category text not null
        check (category in ('IDENTITY', 'ADDRESS', 'FINANCIAL', 'COMPLIANCE', 'DOCUMENTATION')),
    is_required boolean not null,
    created_at timestamptz not null default now(),
    unique (checklist_template_id, position),
    unique (checklist_template_id, name)
);

create table kyc.checklists (
    checklist_id uuid primary key,
    case_id uuid not null unique references kyc.onboarding_cases,
    checklist_template_id uuid not null references kyc.checklist_templates,
    status text not null default 'IN_PROGRESS'
        check (status in ('IN_PROGRESS', 'COMPLETED')),
    completed_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    check ((status = 'COMPLETED') = (completed_at is not null))
);

create table kyc.checklist_items (
    checklist_item_id uuid primary key,
    checklist_id uuid not null references kyc.checklists,
    checklist_template_item_id uuid references kyc.checklist_template_items,
    position integer not null check (position > 0),
    name text not null check (name <> ''),
    category text not null
        check (category in ('IDENTITY', 'ADDRESS', 'FINANCIAL', 'COMPLIANCE', 'DOCUMENTATION')),
    is_required boolean not null,
    status text not null default 'PENDING'
        check (status in ('PENDING', 'COMPLETED', 'SKIPPED')),
    completed_at timestamptz,
    completed_by text,
    notes text,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    unique (checklist_id, position),
    check ((status = 'COMPLETED') = (completed_at is not null)),
    check (status <> 'COMPLETED' or completed_by is not null),
    -- What is required is waived only with a reason.
    check (status <> 'SKIPPED' or not is_required or notes is not null)
);

-- Decisions on a case, by people or rules. Append-only: the last one counts.
create table kyc.case_decisions (
    case_decision_id uuid primary key,
    case_id uuid not null references kyc.onboarding_cases,
    decision text not null check (decision in ('APPROVED', 'REJECTED', 'REFERRED')),
    decided_by text not null check (decided_by <> ''),
    decided_at timestamptz not null,
    risk_level text
        check (risk_level in ('LOW', 'MEDIUM_LOW', 'MEDIUM', 'MEDIUM_HIGH', 'HIGH')),
    reason text,
    created_at timestamptz not null default now(),
    check (decision = 'APPROVED' or reason is not null)
);
create index on kyc.case_decisions (case_id);

-- A version of a published list, known by the digest of its files.
create table kyc.watchlists (
    watchlist_id uuid primary key,
    name text not null check (name <> ''),
    version text not null,
    content_sha256 text not null check (content_sha256 ~ '^[0-9a-f]{64}$'),
    published_on date,
    created_at timestamptz not null default now(),
    unique (name, content_sha256),
    unique (name, version)
);

create table kyc.watchlist_entries (
    watchlist_entry_id uuid primary key,
    watchlist_id uuid not null references kyc.watchlists,
    entry_ref text not null,
    entry_type text not null
        check (entry_type in ('INDIVIDUAL', 'ENTITY', 'VESSEL', 'AIRCRAFT')),
    name text not null check (name <> ''),
    -- The form that screening compares: folded case, no accents, no punctuation.
    folded_name text not null,
    program text,
    title text,
    call_sign text,
    vessel_type text,
    tonnage text,
    gross_registered_tonnage text,
    vessel_flag text,
    vessel_owner text,
    remarks text,
    created_at timestamptz not null default now(),
    unique (watchlist_id, entry_ref)
);
create index on kyc.watchlist_entries (folded_name);

create table kyc.watchlist_aliases (
    watchlist_alias_id uuid primary key,
    watchlist_entry_id uuid not null references kyc.watchlist_entries,
    alias_ref text not null,
    alias_type text not null check (alias_type in ('AKA', 'FKA', 'NKA')),
    name text not null check (name <> ''),
    folded_name text not null,
    remarks text,
    created_at timestamptz not null default now(),
    unique (watchlist_entry_id, alias_ref)
);
create index on kyc.watchlist_aliases (folded_name);

create table kyc.watchlist_addresses (
    watchlist_address_id uuid primary key,
    watchlist_entry_id uuid not null references kyc.watchlist_entries,
    address_ref text not null,
    address text,
    city text,
    country text,
    remarks text,
    created_at timestamptz not null default now(),
    unique (watchlist_entry_id, address_ref)
);

create table kyc.aml_checks (
    aml_check_id uuid primary key,
    customer_id uuid references customer.customers,
    case_id uuid references kyc.onboarding_cases,
    beneficial_owner_id uuid references kyc.beneficial_owners,
    check_type text not null check (check_type in ('SANCTIONS', 'PEP', 'ADVERSE_MEDIA')),
    status text not null default 'PENDING'
        check (status in ('PENDING', 'CLEAR', 'POTENTIAL_MATCH', 'CONFIRMED_MATCH', 'FAILED')),
    provider text not null,
    provider_reference text,
    risk_level text check (risk_level in ('LOW', 'MEDIUM', 'HIGH')),
    -- What was searched: an answer is worth no more than its list.
    watchlist_id uuid references kyc.watchlists,
    list_name text,
    list_version text,
    list_sha256 text check (list_sha256 ~ '^[0-9a-f]{64}$'),
    algorithm_version text,
    checked_at timestamptz,
    -- Null is overdue, not fine.
    next_check_date date,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    check (customer_id is not null or case_id is not null),
    check ((status = 'PENDING') = (checked_at is null)),
    check (check_type <> 'SANCTIONS' or status in ('PENDING', 'FAILED')
        or (list_name is not null and list_version is not null and list_sha256 is not null))
);
create index on kyc.aml_checks (customer_id);
create index on kyc.aml_checks (case_id);

create table kyc.aml_matches (
    aml_match_id uuid primary key,
    aml_check_id uuid not null references kyc.aml_checks,
    watchlist_entry_id uuid references kyc.watchlist_entries,
    -- The list's entry and name as they were, whatever becomes of the list.
    entry_ref text not null,
    matched_name text not null,
    score numeric(5, 2) not null check (score between 0 and 100 and score <> 'NaN'),
    status text not null default 'OPEN'
        check (status in ('OPEN', 'FALSE_POSITIVE', 'TRUE_POSITIVE')),
    reviewed_by text,
    reviewed_at timestamptz,
    reason text,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    unique (aml_check_id, entry_ref, matched_name),
    check (status = 'OPEN'
        or (reviewed_by is not null and reviewed_at is not null and reason is not null))
);

-- A group of alerts that somebody looks into. Nothing here says whether a report was made of it.
create table kyc.investigations (
    investigation_id uuid primary key,
    investigation_number text not null unique,
    customer_id uuid not null references customer.customers,
    status text not null default 'OPEN' check (status in ('OPEN', 'ESCALATED', 'CLOSED')),
    priority text not null default 'MEDIUM'
        check (priority in ('LOW', 'MEDIUM', 'HIGH', 'CRITICAL')),
    assigned_to text,
    opened_at timestamptz not null,
    due_on date not null,
    outcome text
        check (outcome in ('NO_ACTION', 'MONITORED', 'REFERRED', 'RELATIONSHIP_ENDED')),
    closed_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    check ((status = 'CLOSED') = (closed_at is not null)),
    check ((status = 'CLOSED') = (outcome is not null)),
    check (closed_at >= opened_at)
);
create index on kyc.investigations (customer_id);

create table kyc.alerts (
    alert_id uuid primary key,
    customer_id uuid not null references customer.customers,
    investigation_id uuid references kyc.investigations,
    alert_type text not null
        check (alert_type in ('SANCTIONS_MATCH', 'PEP_MATCH', 'ADVERSE_MEDIA', 'CASH_OVER_THRESHOLD',
            'STRUCTURING', 'UNUSUAL_ACTIVITY', 'VELOCITY', 'CARD_FRAUD', 'DOCUMENT_EXPIRED')),
    severity text not null check (severity in ('LOW', 'MEDIUM', 'HIGH', 'CRITICAL')),
    status text not null default 'OPEN'
        check (status in ('OPEN', 'IN_REVIEW', 'ESCALATED', 'CLOSED')),
    rule_version text not null,
    disposition text check (disposition in ('FALSE_POSITIVE', 'TRUE_POSITIVE', 'DUPLICATE')),
    raised_at timestamptz not null,
    assigned_to text,
    closed_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    check ((status = 'CLOSED') = (closed_at is not null)),
    check ((status = 'CLOSED') = (disposition is not null)),
    check (closed_at >= raised_at)
);
create index on kyc.alerts (customer_id);
create index on kyc.alerts (status, raised_at);

-- The rows that an alert was raised on.
create table kyc.alert_evidence (
    alert_evidence_id uuid primary key,
    alert_id uuid not null references kyc.alerts,
    source_table text not null check (source_table ~ '^[a-z]+\.[a-z_]+$'),
    source_id uuid not null,
    created_at timestamptz not null default now(),
    unique (alert_id, source_table, source_id)
);

-- Periods are half-open: [period_start, period_end). A restated report stays, and gives its place up.
create table kyc.regulatory_reports (
    regulatory_report_id uuid primary key,
    report_type text not null
        check (report_type in ('CURRENCY_TRANSACTIONS', 'LOAN_APPLICATION_REGISTER', 'CALL_REPORT',
            'CREDIT_REGISTER', 'SANCTIONS_BLOCKED_PROPERTY', 'COMPLAINTS')),
    jurisdiction text not null check (jurisdiction ~ '^[A-Z]{2}(-[A-Z0-9]{1,3})?$'),
    period_start date not null,
    period_end date not null,
    revision integer not null default 1 check (revision > 0),
    due_on date not null,
    status text not null default 'DRAFT'
        check (status in ('DRAFT', 'FROZEN', 'APPROVED', 'SUBMITTED', 'ACCEPTED', 'RESTATED')),
    row_count bigint check (row_count >= 0),
    -- What was reported can be built again from this version, to the same digest.
    silver_version text,
    content_sha256 text check (content_sha256 ~ '^[0-9a-f]{64}$'),
    prepared_by text not null,
    frozen_at timestamptz,
    approved_by text check (approved_by <> prepared_by),
    approved_at timestamptz,
    submitted_at timestamptz,
    submission_reference text,
    accepted_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    unique (report_type, jurisdiction, period_start, revision),
    constraint periods_do_not_overlap exclude using gist (
        report_type with =, jurisdiction with =, daterange(period_start, period_end, '[)') with &&
    ) where (status <> 'RESTATED'),
    check (period_end > period_start),
    check (due_on >= period_end),
    check (status = 'DRAFT'
        or (frozen_at is not null and silver_version is not null and content_sha256 is not null)),
    check (status in ('DRAFT', 'FROZEN') or (approved_by is not null and approved_at is not null)),
    check (status in ('DRAFT', 'FROZEN', 'APPROVED')
        or (submitted_at is not null and submission_reference is not null))
);

-- Suspicious-activity reports: who is told of one besides its officers breaks the law. Not captured.
create table restricted.suspicious_activity_reports (
    suspicious_activity_report_id uuid primary key,
    customer_id uuid not null references customer.customers,
    investigation_id uuid references kyc.investigations,
    continues_report_id uuid references restricted.suspicious_activity_reports,
    grounds text not null
        check (grounds in ('STRUCTURING', 'MONEY_LAUNDERING', 'FRAUD', 'IDENTITY_THEFT',
            'TERRORIST_FINANCING', 'INSIDER_ABUSE', 'OTHER')),
    has_suspect boolean not null,
    amount_minor bigint not null check (amount_minor > 0),
    currency char(3) not null check (currency ~ '^[A-Z]{3}$'),
    detected_on date not null,
    -- Thirty days from detection, sixty when no suspect is known.
    due_on date not null,
    status text not null default 'DRAFT' check (status in ('DRAFT', 'FILED', 'NOT_FILED')),
    narrative text,
    filed_at timestamptz,
    filing_reference text,
    decided_by text,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    check (due_on = detected_on + case when has_suspect then 30 else 60 end),
    check ((status = 'FILED') = (filed_at is not null)),
    check (status <> 'FILED' or (narrative is not null and filing_reference is not null)),
    check (status = 'DRAFT' or decided_by is not null)
);

-- What fair lending is tested with, and no decision may read. Not captured.
create table restricted.demographics (
    customer_id uuid primary key references customer.customers,
    ethnicity text
        check (ethnicity in ('HISPANIC', 'NOT_HISPANIC', 'NOT_PROVIDED')),
    race text
        check (race in ('ASIAN', 'BLACK', 'NATIVE_AMERICAN', 'PACIFIC_ISLANDER', 'WHITE', 'TWO_OR_MORE',
            'NOT_PROVIDED')),
    sex text check (sex in ('FEMALE', 'MALE', 'NOT_PROVIDED')),
    source text not null check (source in ('SELF_REPORTED', 'OBSERVED', 'PROXY')),
    collected_at timestamptz not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

-- How far a checklist has come, from its items.
create view kyc.checklist_progress with (security_invoker = true) as
select
    l.checklist_id,
    l.case_id,
    l.status,
    count(i.checklist_item_id) as total_items,
    count(i.checklist_item_id) filter (where i.status = 'COMPLETED') as completed_items,
    count(i.checklist_item_id) filter (where i.is_required) as required_items,
    count(i.checklist_item_id) filter (where i.is_required and i.status = 'COMPLETED')
        as completed_required_items,
    -- What was skipped is not open any more. No items at all is nothing done.
    round(coalesce(100.0 * count(i.checklist_item_id) filter (where i.status <> 'PENDING')
        / nullif(count(i.checklist_item_id), 0), 0), 2)::numeric(5, 2) as completion_percent,
    round(coalesce(100.0 * count(i.checklist_item_id)
            filter (where i.is_required and i.status <> 'PENDING')
        / nullif(count(i.checklist_item_id) filter (where i.is_required), 0), 0), 2)::numeric(5, 2)
        as required_completion_percent
from kyc.checklists l
left join kyc.checklist_items i on i.checklist_id = l.checklist_id
group by l.checklist_id, l.case_id, l.status;
