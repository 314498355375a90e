{# The UTC day of an instant, whatever the session's time zone is. #}
{% macro utc_date(instant) -%}
    ({{ instant }} at time zone 'UTC')::date
{%- endmacro %}
