"""Benchmarks: run them from the top folder, as in `python -m benchmarks.cuts`."""
