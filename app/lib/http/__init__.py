"""Requests, responses and the server protocol."""
