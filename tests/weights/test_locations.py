"""What `weights:` may say, and what is said when the weights are not to be had."""

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from huggingface_hub import constants

from stitching.weights import hub, locations
from stitching.weights.locations import checkpoint_folder, resolve

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SAFE, BIN = "diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin"


@pytest.fixture(autouse=True)
def own_folders(monkeypatch, tmp_path):
    """No file of this user's, and no hub but one that a test starts."""
    monkeypatch.setenv("STITCHING_CHECKPOINTS", str(tmp_path / "checkpoints"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    hub._log.cache_clear()
    set_endpoint(monkeypatch, "http://127.0.0.1:9")


def set_endpoint(monkeypatch, url):
    monkeypatch.setattr(constants, "ENDPOINT", url)
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


def put(path, content=b"{}"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def in_hub_cache(root, *names, repository="org/name"):
    """Lay files into a hub cache as the library does: blobs, links to them, a branch."""
    folder = root / f"models--{repository.replace('/', '--')}"
    put(folder / "refs" / "main", COMMIT.encode())
    for name in names:
        blob = put(folder / "blobs" / hashlib.sha1(name.encode()).hexdigest())
        link = folder / "snapshots" / COMMIT / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    return folder / "snapshots" / COMMIT


def test_a_checkpoint_is_looked_for_in_the_checkpoint_folder(tmp_path):
    path = put(tmp_path / "checkpoints" / "deep" / "glow.pt")
    assert resolve("checkpoints:deep/glow.pt") == path


def test_the_checkpoint_folder_lies_in_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.delenv("STITCHING_CHECKPOINTS")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert checkpoint_folder() == tmp_path / "stitching" / "checkpoints"


def test_a_relative_checkpoint_folder_starts_in_the_launch_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("STITCHING_CHECKPOINTS", "mine")
    assert checkpoint_folder(tmp_path) == tmp_path / "mine"


@pytest.mark.parametrize("name", ["glow.pt", ""])
def test_a_checkpoint_that_is_not_there_names_path_and_ways_out(tmp_path, name):
    with pytest.raises(FileNotFoundError) as error:
        resolve(f"checkpoints:{name}")
    for part in (str(tmp_path / "checkpoints"), name, "docs/CHECKPOINTS.md",
                 "STITCHING_CHECKPOINTS", "<role>.weights=PATH"):  # fmt: skip
        assert part in str(error.value)


def test_a_relative_path_starts_in_the_folder_given(tmp_path):
    path = put(tmp_path / "runs" / "vae.pt")
    assert resolve("runs/vae.pt", root=tmp_path) == path


def test_a_local_folder_comes_before_a_name_on_the_hub(tmp_path):
    put(tmp_path / "org" / "name" / "config.json")
    assert resolve("org/name", root=tmp_path) == tmp_path / "org" / "name"


@pytest.mark.parametrize(
    ("files", "found"),
    [
        (["pipe/vae/config.json", "pipe/model_index.json"], "pipe/vae"),  # a whole pipeline
        (["pipe/config.json"], "pipe"),  # the model's folder alone
    ],
)
def test_a_subfolder_is_taken_of_a_pipeline_and_not_of_a_model(tmp_path, files, found):
    for name in files:
        put(tmp_path / name)
    assert resolve(str(tmp_path / "pipe"), subfolder="vae") == tmp_path / found


def test_a_folder_without_model_and_subfolder_is_refused(tmp_path):
    put(tmp_path / "pipe" / "model_index.json")
    with pytest.raises(FileNotFoundError, match=r"neither a folder vae nor a config\.json"):
        resolve(str(tmp_path / "pipe"), subfolder="vae")


def test_a_weight_file_that_is_not_there_is_not_looked_for_on_the_hub():
    with pytest.raises(FileNotFoundError, match=r"no weight file runs/vae\.safetensors"):
        resolve("runs/vae.safetensors")


@pytest.mark.parametrize("weights", ["hf:name", "hf:org/name/vae", "hf:", "hf:/etc/x.pt"])
def test_a_malformed_name_on_the_hub_says_how_to_write_it(weights):
    with pytest.raises(ValueError, match=r"write hf:ORG/NAME for a folder"):
        resolve(weights)


@pytest.mark.parametrize("prefix", ["", "hf:"])
@pytest.mark.parametrize("weights", [SAFE, BIN, "model.safetensors"])
def test_a_warm_cache_is_used_without_a_request(tmp_path, monkeypatch, prefix, weights):
    snapshot = in_hub_cache(tmp_path / "hub", "vae/config.json", f"vae/{weights}")
    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", None)
    start = time.monotonic()
    assert resolve(f"{prefix}org/name", "vae") == snapshot / "vae"
    assert time.monotonic() - start < 0.5


def test_a_warm_cache_gives_single_files_by_branch_and_by_commit(tmp_path):
    snapshot = in_hub_cache(tmp_path / "hub", "a/b/gan.pkl")
    for revision in (None, "main", COMMIT):
        assert resolve("hf:org/name/a/b/gan.pkl", None, revision) == snapshot / "a/b/gan.pkl"


def test_the_commit_in_use_is_logged_once(tmp_path, caplog):
    caplog.set_level("INFO")
    in_hub_cache(tmp_path / "hub", "vae/config.json", f"vae/{SAFE}")
    for _ in range(2):
        resolve("org/name", "vae")
    assert caplog.text.count(COMMIT) == 1


@pytest.mark.parametrize(
    ("names", "revision"),
    [
        ((), None),
        (("vae/config.json",), None),  # broken off
        (("vae/config.json", "vae/diffusion_pytorch_model.fp16.safetensors"), None),
        (("vae/config.json", f"vae/{SAFE}"), "v2"),
    ],
)
def test_a_cold_cache_without_network_says_what_is_missing_and_how_to_get_it(
    tmp_path, names, revision
):
    in_hub_cache(tmp_path / "hub", *names)
    start = time.monotonic()
    with pytest.raises(FileNotFoundError) as error:
        resolve("org/name", "vae", revision)
    assert time.monotonic() - start < 1
    at = " --revision v2" if revision else ""
    for part in (
        "org/name does not exist", "vae/config.json of org/name", str(tmp_path / "hub"),
        "http://127.0.0.1:9 (",
        f"hf download org/name --include 'vae/*'{at} --local-dir FOLDER",
        "docs/CHECKPOINTS.md",
    ):  # fmt: skip
        assert part in str(error.value)


def test_offline_mode_asks_nothing(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", None)
    with pytest.raises(FileNotFoundError, match="HF_HUB_OFFLINE forbids"):
        resolve("hf:org/name/file.pt")


def test_a_hub_that_hangs_is_given_up(monkeypatch):
    monkeypatch.setattr(hub, "CONTACT_S", -0.9)  # a second is added
    monkeypatch.setattr(
        "huggingface_hub.get_hf_file_metadata", lambda *a, **k: threading.Event().wait(5)
    )
    with pytest.raises(FileNotFoundError, match=r"no answer within 0\.1 s"):
        resolve("hf:org/name/file.pt")


def test_the_hubs_own_variables_are_respected(tmp_path):
    in_hub_cache(tmp_path / "home" / "hub", "vae/config.json", f"vae/{SAFE}")
    code = (
        "import sys; from stitching.weights.locations import resolve"
        "\nprint(resolve('org/name', 'vae'))"
        "\ntry: resolve('hf:org/other/f.pt')\nexcept FileNotFoundError as e: print(e)"
        "\nassert 'torch' not in sys.modules"
    )
    environment = {
        **os.environ, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1",
        "HF_ENDPOINT": "https://mirror.example",
    }  # fmt: skip
    environment.pop("HF_HUB_CACHE", None)
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    first, second = done.stdout.splitlines()
    assert first.endswith(f"{COMMIT}/vae")
    assert "HF_HUB_OFFLINE" in second
    assert "https://mirror.example" in second


class Hub(ThreadingHTTPServer):
    """The part of a hub that serves files: name to content, or to an error code and status."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), HubHandler)
        self.files, self.sent = {}, []


class HubHandler(BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.answer(send=False)

    def do_GET(self):
        self.answer(send=True)

    def answer(self, send):
        _, _, _, _, revision, name = self.path.split("/", 5)
        found = self.server.files.get(name, ("EntryNotFound", 404))
        if revision not in ("main", COMMIT):
            found = ("RevisionNotFound", 404)
        if isinstance(found, tuple):
            self.send_response(found[1])
            self.send_header("X-Error-Code", found[0])
            self.send_header("Content-Length", "0")
            return self.end_headers()
        self.send_response(200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha1(found).hexdigest()}"')
        self.send_header("Content-Length", str(len(found)))
        self.end_headers()
        if send:
            self.server.sent.append(name)
            self.wfile.write(found)

    def log_message(self, *args):
        pass


@pytest.fixture
def fake_hub(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    with Hub() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        set_endpoint(monkeypatch, f"http://127.0.0.1:{running.server_address[1]}")
        yield running
        running.shutdown()
        thread.join()


@pytest.mark.parametrize("best", [SAFE, BIN])
def test_of_a_folder_only_the_configuration_and_the_best_weights_are_fetched(fake_hub, best):
    others = {SAFE: [BIN], BIN: []}[best]
    names = ["config.json", best, *others, "diffusion_pytorch_model.fp16.safetensors"]
    fake_hub.files = {f"vae/{name}": name.encode() for name in names}
    path = resolve("org/name", "vae")
    assert sorted(fake_hub.sent) == sorted(["vae/config.json", f"vae/{best}"])
    assert (path / best).read_bytes() == best.encode()
    assert path.parent.name == COMMIT
    fake_hub.files = {}  # from now on from the cache
    assert resolve("org/name", "vae") == path


def test_a_folder_at_the_top_and_a_single_file_are_fetched(fake_hub):
    fake_hub.files = {"config.json": b"{}", SAFE: b"w", "checkpoints/gan.pkl": b"g"}
    assert (resolve("hf:org/name") / SAFE).read_bytes() == b"w"
    assert resolve("hf:org/name/checkpoints/gan.pkl").read_bytes() == b"g"


@pytest.mark.parametrize(
    ("files", "arguments", "message"),
    [
        ({}, ("hf:org/name/f.pt",), r"org/name on the hub has no file f\.pt"),
        ({}, ("org/name", "vea"), r"has no vea/config\.json: correct subfolder=vea"),
        ({}, ("org/name",), r"has no config\.json: set subfolder, such as vae"),
        ({"config.json": b"{}"}, ("org/name",), r"has none of diffusion_pytorch_model\.safet"),
        ({"f.pt": b""}, ("hf:org/name/f.pt", None, "v9"), "has no revision v9"),
        ({"f.pt": ("GatedRepo", 403)}, ("hf:org/name/f.pt",), r"gated \(403\).*hf auth login"),
        ({"f.pt": ("GatedRepo", 401)}, ("hf:org/name/f.pt",), r"gated \(401\).*HF_TOKEN"),
        ({"f.pt": ("", 403)}, ("hf:org/name/f.pt",), r"gated \(403\).*hf auth login"),
        ({"f.pt": ("RepoNotFound", 401)}, ("hf:org/name/f.pt",), r"that you may read \(401\)"),
        ({"f.pt": ("", 503)}, ("hf:org/name/f.pt",), r"503.*hf download org/name f\.pt"),
    ],
)
def test_what_the_hub_refuses_is_said_with_the_remedy(fake_hub, files, arguments, message):
    fake_hub.files = files
    with pytest.raises(FileNotFoundError, match=message):
        resolve(*arguments)


class OneFile(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"weights")

    def log_message(self, *args):
        pass


@pytest.fixture
def address():
    with ThreadingHTTPServer(("127.0.0.1", 0), OneFile) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}/deep/glow%20a.pt?download=1"
        running.shutdown()
        thread.join()


WEIGHTS_SHA256 = hashlib.sha256(b"weights").hexdigest()


def test_a_url_is_downloaded_into_the_checkpoint_folder_and_then_found_there(address, tmp_path):
    path = resolve(f"{address}#sha256={WEIGHTS_SHA256.upper()}")
    assert path == tmp_path / "checkpoints" / f"glow a-{WEIGHTS_SHA256[:8]}.pt"
    assert path.read_bytes() == b"weights"
    assert resolve(f"https://nowhere.invalid/glow%20a.pt#sha256={WEIGHTS_SHA256}") == path


def test_another_file_under_a_url_is_refused_with_both_hashes(address):
    with pytest.raises(ValueError, match=f"sha256 {WEIGHTS_SHA256} instead of {'0' * 64}"):
        resolve(f"{address}#sha256={'0' * 64}")


def test_a_download_that_was_changed_on_disk_is_refused(address):
    weights = f"{address}#sha256={WEIGHTS_SHA256}"
    resolve(weights).write_bytes(b"other")
    with pytest.raises(ValueError, match=f"instead of {WEIGHTS_SHA256}: delete it"):
        resolve(weights)


def test_a_url_that_cannot_be_reached_says_where_to_put_the_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="put it there under this name") as error:
        resolve(f"http://localhost:9/glow.pt#sha256={WEIGHTS_SHA256}")
    assert str(tmp_path / "checkpoints" / f"glow-{WEIGHTS_SHA256[:8]}.pt") in str(error.value)


@pytest.mark.parametrize("fragment", ["", "#sha256=", "#sha256=abc", "#md5=" + "0" * 32])
def test_a_url_without_checksum_is_refused_and_says_how_to_write_one(fragment):
    with pytest.raises(ValueError, match=r"write https://h\.org/glow\.pt#sha256=<64"):
        resolve(f"https://h.org/glow.pt{fragment}")


@pytest.mark.parametrize("url", ["http://h.org/glow.pt", "ftp://h.org/glow.pt", "s3://b/glow.pt"])
def test_only_https_is_downloaded(url):
    with pytest.raises(ValueError, match="only https:// is downloaded"):
        resolve(f"{url}#sha256={'0' * 64}")


def test_a_folder_in_the_checkpoint_folder_is_found(tmp_path):
    put(tmp_path / "checkpoints" / "vq" / "config.json", json.dumps({}).encode())
    assert resolve("checkpoints:vq") == tmp_path / "checkpoints" / "vq"


def test_a_packaged_file_that_was_damaged_is_named(monkeypatch, tmp_path):
    published = locations.ZOO / "faces" / "vae.safetensors"
    damaged = bytearray(published.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    put(tmp_path / "faces" / "vae.safetensors", damaged)
    put(tmp_path / "faces" / "mine.safetensors")
    sums = locations._packaged_sums()
    monkeypatch.setattr(locations, "ZOO", tmp_path)
    monkeypatch.setattr(locations, "_packaged_sums", lambda: sums)
    with pytest.raises(ValueError, match=r"vae\.safetensors is damaged: .*install"):
        resolve("zoo:faces/vae.safetensors")
    assert resolve("zoo:faces/mine.safetensors").is_file()


def test_every_packaged_file_has_its_checksum():
    packaged = {
        p.relative_to(locations.ZOO).as_posix() for p in locations.ZOO.rglob("*.safetensors")
    }
    assert packaged == locations._packaged_sums().keys()
    assert all(resolve(f"zoo:{name}").is_file() for name in packaged)
