{# A model's schema is the one its folder names: gold_credit, not <target>_gold_credit. #}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ custom_schema_name | trim if custom_schema_name else target.schema }}
{%- endmacro %}
