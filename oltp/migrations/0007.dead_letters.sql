-- Undecodable Kafka messages, filed with their bytes for as long as somebody needs to look at them.
-- Not in the publication: they may hold anything, and they are about the log, not about business.
-- depends: 0006.decide_and_hold

create table ops.dead_letters (
    dead_letter_id bigint generated always as identity primary key,
    -- Where the message was read first; with it a message that is filed twice is one row.
    topic text not null,
    partition integer not null,
    "offset" bigint not null,
    message_key bytea,
    message_value bytea,
    error_class text not null,
    error text not null,
    schema_id bigint,
    code_version text not null,
    first_seen_at timestamptz not null,
    filed_at timestamptz not null default now(),
    unique (topic, partition, "offset")
);

grant select, insert on ops.dead_letters to app_rw;
