"""Benchmarks: `pytest benchmarks`."""
