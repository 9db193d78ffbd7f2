"""The user row: made at the first valid token, closed by an operator."""
