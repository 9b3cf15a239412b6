import logging
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from stitching.tracking import WandbTracker
from tests.tracking.offline import cell, make, messages, read_run

pytest.importorskip("wandb")


class SlowServer:
    """A server that answers GET at once and keeps POST waiting, until the test ends."""

    def __init__(self, get_waits=False):
        self.released = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                if get_waits:
                    outer.released.wait(30)
                self.send_response(404)
                self.end_headers()

            def do_POST(self):
                outer.released.wait(30)

            def log_message(self, *args):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def close(self):
        self.released.set()
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


def closed_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{s.getsockname()[1]}"


@pytest.fixture
def online(monkeypatch):
    """Return a function that points wandb at a server, with a key that no server would take."""
    from wandb.sdk import wandb_setup

    monkeypatch.setattr(WandbTracker, "_server_failed", False)
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    settings = wandb_setup.singleton().settings
    before = settings.base_url, settings.mode

    def use(url):
        settings.base_url = url

    yield use
    settings.base_url, settings.mode = before


def run_twice(tmp_path, caplog):
    """Run two cells online with a limit of 0.5 s; return the seconds taken and the warnings."""
    started = time.monotonic()
    with caplog.at_level(logging.WARNING, logger="stitching"):
        for i in range(2):
            with make("online", timeout_s=0.5) as tracker:
                tracker.start({"encoder": i}, "n", "g", cell(tmp_path, str(i)))
                tracker.log({"x": i})
    return time.monotonic() - started, messages(caplog)


def assert_stored_offline(tmp_path):
    runs = [read_run(tmp_path / str(i)) for i in range(2)]
    assert [run["config"]["encoder"] for run in runs] == [0, 1]
    assert [run["summary"]["x"] for run in runs] == [0, 1]


def test_a_refused_connection_makes_runs_offline_with_one_warning(tmp_path, caplog, online):
    online(closed_port())
    seconds, warnings = run_twice(tmp_path, caplog)
    assert len(warnings) == 1
    assert "does not answer" in warnings[0]
    assert "wandb sync" in warnings[0]
    assert seconds < 2
    assert_stored_offline(tmp_path)


@pytest.mark.parametrize("get_waits", [True, False])
def test_a_server_that_does_not_answer_is_given_up_in_time(tmp_path, caplog, online, get_waits):
    server = SlowServer(get_waits)
    try:
        online(server.url)
        seconds, warnings = run_twice(tmp_path, caplog)
    finally:
        server.close()
    assert len(warnings) == 1
    assert seconds < 3
    assert_stored_offline(tmp_path)


def test_without_a_key_nobody_is_asked_for_one(tmp_path, caplog, online, monkeypatch):
    from wandb.sdk.lib import wbauth

    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.setenv("NETRC", str(tmp_path / "no_netrc"))
    prompt = "wandb.sdk.lib.wbauth.prompt.prompt_and_save_api_key"
    monkeypatch.setattr(prompt, lambda **_: pytest.fail("asked for a key"))
    wbauth.unauthenticate_session()
    online(closed_port())
    _, warnings = run_twice(tmp_path, caplog)
    assert len(warnings) == 1
    assert "wandb login" in warnings[0]
    assert_stored_offline(tmp_path)
