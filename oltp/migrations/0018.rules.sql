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
language sql stable set search_path = pg_catalog, pg_temp
begin atomic
select c.version
from card.rule_changes c
where c.from_status = 'ACTIVE' and c.to_status = 'RETIRED'
    and c.changed_at <= (
        select max(p.changed_at) from card.rule_changes p
        where p.version = rules_before.version and p.from_status = 'SHADOW'
            and p.to_status = 'ACTIVE')
order by c.changed_at desc
limit 1;
end;

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
