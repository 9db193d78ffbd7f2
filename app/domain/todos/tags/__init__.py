"""Tags in use, with their counts."""
