"""Tables from run records."""
