"""Every role, object and action: what is declared is allowed, everything else is denied."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import sql

from schemas import access, contract

MATRIX = access.load()
SCHEMAS = access.SCHEMAS
RELATIONS = """
select n.nspname || '.' || c.relname, c.relkind::text, c.relispartition, (
    select array_agg(a.attname::text order by a.attnum) from pg_attribute a
    where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped)
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = any (%s) and c.relkind in ('r', 'p', 'v', 'm')
order by 1
"""
ALLOWED = """
select n.nspname || '.' || c.relname, p.action, has_table_privilege(%(role)s, c.oid, p.action), (
    select array_agg(a.attname::text) from pg_attribute a
    where p.action in ('select', 'insert', 'update')
        and a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        and has_column_privilege(%(role)s, c.oid, a.attnum, p.action))
from pg_class c join pg_namespace n on n.oid = c.relnamespace
cross join unnest(%(actions)s::text[]) p (action)
where n.nspname = any (%(schemas)s) and c.relkind in ('r', 'p', 'v', 'm')
"""
# Attempts each statement; only a refusal for want of a privilege counts.
ATTEMPT = """
do $attempt$
declare
    statement text;
begin
    foreach statement in array {statements}::text[] loop
        begin
            execute statement;
            raise exception 'allowed: %', statement using errcode = 'MR403';
        exception when insufficient_privilege then
            if sqlerrm not like 'permission denied%' then
                raise exception 'refused, but not by a grant: % (%)', statement, sqlerrm;
            end if;
        end;
    end loop;
end
$attempt$
"""


@pytest.fixture(scope="module")
def owner(database):
    with psycopg.connect(database.admin) as connection:
        yield connection
        connection.rollback()


@pytest.fixture(scope="module")
def relations(owner) -> dict[str, tuple[str, bool, tuple[str, ...]]]:
    """Kind, whether it is a partition, and columns of every table and view."""
    found = owner.execute(RELATIONS, (list(SCHEMAS),)).fetchall()
    return {name: (kind, part, tuple(columns)) for name, kind, part, columns in found}


def declared(role: str, table: str, kind: str, is_partition: bool) -> access.Grants:
    return {} if is_partition else MATRIX.grants(role, table, is_view=kind in "vm")


@pytest.mark.parametrize("role", MATRIX.roles)
def test_the_declared_matrix_is_what_postgres_allows(owner, relations, role):
    arguments = {"role": role, "actions": list(access.ACTIONS), "schemas": list(SCHEMAS)}
    wrong = []
    for table, action, whole, columns in owner.execute(ALLOWED, arguments):
        kind, is_partition, names = relations[table]
        grant = declared(role, table, kind, is_partition).get(action)
        if whole != (grant is not None and grant.whole):
            wrong.append(f"{role} {action} {table}: {whole}")
        expected = {name for name in names if grant and grant.covers(name)}
        if action in access.WITH_COLUMNS and set(columns or ()) != expected:
            odd = sorted(set(columns or ()) ^ expected)
            wrong.append(f"{role} {action} {table}: {', '.join(odd)}")
    assert not wrong, "\n".join(wrong)


def attempts(table: str, names: tuple[str, ...], is_view: bool, grants: access.Grants) -> list[str]:
    """A harmless statement for each thing that is not granted."""
    name = sql.Identifier(*table.split(".")).as_string()
    found = []
    for column in names:
        quoted = sql.Identifier(column).as_string()
        if "select" not in grants or not grants["select"].covers(column):
            found.append(f"select {quoted} from {name} limit 0")
        if is_view:
            continue
        if "insert" not in grants or not grants["insert"].covers(column):
            found.append(f"insert into {name} ({quoted}) overriding user value values (default)")
        if "update" not in grants or not grants["update"].covers(column):
            found.append(f"update {name} set {quoted} = default where false")
    if not is_view:
        found += [f"delete from {name} where false"] if "delete" not in grants else []
        found += [f"truncate {name}"] if "truncate" not in grants else []
    return found


@pytest.mark.parametrize("role", MATRIX.roles)
def test_what_is_not_granted_is_denied_when_it_is_tried(owner, relations, role):
    statements = [
        statement
        for table, (kind, is_partition, names) in relations.items()
        for statement in attempts(
            table, names, kind in "vm", declared(role, table, kind, is_partition)
        )
    ]
    assert len(statements) > 1000
    with owner.transaction(force_rollback=True):
        owner.execute(sql.SQL("set local role {}").format(sql.Identifier(role)))
        owner.execute(sql.SQL(ATTEMPT).format(statements=sql.Literal(statements)))


def test_the_matrix_names_only_tables_that_are_there(relations):
    assert MATRIX.named_tables <= set(relations)


def test_every_login_role_is_in_the_matrix_or_owns_things(owner):
    ours = {
        name
        for (name,) in owner.execute(
            "select rolname from pg_roles where oid >= 16384 and has_database_privilege("
            "oid, current_database(), 'connect')"
        )
    }
    assert ours - set(MATRIX.roles) == {"migrator"}


def test_cdc_reads_exactly_what_is_published(owner):
    published = {
        f"{schema}.{table}"
        for schema, table in owner.execute(
            "select schemaname, tablename from pg_publication_tables where pubname = 'millrace'"
        )
    }
    assert {t for t, grants in MATRIX.roles["cdc"].items() if "select" in grants} == published
    assert {entity.source for entity in contract.load_all()} <= published


def test_no_role_is_a_superuser_or_passes_row_security(owner):
    mighty = owner.execute(
        "select rolname from pg_roles where (rolsuper or rolbypassrls) and oid >= 16384"
    ).fetchall()
    assert mighty == []
    replicating = owner.execute(
        "select rolname from pg_roles where rolreplication and oid >= 16384"
    ).fetchall()
    assert replicating == [("cdc",)]


def test_nobody_can_log_in_as_an_owner(owner):
    owners = owner.execute(
        "select distinct r.rolname, r.rolcanlogin from pg_class c"
        " join pg_namespace n on n.oid = c.relnamespace join pg_roles r on r.oid = c.relowner"
        " where n.nspname = any (%s) union select distinct r.rolname, r.rolcanlogin from pg_proc p"
        " join pg_namespace n on n.oid = p.pronamespace join pg_roles r on r.oid = p.proowner"
        " where n.nspname = any (%s)",
        (list(SCHEMAS), list(SCHEMAS)),
    ).fetchall()
    assert owners
    assert [name for name, can_login in owners if can_login] == []


def test_functions_with_rights_of_their_own_belong_to_keepers_and_look_nowhere_else(owner):
    functions = owner.execute(
        "select p.oid::regprocedure::text, r.rolname, coalesce(array_to_string(proconfig, ' '), '')"
        " from pg_proc p join pg_namespace n on n.oid = p.pronamespace"
        " join pg_roles r on r.oid = p.proowner where prosecdef and n.nspname = any (%s)",
        (list(SCHEMAS),),
    ).fetchall()
    assert functions
    for name, role, settings in functions:
        assert role.endswith("_keeper"), name
        assert "search_path=pg_catalog" in settings, name


def test_public_has_nothing(owner):
    given = owner.execute(
        "select 'schema ' || nspname from pg_namespace, aclexplode(nspacl)"
        " where grantee = 0 and (nspname = any (%(schemas)s) or nspname = 'public')"
        " union all select c.oid::regclass::text from pg_class c"
        " join pg_namespace n on n.oid = c.relnamespace, aclexplode(c.relacl)"
        " where grantee = 0 and n.nspname = any (%(schemas)s)"
        " union all select p.oid::regprocedure::text from pg_proc p"
        " join pg_namespace n on n.oid = p.pronamespace,"
        " aclexplode(coalesce(p.proacl, acldefault('f', p.proowner)))"
        " where grantee = 0 and n.nspname = any (%(schemas)s)"
        " union all select t.oid::regtype::text from pg_type t"
        " join pg_namespace n on n.oid = t.typnamespace left join pg_class c on c.oid = t.typrelid,"
        " aclexplode(coalesce(t.typacl, acldefault('T', t.typowner)))"
        " where grantee = 0 and n.nspname = any (%(schemas)s)"
        " and (t.typtype in ('d', 'e') or c.relkind = 'c')",
        {"schemas": list(SCHEMAS)},
    ).fetchall()
    assert given == []


@pytest.mark.parametrize(
    ("line", "message"),
    [("destroy", "no such action"), ("select,,insert", "cannot read"), ("delete(a)", "no such")],
)
def test_a_line_that_cannot_be_read_is_refused_with_its_place(tmp_path, line, message):
    file = tmp_path / "access.yaml"
    file.write_text(f"app_rw:\n  card.cards: {line}\ncdc:\n")
    with pytest.raises(access.AccessError, match=f"app_rw: card.cards.*{message}"):
        access.load(file)
