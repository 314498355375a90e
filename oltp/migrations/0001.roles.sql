-- Roles and schemas of the operational database. No role is a superuser and none has a password here:
-- `millrace up` sets generated passwords, an operator sets theirs. What each role may do is in 0015.
-- Roles are cluster-wide, so each is made only when the cluster does not have it yet.

do $$
declare
    name text;
begin
    -- Who owns objects and functions: nobody can log in as these.
    foreach name in array array['millrace_owner', 'ledger_keeper', 'audit_keeper', 'key_keeper',
        'event_keeper'] loop
        if not exists (select from pg_roles where rolname = name) then
            execute format('create role %I nologin', name);
        end if;
    end loop;
    -- app_rw: gateway, worker, importers, simulator. portal: what a customer's own app reads.
    -- support: masked reads. pii_reader: opens sealed values, one audited call each.
    -- auditor: reads the audit, writes nothing. audit_sealer: chains it.
    -- sar_officer and fair_lending: alone with the restricted schema.
    foreach name in array array['app_rw', 'portal', 'support', 'pii_reader', 'auditor', 'audit_sealer',
        'sar_officer', 'fair_lending'] loop
        if not exists (select from pg_roles where rolname = name) then
            execute format('create role %I login', name);
        end if;
    end loop;
    -- Applies migrations: becomes the owner, and owns nothing itself.
    if not exists (select from pg_roles where rolname = 'migrator') then
        create role migrator login createrole in role millrace_owner;
    end if;
    -- REPLICATION is what logical decoding needs.
    if not exists (select from pg_roles where rolname = 'cdc') then
        create role cdc login replication;
    end if;
end
$$;

create schema customer;
create schema provider;
create schema credit;
create schema card;
create schema kyc;
create schema risk;
create schema ledger;
create schema audit;
create schema ops;
-- Suspicious-activity reports and demographics: confidential by law, and read by two roles only.
create schema restricted;
