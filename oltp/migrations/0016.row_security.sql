-- Which rows a role sees of what belongs to a customer. FORCE: not even the owner is exempt. A table
-- with row security shows nothing to a role that no policy names.
-- depends: 0015.access

-- A session says whose rows it is for: SET LOCAL app.tenant_id, and app.customer_id when it serves one
-- customer. What is unset, empty (as a pooled connection leaves it) or no id is nobody: no rows, and
-- no error either.
create function customer.session_id(setting text) returns uuid
language sql stable parallel safe
as $$
    select case
        when current_setting(setting, true)
            ~ '^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$'
        then current_setting(setting, true)::uuid
    end
$$;
alter function customer.session_id owner to millrace_owner;
revoke all on function customer.session_id from public;
grant execute on function customer.session_id to portal;

alter table customer.customers enable row level security, force row level security;
create policy own on customer.customers for select to portal
using (
    tenant_id = customer.session_id('app.tenant_id')
    and (coalesce(current_setting('app.customer_id', true), '') = ''
        or customer_id = customer.session_id('app.customer_id'))
);

-- Everything that refers to a customer, however far, belongs to that customer: a row is seen by
-- whoever sees the row it refers to. Of several ways the shortest and the required one is taken, so
-- that a look-up is one index step. The other roles see all rows of the tables they are granted.
do $$
declare
    step record;
    found_more boolean := true;
begin
    create temporary table reached on commit drop as
    select 'customer.customers'::regclass as belongs;
    while found_more loop
        found_more := false;
        -- The cursor sees what was reached before this round, so the shortest way wins.
        for step in
            select distinct on (c.oid) c.oid::regclass as belongs, f.confrelid::regclass as owner,
                quote_ident(a.attname) as reference, quote_ident(k.attname) as key
            from pg_constraint f
            join pg_class c
                on c.oid = f.conrelid and c.relkind in ('r', 'p') and not c.relispartition
            join pg_attribute a on a.attrelid = f.conrelid and a.attnum = f.conkey[1]
            join pg_attribute k on k.attrelid = f.confrelid and k.attnum = f.confkey[1]
            where f.contype = 'f' and cardinality(f.conkey) = 1
                and f.confrelid in (select belongs from reached)
                and f.conrelid not in (select belongs from reached)
            order by c.oid, f.confrelid <> 'customer.customers'::regclass, not a.attnotnull,
                f.conname
        loop
            found_more := true;
            insert into reached values (step.belongs);
            execute format(
                'alter table %s enable row level security, force row level security', step.belongs);
            execute format('create policy own on %s for select to portal'
                ' using (exists (select from %s owner where owner.%s = %s.%s))',
                step.belongs, step.owner, step.key, step.belongs, step.reference);
        end loop;
    end loop;
    for step in select belongs from reached loop
        execute format('create policy granted on %s to app_rw, cdc, support, pii_reader, auditor,'
            ' sar_officer, fair_lending, ledger_keeper, key_keeper, audit_keeper'
            ' using (true) with check (true)', step.belongs);
    end loop;
end
$$;
