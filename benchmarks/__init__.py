"""Speed of the app beside a FastAPI peer and beside the floor. See README.md."""
