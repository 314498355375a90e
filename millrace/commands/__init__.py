"""One module a command; see millrace/cli.py."""
