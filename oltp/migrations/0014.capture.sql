-- What leaves through logical replication. The publication names its tables: a new table is captured
-- by a decision, never by accident, and each has a contract in schemas/contracts (a test holds the
-- two lists together).
--
-- Not captured, and why:
--   customer.subject_keys, customer.key_requests, provider.credentials: keys must never leave.
--   restricted.*: two roles may read it here; a topic would let everybody.
--   provider.rate_limits, card.spend_counters, card.card_states: counters that move with every call
--     and can be counted from what is captured.
--   card.fraud_labels: the truth that models are judged by; they must not learn it from the lake.
--   audit.changes, audit.chain: they repeat, row by row, what the tables send themselves, and would
--     double the log to decode; their proof holds only where the chain is.
--   ops.dead_letters, ops.import_rejections, card.clearing_lines: bytes as they came, which may be
--     anybody's data. What lines became is in card.card_messages.
--   audit.legal_holds, audit.retention_policies, audit.retention_runs, audit.quality_rules,
--     audit.quality_results, audit.audited_tables, ops.event_schemas, ops.import_runs: how this
--     database is kept, not the business; the lake has checks of its own.
-- depends: 0013.ops

-- Partitioned tables (card.card_events, audit.api_access_logs) send their rows under their own name,
-- not a partition's: one topic, and a new month needs no new setting.
create publication millrace for table
    customer.tenants,
    customer.customers,
    customer.addresses,
    customer.documents,
    customer.sessions,
    customer.permissions,
    customer.account_holders,
    provider.providers,
    provider.provider_products,
    provider.provider_rates,
    provider.webhooks,
    credit.applications,
    credit.provider_quotes,
    credit.offers,
    credit.offer_fees,
    credit.active_credits,
    credit.payments,
    credit.payment_receipts,
    credit.receipt_allocations,
    credit.credit_events,
    credit.recoveries,
    credit.collateral_positions,
    credit.adverse_action_notices,
    credit.adverse_action_reasons,
    kyc.kyc_records,
    kyc.partners,
    kyc.onboarding_cases,
    kyc.applicants,
    kyc.beneficial_owners,
    kyc.checklist_templates,
    kyc.checklist_template_items,
    kyc.checklists,
    kyc.checklist_items,
    kyc.case_decisions,
    kyc.watchlists,
    kyc.watchlist_entries,
    kyc.watchlist_aliases,
    kyc.watchlist_addresses,
    kyc.aml_checks,
    kyc.aml_matches,
    kyc.investigations,
    kyc.alerts,
    kyc.alert_evidence,
    kyc.regulatory_reports,
    risk.risk_assessments,
    risk.risk_factors,
    risk.bureau_scores,
    card.merchants,
    card.programs,
    card.card_accounts,
    card.cards,
    card.spend_limits,
    card.hold_periods,
    card.rule_versions,
    card.rule_changes,
    card.authorizations,
    card.shadow_verdicts,
    card.card_messages,
    card.clearing_files,
    card.clearing_totals,
    card.holds,
    card.clearings,
    card.disputes,
    card.card_events,
    card.cash_transactions,
    card.positions,
    card.position_collaterals,
    card.position_events,
    card.prices,
    ledger.accounts,
    ledger.entries,
    ledger.postings,
    ledger.credit_limits,
    ledger.statement_lines,
    ledger.reconciliation_runs,
    ledger.reconciliation_breaks,
    ledger.settlement_runs,
    ledger.settlement_breaks,
    audit.api_access_logs,
    audit.pii_access,
    ops.notifications,
    ops.outbox,
    ops.heartbeat,
    ops.signal
with (publish_via_partition_root = true);

-- Replica identity: an update or a delete sends the old row's key, which is all that silver needs, and
-- costs the log least. That is the default and holds wherever nothing else is said.
-- FULL, the whole old row, where a row that changes has a value of free length: an update that leaves
-- such a value alone, stored out of line, would otherwise send a placeholder for it. What is only
-- ever inserted (card.authorizations with its facts, kyc.watchlist_entries) always sends it whole.
alter table kyc.kyc_records replica identity full; -- details: a provider's answer
alter table kyc.onboarding_cases replica identity full; -- compliance_notes
alter table kyc.checklist_items replica identity full; -- notes
alter table kyc.aml_matches replica identity full; -- reason: a reviewer's words
alter table credit.collateral_positions replica identity full; -- description
alter table card.rule_versions replica identity full; -- document
alter table card.card_messages replica identity full; -- body
alter table ledger.reconciliation_breaks replica identity full; -- explanation
alter table ledger.settlement_breaks replica identity full; -- problem, explanation
alter table ops.notifications replica identity full; -- error: another system's words
