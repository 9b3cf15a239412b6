"""Downloads against a real server on this machine: whole, cut, resumed, wrong, contended."""

import hashlib
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from stitching.weights import download
from stitching.weights.download import (
    ChecksumError,
    DownloadError,
    Network,
    remembered_sha256,
    within,
)

CONTENT = bytes(range(256)) * 1200  # five reads
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT; its attributes say how badly, `asked` what was asked for."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked, self.cuts, self.ranges, self.status = [], [], True, 200
        self.gate = threading.Event()
        self.gate.set()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server, wanted = self.server, self.headers.get("Range")
        server.asked.append(wanted)
        server.gate.wait(5)
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/file.pt")
            return self.end_headers()
        if server.status != 200:
            return self.send_error(server.status)
        start = int(wanted[len("bytes=") : -1]) if wanted and server.ranges else 0
        if start >= len(CONTENT):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.end_headers()
        end = server.cuts.pop(0) if server.cuts else len(CONTENT)
        self.wfile.write(CONTENT[start:end])

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_download_lands_whole_and_leaves_nothing_else(server, tmp_path):
    target = tmp_path / "deep" / "file.pt"
    assert Network().fetch(f"{server.url}/file.pt", target, SHA256) == SHA256
    assert target.read_bytes() == CONTENT
    assert names(target.parent) == ["file.pt"]


def test_a_file_that_is_there_is_not_asked_for_again(server, tmp_path):
    (tmp_path / "file.pt").write_bytes(CONTENT)
    Network().fetch(f"{server.url}/file.pt", tmp_path / "file.pt", SHA256)
    assert server.asked == []


def test_redirects_are_followed(server, tmp_path):
    Network().fetch(f"{server.url}/moved", tmp_path / "file.pt", SHA256)
    assert (tmp_path / "file.pt").read_bytes() == CONTENT


def test_a_download_that_breaks_off_goes_on_where_it_stopped(server, tmp_path):
    server.cuts = [100_000, 200_000]
    Network().fetch(f"{server.url}/file.pt", tmp_path / "file.pt", SHA256)
    assert server.asked == [None, "bytes=100000-", "bytes=200000-"]
    assert (tmp_path / "file.pt").read_bytes() == CONTENT
    assert names(tmp_path) == ["file.pt"]


def test_what_an_earlier_process_got_is_resumed(server, tmp_path):
    (tmp_path / "file.pt.partial").write_bytes(CONTENT[:123_456])
    Network().fetch(f"{server.url}/file.pt", tmp_path / "file.pt", SHA256)
    assert server.asked == ["bytes=123456-"]
    assert (tmp_path / "file.pt").read_bytes() == CONTENT


def test_a_partial_file_that_is_whole_already_is_kept(server, tmp_path):
    (tmp_path / "file.pt.partial").write_bytes(CONTENT)
    Network().fetch(f"{server.url}/file.pt", tmp_path / "file.pt", SHA256)
    assert names(tmp_path) == ["file.pt"]


def test_a_server_that_cannot_resume_sends_the_whole_file_once(server, tmp_path):
    server.ranges = False
    (tmp_path / "file.pt.partial").write_bytes(b"other bytes")
    Network().fetch(f"{server.url}/file.pt", tmp_path / "file.pt", SHA256)
    assert (tmp_path / "file.pt").read_bytes() == CONTENT


def test_a_server_that_always_breaks_off_at_one_place_is_given_up_and_the_part_kept(
    server, tmp_path
):
    server.cuts = [100_000] * 9
    with pytest.raises(DownloadError, match=r"ended after 100000 of 307200 bytes"):
        Network().fetch(f"{server.url}/file.pt", tmp_path / "file.pt", SHA256)
    assert names(tmp_path) == ["file.pt.partial"]
    assert len(server.asked) == 2


def test_another_file_is_refused_with_both_hashes_and_removed(server, tmp_path):
    wrong = "0" * 64
    with pytest.raises(ChecksumError, match=f"sha256 {SHA256} instead of {wrong}"):
        Network().fetch(f"{server.url}/file.pt", tmp_path / "file.pt", wrong)
    assert names(tmp_path) == []


def test_a_partial_file_of_another_file_does_not_survive(server, tmp_path):
    (tmp_path / "file.pt.partial").write_bytes(b"x" * 1000)
    with pytest.raises(ChecksumError):
        Network().fetch(f"{server.url}/file.pt", tmp_path / "file.pt", SHA256)
    assert names(tmp_path) == []


@pytest.mark.parametrize("status", [404, 403, 503])
def test_an_error_of_the_server_is_named_and_no_page_is_saved(server, tmp_path, status):
    server.status = status
    with pytest.raises(DownloadError, match=f"the server answered {status}"):
        Network().fetch(f"{server.url}/file.pt", tmp_path / "file.pt", SHA256)
    assert names(tmp_path) == []


def test_a_server_that_never_answers_is_given_up_in_time(server, tmp_path):
    server.gate.clear()
    with pytest.raises(DownloadError, match=r"no answer within 0\.2 s"):
        Network().fetch(f"{server.url}/file.pt", tmp_path / "file.pt", SHA256, budget_s=0.2)
    server.gate.set()


def test_no_server_at_all_is_said_at_once(tmp_path):
    with pytest.raises(DownloadError, match="refused"):
        Network().fetch("http://127.0.0.1:9/file.pt", tmp_path / "file.pt", SHA256)


def test_an_address_that_failed_is_not_tried_again_with_the_same_message(server, tmp_path):
    server.status = 404
    network, messages = Network(), []
    for _ in range(2):
        with pytest.raises(DownloadError) as error:
            network.fetch(f"{server.url}/file.pt", tmp_path / "file.pt", SHA256)
        messages.append(str(error.value))
    assert messages[0] == messages[1]
    assert len(server.asked) == 1


def test_threads_that_want_one_file_fetch_it_once(server, tmp_path, caplog):
    caplog.set_level("INFO")
    server.gate.clear()
    with ThreadPoolExecutor(3) as pool:
        jobs = [
            pool.submit(Network().fetch, f"{server.url}/file.pt", tmp_path / "file.pt", SHA256)
            for _ in range(3)
        ]
        threading.Timer(0.2, server.gate.set).start()
        assert {job.result() for job in jobs} == {SHA256}
    assert len(server.asked) == 1
    assert "another process is downloading file.pt" in caplog.text
    assert names(tmp_path) == ["file.pt"]


def test_processes_that_want_one_file_fetch_it_once(server, tmp_path):
    server.gate.clear()
    code = (
        "import sys; from pathlib import Path; from stitching.weights.download import Network;"
        "print(Network().fetch(sys.argv[1], Path(sys.argv[2]), sys.argv[3]))"
    )
    command = [sys.executable, "-c", code, f"{server.url}/f", str(tmp_path / "file.pt"), SHA256]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    threading.Timer(0.5, server.gate.set).start()
    assert [process.communicate()[0].strip() for process in running] == [SHA256] * 2
    assert len(server.asked) == 1


def test_a_function_that_hangs_is_left_behind():
    with pytest.raises(TimeoutError, match=r"no answer within 0\.05 s"):
        within(0.05, lambda: threading.Event().wait(5))


def test_a_checksum_is_computed_anew_once_the_file_has_changed(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"a")
    os.utime(path, (1, 1))
    assert remembered_sha256(path) == hashlib.sha256(b"a").hexdigest()
    path.write_bytes(b"b")
    assert remembered_sha256(path) == hashlib.sha256(b"b").hexdigest()


def test_a_checksum_of_a_file_at_rest_is_remembered(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"a")
    monkeypatch.setattr(download, "_RESTED_S", -1.0)
    first = remembered_sha256(path)
    monkeypatch.setattr(download, "sha256_of", None)
    assert remembered_sha256(path) == first
