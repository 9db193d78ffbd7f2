"""Several writes of todos in one transaction."""
