"""One adapter module per subject; importing them registers the adapters."""
