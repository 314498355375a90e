-- How long records are kept, and what must be true of them: both as data. Neither table holds SQL:
-- names are checked against the catalog when they are written and quoted as identifiers when used.
-- depends: 0011.audited_tables

-- Rows that have outlived their keeping go here, in tables made when first needed. Nobody but the
-- owner reads it.
create schema archive;

-- While one is open, nothing of the customer or table is deleted, archived or anonymized.
create table audit.legal_holds (
    legal_hold_id uuid primary key default gen_random_uuid(),
    customer_id uuid references customer.customers,
    table_schema text,
    table_name text,
    reason text not null check (btrim(reason) <> ''),
    placed_by text not null check (btrim(placed_by) <> ''),
    placed_at timestamptz not null default now(),
    released_by text,
    released_at timestamptz,
    check ((customer_id is null) <> (table_name is null)),
    check ((table_schema is null) = (table_name is null)),
    check ((released_by is null) = (released_at is null)),
    check (released_at >= placed_at)
);
create index on audit.legal_holds (customer_id) where released_at is null;

-- A row is due when its anchor is older than the period: the anchor is the event that the law
-- counts from (an account closed, a report filed), in the row itself or in the row that
-- `link_column` points at. Without an anchor yet, a row is never due.
create table audit.retention_policies (
    retention_policy_id uuid primary key default gen_random_uuid(),
    name text not null unique check (name ~ '^[a-z][a-z0-9_]*$'),
    rule_version integer not null default 1 check (rule_version > 0),
    -- Children before parents.
    run_order integer not null,
    table_schema text not null,
    table_name text not null,
    anchor_schema text,
    anchor_table text,
    anchor_column text not null,
    link_column text,
    anchor_key text,
    -- Whose row it is, for legal holds: a column of the row, else of the anchor's row.
    subject_column text,
    period interval not null check (period > interval '0'),
    strategy text not null check (strategy in ('DELETE', 'ARCHIVE', 'ANONYMIZE')),
    -- What ANONYMIZE empties.
    anonymized_columns jsonb check (jsonb_typeof(anonymized_columns) = 'array'),
    basis text not null check (basis <> ''),
    is_active boolean not null default true,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    check ((anchor_table is null) = (link_column is null)),
    check ((anchor_table is null) = (anchor_key is null)),
    check ((anchor_table is null) = (anchor_schema is null)),
    check ((strategy = 'ANONYMIZE') = (anonymized_columns is not null)),
    check (table_schema not in ('audit', 'ledger') or table_name = 'api_access_logs')
);

-- Evidence of each policy's run, dry or not.
create table audit.retention_runs (
    retention_run_id uuid primary key default gen_random_uuid(),
    -- Policies that ran together.
    run_id uuid not null,
    policy_name text not null,
    rule_version integer not null,
    strategy text not null,
    is_dry_run boolean not null,
    as_of timestamptz not null,
    operator text not null check (btrim(operator) <> ''),
    status text not null check (status in ('DONE', 'FAILED')),
    rows_before bigint check (rows_before >= 0),
    rows_due bigint not null default 0 check (rows_due >= 0),
    rows_held bigint not null default 0 check (rows_held >= 0),
    rows_referenced bigint not null default 0 check (rows_referenced >= 0),
    rows_done bigint not null default 0 check (rows_done >= 0),
    rows_after bigint check (rows_after >= 0),
    -- What kept rows: {"credit.active_credits.offer_id": 12}.
    referenced_by jsonb not null default '{}',
    -- SHA-256 over the keys that went, one a line in order.
    keys_sha256 text check (keys_sha256 ~ '^[0-9a-f]{64}$'),
    archive_table text,
    error text,
    started_at timestamptz not null,
    finished_at timestamptz not null default clock_timestamp(),
    check ((status = 'FAILED') = (error is not null)),
    check (is_dry_run or status = 'FAILED' or rows_after is not null)
);

-- RANGE {"min": 0, "max": 100}
-- PATTERN {"regex": "^[A-Z]{3}$"}
-- REFERENCE {"table": "schema.table", "column": "key"}
-- SUM {"parts": ["a", "b"]}: the column is what its parts add up to, and null is not
-- EXISTS {"where": {"status": "OPEN"}, "table": "schema.table", "column": "key"}: such rows have
-- a row there
create table audit.quality_rules (
    quality_rule_id uuid primary key default gen_random_uuid(),
    name text not null unique check (name ~ '^[a-z][a-z0-9_]*$'),
    rule_version integer not null default 1 check (rule_version > 0),
    table_schema text not null,
    table_name text not null,
    column_name text not null,
    rule_type text not null
        check (rule_type in ('NOT_NULL', 'RANGE', 'PATTERN', 'REFERENCE', 'SUM', 'EXISTS')),
    rule_config jsonb not null default '{}' check (jsonb_typeof(rule_config) = 'object'),
    severity text not null default 'ERROR' check (severity in ('ERROR', 'WARNING', 'INFO')),
    is_active boolean not null default true,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

create table audit.quality_results (
    quality_result_id uuid primary key default gen_random_uuid(),
    run_id uuid not null,
    quality_rule_id uuid not null references audit.quality_rules,
    rule_version integer not null,
    checked_at timestamptz not null default clock_timestamp(),
    -- Never unknown: a rule that could not be evaluated has not passed, and `error` says why.
    passed boolean not null,
    record_count bigint not null default 0 check (record_count >= 0),
    failed_count bigint not null default 0 check (failed_count between 0 and record_count),
    success_rate numeric(7, 4) check (success_rate between 0 and 100),
    -- Keys of some failing rows, and the value masked.
    sample_failures jsonb not null default '[]',
    error text,
    check (not passed or (failed_count = 0 and error is null)),
    check ((error is not null) = (success_rate is null))
);
create index on audit.quality_results (quality_rule_id, checked_at);

-- Refuses names that are not in the catalog, when they are written.
create function audit.check_column(in_schema text, in_table text, in_column text, types text[])
returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    type_name text;
begin
    select format_type(a.atttypid, null) into type_name
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    where n.nspname = in_schema and c.relname = in_table and a.attname = in_column
        and c.relkind in ('r', 'p') and n.nspname not in ('pg_catalog', 'information_schema');
    if not found then
        raise exception 'there is no column %.%.%', in_schema, in_table, in_column
            using errcode = 'undefined_column';
    end if;
    if types is not null and type_name <> all (types) then
        raise exception '%.%.% is of type %, wanted is one of: %', in_schema, in_table, in_column,
            type_name, array_to_string(types, ', ') using errcode = 'datatype_mismatch';
    end if;
end
$$;

create function audit.check_retention_policy() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    anonymized text;
begin
    perform audit.check_column(coalesce(new.anchor_schema, new.table_schema),
        coalesce(new.anchor_table, new.table_name), new.anchor_column,
        array['date', 'timestamp with time zone']);
    if new.anchor_table is not null then
        perform audit.check_column(new.table_schema, new.table_name, new.link_column, null);
        perform audit.check_column(new.anchor_schema, new.anchor_table, new.anchor_key, null);
    end if;
    if new.subject_column is not null then
        begin
            perform audit.check_column(new.table_schema, new.table_name, new.subject_column,
                array['uuid']);
        exception when undefined_column then
            perform audit.check_column(coalesce(new.anchor_schema, new.table_schema),
                coalesce(new.anchor_table, new.table_name), new.subject_column, array['uuid']);
        end;
    end if;
    for anonymized in select jsonb_array_elements_text(new.anonymized_columns) loop
        perform audit.check_column(new.table_schema, new.table_name, anonymized, null);
        if (select a.attnotnull from pg_attribute a
            where a.attrelid = format('%I.%I', new.table_schema, new.table_name)::regclass
                and a.attname = anonymized) then
            raise exception '%.%.% cannot be emptied: it is not null', new.table_schema,
                new.table_name, anonymized using errcode = 'not_null_violation';
        end if;
    end loop;
    return new;
end
$$;
create trigger check_names before insert or update on audit.retention_policies
    for each row execute function audit.check_retention_policy();

create function audit.check_quality_rule() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    config constant jsonb := new.rule_config;
    other constant text[] := string_to_array(config ->> 'table', '.');
    name text;
begin
    perform audit.check_column(new.table_schema, new.table_name, new.column_name, null);
    if new.rule_type in ('REFERENCE', 'EXISTS') then
        perform audit.check_column(other[1], other[2], config ->> 'column', null);
    end if;
    for name in
        select jsonb_array_elements_text(config -> 'parts')
        union all select jsonb_object_keys(config -> 'where')
    loop
        perform audit.check_column(new.table_schema, new.table_name, name, null);
    end loop;
    if not (case new.rule_type
        when 'NOT_NULL' then config = '{}'
        when 'RANGE' then config ?| array['min', 'max'] and config - 'min' - 'max' = '{}'
        when 'PATTERN' then jsonb_typeof(config -> 'regex') = 'string' and config - 'regex' = '{}'
        when 'REFERENCE' then config - 'table' - 'column' = '{}'
        when 'SUM' then jsonb_array_length(config -> 'parts') > 0 and config - 'parts' = '{}'
        when 'EXISTS' then config - 'table' - 'column' - 'where' = '{}'
        end is true) then
        raise exception 'rule %: % does not fit a rule of type %', new.name, config, new.rule_type
            using errcode = 'check_violation';
    end if;
    if new.rule_type = 'PATTERN' then
        -- A pattern that is none fails here and not in every run.
        perform '' ~ (config ->> 'regex');
    end if;
    return new;
end
$$;
create trigger check_names before insert or update on audit.quality_rules
    for each row execute function audit.check_quality_rule();

create trigger append_only before update or delete on audit.retention_runs
    for each row execute function audit.refuse_change();
create trigger append_only before update or delete on audit.quality_results
    for each row execute function audit.refuse_change();
insert into audit.audited_tables values
    ('audit', 'legal_holds', 'ROWS', 'DATA_PROTECTION', 'CRITICAL', null),
    ('audit', 'retention_policies', 'ROWS', 'DATA_PROTECTION', 'HIGH', null),
    ('audit', 'retention_runs', 'ROWS', 'DATA_PROTECTION', 'HIGH', null),
    ('audit', 'quality_rules', 'ROWS', 'FINANCIAL', 'MEDIUM', null);
do $$ begin perform audit.attach_all(); end $$;

insert into audit.retention_policies (name, run_order, table_schema, table_name, anchor_schema,
    anchor_table, anchor_column, link_column, anchor_key, subject_column, period, strategy,
    anonymized_columns, basis)
values
    ('api_access_logs', 10, 'audit', 'api_access_logs', null, null, 'occurred_at', null, null,
        'customer_id', '90 days', 'DELETE', null, 'security policy: 90 days from the request'),
    ('rate_limits', 10, 'provider', 'rate_limits', null, null, 'updated_at', null, null, null,
        '30 days', 'DELETE', null, 'policy: 30 days after the last call'),
    ('sessions', 10, 'customer', 'sessions', null, null, 'last_seen_at', null, null,
        'customer_id', '90 days', 'DELETE', null, 'security policy: 90 days from the last use'),
    ('adverse_action_reasons', 20, 'credit', 'adverse_action_reasons', 'credit',
        'adverse_action_notices', 'sent_at', 'adverse_action_notice_id',
        'adverse_action_notice_id', 'customer_id', '25 months', 'ARCHIVE', null,
        'ECOA 12 CFR 1002.12(b): 25 months from the notice'),
    ('adverse_action_notices', 30, 'credit', 'adverse_action_notices', null, null, 'sent_at',
        null, null, 'customer_id', '25 months', 'ARCHIVE', null,
        'ECOA 12 CFR 1002.12(b): 25 months from the notice'),
    ('applications', 40, 'credit', 'applications', null, null, 'decided_at', null, null,
        'customer_id', '26 months', 'ARCHIVE', null,
        'ECOA 12 CFR 1002.12(b): 25 months from the notice, which may take 30 days'),
    ('kyc_records', 20, 'kyc', 'kyc_records', 'customer', 'customers', 'closed_at', 'customer_id',
        'customer_id', 'customer_id', '5 years', 'ARCHIVE', null,
        'CIP 31 CFR 1020.220: 5 years from the account closed'),
    ('documents', 20, 'customer', 'documents', 'customer', 'customers', 'closed_at',
        'customer_id', 'customer_id', 'customer_id', '5 years', 'DELETE', null,
        'CIP 31 CFR 1020.220: 5 years from the account closed'),
    ('aml_matches', 20, 'kyc', 'aml_matches', 'kyc', 'aml_checks', 'checked_at', 'aml_check_id',
        'aml_check_id', 'customer_id', '10 years', 'ARCHIVE', null,
        '31 CFR 501.601: 10 years from the transaction'),
    ('aml_checks', 30, 'kyc', 'aml_checks', null, null, 'checked_at', null, null, 'customer_id',
        '10 years', 'ARCHIVE', null, '31 CFR 501.601: 10 years from the transaction'),
    ('regulatory_reports', 20, 'kyc', 'regulatory_reports', null, null, 'submitted_at', null, null,
        null, '5 years', 'ARCHIVE', null, '31 CFR 1010.430: 5 years from the filing'),
    ('suspicious_activity_reports', 20, 'restricted', 'suspicious_activity_reports', null, null,
        'filed_at', null, null, 'customer_id', '5 years', 'ARCHIVE', null,
        '31 CFR 1020.320: 5 years from the filing'),
    ('payments', 20, 'credit', 'payments', 'credit', 'active_credits', 'closed_on', 'credit_id',
        'credit_id', 'customer_id', '7 years', 'ARCHIVE', null,
        'policy (limitation, tax): 7 years from paid off or charged off'),
    ('customers', 90, 'customer', 'customers', null, null, 'closed_at', null, null, 'customer_id',
        '7 years', 'ANONYMIZE', '["full_name", "email", "phone", "national_id", "birth_date",
        "email_masked", "phone_masked", "birth_year", "email_index", "phone_index",
        "national_id_index", "external_ref"]',
        'policy: the facts stay, whose they were goes 7 years after closing');

-- The first three are S0's.
insert into audit.quality_rules (name, table_schema, table_name, column_name, rule_type,
    rule_config, severity)
values
    ('orphaned_offers', 'credit', 'offers', 'application_id', 'REFERENCE',
        '{"table": "credit.applications", "column": "application_id"}', 'ERROR'),
    ('invalid_payment_amounts', 'credit', 'payments', 'due_amount_minor', 'SUM',
        '{"parts": ["principal_minor", "interest_minor"]}', 'ERROR'),
    ('missing_kyc_records', 'card', 'card_accounts', 'customer_id', 'EXISTS',
        '{"where": {"status": "ACTIVE"}, "table": "kyc.kyc_records", "column": "customer_id"}',
        'ERROR'),
    ('customers_have_an_email', 'customer', 'customers', 'email', 'NOT_NULL', '{}', 'WARNING'),
    ('risk_scores_in_range', 'kyc', 'kyc_records', 'risk_score', 'RANGE',
        '{"min": 0, "max": 100}', 'ERROR'),
    ('mcc_has_four_digits', 'card', 'merchants', 'mcc', 'PATTERN', '{"regex": "^[0-9]{4}$"}',
        'WARNING');

-- What 0015 grants for this: auditor reads all of it, app_rw inserts legal holds if it must.
-- `millrace retention run` and `millrace quality run` work as the owner.
