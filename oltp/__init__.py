"""The operational database: its migrations, the importer and the traffic simulator."""
