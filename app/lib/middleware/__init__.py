"""ASGI middleware around the router, one file each."""
