"""What runs need of wandb's server, of its service process and of the environment."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

__all__ = ["check_server", "is_installed", "private_environment", "stop_service"]


def is_installed() -> bool:
    """Return whether wandb is installed, without importing it."""
    try:
        spec = importlib.util.find_spec("wandb")
    except ValueError:  # a module of this name without a specification
        return False
    # A folder called wandb (where runs are stored) counts as a package without origin.
    return spec is not None and spec.origin is not None


def check_server(timeout_s: float) -> str:
    """Check that there is a key, and a server that answers; return its address.

    Args:
        timeout_s: Longest wait, in seconds.

    Raises:
        ConnectionError: No key is configured, or no answer came in time.
    """
    import wandb

    # This also overrides what an earlier run of the process left in the global settings.
    setup = wandb.setup(wandb.Settings(mode="online", silent=True))
    # Without prompt=False wandb would wait for a human to type a key.
    if not wandb.login(prompt=False, verify=False):
        raise ConnectionError("no API key is configured, run `wandb login`")
    url = str(setup.settings.base_url)
    if not _answers(url, timeout_s):
        raise ConnectionError(f"{url} does not answer within {timeout_s:g} s")
    return url


def stop_service(timeout_s: float) -> None:
    """Let go of wandb's service process, so that the next run starts another.

    Args:
        timeout_s: Longest wait for its end, in seconds: it may hang.
    """
    import wandb

    def stop() -> None:
        with contextlib.suppress(Exception):  # a dead service cannot be told to end
            wandb.teardown()

    thread = threading.Thread(target=stop, daemon=True)
    thread.start()
    thread.join(timeout_s)
    os.environ.pop("WANDB_SERVICE", None)  # that of another process, if it was not our own


@contextlib.contextmanager
def private_environment(dir: Path) -> Iterator[None]:
    """Keep wandb's home-folder files in `dir` and its telemetry off, unless the user set them."""
    wanted = {
        "WANDB_CACHE_DIR": str(dir / "wandb" / "cache"),
        "WANDB_DATA_DIR": str(dir / "wandb" / "data"),
        "WANDB_ERROR_REPORTING": "false",
    }
    added = {key: value for key, value in wanted.items() if key not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for key in added:
            os.environ.pop(key, None)


def _answers(url: str, timeout_s: float) -> bool:
    """Return whether a server answers at `url`, with any status, through any proxy in use."""
    answered = threading.Event()

    def ask() -> None:
        try:
            urllib.request.urlopen(url, timeout=timeout_s).close()
        except urllib.error.HTTPError as answer:
            answer.close()
        except Exception:  # no connection, or nothing that speaks HTTP
            return
        answered.set()

    # In a thread, because resolving a name has no time limit of its own.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(timeout_s)  # not answered.wait: a refused connection is known at once
    return answered.is_set()
