"""`millrace watch`: what gateway and worker count, read, subtracted and drawn."""
