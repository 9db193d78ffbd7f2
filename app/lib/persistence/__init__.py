"""User-scoped statements and sessions; knows nothing of HTTP."""
