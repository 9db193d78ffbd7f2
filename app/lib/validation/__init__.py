"""Request bodies and query strings."""
