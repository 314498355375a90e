"""Data quality: suites from contracts and business rules, run on what changed.

`catalog` says which rules there are and is cheap to import; `run` checks a table with Great
Expectations; `report` keeps the results. A failed rule of severity error blocks the publish of its
table, a failed warning is told.
"""
