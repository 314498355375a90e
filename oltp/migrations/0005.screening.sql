-- Whether the lender may deal with a customer: published lists, searches of them, alerts,
-- investigations, reports to regulators, and what only two roles may read.
-- depends: 0005.kyc

-- Equality and ranges in one exclusion constraint: reports of a kind do not overlap.
create extension if not exists btree_gist with schema public;

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
