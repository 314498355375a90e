-- Lenders whose offers are compared: what they sell, at which rates, and how they are reached.
-- Products and rates are rows, so that each has a key, a unit and a moment.
-- depends: 0002.customer

create table provider.providers (
    provider_id uuid primary key,
    name text not null unique check (name <> ''),
    provider_type text not null check (provider_type in ('TRADITIONAL', 'DEFI', 'HYBRID')),
    status text not null default 'ACTIVE'
        check (status in ('ACTIVE', 'SUSPENDED', 'RETIRED')),
    country char(2) check (country ~ '^[A-Z]{2}$'),
    api_endpoint text check (api_endpoint ~ '^https://'),
    api_version text,
    rate_limit_per_minute integer not null default 60 check (rate_limit_per_minute > 0),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

create table provider.provider_products (
    provider_product_id uuid primary key,
    provider_id uuid not null references provider.providers,
    product text not null
        check (product in ('PERSONAL_LOAN', 'AUTO_LOAN', 'HOME_LOAN', 'EDUCATION_LOAN',
            'DEBT_CONSOLIDATION', 'CREDIT_LINE', 'COLLATERALISED_LOAN')),
    currency char(3) not null check (currency ~ '^[A-Z]{3}$'),
    min_amount_minor bigint not null check (min_amount_minor > 0),
    max_amount_minor bigint not null check (max_amount_minor >= min_amount_minor),
    min_term_months integer not null check (min_term_months between 1 and 480),
    max_term_months integer not null check (max_term_months between min_term_months and 480),
    is_offered boolean not null default true,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    unique (provider_id, product, currency)
);

-- A feed: each row is what the provider quoted at that moment. Rates are fractions a year.
create table provider.provider_rates (
    provider_rate_id uuid primary key,
    provider_id uuid not null references provider.providers,
    product text not null
        check (product in ('PERSONAL_LOAN', 'AUTO_LOAN', 'HOME_LOAN', 'EDUCATION_LOAN',
            'DEBT_CONSOLIDATION', 'CREDIT_LINE', 'COLLATERALISED_LOAN')),
    currency char(3) not null check (currency ~ '^[A-Z]{3}$'),
    min_rate numeric(9, 6) not null check (min_rate >= 0 and min_rate <> 'NaN'),
    base_rate numeric(9, 6) not null check (base_rate >= min_rate and base_rate <> 'NaN'),
    max_rate numeric(9, 6) not null check (max_rate >= base_rate and max_rate <> 'NaN'),
    observed_at timestamptz not null,
    created_at timestamptz not null default now(),
    unique (provider_id, product, currency, observed_at)
);

-- Sealed like personal values and never captured; the check refuses a secret in plain.
create table provider.credentials (
    credential_id uuid primary key,
    provider_id uuid not null references provider.providers,
    credential_type text not null
        check (credential_type in ('API_KEY', 'OAUTH_CLIENT', 'CERTIFICATE', 'SIGNING_KEY')),
    encrypted_value customer.sealed not null,
    kek_version integer not null check (kek_version > 0),
    expires_at timestamptz,
    rotated_at timestamptz,
    revoked_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    check (expires_at > created_at),
    check (rotated_at >= created_at),
    check (revoked_at >= created_at)
);
create unique index on provider.credentials (provider_id, credential_type)
    where revoked_at is null;

create table provider.webhooks (
    webhook_id uuid primary key,
    provider_id uuid not null references provider.providers,
    event_type text not null check (event_type <> ''),
    url text not null check (url ~ '^https://'),
    secret_sha256 text check (secret_sha256 ~ '^[0-9a-f]{64}$'),
    is_active boolean not null default true,
    retry_count integer not null default 0 check (retry_count >= 0),
    last_triggered_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    unique (provider_id, event_type, url)
);

-- Counters of calls to a provider's endpoint: hot, short-lived, never captured.
create table provider.rate_limits (
    rate_limit_id uuid primary key,
    provider_id uuid not null references provider.providers,
    endpoint text not null check (endpoint <> ''),
    limit_per_minute integer not null check (limit_per_minute > 0),
    limit_per_hour integer check (limit_per_hour >= limit_per_minute),
    limit_per_day integer check (limit_per_day >= limit_per_minute),
    minute_count integer not null default 0 check (minute_count >= 0),
    hour_count integer not null default 0 check (hour_count >= 0),
    day_count integer not null default 0 check (day_count >= 0),
    minute_resets_at timestamptz,
    hour_resets_at timestamptz,
    day_resets_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    unique (provider_id, endpoint)
);
