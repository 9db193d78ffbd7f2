"""Tokens, keys and guards."""
