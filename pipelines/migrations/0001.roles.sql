-- Roles and schemas of the warehouse. No role is a superuser and none has a password here:
-- `millrace up` sets generated ones, an operator sets theirs. Roles are cluster-wide.
-- warehouse_rw publishes silver and builds gold; analyst reads gold and what says how complete it is.

do $$
begin
    if not exists (select from pg_roles where rolname = 'warehouse_rw') then
        create role warehouse_rw login;
    end if;
    if not exists (select from pg_roles where rolname = 'analyst') then
        create role analyst login;
    end if;
    -- dbt makes a schema of its own when it is told to build beside the live one.
    execute format('grant connect, create, temporary on database %I to warehouse_rw', current_database());
    execute format('grant connect on database %I to analyst', current_database());
    execute format('revoke temporary on database %I from public', current_database());
end
$$;

create schema control;
create schema silver authorization warehouse_rw;
create schema staging authorization warehouse_rw;
create schema gold_credit authorization warehouse_rw;
create schema gold_compliance authorization warehouse_rw;

grant usage on schema control to warehouse_rw, analyst;
grant usage on schema gold_credit, gold_compliance to analyst;

-- What dbt builds later is readable without another grant; silver and staging stay closed.
alter default privileges for role warehouse_rw in schema gold_credit
    grant select on tables to analyst;
alter default privileges for role warehouse_rw in schema gold_compliance
    grant select on tables to analyst;
