"""Random wrong input to everything that reads what others wrote; `python -m tests.fuzz`."""
