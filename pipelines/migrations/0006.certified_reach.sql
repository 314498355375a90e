-- Where the next window of a table begins in the lake, as its certified cut is where it begins at
-- the source. Numbers are those of one bronze table: one that was loaded anew counts anew.
-- depends: 0003.certificates

alter table control.certified
    -- The name under which bronze commits its batches.
    add column bronze text,
    -- The batch up to which silver had taken in everything that the cut sees.
    add column after_batch bigint,
    -- The same for what the warehouse showed when it was compared last; less while it is held back.
    add column shown_after_batch bigint,
    -- The last batch of bronze then: what comes later and was committed before is a copy, or forged.
    add column last_batch bigint;

grant select on control.certified to analyst;
