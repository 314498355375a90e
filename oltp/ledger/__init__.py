"""The ledger as people look at it: its controls, its balances, its reconciliation."""
