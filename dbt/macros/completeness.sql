{# What a table is made of: published tables that it reads (views are looked through), and tables of
   dbt that say themselves what they are made of. #}
{% macro made_of(node_id, found) %}
    {%- for parent in graph.nodes[node_id].depends_on.nodes -%}
        {%- if parent in graph.sources and graph.sources[parent].source_name == 'silver' -%}
            {%- do found.entities.append(graph.sources[parent].name) -%}
        {%- elif parent in graph.nodes and graph.nodes[parent].config.materialized == 'view' -%}
            {{- made_of(parent, found) -}}
        {%- elif parent in graph.nodes -%}
            {%- do found.tables.append(graph.nodes[parent].schema ~ '.' ~ graph.nodes[parent].name) -%}
        {%- endif -%}
    {%- endfor -%}
{% endmacro %}


{# Before a table is built: nothing is published meanwhile, so it is built from one state of all. #}
{% macro hold_publishing() %}
    select pg_advisory_xact_lock_shared(hashtext('publish'))
{% endmacro %}


{# After a table is built, in the same transaction: which cut it is complete through. #}
{% macro record_completeness() %}
    {%- if execute and model.config.materialized != 'view' -%}
        {%- set found = {'entities': [], 'tables': []} -%}
        {%- do made_of(model.unique_id, found) -%}
    with wanted (entity) as (
        select unnest('{ {{- found.entities | unique | join(',') -}} }'::text[])
        union
        select unnest(b.reads)
        from control.mart_builds as b
        where b.mart = any('{ {{- found.tables | unique | join(',') -}} }'::text[])
    ),

    {# A table in between may be older than what it was made of. #}
    shown (entity, cut_id) as (
        select w.entity, p.cut_id
        from wanted as w
        left join control.published as p on w.entity = p.entity
    ),

    reached (cut_id, newest_cut_id) as (
        select cut_id, cut_id from shown
        union all
        select b.cut_id, b.newest_cut_id
        from control.mart_builds as b
        where
            b.mart = any('{ {{- found.tables | unique | join(',') -}} }'::text[])
            and cardinality(b.reads) > 0
    )

    insert into control.mart_builds (mart, reads, cut_id, newest_cut_id, behind)
    select
        '{{ this.schema }}.{{ this.identifier }}',
        coalesce((select array_agg(entity order by entity) from shown), '{}'),
        (select case when bool_and(cut_id is not null) then min(cut_id) end from reached),
        (select max(newest_cut_id) from reached),
        coalesce((
            select array_agg(entity order by entity)
            from shown
            where cut_id is distinct from (select max(newest_cut_id) from reached)
        ), '{}')
    on conflict (mart) do update set
        reads = excluded.reads,
        cut_id = excluded.cut_id,
        newest_cut_id = excluded.newest_cut_id,
        behind = excluded.behind,
        built_at = now()
    {%- endif -%}
{% endmacro %}
