"""Lists, which todos are kept in."""
