{# Days past due as the bucket that regulators and servicers report (NCUA, Call Report). #}
{% macro dpd_bucket(days_past_due) -%}
    case
        when {{ days_past_due }} <= 0 then 'current'
        when {{ days_past_due }} <= 29 then '1-29'
        when {{ days_past_due }} <= 59 then '30-59'
        when {{ days_past_due }} <= 89 then '60-89'
        when {{ days_past_due }} <= 119 then '90-119'
        when {{ days_past_due }} <= 149 then '120-149'
        when {{ days_past_due }} <= 179 then '150-179'
        else '180+'
    end
{%- endmacro %}
