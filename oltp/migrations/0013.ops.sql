-- What keeps the house running: events on their way out, notices to customers, imports, and the
-- tables of capture itself.
-- depends: 0012.retention_and_quality

-- The schemas that events are written with, as `millrace up` registered them. Without a row here an
-- event of the type cannot be announced.
create table ops.event_schemas (
    event_type text not null
        check (event_type ~ '^credit\.[a-z]+(_[a-z]+)*\.[a-z]+(_[a-z]+)*$'),
    version integer not null check (version > 0),
    event_class text not null check (event_class in ('DOMAIN', 'INTEGRATION', 'SYSTEM')),
    -- The registry's id of the schema; it is in the first bytes of each message.
    schema_id integer not null check (schema_id > 0),
    -- SHA-256 of the schema's text as it was registered.
    fingerprint text not null check (fingerprint ~ '^[0-9a-f]{64}$'),
    registered_at timestamptz not null default now(),
    primary key (event_type, version)
);

-- Events, inserted and deleted in one transaction: Debezium's EventRouter reads the insert from the
-- log and sends the payload to `topic`, the rest as headers; the table stays empty.
create table ops.outbox (
    event_id uuid primary key,
    topic text not null,
    event_type text not null,
    event_version integer not null,
    event_class text not null check (event_class in ('DOMAIN', 'INTEGRATION', 'SYSTEM')),
    aggregate_type text not null,
    -- The message's key: events of one aggregate stay in order.
    aggregate_id text not null check (aggregate_id <> ''),
    tenant_id uuid not null,
    correlation_id text not null,
    causation_id text,
    actor_id text,
    traceparent text check (traceparent ~ '^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$'),
    occurred_at timestamptz not null,
    -- Confluent wire format: 0x00, the schema's id in four bytes, one Avro record.
    payload bytea not null check (get_byte(payload, 0) = 0 and length(payload) > 5),
    -- Whether a cut sees the event, and its place among others: who has seen an effect of an earlier
    -- event writes behind it. A clock says neither.
    tx_id bigint not null default pg_current_xact_id()::text::bigint,
    lsn bigint not null default pg_current_wal_insert_lsn() - '0/0',
    created_at timestamptz not null default now(),
    foreign key (event_type, event_version) references ops.event_schemas (event_type, version),
    check (topic = event_type || '.v' || event_version),
    check (aggregate_type = split_part(event_type, '.', 2))
);

-- One row, written by the connector: lets the slot advance while captured tables are idle.
create table ops.heartbeat (
    id integer primary key check (id = 1),
    beat_at timestamptz not null
);

-- Debezium's signals (incremental snapshots); the column sizes are its own.
create table ops.signal (
    id varchar(42) primary key,
    type varchar(32) not null,
    data varchar(2048)
);

-- Undecodable Kafka messages, filed with their bytes for as long as somebody needs to look at them.
-- Never captured: they may hold anything, and they are about the log, not about business.
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
    -- The original's own headers, in their order; a header may be without a value.
    header_names text[] not null default '{}',
    header_values bytea[] not null default '{}',
    first_seen_at timestamptz not null,
    last_seen_at timestamptz not null,
    filed_at timestamptz not null default now(),
    -- How often the message was tried, and the letter that it was when it was sent again.
    attempts integer not null default 1 check (attempts > 0),
    redrive_of bigint references ops.dead_letters,
    -- HELD -> RELEASING (about to be sent again) -> RELEASED (the broker has it) -> HANDLED, or
    -- FAILED_AGAIN, and then it is a letter anew, at its new place.
    status text not null default 'HELD'
        check (status in ('HELD', 'RELEASING', 'RELEASED', 'HANDLED', 'FAILED_AGAIN')),
    released_by text,
    release_reason text,
    released_at timestamptz,
    -- Where the partition ended before it was sent, and where it is now: who died between sending
    -- and writing that down finds it in between.
    released_after bigint,
    released_offset bigint,
    unique (topic, partition, "offset"),
    check (cardinality(header_names) = cardinality(header_values)),
    check (last_seen_at >= first_seen_at),
    check (status = 'HELD' or (released_by is not null and release_reason is not null
        and released_at is not null and released_after is not null)),
    check (status not in ('RELEASED', 'HANDLED') or released_offset >= released_after)
);
create index on ops.dead_letters (error_class, topic) where status in ('HELD', 'RELEASING');
create index on ops.dead_letters (redrive_of) where redrive_of is not null;

-- Notices to customers and staff, and the evidence that they arrived. What was said is the template
-- with its version; the recipient is known by who it is, and shown masked.
create table ops.notifications (
    notification_id uuid primary key,
    customer_id uuid references customer.customers,
    case_id uuid references kyc.onboarding_cases,
    -- What it is about when that is neither: an application, a credit, a card.
    subject_type text,
    subject_id uuid,
    notification_type text not null
        check (notification_type in ('WELCOME', 'STATUS_UPDATE', 'DOCUMENT_REQUEST',
            'DOCUMENT_EXPIRING', 'APPROVAL', 'REJECTION', 'ADVERSE_ACTION', 'OFFER',
            'PAYMENT_DUE', 'PAYMENT_MISSED', 'CARD_ALERT', 'DISPUTE_UPDATE', 'CLOSING')),
    channel text not null check (channel in ('EMAIL', 'SMS', 'PUSH', 'IN_APP', 'WEBHOOK')),
    priority text not null default 'MEDIUM'
        check (priority in ('LOW', 'MEDIUM', 'HIGH', 'CRITICAL')),
    recipient_masked text not null,
    template text not null,
    template_version integer not null default 1 check (template_version > 0),
    status text not null default 'PENDING'
        check (status in ('PENDING', 'SCHEDULED', 'SENDING', 'SENT', 'DELIVERED', 'FAILED',
            'CANCELLED')),
    retries integer not null default 0 check (retries >= 0),
    max_retries integer not null default 3 check (max_retries >= 0),
    scheduled_at timestamptz,
    sent_at timestamptz,
    delivered_at timestamptz,
    failed_at timestamptz,
    error text,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    check (retries <= max_retries),
    check ((subject_type is null) = (subject_id is null)),
    check (status <> 'SCHEDULED' or scheduled_at is not null),
    check (status not in ('SENT', 'DELIVERED') or sent_at is not null),
    check (status <> 'DELIVERED' or delivered_at is not null),
    check (status <> 'FAILED' or (failed_at is not null and error is not null)),
    check (delivered_at >= sent_at)
);
create index on ops.notifications (customer_id);
create index on ops.notifications (case_id) where case_id is not null;
create index on ops.notifications (scheduled_at) where status in ('PENDING', 'SCHEDULED');

-- Runs of `millrace import`. The same mapping over the same bytes is the same run: it continues or
-- changes nothing.
create table ops.import_runs (
    import_run_id uuid primary key,
    mapping text not null,
    -- SHA-256 over the mapping's text and the files' bytes.
    fingerprint text not null unique check (fingerprint ~ '^[0-9a-f]{64}$'),
    status text not null default 'RUNNING'
        check (status in ('RUNNING', 'COMPLETED', 'FAILED')),
    -- The files by name, and how far each has been taken.
    progress jsonb not null default '{}',
    rows_read bigint not null default 0 check (rows_read >= 0),
    rows_taken bigint not null default 0 check (rows_taken >= 0),
    rows_known bigint not null default 0 check (rows_known >= 0),
    rows_rejected bigint not null default 0 check (rows_rejected >= 0),
    error text,
    started_at timestamptz not null default now(),
    completed_at timestamptz,
    updated_at timestamptz not null default now(),
    check ((status = 'RUNNING') = (completed_at is null)),
    check (status <> 'FAILED' or error is not null),
    check (rows_taken + rows_known + rows_rejected <= rows_read)
);

-- Rows that an import refused, and why. Never captured: the original may be anybody's data.
create table ops.import_rejections (
    import_run_id uuid not null references ops.import_runs,
    file text not null,
    line bigint not null check (line > 0),
    mapping text not null,
    target_table text,
    column_name text,
    -- Masked when the column is personal.
    value_shown text,
    rule text not null,
    message text not null,
    -- The row as it came; none where its mapping has personal columns.
    original bytea,
    rejected_at timestamptz not null default now(),
    primary key (import_run_id, file, line)
);
