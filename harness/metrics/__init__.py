"""Metrics: confusion matrices and threshold sweeps."""
