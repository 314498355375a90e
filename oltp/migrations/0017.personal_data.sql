-- Masked views, and the only ways to a customer's key.
-- depends: 0016.row_security

-- security_invoker: the caller's own grants and row policies count, not the view owner's. So a view
-- shows nobody more than its tables do, and nobody is named in it.
create view customer.customers_masked with (security_invoker = true, security_barrier = true) as
select
    customer_id,
    tenant_id,
    external_ref,
    email_masked as email,
    phone_masked as phone,
    birth_year,
    country,
    status,
    closed_at,
    created_at,
    updated_at
from customer.customers;

create view customer.addresses_masked with (security_invoker = true, security_barrier = true) as
select
    address_id,
    customer_id,
    kind,
    city,
    region,
    country,
    is_primary,
    created_at,
    updated_at
from customer.addresses;

-- A request to open sealed values. It is committed, with its audit rows, before the key is handed
-- out: a reader who rolls back has read nothing.
create table customer.key_requests (
    key_request_id uuid primary key default gen_random_uuid(),
    customer_id uuid not null references customer.customers,
    reader text not null,
    requested_xid xid8 not null default pg_current_xact_id(),
    requested_at timestamptz not null default clock_timestamp()
);
create index on customer.key_requests (customer_id);

-- First step: says whose which fields will be opened and why. Refused without a reason.
create function customer.request_subject_key(customer uuid, fields text[], reason text) returns uuid
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    request uuid;
begin
    if coalesce(btrim(reason), '') = '' then
        raise exception 'opening personal data needs a reason' using errcode = 'check_violation';
    end if;
    if coalesce(cardinality(fields), 0) = 0 then
        raise exception 'opening personal data needs the fields to open'
            using errcode = 'check_violation';
    end if;
    insert into audit.pii_access (customer_id, field, purpose, actor, actor_role, client_ip,
        correlation_id)
    select customer, f, reason,
        coalesce(nullif(btrim(current_setting('app.actor', true)), ''), session_user), session_user,
        inet_client_addr(), nullif(current_setting('app.correlation_id', true), '')
    from unnest(fields) f;
    insert into customer.key_requests (customer_id, reader) values (customer, session_user)
    returning key_request_id into request;
    return request;
end
$$;

-- Second step, in a later transaction: the wrapped key. It opens only with a key that is not in this
-- database.
create function customer.open_subject_key(request uuid)
returns table (customer_id uuid, wrapped_key bytea, kek_version integer)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
begin
    return query
    select k.customer_id, k.wrapped_key, k.kek_version
    from customer.key_requests r join customer.subject_keys k using (customer_id)
    where r.key_request_id = request and r.reader = session_user
        and r.requested_xid is distinct from pg_current_xact_id_if_assigned()
        and r.requested_at > clock_timestamp() - interval '5 minutes'
        and k.wrapped_key is not null;
    if not found then
        raise exception 'no key for request %', request using errcode = 'insufficient_privilege',
            hint = 'A request is committed before it is used, by who made it, within 5 minutes;'
                ' a destroyed key is gone.';
    end if;
end
$$;

-- Erasure: without its key nothing sealed for the customer can be read again, wherever a copy of it
-- is. Refused as long as the law wants the records readable.
create function customer.destroy_subject_key(customer uuid, reason text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    why text := customer.retained_because(customer);
begin
    if coalesce(btrim(reason), '') = '' then
        raise exception 'destroying a key needs a reason' using errcode = 'check_violation';
    end if;
    if why is not null then
        raise exception 'the key of customer % stays: %', customer, why
            using errcode = 'restrict_violation', schema = 'customer', table = 'subject_keys';
    end if;
    insert into audit.pii_access (customer_id, field, purpose, actor, actor_role)
    values (customer, 'key destroyed', reason,
        coalesce(nullif(btrim(current_setting('app.actor', true)), ''), session_user), session_user);
    update customer.subject_keys k
    set wrapped_key = null, destroyed_at = coalesce(k.destroyed_at, now())
    where k.customer_id = customer;
    if not found then
        raise exception 'customer % has no key', customer using errcode = 'no_data_found';
    end if;
end
$$;

-- What keeps a customer's records, or null when nothing does: a legal hold before everything, then the
-- relation and five years after it, then what is kept for a time from an event of its own.
create function customer.retained_because(customer uuid) returns text
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    ended timestamptz;
begin
    if exists (
        select from audit.legal_holds h where h.customer_id = customer and h.released_at is null
    ) then
        return 'a legal hold is open';
    end if;
    select c.closed_at into ended from customer.customers c where c.customer_id = customer;
    if exists (select from credit.active_credits c where c.customer_id = customer)
        or exists (select from card.card_accounts a where a.customer_id = customer)
        or exists (select from kyc.kyc_records r where r.customer_id = customer) then
        if ended is null then
            return 'the relation has not ended';
        end if;
        if ended > now() - interval '5 years' then
            return format('records are kept until %s (31 CFR 1010.430, five years)',
                (ended + interval '5 years')::date);
        end if;
    end if;
    if exists (
        select from credit.applications a
        where a.customer_id = customer
            and coalesce(a.decided_at, a.submitted_at) > now() - interval '25 months'
    ) then
        return 'an application is kept for 25 months (12 CFR 1002.12)';
    end if;
    if exists (
        select from kyc.aml_matches m join kyc.aml_checks c using (aml_check_id)
        where c.customer_id = customer and m.status <> 'FALSE_POSITIVE'
            and coalesce(c.checked_at, c.created_at) > now() - interval '10 years'
    ) then
        return 'a sanctions match is kept for ten years (31 CFR 501.601)';
    end if;
    return null;
end
$$;

do $$
declare
    name text;
begin
    alter table customer.key_requests owner to millrace_owner;
    alter view customer.customers_masked owner to millrace_owner;
    alter view customer.addresses_masked owner to millrace_owner;
    alter table customer.key_requests enable row level security, force row level security;
    create policy granted on customer.key_requests to key_keeper using (true) with check (true);
    foreach name in array array['request_subject_key(uuid, text[], text)', 'open_subject_key(uuid)',
        'destroy_subject_key(uuid, text)', 'retained_because(uuid)'] loop
        execute format('alter function customer.%s owner to key_keeper', name);
        execute format('revoke all on function customer.%s from public', name);
    end loop;
end
$$;
grant select, insert on customer.key_requests to key_keeper;
grant execute on function customer.request_subject_key, customer.open_subject_key to pii_reader;
-- Destroying is an operator's act: migrator may, as a member of the keeper.
grant select on customer.customers_masked, customer.addresses_masked to support;
