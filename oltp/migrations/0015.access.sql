-- Who may do what. Nobody has anything that is not granted here or in 0017 (functions and views of
-- personal data); schemas/access.yaml declares the same table by table, and tests hold both against
-- what Postgres really allows. Which rows a role sees of these tables is in 0016.
-- depends: 0014.capture

create temporary table houses on commit drop as
select
    oid,
    nspname
from pg_namespace
where nspname = any(array['customer', 'provider', 'credit', 'card', 'kyc', 'risk', 'ledger', 'audit',
    'ops', 'restricted', 'archive']);

-- Who makes partitions owns their table, and nothing else: the worker's clock may not create tables.
do $$
declare
    part regclass;
begin
    for part in select relid from pg_partition_tree('card.card_events') loop
        execute format('alter table %s owner to event_keeper', part);
    end loop;
end
$$;
alter function card.ensure_event_partitions(date, date) owner to event_keeper;

-- Objects belong to millrace_owner, save those that a keeper has been given already. Functions that
-- act with more than their caller's rights belong to the keeper of their schema, who has just what
-- they need. Nobody can log in as any of these.
do $$
declare
    thing record;
begin
    for thing in select nspname from houses loop
        execute format('alter schema %I owner to millrace_owner', thing.nspname);
        execute format('revoke all on schema %I from public', thing.nspname);
    end loop;
    for thing in
        select c.oid::regclass as name, c.relkind, pg_get_userbyid(c.relowner) as owner
        from pg_class c join houses h on h.oid = c.relnamespace
        where c.relkind in ('r', 'p', 'v', 'm')
    loop
        if thing.owner not like '%\_keeper' then
            execute format('alter table %s owner to millrace_owner', thing.name);
        end if;
        execute format('revoke all on %s from public', thing.name);
    end loop;
    for thing in
        select p.oid::regprocedure as name, h.nspname, p.prosecdef,
            pg_get_userbyid(p.proowner) as owner
        from pg_proc p join houses h on h.oid = p.pronamespace
    loop
        if thing.owner not like '%\_keeper' then
            execute format('alter routine %s owner to %I', thing.name,
                case when not thing.prosecdef then 'millrace_owner'
                    when thing.nspname = 'audit' then 'audit_keeper'
                    else 'ledger_keeper' end);
        end if;
        execute format('revoke all on routine %s from public', thing.name);
    end loop;
    for thing in
        select format('%I.%I', h.nspname, t.typname) as name
        from pg_type t join houses h on h.oid = t.typnamespace
        left join pg_class c on c.oid = t.typrelid
        where t.typtype in ('d', 'e') or c.relkind = 'c'
    loop
        execute format('alter type %s owner to millrace_owner', thing.name);
        execute format('revoke all on type %s from public', thing.name);
        -- The temporary tables that COPY goes through have columns of these types.
        execute format('grant usage on type %s to app_rw', thing.name);
    end loop;
    execute format('revoke all on database %I from public', current_database());
    execute format('grant connect on database %I to app_rw, cdc, migrator, portal, support,'
        ' pii_reader, auditor, audit_sealer, sar_officer, fair_lending', current_database());
    execute format('grant temporary on database %I to app_rw, migrator', current_database());
    execute format('grant create on database %I to millrace_owner', current_database());
end
$$;
revoke all on schema public from public;
-- What later migrations make starts closed as well.
alter default privileges revoke execute on routines from public;
alter default privileges revoke usage on types from public;
alter default privileges for role millrace_owner revoke execute on routines from public;
alter default privileges for role millrace_owner revoke usage on types from public;

-- --- app_rw: gateway, worker, importers, simulator ----------------------------------------------

grant usage on schema customer, provider, credit, card, kyc, risk, ledger, audit, ops to app_rw;
-- Business tables are read and added to, views are read. What may change has an updated_at: a table
-- without one holds facts. Exceptions follow.
do $$
declare
    thing record;
begin
    for thing in
        select c.oid::regclass as name,
            case when c.relkind = 'v' or h.nspname = 'ledger' then 'select'
                when exists (select from pg_attribute a
                    where a.attrelid = c.oid and a.attname = 'updated_at')
                then 'select, insert, update'
                else 'select, insert' end as actions
        from pg_class c join houses h on h.oid = c.relnamespace
        where c.relkind in ('r', 'p', 'v') and not c.relispartition
            and h.nspname not in ('audit', 'restricted', 'archive')
    loop
        execute format('grant %s on %s to app_rw', thing.actions, thing.name);
    end loop;
end
$$;
grant update on card.spend_counters, card.card_states, ops.heartbeat to app_rw;
grant update (known_at) on card.fraud_labels to app_rw;
grant execute on all routines in schema card, ledger to app_rw;
grant insert on ledger.accounts, ledger.entries, ledger.postings, ledger.statement_lines,
    ledger.reconciliation_runs, ledger.reconciliation_breaks to app_rw;
grant update on ledger.reconciliation_breaks to app_rw;
-- Balances move with postings and in no other way: not even a new row may bring one along.
do $$
declare
    thing record;
begin
    for thing in
        select format('%I.%I', table_schema, table_name) as name,
            string_agg(quote_ident(column_name), ', ') as free,
            string_agg(quote_ident(column_name), ', ')
                filter (where column_name not in ('account_id', 'credit_id', 'currency', 'created_at'))
                as changeable
        from information_schema.columns
        where (table_schema, table_name) in (('card', 'card_accounts'), ('credit', 'active_credits'))
            and column_name not in ('posted_minor', 'held_minor', 'outstanding_principal_minor')
        group by 1
    loop
        execute format('revoke insert, update on %s from app_rw', thing.name);
        execute format('grant insert (%s), update (%s) on %s to app_rw',
            thing.free, thing.changeable, thing.name);
    end loop;
end
$$;
-- What may go again, as long as no record refers to it.
grant delete on customer.customers, customer.account_holders, kyc.kyc_records,
    credit.applications, credit.offers, card.cards, card.spend_limits to app_rw;
-- Keys are brought in with their customer, and read by functions of their keeper only (0017).
revoke select on customer.subject_keys from app_rw;
grant select (customer_id, created_at, destroyed_at) on customer.subject_keys to app_rw;
revoke insert, update on customer.tenants from app_rw;
-- What became of a dead letter; not what it is.
grant update (last_seen_at, status, released_by, release_reason, released_at, released_after,
    released_offset) on ops.dead_letters to app_rw;
-- Events are inserted and deleted at once: the log has them, the table stays empty.
grant delete on ops.outbox to app_rw;
revoke insert on ops.event_schemas from app_rw;
grant insert on audit.api_access_logs to app_rw;
-- What fair lending is tested with is asked for at the application and never read there.
grant usage on schema restricted to app_rw;
grant insert on restricted.demographics to app_rw;

-- --- cdc: Debezium ------------------------------------------------------------------------------

-- What is published, and nothing else; REPLICATION alone gives no right to read a table.
do $$
declare
    thing record;
begin
    for thing in
        select format('%I.%I', schemaname, tablename) as name, schemaname
        from pg_publication_tables where pubname = 'millrace'
    loop
        execute format('grant usage on schema %I to cdc', thing.schemaname);
        execute format('grant select on %s to cdc', thing.name);
    end loop;
end
$$;
grant insert, update on ops.heartbeat to cdc;
grant insert on ops.signal to cdc;

-- --- portal: a customer's own app; its rows only (0016) -----------------------------------------

grant usage on schema customer, credit, card to portal;
grant select (customer_id, tenant_id, email_masked, phone_masked, birth_year, country, status,
    created_at, updated_at) on customer.customers to portal;
grant select on customer.account_holders, customer.permissions, credit.applications, credit.offers,
    credit.active_credits, credit.payments, card.card_accounts, card.cards, card.holds to portal;
-- Not why a rule fired: that would teach how to pass it.
grant select (authorization_id, card_id, account_id, amount_minor, currency, merchant_id, mcc,
    merchant_country, channel, decision, response_code, requested_at, decided_at)
    on card.authorizations to portal;

-- --- support: masked values ---------------------------------------------------------------------

grant usage on schema customer, credit, card, kyc, ops to support;
grant select (customer_id, tenant_id, external_ref, email_masked, phone_masked, birth_year, country,
    status, closed_at, created_at, updated_at) on customer.customers to support;
grant select (address_id, customer_id, kind, city, region, country, is_primary, created_at,
    updated_at) on customer.addresses to support;
grant select on customer.account_holders, customer.permissions, customer.documents,
    customer.sessions, customer.tenants, credit.applications, credit.offers, credit.active_credits,
    credit.payments, card.card_accounts, card.cards, card.holds, ops.notifications to support;
grant select (authorization_id, card_id, account_id, amount_minor, currency, merchant_id, mcc,
    merchant_country, channel, decision, response_code, reason_code, requested_at, decided_at)
    on card.authorizations to support;
grant select (kyc_record_id, customer_id, verification_type, status, verified_at, expires_at,
    created_at, updated_at) on kyc.kyc_records to support;

-- --- pii_reader: screening, notices; opens sealed values through 0017 ---------------------------

grant usage on schema customer to pii_reader;
grant select on customer.customers, customer.addresses to pii_reader;

-- --- auditor and sealer -------------------------------------------------------------------------

grant usage on schema audit to auditor, audit_sealer;
grant select on all tables in schema audit to auditor;
grant select on audit.changes to audit_sealer;
grant select, insert on audit.chain to audit_sealer;
grant execute on function audit.ensure_partitions(integer) to audit_sealer;

-- --- the restricted schema: suspicious activity, and demographics -------------------------------

grant usage on schema restricted, customer, kyc to sar_officer;
grant select, insert, update on restricted.suspicious_activity_reports to sar_officer;
grant select on kyc.investigations, kyc.alerts, kyc.alert_evidence to sar_officer;
grant select (customer_id, external_ref, birth_year, country, status, created_at)
    on customer.customers to sar_officer;
grant usage on schema restricted, customer, credit to fair_lending;
grant select on restricted.demographics, credit.applications, credit.offers,
    credit.adverse_action_notices, credit.adverse_action_reasons to fair_lending;
grant select (customer_id, birth_year, country) on customer.customers to fair_lending;

-- --- keepers: the owners of functions that act with their own rights ----------------------------

-- Moves balances, opens the ledger account of a new card account or credit, ends holds, reconciles.
grant usage on schema ledger, card, credit to ledger_keeper;
grant select on all tables in schema ledger, card, credit to ledger_keeper;
grant insert on ledger.accounts, ledger.credit_limits, ledger.entries, ledger.postings,
    ledger.reconciliation_runs, ledger.reconciliation_breaks, ledger.settlement_runs,
    ledger.settlement_breaks to ledger_keeper;
grant update on ledger.reconciliation_breaks, ledger.settlement_breaks, card.holds
    to ledger_keeper;
grant update (posted_minor, held_minor, updated_at) on card.card_accounts to ledger_keeper;
grant update (outstanding_principal_minor, updated_at) on credit.active_credits to ledger_keeper;
-- Ends holds (0009.hold_life), and follows what a reconciliation found.
grant update (status, captured_amount_minor, updated_at) on card.holds to ledger_keeper;
grant insert on card.card_events to ledger_keeper;
grant update on ledger.reconciliation_breaks to ledger_keeper;
grant execute on all routines in schema card to ledger_keeper;
grant execute on all routines in schema ledger, card to ledger_keeper;
-- Makes the months of card.card_events.
grant usage, create on schema card to event_keeper;
grant event_keeper to migrator;
grant usage on schema audit to audit_keeper;
grant execute on all routines in schema audit to audit_keeper;
-- Hands out wrapped keys, rotates and destroys them, and computes blind indexes anew.
grant usage on schema customer, credit, card, kyc, audit to key_keeper;
grant select on credit.applications, credit.active_credits, card.card_accounts, kyc.kyc_records,
    kyc.aml_checks, kyc.aml_matches, audit.legal_holds to key_keeper;
grant select, insert, update on customer.subject_keys to key_keeper;
grant select on customer.customers to key_keeper;
grant update (email_index, phone_index, national_id_index, updated_at)
    on customer.customers to key_keeper;
grant insert on audit.pii_access to key_keeper;
grant key_keeper to migrator;

-- --- partitions ---------------------------------------------------------------------------------

-- Reached through their table only: a partition has neither its row policies nor its triggers.
do $$
declare
    thing record;
begin
    for thing in
        select c.oid::regclass as name, g.grantee::regrole as grantee
        from pg_class c
        join houses h on h.oid = c.relnamespace
        cross join lateral (select distinct grantee from aclexplode(c.relacl)) g
        where c.relispartition and g.grantee <> c.relowner
    loop
        execute format('revoke all on %s from %s', thing.name, thing.grantee);
    end loop;
end
$$;
