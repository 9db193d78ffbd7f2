"""Processes of the server."""

import multiprocessing
import os
import signal
import threading


def end_with_parent() -> None:
    """Stop this worker once the process that started it was killed: it would hold the port for ever."""
    if (parent := multiprocessing.parent_process()) is None:
        return

    def watch() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
