"""The same API as FastAPI's full-stack template would have it: FastAPI, SQLModel, Pydantic, PyJWT."""
