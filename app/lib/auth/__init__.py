"""Verify tokens, load keys, guard routes."""
