-- Who changed what, when and why: one append-only table, written in the transaction that it is
-- about and chained afterwards.
--
-- Why writers never queue: an entry that carried its predecessor's hash would make every
-- transaction wait for the one before it to commit. So a writer only adds rows here, numbered by a
-- sequence (which leaves a gap when a transaction rolls back). One sealer takes the changes of
-- finished transactions, in an order that can no longer change, and writes audit.chain beside them:
-- numbers without gaps, each hash over the hash before it and all fields of the change
-- (oltp/audit/canonical.py). Signed checkpoints of the chain's head are kept outside the database.
-- depends: 0009.decide_and_hold

create table audit.changes (
    change_id bigint generated always as identity,
    -- The transaction; one that is not finished yet is not sealed yet.
    txid xid8 not null default pg_current_xact_id(),
    occurred_at timestamptz not null default clock_timestamp(),
    table_schema text not null,
    table_name text not null,
    -- BATCH: one row for a whole statement, known by its count and digest.
    operation text not null
        check (operation in ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'BATCH')),
    batch_of text check (batch_of in ('INSERT', 'UPDATE', 'DELETE')),
    -- Primary key of the row; a batch has none.
    row_key jsonb,
    -- The whole row of an insert or delete; of an update only what changed. Personal values are
    -- sealed tokens in the tables, so they are here.
    old_values jsonb,
    new_values jsonb,
    -- ["status", "updated_at"]: the columns that an update changed, and no other.
    changed_fields jsonb check (jsonb_typeof(changed_fields) = 'array'),
    row_count bigint not null default 1 check (row_count > 0),
    digest bytea check (octet_length(digest) = 32),
    -- What the session says of itself; what it does not say is null, never an error.
    actor text default nullif(current_setting('app.actor', true), ''),
    acting_as text default nullif(current_setting('app.role', true), ''),
    -- What the session cannot choose: the role that logged in.
    actor_role text not null default session_user,
    client_ip inet,
    -- The address as it was said, where it is none.
    client_ip_said text,
    user_agent text default nullif(current_setting('app.user_agent', true), ''),
    correlation_id text default nullif(current_setting('app.correlation_id', true), ''),
    reason text default nullif(current_setting('app.reason', true), ''),
    severity text not null check (severity in ('LOW', 'MEDIUM', 'HIGH', 'CRITICAL')),
    compliance_category text not null
        check (compliance_category in ('KYC', 'AML', 'DATA_PROTECTION', 'FINANCIAL')),
    primary key (change_id, occurred_at),
    check ((operation = 'BATCH') = (batch_of is not null)),
    check ((operation = 'BATCH') = (digest is not null))
) partition by range (occurred_at);
create index on audit.changes (txid, change_id);
create index on audit.changes using hash (row_key);
-- A month that nobody made ahead refuses nothing.
create table audit.changes_default partition of audit.changes default;

create table audit.chain (
    -- From 1, without gaps: a missing number is a missing entry.
    seq bigint primary key check (seq > 0),
    change_id bigint not null,
    occurred_at timestamptz not null,
    txid xid8 not null,
    hash bytea not null check (octet_length(hash) = 32),
    sealed_at timestamptz not null default now()
);

-- One row a request; pruned by its retention policy.
create table audit.api_access_logs (
    access_id uuid not null default gen_random_uuid(),
    request_id text not null,
    tenant_id uuid,
    api_key_id uuid,
    actor text,
    customer_id uuid,
    client_ip inet,
    user_agent text,
    method text not null check (method ~ '^[A-Z]{3,10}$'),
    path text not null,
    -- Names and values as logged: personal values masked before they get here.
    query_params jsonb,
    request_bytes bigint check (request_bytes >= 0),
    response_status integer check (response_status between 100 and 599),
    response_ms integer check (response_ms >= 0),
    error text,
    correlation_id text,
    occurred_at timestamptz not null default now(),
    primary key (access_id, occurred_at)
) partition by range (occurred_at);
create index on audit.api_access_logs (occurred_at);
create index on audit.api_access_logs (customer_id) where customer_id is not null;
create table audit.api_access_logs_default partition of audit.api_access_logs default;

-- Who opened whose sealed value, and why: written before the value is handed out.
create table audit.pii_access (
    pii_access_id uuid primary key default gen_random_uuid(),
    customer_id uuid not null,
    field text not null check (field <> ''),
    purpose text not null check (btrim(purpose) <> ''),
    actor text not null check (btrim(actor) <> ''),
    actor_role text not null default session_user,
    client_ip inet,
    correlation_id text,
    accessed_at timestamptz not null default clock_timestamp()
);
create index on audit.pii_access (customer_id, accessed_at);

-- Append-only holds for everybody, the owner too. Row triggers follow the rows into partitions;
-- statement triggers do not, so each partition gets its own against TRUNCATE.
create function audit.refuse_change() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    raise exception '%.% is append-only: % is refused', tg_table_schema, tg_table_name, lower(tg_op)
        using errcode = 'insufficient_privilege', schema = tg_table_schema, table = tg_table_name;
end
$$;
create trigger append_only before update or delete on audit.changes
    for each row execute function audit.refuse_change();
create trigger no_truncate before truncate on audit.changes
    for each statement execute function audit.refuse_change();
create trigger no_truncate before truncate on audit.changes_default
    for each statement execute function audit.refuse_change();
create trigger append_only before update or delete on audit.chain
    for each row execute function audit.refuse_change();
create trigger no_truncate before truncate on audit.chain
    for each statement execute function audit.refuse_change();
create trigger append_only before update or delete on audit.pii_access
    for each row execute function audit.refuse_change();
create trigger no_truncate before truncate on audit.pii_access
    for each statement execute function audit.refuse_change();
-- Its retention policy deletes from it; nobody edits it.
create trigger no_edit before update on audit.api_access_logs
    for each row execute function audit.refuse_change();

-- An address, or null where the text is none.
create function audit.as_inet(said text) returns inet
language plpgsql strict immutable set search_path = pg_catalog, pg_temp as $$
begin
    return said::inet;
exception when invalid_text_representation then
    return null;
end
$$;
alter table audit.changes
    alter client_ip set default audit.as_inet(nullif(current_setting('app.client_ip', true), '')),
    alter client_ip_said set default
        case when audit.as_inet(nullif(current_setting('app.client_ip', true), '')) is null
            then nullif(current_setting('app.client_ip', true), '') end;

-- Writes what one statement did. Arguments of the trigger: mode, category, severity, key columns.
-- Small statements leave a row for each changed row. A statement of more than 1,000 rows, and every
-- insert into a DIGEST table (audit.record_batch), leaves one BATCH row: the count, and a digest that
-- does not depend on the rows' order (of an update SHA-256 of the digests before and after). An update
-- that changes nothing leaves nothing. A changed key is a delete and an insert, as capture sees it.
--
-- The digest is the SHA-256 of the rows' SHA-256 put together in their order. A row is hashed as Postgres
-- sends it in binary, which no setting of a session changes. Above 1,000 rows it is in two steps, so
-- that memory stays small: hashes are put together and hashed by their first byte, then those 256.
create function audit.record() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set jit = off set timezone = 'UTC' set datestyle = 'ISO' set bytea_output = 'hex' as $$
declare
    keys constant text[] := tg_argv[3:];
    most constant integer := 1000;
    is_large boolean;
    before record;
    after record;
    batch record;
begin
    if tg_op = 'UPDATE' then
        is_large := (select count(*) > most from (select from new_rows limit most + 1) n);
        if not is_large then
            insert into audit.changes (table_schema, table_name, operation, row_key, old_values,
                new_values, changed_fields, compliance_category, severity)
            select tg_table_schema, tg_table_name,
                case when o.row is null then 'INSERT' when n.row is null then 'DELETE'
                    else 'UPDATE' end,
                coalesce(n.key, o.key),
                case when n.row is null then o.row else d.old_values end,
                case when o.row is null then n.row else d.new_values end,
                d.changed_fields, tg_argv[1], tg_argv[2]
            from (select to_jsonb(the_row) as row, audit.key_of(to_jsonb(the_row), keys) as key
                from old_rows the_row) o
            full join (select to_jsonb(the_row) as row, audit.key_of(to_jsonb(the_row), keys) as key
                from new_rows the_row) n on n.key = o.key
            left join lateral (
                select jsonb_object_agg(b.key, b.value) as old_values,
                    jsonb_object_agg(b.key, a.value) as new_values,
                    jsonb_agg(b.key order by b.key collate "C") as changed_fields
                from jsonb_each(o.row) b join jsonb_each(n.row) a on a.key = b.key
                where a.value is distinct from b.value
            ) d on o.row is not null and n.row is not null
            where o.row is distinct from n.row;
            return null;
        end if;
    elsif tg_op = 'INSERT' then
        is_large := (select count(*) > most from (select from new_rows limit most + 1) n);
        if not is_large then
            insert into audit.changes (table_schema, table_name, operation, row_key, new_values,
                compliance_category, severity)
            select tg_table_schema, tg_table_name, tg_op, audit.key_of(n.row, keys), n.row,
                tg_argv[1], tg_argv[2]
            from (select to_jsonb(the_row) as row from new_rows the_row) n;
            return null;
        end if;
    else
        is_large := (select count(*) > most from (select from old_rows limit most + 1) o);
        if not is_large then
            insert into audit.changes (table_schema, table_name, operation, row_key, old_values,
                compliance_category, severity)
            select tg_table_schema, tg_table_name, tg_op, audit.key_of(o.row, keys), o.row,
                tg_argv[1], tg_argv[2]
            from (select to_jsonb(the_row) as row from old_rows the_row) o;
            return null;
        end if;
    end if;
    -- One statement for each transition table: as text for EXECUTE it would be planned at every call.
    if tg_op <> 'INSERT' then
        select sum(g.rows) as rows, sha256(string_agg(g.hash, '' order by g.part)) as digest
        into before
        from (
            select h.part, count(*) as rows, sha256(string_agg(h.hash, '' order by h.hash)) as hash
            from (
                select r.hash, case when is_large then get_byte(r.hash, 0) end as part
                from (select sha256(record_send(the_row)) as hash from old_rows the_row) r
            ) h
            group by h.part
        ) g;
    end if;
    if tg_op <> 'DELETE' then
        select sum(g.rows) as rows, sha256(string_agg(g.hash, '' order by g.part)) as digest
        into after
        from (
            select h.part, count(*) as rows, sha256(string_agg(h.hash, '' order by h.hash)) as hash
            from (
                select r.hash, case when is_large then get_byte(r.hash, 0) end as part
                from (select sha256(record_send(the_row)) as hash from new_rows the_row) r
            ) h
            group by h.part
        ) g;
    end if;
    case tg_op
        when 'INSERT' then batch := after;
        when 'DELETE' then batch := before;
        else
            if before.digest = after.digest then
                return null;
            end if;
            batch := after;
            batch.digest := sha256(before.digest || after.digest);
    end case;
    if batch.rows > 0 then
        insert into audit.changes (table_schema, table_name, operation, batch_of, row_count,
            digest, compliance_category, severity)
        values (tg_table_schema, tg_table_name, 'BATCH', tg_op, batch.rows, batch.digest,
            tg_argv[1], tg_argv[2]);
    end if;
    return null;
end
$$;

-- Writes one BATCH row for an insert into a DIGEST table: audit.record with as little as can be, because
-- each decision of a card pays for it four times.
create function audit.record_batch() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    most constant integer := 1000;
begin
    if (select count(*) > most from (select from new_rows limit most + 1) n) then
        insert into audit.changes (table_schema, table_name, operation, batch_of, row_count,
            digest, compliance_category, severity)
        select tg_table_schema, tg_table_name, 'BATCH', tg_op, sum(g.rows),
            sha256(string_agg(g.hash, '' order by g.part)), tg_argv[1], tg_argv[2]
        from (
            select get_byte(r.hash, 0) as part, count(*) as rows,
                sha256(string_agg(r.hash, '' order by r.hash)) as hash
            from (select sha256(record_send(the_row)) as hash from new_rows the_row) r
            group by 1
        ) g;
        return null;
    end if;
    insert into audit.changes (table_schema, table_name, operation, batch_of, row_count,
        digest, compliance_category, severity)
    select tg_table_schema, tg_table_name, 'BATCH', tg_op, count(*),
        sha256(sha256(string_agg(r.hash, '' order by r.hash))), tg_argv[1], tg_argv[2]
    from (select sha256(record_send(the_row)) as hash from new_rows the_row) r
    having count(*) > 0;
    return null;
end
$$;

-- The key columns of a row. SQL and not strict, so that it is put in place where it is called.
create function audit.key_of(row_values jsonb, keys text[]) returns jsonb
language sql immutable parallel safe
as $$ select jsonb_object_agg(k, row_values -> k) from unnest(keys) k $$;

-- Makes the partitions of this month and of those ahead; returns what it made. A table that
-- pg_partman looks after (partman.part_config) is left to its maintenance. Attaching, unlike
-- CREATE ... PARTITION OF, does not wait for the table's writers. A month whose rows are in the
-- default partition already stays there.
create function audit.ensure_partitions(months_ahead integer default 3) returns setof text
language plpgsql security definer
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    parent text;
    month timestamptz;
    partition text;
    kept_by_partman boolean;
    already boolean;
begin
    perform pg_advisory_xact_lock(hashtext('audit.ensure_partitions'));
    foreach parent in array array['changes', 'api_access_logs'] loop
        kept_by_partman := false;
        if to_regclass('partman.part_config') is not null then
            execute 'select exists (select from partman.part_config where parent_table = $1)'
                into kept_by_partman using 'audit.' || parent;
        end if;
        if kept_by_partman then
            execute 'select partman.run_maintenance($1)' using 'audit.' || parent;
            continue;
        end if;
        for month in
            select generate_series(date_trunc('month', now()),
                date_trunc('month', now()) + make_interval(months => months_ahead), '1 month')
        loop
            partition := parent || to_char(month, '_YYYY_MM');
            continue when to_regclass(format('audit.%I', partition)) is not null;
            execute format('select exists (select from audit.%I where occurred_at >= $1'
                ' and occurred_at < $2)', parent || '_default')
                into already using month, month + interval '1 month';
            continue when already;
            execute format('create table audit.%I (like audit.%I including all excluding identity)',
                partition, parent);
            execute format('create trigger no_truncate before truncate on audit.%I'
                ' for each statement execute function audit.refuse_change()', partition);
            execute format('alter table audit.%I attach partition audit.%I for values'
                ' from (%L) to (%L)', parent, partition, month, month + interval '1 month');
            return next partition;
        end loop;
    end loop;
end
$$;

-- The keeper owns what is written here; it cannot log in. Tables of others are audited by triggers
-- that run as the keeper, so nobody else needs to write audit.changes.
grant usage, create on schema audit to audit_keeper;
alter table audit.changes owner to audit_keeper;
alter table audit.changes_default owner to audit_keeper;
alter table audit.chain owner to audit_keeper;
alter table audit.api_access_logs owner to audit_keeper;
alter table audit.api_access_logs_default owner to audit_keeper;
alter table audit.pii_access owner to audit_keeper;
alter function audit.record() owner to audit_keeper;
alter function audit.record_batch() owner to audit_keeper;
alter function audit.ensure_partitions(integer) owner to audit_keeper;
revoke execute on function audit.ensure_partitions(integer) from public;

do $$ begin perform audit.ensure_partitions(3); end $$;

-- What 0015 grants for this: audit_sealer select on changes, select and insert on chain, execute on
-- ensure_partitions; auditor select on every table of the schema; app_rw insert on api_access_logs;
-- whoever opens sealed values insert on pii_access. Nobody update, delete or truncate.
