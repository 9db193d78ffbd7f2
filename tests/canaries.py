"""What must never be told: planted in the tests' data, looked for in all that they and their servers say."""

import re

COOKIE = "better-auth.session_token=canary-of-a-cookie"
CANARIES = (
    "a-secret-for-tests-of",  # the secret that tokens are signed with
    "hunter2",  # passwords, and what is in errors
    "Water the plants",  # what Client.create writes
    "canary-of-",  # everything that is made for this
)
TOKEN = re.compile(r"eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.")
ANNOUNCED = re.compile(r"^(?:eyJ|curl -X POST ).*$", re.MULTILINE)  # the token that `run` prints to try, in development


def leaks(text: str) -> list[str]:
    """Give what of it is in a text."""
    text = ANNOUNCED.sub("", text)
    return [canary for canary in CANARIES if canary in text] + TOKEN.findall(text)
