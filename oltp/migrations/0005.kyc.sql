-- Who a customer is: checks of identity, onboarding cases of persons and companies, their checklists
-- and decisions. Personal values are sealed.
-- depends: 0004.credit

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
from kyc.checklists as l
left join kyc.checklist_items as i on l.checklist_id = i.checklist_id
group by l.checklist_id, l.case_id, l.status;
