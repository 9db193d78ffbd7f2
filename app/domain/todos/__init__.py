"""Todos: the reference domain, an owned resource from table to wire."""
