"""Faults at random moments: nothing finished is lost, nothing half-made is used; `python -m tests.faults`."""
