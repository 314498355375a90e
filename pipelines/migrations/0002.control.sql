-- What the pipeline knows about itself: cuts, published watermarks, check results, tie-outs.
-- Rows are added and completed, never removed, so the role that writes them may not delete.
-- depends: 0001.roles

-- One REPEATABLE READ snapshot of the operational database. A change belongs to the cut when its
-- transaction is visible in `snapshot` (snapshot rows: when their LSN is at or below `lsn`).
create table control.cuts (
    cut_id bigint generated always as identity primary key,
    lsn bigint not null check (lsn > 0),
    snapshot text not null,
    taken_at timestamptz not null,
    -- {entity: {"rows": n, "money": {column: {currency: sum}}}} as of the snapshot.
    totals jsonb not null,
    -- When everything up to the cut had reached gold; null while a tick is under way or has failed.
    completed_at timestamptz,
    -- Capture and the source's own log have both been read this far since, and had nothing of a
    -- captured table: what stands at the cut is what stands here. Null before it was looked.
    unchanged_through_lsn bigint check (unchanged_through_lsn >= lsn),
    unchanged_through timestamptz,
    check ((unchanged_through is null) = (unchanged_through_lsn is null))
);
create index on control.cuts (completed_at desc nulls last);

-- How far each entity has been published; moved in the transaction that moves the rows.
create table control.published (
    entity text primary key,
    tick bigint not null,
    -- Rows written by the last publish that had any.
    rows bigint not null check (rows >= 0),
    published_at timestamptz not null default now()
);

create table control.quality_results (
    result_id bigint generated always as identity primary key,
    run_id text not null,
    cut_id bigint references control.cuts,
    tick bigint,
    entity text not null,
    suite text not null,
    expectation text not null,
    column_name text,
    severity text not null check (severity in ('error', 'warning')),
    success boolean not null,
    evaluated_rows bigint,
    unexpected_rows bigint,
    details jsonb not null default '{}',
    checked_at timestamptz not null default now()
);
create index on control.quality_results (entity, checked_at desc);
create index on control.quality_results (run_id);

-- One comparison: operational = silver = warehouse = gold, per entity, measure and currency.
create table control.tie_outs (
    tie_out_id bigint generated always as identity primary key,
    cut_id bigint not null references control.cuts,
    entity text not null,
    -- `rows`, or the money column that is summed.
    measure text not null,
    -- Empty for `rows`: counts have no currency.
    currency text not null default '',
    operational numeric not null,
    silver numeric,
    warehouse numeric,
    gold numeric,
    -- Null means that a layer was not compared; a compared one must be equal to the last unit.
    is_exact boolean generated always as (
        coalesce(silver = operational, true)
        and coalesce(warehouse = operational, true)
        and coalesce(gold = operational, true)
    ) stored,
    checked_at timestamptz not null default now(),
    unique (cut_id, entity, measure, currency)
);

grant select, insert, update on all tables in schema control to warehouse_rw;
grant select on all tables in schema control to analyst;
