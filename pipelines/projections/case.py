"""What a case worker sees of an onboarding case at once, from silver, pure.

The same columns and meaning as the operational view kyc.onboarding_case_projection. Personal values
are the masked ones, or sealed. Silver's tables are given without their deleted rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyspark.sql import DataFrame

INPUTS = (
    "onboarding_cases",
    "partners",
    "applicants",
    "addresses",
    "checklists",
    "checklist_items",
    "risk_assessments",
    "risk_factors",
    "beneficial_owners",
    "documents",
    "aml_checks",
)


def cases(tables: Mapping[str, DataFrame]) -> DataFrame:
    """One row a case; `tables` has a frame for each of INPUTS."""
    spark = tables["onboarding_cases"].sparkSession
    frames: dict[str, Any] = {name: tables[name] for name in INPUTS}
    return spark.sql(_QUERY, **frames)


_QUERY = """
with progress as (
    select
        l.case_id,
        l.checklist_id,
        l.status,
        count(i.checklist_item_id) as total_items,
        count_if(i.status = 'COMPLETED') as completed_items,
        count_if(i.is_required) as required_items,
        count_if(i.is_required and i.status = 'COMPLETED') as completed_required_items,
        -- What was skipped is not open any more. No items at all is nothing done.
        cast(round(coalesce(100.0 * count_if(i.status <> 'PENDING')
            / nullif(count(i.checklist_item_id), 0), 0), 2) as decimal(5, 2))
            as completion_percent,
        cast(round(coalesce(100.0 * count_if(i.is_required and i.status <> 'PENDING')
            / nullif(count_if(i.is_required), 0), 0), 2) as decimal(5, 2))
            as required_completion_percent
    from {checklists} as l
    left join {checklist_items} as i on l.checklist_id = i.checklist_id
    group by l.case_id, l.checklist_id, l.status
),
factors as (
    select risk_assessment_id, count(*) as n from {risk_factors} group by risk_assessment_id
),
owners as (select case_id, count(*) as n from {beneficial_owners} group by case_id),
issues as (
    select distinct case_id from {aml_checks}
    where status in ('POTENTIAL_MATCH', 'CONFIRMED_MATCH', 'FAILED')
),
papers as (
    select
        customer_id,
        count(*) as n,
        count_if(status = 'VERIFIED') as verified,
        count_if(status = 'PENDING') as pending,
        count_if(status = 'REJECTED') as rejected
    from {documents} group by customer_id
)

select
    c.case_id,
    c.case_number,
    c.customer_id,
    c.case_type,
    c.status,
    c.partner_id,
    p.name as partner_name,
    c.partner_reference,
    a.full_name as applicant_full_name_sealed,
    a.birth_date as applicant_birth_date_sealed,
    a.email_masked as applicant_email_masked,
    a.phone_masked as applicant_phone_masked,
    a.birth_year as applicant_birth_year,
    a.nationality as applicant_nationality,
    d.street as applicant_street_sealed,
    d.city as applicant_city,
    d.country as applicant_country,
    coalesce(l.completion_percent, cast(0 as decimal(5, 2))) as progress_percent,
    coalesce(l.total_items, 0L) as total_steps,
    coalesce(l.completed_items, 0L) as completed_steps,
    l.checklist_id,
    l.status as checklist_status,
    l.completion_percent as checklist_completion_percent,
    l.required_completion_percent as checklist_required_completion_percent,
    l.total_items as checklist_total_items,
    l.completed_items as checklist_completed_items,
    l.required_items as checklist_required_items,
    l.completed_required_items as checklist_completed_required_items,
    r.risk_assessment_id,
    r.risk_level,
    r.risk_score,
    r.status as risk_status,
    coalesce(f.n, 0L) as risk_factor_count,
    coalesce(o.n, 0L) as beneficial_owner_count,
    coalesce(t.n, 0L) as document_count,
    coalesce(t.verified, 0L) as verified_document_count,
    coalesce(t.pending, 0L) as pending_document_count,
    coalesce(t.rejected, 0L) as rejected_document_count,
    c.created_at,
    c.updated_at,
    c.submitted_at,
    c.approved_at,
    c.rejected_at,
    c.assigned_to,
    c.assigned_to_name,
    c.assigned_at,
    c.requires_manual_review,
    k.case_id is not null as has_compliance_issues,
    c.compliance_notes
from {onboarding_cases} as c
left join {partners} as p on c.partner_id = p.partner_id
left join {applicants} as a on c.case_id = a.case_id and a.is_primary
left join {addresses} as d
    on c.customer_id = d.customer_id and d.is_primary
    and d.kind = case c.case_type when 'INDIVIDUAL' then 'RESIDENTIAL' else 'BUSINESS' end
left join progress as l on c.case_id = l.case_id
left join {risk_assessments} as r on c.case_id = r.case_id
left join factors as f on r.risk_assessment_id = f.risk_assessment_id
left join owners as o on c.case_id = o.case_id
left join issues as k on c.case_id = k.case_id
left join papers as t on c.customer_id = t.customer_id
"""
