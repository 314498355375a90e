-- Roles of the operational database. None is a superuser and none has a password here:
-- `millrace up` sets generated passwords, an operator sets theirs.
-- Roles are cluster-wide, so each is made only when the cluster does not have it yet.

do $$
begin
    if not exists (select from pg_roles where rolname = 'app_rw') then
        create role app_rw login;
    end if;
    -- REPLICATION is what logical decoding needs; SELECT comes table by table in 0005.
    if not exists (select from pg_roles where rolname = 'cdc') then
        create role cdc login replication;
    end if;
end
$$;

create schema customer;
create schema credit;
create schema card;
create schema kyc;
create schema ledger;
create schema ops;

grant usage on schema customer, credit, card, kyc, ledger, ops to app_rw;
grant usage on schema customer, credit, card, kyc, ledger, ops to cdc;
