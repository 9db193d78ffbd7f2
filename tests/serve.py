"""One of this repository's servers on a new database: `python -m tests.serve app`, or `peer`.

Prints a line of JSON that says where it listens and whose tokens it takes, and serves until its standard input ends.
"""

import json
import os
import sys
from contextlib import ExitStack

from app.db.embedded import EmbeddedPostgres
from app.lib.settings import PROJECT
from benchmarks.database import scratch_database
from benchmarks.servers import HOST, SERVERS, running
from tests.live import environment, manage
from tests.support import SECRET, admin_url

ISSUER, AUDIENCE = "https://app.example.com", "https://api.example.com"
RESOURCE = "https://api.example.com/api"


def main(name: str) -> None:
    """Serve."""
    with ExitStack() as stack:
        server_url = os.environ.get("TEST_DATABASE_URL")
        server_url = server_url or stack.enter_context(EmbeddedPostgres(PROJECT / ".data" / "tests", durable=False))
        env = environment(
            environment="test",
            database_url=stack.enter_context(scratch_database(admin_url(server_url))),
            better_auth_secret=SECRET,
            better_auth_issuer=ISSUER,
            better_auth_audience=AUDIENCE,
            resource=RESOURCE,
            rate_limit_per_minute=600,
        )
        if name == "app":
            migrated = manage(env, "migrate")
            assert migrated.returncode == 0, migrated.stderr
        server = stack.enter_context(running(SERVERS[name], env))
        tokens = {"secret": SECRET, "issuer": ISSUER, "audience": AUDIENCE, "resource": RESOURCE}
        print(json.dumps({"base_url": f"http://{HOST}:{server.port}", **tokens}), flush=True)  # noqa: T201
        sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
