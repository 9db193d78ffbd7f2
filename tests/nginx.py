"""A real nginx in front of a server, as often configured: `map $http_upgrade`, and connections that are kept open."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.live import free_port, wait_until
from tests.wire import listens

HOW_TO_INSTALL = "nginx is not installed: apt-get install nginx"
_CONFIG = """
daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr warn;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
  upstream backend {{ server 127.0.0.1:{upstream}; keepalive 1; }}
  server {{
    listen 127.0.0.1:{port};
    client_max_body_size 4m;
    {locations}
  }}
}}
"""
_COMMON = """
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
"""
LOCATIONS = f"""
    location / {{ proxy_pass http://backend; {_COMMON} }}
    location /backend/ {{ proxy_pass http://backend/; {_COMMON} proxy_set_header X-Forwarded-Prefix /backend; }}
    location /plain/ {{ proxy_pass http://backend/; }}
"""


@contextmanager
def nginx(folder: Path, upstream: int) -> Iterator[int]:
    """Run nginx on a free port of loopback, in front of a port; give its own. It strips `/backend` from paths."""
    command = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/bin")
    if command is None:
        pytest.skip(HOW_TO_INSTALL)
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(_CONFIG.format(folder=folder, upstream=upstream, port=port, locations=LOCATIONS))
    process = subprocess.Popen([command, "-p", folder, "-c", config, "-e", "stderr"], stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: listens(port))
        yield port
    finally:
        process.terminate()
        process.wait()
