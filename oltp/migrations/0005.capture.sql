-- What leaves through logical replication, and who may read it.
-- The publication names its tables: a new table is captured by a decision, never by accident.
-- depends: 0003.credit 0004.card

-- Insert and delete in one transaction: Debezium's EventRouter sends one event, the table stays empty.
create table ops.outbox (
    id uuid primary key,
    aggregatetype text not null,
    aggregateid text not null,
    type text not null,
    payload jsonb not null,
    correlation_id text not null,
    created_at timestamptz not null default now()
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

-- FULL where a column may be stored out of line (jsonb): otherwise an update that does not touch
-- it arrives with a placeholder instead of the value. The others send their key, which is enough.
alter table kyc.kyc_records replica identity full;

create publication millrace for table
    customer.customers,
    customer.account_holders,
    kyc.kyc_records,
    credit.applications,
    credit.offers,
    credit.active_credits,
    credit.payments,
    card.card_accounts,
    card.cards,
    card.authorizations,
    card.holds,
    ledger.ledger_entries,
    ops.outbox,
    ops.heartbeat,
    ops.signal
with (publish_via_partition_root = true);

grant select on
    customer.customers, customer.account_holders, kyc.kyc_records,
    credit.applications, credit.offers, credit.active_credits, credit.payments,
    card.card_accounts, card.cards, card.authorizations, card.holds,
    ledger.ledger_entries, ops.outbox, ops.heartbeat, ops.signal
to cdc;
grant insert, update on ops.heartbeat to cdc;
grant insert on ops.signal to cdc;

grant select, insert, update on
    customer.customers, customer.account_holders, kyc.kyc_records,
    credit.applications, credit.offers, credit.active_credits, credit.payments,
    card.card_accounts, card.cards, card.holds, card.card_spend
to app_rw;
-- Decisions and ledger entries are facts: the application adds them and never changes one.
grant select, insert on card.authorizations, ledger.ledger_entries to app_rw;
grant delete on customer.customers, customer.account_holders, kyc.kyc_records,
    credit.applications, credit.offers, card.cards to app_rw;
grant insert, delete, select on ops.outbox to app_rw;
grant select, insert, update on ops.heartbeat to app_rw;
grant insert, select on ops.signal to app_rw;
