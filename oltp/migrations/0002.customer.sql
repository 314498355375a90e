-- Customers, what reaches and identifies them, and who may use which account.
-- Personal values are sealed before they get here (oltp/privacy): `enc:<version>:<token>`, encrypted
-- under a key of the customer's own. The checks refuse plaintext, so nothing readable can reach the
-- log, the audit or a backup. What people may see stands beside it, masked; what must be searched
-- has a keyed index.
-- depends: 0001.roles

create domain customer.sealed as text check (value ~ '^enc:[0-9]+:[A-Za-z0-9_-]{22,}={0,2}$');
create domain customer.blind_index as text check (value ~ '^[0-9a-f]{64}$');

create table customer.tenants (
    tenant_id uuid primary key,
    name text not null unique check (name <> ''),
    time_zone text not null default 'UTC',
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
insert into customer.tenants (tenant_id, name, created_at, updated_at) values
    ('00000000-0000-0000-0000-000000000001', 'Millrace', '2020-01-01Z', '2020-01-01Z');

create table customer.customers (
    customer_id uuid primary key,
    tenant_id uuid not null default '00000000-0000-0000-0000-000000000001'
        references customer.tenants,
    external_ref text unique,
    full_name customer.sealed,
    email customer.sealed,
    phone customer.sealed,
    national_id customer.sealed,
    birth_date customer.sealed,
    email_masked text,
    phone_masked text,
    birth_year integer check (birth_year between 1880 and 2100),
    email_index customer.blind_index,
    phone_index customer.blind_index,
    national_id_index customer.blind_index,
    country char(2) not null check (country ~ '^[A-Z]{2}$'),
    status text not null default 'ACTIVE'
        check (status in ('ACTIVE', 'SUSPENDED', 'CLOSED')),
    closed_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    -- One customer an address for mail and a national id, whatever their letter case.
    unique (tenant_id, email_index),
    unique (tenant_id, national_id_index),
    check (closed_at is null or status = 'CLOSED')
);
create index on customer.customers (phone_index);

-- The customer's data key, wrapped by a key that is not in this database. Never captured. A destroyed
-- key leaves its row: what was sealed under it can never be read again.
create table customer.subject_keys (
    customer_id uuid primary key references customer.customers,
    wrapped_key bytea,
    kek_version integer not null check (kek_version > 0),
    created_at timestamptz not null default now(),
    rotated_at timestamptz,
    destroyed_at timestamptz,
    check ((wrapped_key is null) = (destroyed_at is not null))
);

create table customer.addresses (
    address_id uuid primary key,
    customer_id uuid not null references customer.customers,
    kind text not null check (kind in ('RESIDENTIAL', 'BUSINESS', 'MAILING')),
    street customer.sealed not null,
    postal_code customer.sealed,
    city text not null,
    region text,
    country char(2) not null check (country ~ '^[A-Z]{2}$'),
    is_primary boolean not null default true,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
create unique index on customer.addresses (customer_id, kind) where is_primary;

-- Metadata of documents; the files are elsewhere and known by their digest.
create table customer.documents (
    document_id uuid primary key,
    customer_id uuid not null references customer.customers,
    document_type text not null
        check (document_type in ('PASSPORT', 'IDENTITY_CARD', 'DRIVING_LICENCE', 'UTILITY_BILL',
            'PAYSLIP', 'INCORPORATION', 'OWNERSHIP_REGISTER')),
    status text not null default 'PENDING'
        check (status in ('PENDING', 'VERIFIED', 'REJECTED', 'EXPIRED')),
    content_sha256 text not null check (content_sha256 ~ '^[0-9a-f]{64}$'),
    storage_ref text,
    verified_at timestamptz,
    expires_on date,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    check (status <> 'VERIFIED' or verified_at is not null)
);
create index on customer.documents (customer_id);

create table customer.sessions (
    session_id uuid primary key,
    customer_id uuid not null references customer.customers,
    channel text not null check (channel in ('WEB', 'MOBILE', 'API', 'BRANCH')),
    started_at timestamptz not null,
    last_seen_at timestamptz not null,
    expires_at timestamptz not null,
    ended_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    check (expires_at > started_at),
    check (ended_at >= started_at)
);
create index on customer.sessions (customer_id);

create table customer.permissions (
    permission_id uuid primary key,
    customer_id uuid not null references customer.customers,
    permission text not null
        check (permission in ('APPLY', 'ACCEPT_OFFER', 'PAY', 'MANAGE_CARDS', 'VIEW')),
    granted_at timestamptz not null,
    revoked_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    check (revoked_at >= granted_at)
);
create unique index on customer.permissions (customer_id, permission) where revoked_at is null;
