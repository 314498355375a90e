"""`millrace demo`: the whole path shown once, from an empty machine to a tie-out."""
