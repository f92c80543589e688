"""The verbs of the `harness` command, a module each. Heavy imports happen inside the functions."""
