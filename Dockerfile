# The server, without the embedded PostgreSQL and without development tools.
FROM python:3.13-slim AS build
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never
RUN pip install --no-cache-dir uv
WORKDIR /srv/todo-backend
# The packages first: this layer is built again only when pyproject.toml changes.
COPY pyproject.toml .python-version ./
RUN uv sync --no-default-groups
COPY manage.py README.md ./
COPY app app
RUN python -m compileall -q app manage.py

FROM python:3.13-slim
# A number, so that Kubernetes can check runAsNonRoot.
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin todo
WORKDIR /srv/todo-backend
COPY --from=build /srv/todo-backend ./
# Nothing is written at run time: the root file system can be read-only.
ENV PATH=/srv/todo-backend/.venv/bin:$PATH \
    ENVIRONMENT=production \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=10s --start-period=20s --retries=3 CMD ["python", "manage.py", "health"]
CMD ["python", "manage.py", "run", "--host", "0.0.0.0", "--port", "8000"]
