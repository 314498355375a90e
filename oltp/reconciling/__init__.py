"""Settlement with networks: clearing files, and what differs between file, ledger and position."""
