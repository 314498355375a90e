"""Spark pipelines: bronze as it arrived, silver as it is, quarantine with reasons, publish."""
