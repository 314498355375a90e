"""Benchmarks: one script a ratio, both sides in one run, interleaved. `make bench NAME=...`."""
