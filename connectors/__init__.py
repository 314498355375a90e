"""Capture: the Debezium connector's settings, its registration and its lineage."""
