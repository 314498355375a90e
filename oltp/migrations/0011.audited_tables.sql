-- The one list of what is audited, and the triggers that follow from it. A table of the business
-- schemas that is neither listed nor exempt fails a test (tests/oltp/test_audit_coverage.py).
-- depends: 0010.audit 0009.settlement

-- What is audited and how; EXEMPT says why a table is not.
create table audit.audited_tables (
    table_schema text not null,
    table_name text not null,
    mode text not null check (mode in ('ROWS', 'DIGEST', 'EXEMPT')),
    compliance_category text
        check (compliance_category in ('KYC', 'AML', 'DATA_PROTECTION', 'FINANCIAL')),
    severity text check (severity in ('LOW', 'MEDIUM', 'HIGH', 'CRITICAL')),
    reason text,
    primary key (table_schema, table_name),
    check ((mode = 'EXEMPT') = (reason is not null)),
    check ((mode = 'EXEMPT') = (compliance_category is null)),
    check ((mode = 'EXEMPT') = (severity is null))
);

-- Audits a table from now on; again after its key changed. TRUNCATE names no rows, so an audited
-- table refuses it: DELETE leaves a trace.
--
-- An update made by a trigger is not recorded again: it is ledger.post moving a balance, and the
-- postings that it follows from are recorded themselves.
create function audit.attach(audited regclass, mode text, compliance_category text, severity text)
returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    arguments text;
begin
    select string_agg(quote_literal(a), ', ' order by n) into arguments
    from (
        select a, n - 100 as n
        from unnest(array[mode, compliance_category, severity]) with ordinality given (a, n)
        union all
        select c.attname::text, k.n
        from pg_index i
        cross join unnest(i.indkey::smallint[]) with ordinality k (attnum, n)
        join pg_attribute c on c.attrelid = i.indrelid and c.attnum = k.attnum
        where i.indrelid = audited and i.indisprimary
    ) x;
    if not exists (select from pg_index where indrelid = audited and indisprimary) then
        raise exception '% has no primary key: its changes could not be told apart', audited;
    end if;
    execute format('create or replace trigger audit_insert after insert on %s referencing'
        ' new table as new_rows for each statement execute function audit.%I(%s)',
        audited, case mode when 'DIGEST' then 'record_batch' else 'record' end, arguments);
    execute format('create or replace trigger audit_update after update on %s referencing'
        ' old table as old_rows new table as new_rows for each statement'
        ' when (pg_trigger_depth() = 0) execute function audit.record(%s)', audited, arguments);
    execute format('create or replace trigger audit_delete after delete on %s referencing'
        ' old table as old_rows for each statement execute function audit.record(%s)',
        audited, arguments);
    execute format('create or replace trigger audit_truncate before truncate on %s'
        ' for each statement execute function audit.refuse_truncate()', audited);
end
$$;

create function audit.refuse_truncate() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    raise exception '%.% is audited: truncate is refused', tg_table_schema, tg_table_name
        using errcode = 'insufficient_privilege', schema = tg_table_schema, table = tg_table_name,
        hint = 'DELETE says which rows went; TRUNCATE says nothing.';
end
$$;

-- Attaches everything that audit.audited_tables lists. A table that is listed and not there is an
-- error.
create function audit.attach_all() returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    listed record;
begin
    for listed in select * from audit.audited_tables where mode <> 'EXEMPT' loop
        perform audit.attach(
            format('%I.%I', listed.table_schema, listed.table_name)::regclass,
            listed.mode, listed.compliance_category, listed.severity);
    end loop;
end
$$;

insert into audit.audited_tables
    (table_schema, table_name, mode, compliance_category, severity, reason)
values
    ('customer', 'customers', 'ROWS', 'DATA_PROTECTION', 'HIGH', null),
    ('customer', 'addresses', 'ROWS', 'DATA_PROTECTION', 'HIGH', null),
    ('customer', 'documents', 'ROWS', 'DATA_PROTECTION', 'HIGH', null),
    ('customer', 'permissions', 'ROWS', 'DATA_PROTECTION', 'HIGH', null),
    ('customer', 'account_holders', 'ROWS', 'DATA_PROTECTION', 'HIGH', null),
    ('customer', 'subject_keys', 'ROWS', 'DATA_PROTECTION', 'CRITICAL', null),
    ('customer', 'tenants', 'ROWS', 'DATA_PROTECTION', 'CRITICAL', null),
    ('provider', 'providers', 'ROWS', 'FINANCIAL', 'MEDIUM', null),
    ('provider', 'provider_products', 'ROWS', 'FINANCIAL', 'MEDIUM', null),
    ('provider', 'provider_rates', 'DIGEST', 'FINANCIAL', 'MEDIUM', null),
    ('provider', 'credentials', 'ROWS', 'DATA_PROTECTION', 'CRITICAL', null),
    ('provider', 'webhooks', 'ROWS', 'DATA_PROTECTION', 'HIGH', null),
    ('credit', 'applications', 'ROWS', 'FINANCIAL', 'HIGH', null),
    ('credit', 'offers', 'ROWS', 'FINANCIAL', 'HIGH', null),
    ('credit', 'offer_fees', 'ROWS', 'FINANCIAL', 'HIGH', null),
    ('credit', 'active_credits', 'ROWS', 'FINANCIAL', 'HIGH', null),
    ('credit', 'payments', 'ROWS', 'FINANCIAL', 'HIGH', null),
    ('credit', 'recoveries', 'ROWS', 'FINANCIAL', 'HIGH', null),
    ('credit', 'collateral_positions', 'ROWS', 'FINANCIAL', 'HIGH', null),
    ('credit', 'adverse_action_notices', 'ROWS', 'FINANCIAL', 'HIGH', null),
    ('credit', 'adverse_action_reasons', 'ROWS', 'FINANCIAL', 'HIGH', null),
    ('credit', 'provider_quotes', 'DIGEST', 'FINANCIAL', 'MEDIUM', null),
    ('credit', 'payment_receipts', 'DIGEST', 'FINANCIAL', 'MEDIUM', null),
    ('credit', 'receipt_allocations', 'DIGEST', 'FINANCIAL', 'MEDIUM', null),
    ('credit', 'credit_events', 'DIGEST', 'FINANCIAL', 'MEDIUM', null),
    ('kyc', 'kyc_records', 'ROWS', 'KYC', 'HIGH', null),
    ('kyc', 'partners', 'ROWS', 'KYC', 'HIGH', null),
    ('kyc', 'onboarding_cases', 'ROWS', 'KYC', 'HIGH', null),
    ('kyc', 'applicants', 'ROWS', 'KYC', 'HIGH', null),
    ('kyc', 'beneficial_owners', 'ROWS', 'KYC', 'HIGH', null),
    ('kyc', 'checklists', 'ROWS', 'KYC', 'HIGH', null),
    ('kyc', 'checklist_items', 'ROWS', 'KYC', 'HIGH', null),
    ('kyc', 'case_decisions', 'ROWS', 'KYC', 'HIGH', null),
    ('kyc', 'checklist_templates', 'ROWS', 'KYC', 'MEDIUM', null),
    ('kyc', 'checklist_template_items', 'ROWS', 'KYC', 'MEDIUM', null),
    ('kyc', 'watchlists', 'ROWS', 'AML', 'HIGH', null),
    ('kyc', 'watchlist_entries', 'ROWS', 'AML', 'HIGH', null),
    ('kyc', 'watchlist_aliases', 'ROWS', 'AML', 'HIGH', null),
    ('kyc', 'watchlist_addresses', 'ROWS', 'AML', 'HIGH', null),
    ('kyc', 'aml_checks', 'ROWS', 'AML', 'HIGH', null),
    ('kyc', 'aml_matches', 'ROWS', 'AML', 'HIGH', null),
    ('kyc', 'investigations', 'ROWS', 'AML', 'CRITICAL', null),
    ('kyc', 'alerts', 'ROWS', 'AML', 'CRITICAL', null),
    ('kyc', 'alert_evidence', 'ROWS', 'AML', 'CRITICAL', null),
    ('kyc', 'regulatory_reports', 'ROWS', 'AML', 'CRITICAL', null),
    ('risk', 'risk_assessments', 'ROWS', 'AML', 'HIGH', null),
    ('risk', 'risk_factors', 'ROWS', 'AML', 'HIGH', null),
    ('risk', 'bureau_scores', 'DIGEST', 'FINANCIAL', 'MEDIUM', null),
    ('card', 'programs', 'ROWS', 'FINANCIAL', 'HIGH', null),
    ('card', 'spend_limits', 'ROWS', 'FINANCIAL', 'HIGH', null),
    ('card', 'hold_periods', 'ROWS', 'FINANCIAL', 'HIGH', null),
    ('card', 'rule_versions', 'ROWS', 'FINANCIAL', 'HIGH', null),
    ('card', 'rule_changes', 'ROWS', 'FINANCIAL', 'HIGH', null),
    ('card', 'card_accounts', 'ROWS', 'FINANCIAL', 'HIGH', null),
    ('card', 'cards', 'ROWS', 'FINANCIAL', 'HIGH', null),
    ('card', 'holds', 'DIGEST', 'FINANCIAL', 'HIGH', null),
    ('card', 'disputes', 'ROWS', 'FINANCIAL', 'HIGH', null),
    ('card', 'positions', 'ROWS', 'FINANCIAL', 'HIGH', null),
    ('card', 'position_collaterals', 'ROWS', 'FINANCIAL', 'HIGH', null),
    ('card', 'merchants', 'ROWS', 'FINANCIAL', 'MEDIUM', null),
    ('card', 'authorizations', 'DIGEST', 'FINANCIAL', 'MEDIUM', null),
    ('card', 'clearing_files', 'ROWS', 'FINANCIAL', 'HIGH', null),
    ('card', 'clearing_totals', 'DIGEST', 'FINANCIAL', 'MEDIUM', null),
    ('card', 'clearing_lines', 'DIGEST', 'FINANCIAL', 'MEDIUM', null),
    ('card', 'card_messages', 'DIGEST', 'FINANCIAL', 'MEDIUM', null),
    ('card', 'clearings', 'DIGEST', 'FINANCIAL', 'MEDIUM', null),
    ('card', 'card_events', 'DIGEST', 'FINANCIAL', 'MEDIUM', null),
    ('card', 'cash_transactions', 'DIGEST', 'FINANCIAL', 'MEDIUM', null),
    ('card', 'position_events', 'DIGEST', 'FINANCIAL', 'MEDIUM', null),
    ('ledger', 'accounts', 'ROWS', 'FINANCIAL', 'HIGH', null),
    ('ledger', 'credit_limits', 'ROWS', 'FINANCIAL', 'HIGH', null),
    ('ledger', 'reconciliation_runs', 'ROWS', 'FINANCIAL', 'HIGH', null),
    ('ledger', 'reconciliation_breaks', 'ROWS', 'FINANCIAL', 'HIGH', null),
    ('ledger', 'settlement_runs', 'ROWS', 'FINANCIAL', 'HIGH', null),
    ('ledger', 'settlement_breaks', 'ROWS', 'FINANCIAL', 'HIGH', null),
    ('ledger', 'entries', 'DIGEST', 'FINANCIAL', 'HIGH', null),
    ('ledger', 'postings', 'DIGEST', 'FINANCIAL', 'HIGH', null),
    ('ledger', 'statement_lines', 'DIGEST', 'FINANCIAL', 'HIGH', null),
    ('restricted', 'suspicious_activity_reports', 'ROWS', 'AML', 'CRITICAL', null),
    ('restricted', 'demographics', 'ROWS', 'DATA_PROTECTION', 'CRITICAL', null),
    ('audit', 'pii_access', 'ROWS', 'DATA_PROTECTION', 'HIGH', null),
    ('audit', 'audited_tables', 'ROWS', 'DATA_PROTECTION', 'HIGH', null),
    ('customer', 'sessions', 'EXEMPT', null, null,
        'activity, not a decision: audit.api_access_logs has each request'),
    ('customer', 'key_requests', 'EXEMPT', null, null,
        'each row comes with rows of audit.pii_access, which are audited'),
    ('provider', 'rate_limits', 'EXEMPT', null, null, 'counters of calls, gone after 30 days'),
    ('card', 'spend_counters', 'EXEMPT', null, null,
        'derived from authorizations, which are audited'),
    ('card', 'card_states', 'EXEMPT', null, null, 'derived from authorizations, which are audited'),
    ('card', 'shadow_verdicts', 'EXEMPT', null, null,
        'derived from authorizations and rule versions, which are audited; nothing follows from it'),
    ('card', 'fraud_labels', 'EXEMPT', null, null,
        'truth for training and measuring; no decision reads it'),
    ('card', 'prices', 'EXEMPT', null, null, 'public market prices, append-only');

alter table audit.audited_tables owner to audit_keeper;
do $$ begin perform audit.attach_all(); end $$;
