-- What each mart was built from: written by the transaction that replaces the mart, so a mart that
-- was not rebuilt goes on saying what it was.
-- depends: 0005.published_cut

create table control.mart_builds (
    -- schema.table, also of the tables between staging and marts.
    mart text primary key,
    -- The published tables it is made of, directly or through other tables.
    reads text[] not null,
    -- Everything up to this cut is in it; null when one of them shows no cut.
    cut_id bigint references control.cuts,
    -- What the newest of them shows; another one than cut_id when a table was held back.
    newest_cut_id bigint references control.cuts,
    -- Those that show an older cut than the newest.
    behind text[] not null,
    built_at timestamptz not null default now()
);

grant select, insert, update on control.mart_builds to warehouse_rw;
grant select on control.mart_builds to analyst;
