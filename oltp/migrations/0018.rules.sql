-- How a version of the rules lives: DRAFT, then SHADOW (evaluated beside, never deciding), then ACTIVE,
-- then RETIRED; back from RETIRED by a rollback. Each step is one transaction with its row in
-- card.rule_changes. A document that has left DRAFT never changes: decisions refer to it for ever.
--
-- The functions raise MR010 with what to do when a step is not possible as things stand.
-- depends: 0017.personal_data

create function card.keep_rules() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    if new.version <> old.version
        or (new.document <> old.document and not (old.status = 'DRAFT' and new.status = 'DRAFT'))
    then
        raise exception 'rules %: a version that has left DRAFT is never changed', old.version
            using errcode = 'MR010', hint = 'Draft the change under a new version.';
    end if;
    if new.status = 'DRAFT' and old.status <> 'DRAFT' then
        raise exception 'rules %: there is no way back to DRAFT', old.version using errcode = 'MR010';
    end if;
    return new;
end
$$;
create trigger keep before update on card.rule_versions
    for each row execute function card.keep_rules();

-- Moves a locked version and writes the change down.
create function card.set_rule_status(
    version text, from_status text, to_status text, changed_by text, reason text
) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    update card.rule_versions v
    set status = to_status, updated_at = clock_timestamp()
    where v.version = set_rule_status.version;
    insert into card.rule_changes (version, from_status, to_status, changed_by, reason)
    values (version, from_status, to_status, changed_by, reason);
end
$$;

-- The version's status, locked; changes of rules go one after the other. Refused unless it is one of
-- `allowed`.
create function card.lock_rules(version text, allowed text[], step text) returns text
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    found_status text;
begin
    perform pg_advisory_xact_lock(hashtext('card.rule_versions'));
    select v.status into found_status
    from card.rule_versions v where v.version = lock_rules.version for no key update;
    if found_status is null then
        raise exception 'rules %: there is no such version', version
            using errcode = 'MR010', hint = 'Draft it first.';
    end if;
    if found_status <> all(allowed) then
        raise exception 'rules %: cannot be % while %', version, step, found_status
            using errcode = 'MR010', hint = format('It would have to be %s.',
                array_to_string(allowed, ' or '));
    end if;
    return found_status;
end
$$;

-- A new version, or another text of one that is still a draft.
create function card.draft_rules(version text, document jsonb, changed_by text, reason text)
returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    found_status text;
    digest text := encode(sha256(convert_to(document::text, 'UTF8')), 'hex');
begin
    perform pg_advisory_xact_lock(hashtext('card.rule_versions'));
    select v.status into found_status
    from card.rule_versions v where v.version = draft_rules.version for no key update;
    if found_status is null then
        insert into card.rule_versions (version, document, document_sha256, created_by)
        values (version, document, digest, changed_by);
    else
        perform card.lock_rules(version, array['DRAFT'], 'drafted again');
        update card.rule_versions v
        set document = draft_rules.document, document_sha256 = digest, updated_at = clock_timestamp()
        where v.version = draft_rules.version;
    end if;
    insert into card.rule_changes (version, from_status, to_status, changed_by, reason)
    values (version, found_status, 'DRAFT', changed_by, reason);
end
$$;

create function card.shadow_rules(version text, changed_by text, reason text) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    perform card.set_rule_status(version,
        card.lock_rules(version, array['DRAFT', 'RETIRED'], 'put in shadow'), 'SHADOW', changed_by,
        reason);
end
$$;

-- Lets a version decide in place of the one that does, and says which one that was. `expected` is the
-- version that the caller compared it with: when another one decides by now, nothing is changed.
create function card.activate_rules(
    version text, expected text, allowed text[], step text, changed_by text, reason text
) returns text
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    from_status text := card.lock_rules(version, allowed, step);
    active text := (select v.version from card.rule_versions v where v.status = 'ACTIVE');
begin
    if active is distinct from coalesce(expected, active) then
        raise exception 'rules %: % decides by now, not %', version, active, expected
            using errcode = 'MR010', hint = 'Look at the difference to it, then try again.';
    end if;
    if active is not null then
        perform card.set_rule_status(active, 'ACTIVE', 'RETIRED', changed_by, reason);
    end if;
    perform card.set_rule_status(version, from_status, 'ACTIVE', changed_by, reason);
    return active;
end
$$;

-- Only what has been seen in shadow.
create function card.promote_rules(
    version text, changed_by text, reason text, expected text default null
) returns text
language sql set search_path = pg_catalog, pg_temp
return card.activate_rules(version, expected, array['SHADOW'], 'promoted', changed_by, reason);

-- What decided before `version` was promoted: the version retired in that step.
create function card.rules_before(version text) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
    select c.version
    from card.rule_changes c
    where c.from_status = 'ACTIVE' and c.to_status = 'RETIRED'
        and c.changed_at <= (
            select max(p.changed_at) from card.rule_changes p
            where p.version = rules_before.version and p.from_status = 'SHADOW'
                and p.to_status = 'ACTIVE')
    order by c.changed_at desc
    limit 1
$$;

-- Back to what decided before the version that decides now, or to any that ever did; says to which.
create function card.roll_back_rules(
    changed_by text, reason text, version text default null, expected text default null
) returns text
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    target text;
begin
    perform pg_advisory_xact_lock(hashtext('card.rule_versions'));
    target := coalesce(version, card.rules_before(
        (select v.version from card.rule_versions v where v.status = 'ACTIVE')));
    if target is null then
        raise exception 'rules: nothing decided before the version that does'
            using errcode = 'MR010', hint = 'Promote a version instead.';
    end if;
    if not exists (
        select from card.rule_changes c where c.version = target and c.to_status = 'ACTIVE'
    ) then
        raise exception 'rules %: never decided, so there is no way back to it', target
            using errcode = 'MR010', hint = 'Put it in shadow and promote it.';
    end if;
    perform card.activate_rules(
        target, expected, array['RETIRED', 'SHADOW'], 'rolled back to', changed_by, reason);
    return target;
end
$$;

-- Out of the way: a draft, or a version in shadow.
create function card.retire_rules(version text, changed_by text, reason text) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    perform card.set_rule_status(version,
        card.lock_rules(version, array['DRAFT', 'SHADOW'], 'retired'), 'RETIRED', changed_by, reason);
end
$$;

do $$
declare
    thing record;
begin
    for thing in
        select p.oid::regprocedure as name from pg_proc p
        where p.pronamespace = 'card'::regnamespace
            and p.proname in ('keep_rules', 'set_rule_status', 'lock_rules', 'draft_rules',
                'shadow_rules', 'activate_rules', 'promote_rules', 'rules_before', 'roll_back_rules',
                'retire_rules')
    loop
        execute format('alter routine %s owner to millrace_owner', thing.name);
        execute format('revoke all on routine %s from public', thing.name);
        execute format('grant execute on routine %s to app_rw', thing.name);
    end loop;
end
$$;

-- What a new database decides by: schemas/rules/default.yaml as JSON, held equal by a test
-- (`python -m oltp.default_rules` writes it here again).
-- noqa: disable=LT05
-- default rules begin
do $do$
begin
    perform card.draft_rules('2026-11-1', $rules$
{
  "version": "2026-11-1",
  "description": "Embargoes, juniors, velocity, travel, a risk score, and collateral.",
  "rules": [
    {
      "id": "embargoed_country",
      "stage": "lists",
      "reason": "MERCHANT_NOT_ALLOWED",
      "when": {
        "field": "merchant_country",
        "in": [
          "CU",
          "IR",
          "KP",
          "SY"
        ]
      },
      "explanation": "the merchant is in {merchant_country}, which is under embargo"
    },
    {
      "id": "not_for_juniors",
      "stage": "lists",
      "reason": "MERCHANT_NOT_ALLOWED",
      "when": {
        "all": [
          {
            "field": "product",
            "in": [
              "JUNIOR"
            ]
          },
          {
            "field": "mcc",
            "in": [
              "7995",
              "5813",
              "5993",
              "6011"
            ]
          }
        ]
      },
      "explanation": "merchants of category {mcc} are closed to {product} cards"
    },
    {
      "id": "collateral_is_not_for_cash",
      "stage": "lists",
      "reason": "MCC_NOT_ALLOWED",
      "when": {
        "all": [
          {
            "field": "program_id",
            "in": [
              "collateral"
            ]
          },
          {
            "field": "mcc",
            "in": [
              "4829",
              "6010-6012",
              "6050-6051",
              "7800-7802",
              "7995"
            ]
          }
        ]
      },
      "explanation": "merchants of category {mcc} are closed to program {program_id}"
    },
    {
      "id": "collateral_country",
      "stage": "lists",
      "reason": "COUNTRY_NOT_ALLOWED",
      "when": {
        "all": [
          {
            "field": "program_id",
            "in": [
              "collateral"
            ]
          },
          {
            "field": "merchant_country",
            "in": [
              "AF",
              "BY",
              "MM",
              "RU"
            ]
          }
        ]
      },
      "explanation": "{merchant_country} is closed to program {program_id}"
    },
    {
      "id": "attempts_in_a_minute",
      "stage": "velocity",
      "reason": "VELOCITY_EXCEEDED",
      "when": {
        "feature": "card_attempts_1m",
        ">=": 120
      },
      "explanation": "{card_attempts_1m} attempts within a minute; {limit.card_attempts_1m} are allowed"
    },
    {
      "id": "attempts_in_an_hour",
      "stage": "velocity",
      "reason": "VELOCITY_EXCEEDED",
      "when": {
        "feature": "card_attempts_1h",
        ">=": 1200
      },
      "explanation": "{card_attempts_1h} attempts within an hour; {limit.card_attempts_1h} are allowed"
    },
    {
      "id": "impossible_travel",
      "stage": "velocity",
      "reason": "IMPOSSIBLE_TRAVEL",
      "when": {
        "all": [
          {
            "feature": "card_travel_km",
            ">": 100
          },
          {
            "feature": "card_travel_kmh",
            ">": 900
          }
        ]
      },
      "explanation": "{card_travel_km} km from where the card was last present, at {card_travel_kmh} km/h; beyond {limit.card_travel_km} km nobody travels faster than {limit.card_travel_kmh} km/h"
    },
    {
      "id": "small_amounts_then_a_large_one",
      "stage": "risk",
      "reason": "RISK_TOO_HIGH",
      "when": {
        "all": [
          {
            "feature": "card_small_amounts_10m",
            ">=": 5
          },
          {
            "field": "amount_minor",
            ">=": {
              "USD": 30000,
              "EUR": 30000,
              "GBP": 30000,
              "CZK": 500000,
              "JPY": 45000,
              "KWD": 90000
            }
          }
        ]
      },
      "explanation": "{amount_minor} after {card_small_amounts_10m} small amounts online within ten minutes; from {limit.card_small_amounts_10m} of them on, less than {limit.amount_minor} is allowed"
    }
  ],
  "risk": {
    "decline_at": 100,
    "points": [
      {
        "id": "fast_travel",
        "points": 25,
        "when": {
          "all": [
            {
              "feature": "card_travel_km",
              ">": 100
            },
            {
              "feature": "card_travel_kmh",
              ">": 500
            }
          ]
        },
        "explanation": "{card_travel_km} km at {card_travel_kmh} km/h"
      },
      {
        "id": "new_country",
        "points": 15,
        "when": {
          "all": [
            {
              "feature": "card_is_new_country",
              "==": 1
            },
            {
              "feature": "card_attempts_24h",
              ">=": 1
            }
          ]
        },
        "explanation": "first time in {merchant_country} within a day"
      },
      {
        "id": "abroad",
        "points": 5,
        "when": {
          "field": "region",
          "in": [
            "abroad"
          ]
        },
        "explanation": "a card from {customer_country} in {merchant_country}"
      },
      {
        "id": "many_countries",
        "points": 30,
        "when": {
          "feature": "card_countries_24h",
          ">=": 10
        },
        "explanation": "{card_countries_24h} countries within a day"
      },
      {
        "id": "many_declines",
        "points": 20,
        "when": {
          "feature": "card_declines_1h",
          ">=": 20
        },
        "explanation": "{card_declines_1h} declines within an hour"
      },
      {
        "id": "small_amounts",
        "points": 20,
        "when": {
          "feature": "card_small_amounts_10m",
          ">=": 10
        },
        "explanation": "{card_small_amounts_10m} small amounts online within ten minutes"
      },
      {
        "id": "many_attempts",
        "points": 10,
        "when": {
          "feature": "card_attempts_5m",
          ">=": 100
        },
        "explanation": "{card_attempts_5m} attempts within five minutes"
      },
      {
        "id": "many_merchants",
        "points": 10,
        "when": {
          "feature": "card_merchants_24h",
          ">=": 100
        },
        "explanation": "{card_merchants_24h} merchants within a day"
      },
      {
        "id": "risky_merchant",
        "points": 15,
        "when": {
          "field": "mcc",
          "in": [
            "4829",
            "5967",
            "6050-6051",
            "7800-7802",
            "7995"
          ]
        },
        "explanation": "merchants of category {mcc} are risky"
      },
      {
        "id": "large_online",
        "points": 15,
        "when": {
          "all": [
            {
              "field": "channel",
              "in": [
                "ECOMMERCE"
              ]
            },
            {
              "field": "amount_minor",
              ">=": {
                "USD": 100000,
                "EUR": 100000,
                "GBP": 100000,
                "CZK": 2000000,
                "JPY": 150000,
                "KWD": 300000
              }
            }
          ]
        },
        "explanation": "{amount_minor} online is a lot"
      },
      {
        "id": "close_to_the_limit",
        "points": 10,
        "when": {
          "field": "utilization_percent",
          ">=": 95
        },
        "explanation": "{utilization_percent} % of the credit limit would be used"
      }
    ]
  },
  "health": {
    "programs": [
      "collateral"
    ],
    "floor": "1.10",
    "stale_after_s": 900
  }
}
$rules$, 'migration', 'the rules of a new installation');
    perform card.shadow_rules('2026-11-1', 'migration', 'the rules of a new installation');
    perform card.promote_rules('2026-11-1', 'migration', 'the rules of a new installation');
end
$do$;
-- default rules end
-- noqa: enable=LT05
