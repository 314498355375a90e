-- Customers and what is known of their identity.
-- depends: 0001.roles

create table customer.customers (
    customer_id uuid primary key,
    external_ref text unique,
    full_name text not null check (full_name <> ''),
    email text check (email ~ '^[^@\s]+@[^@\s]+$'),
    birth_date date check (birth_date >= date '1880-01-01'),
    country char(2) not null check (country ~ '^[A-Z]{2}$'),
    status text not null default 'ACTIVE'
        check (status in ('ACTIVE', 'SUSPENDED', 'CLOSED')),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

create table kyc.kyc_records (
    kyc_record_id uuid primary key,
    customer_id uuid not null references customer.customers,
    verification_type text not null
        check (verification_type in ('IDENTITY', 'ADDRESS', 'ENHANCED')),
    status text not null
        check (status in ('PENDING', 'VERIFIED', 'REJECTED')),
    provider text not null,
    risk_level text not null check (risk_level in ('LOW', 'MEDIUM', 'HIGH')),
    verified_at timestamptz,
    expires_at timestamptz,
    details jsonb not null default '{}',
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    check (status <> 'VERIFIED' or verified_at is not null),
    check (expires_at > verified_at)
);
create index on kyc.kyc_records (customer_id);
