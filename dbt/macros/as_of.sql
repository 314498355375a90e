{# The day a mart speaks of: `--vars '{as_of: 2026-01-31}'`, or today in UTC. #}
{% macro as_of() -%}
    {%- set day = var('as_of', none) -%}
    {%- if day -%} date '{{ day }}' {%- else -%} (now() at time zone 'UTC')::date {%- endif -%}
{%- endmacro %}
