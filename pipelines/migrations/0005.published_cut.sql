-- Which cut readers see. The tables of a tick become visible in one commit, together with the cut
-- that they show, so one REPEATABLE READ transaction reads one cut, or says which table is behind.
-- depends: 0002.control

alter table control.cuts
    -- {"topic:partition": offset}: everything before the cut is in Kafka below these.
    add column offsets jsonb;

alter table control.published
    -- The rows are exactly as of this cut; null when a step that was run alone wrote them.
    add column cut_id bigint references control.cuts,
    -- Why the newest publish left the table at an older cut; null when it shows the newest.
    add column held_back_by text,
    -- A table that was held back from the start has not been published yet.
    alter column published_at drop not null;

-- One row a publish: the commit that shows the cut's rows adds it.
create table control.published_cut (
    cut_id bigint primary key references control.cuts,
    rows bigint not null check (rows >= 0),
    published_at timestamptz not null default now()
);

-- The cut that an entity's silver tables have surely reached: the lake can be read at it, and at
-- every cut before it.
create table control.silver_cuts (
    entity text primary key,
    cut_id bigint not null references control.cuts,
    built_at timestamptz not null default now()
);

-- What a reader asks first: the newest published cut, and for each table the cut that it shows.
create view control.shown_cuts as
with newest as (select max(cut_id) as cut_id from control.published_cut)

select
    p.entity,
    p.cut_id,
    c.lsn,
    c.taken_at,
    n.cut_id as newest_cut_id,
    p.held_back_by,
    coalesce(p.cut_id = n.cut_id, false) as is_newest
from control.published as p
left join control.cuts as c on p.cut_id = c.cut_id
cross join newest as n;

grant select, insert, update on all tables in schema control to warehouse_rw;
grant select on all tables in schema control to analyst;
