"""Health, and what operators ask for."""
