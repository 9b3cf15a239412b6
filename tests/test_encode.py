"""Filling the cache ahead of a sweep."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stitching import config, encode
from stitching.config import assemble
from stitching.data.base import ImageSet
from stitching.models.base import GenerativeModel
from stitching.pipeline.encoding import BLOCK_IMAGES

pytestmark = [
    pytest.mark.filterwarnings("ignore::stitching.maps.PenaltyEdgeWarning"),
    pytest.mark.filterwarnings("ignore::stitching.maps.InterpolationWarning"),
]

SMALL = ["data.image_size=32", "data.n_train=250", "data.n_test=20"]
MODELS = "models=[random,pca,mean]"


def run(cache, *overrides):
    """Encode in this process; return the lines."""
    composed = config.compose_config([*SMALL, f"cache={cache}", *overrides], "encode")
    return list(encode.run(composed))


def entries(cache, kind="latents"):
    """Content of all entries by name."""
    return {path.name: path.read_bytes() for path in cache.glob(f"{kind}/*.safetensors")}


def cell(cache, *overrides):
    """Run a cell of the same settings; return how many images it encoded."""
    options = ["metric=[rmse]", "probe=none", "geometry=false", "controls=false"]
    options += [f"cache={cache}"]
    result = assemble.build_cell(config.compose_config([*SMALL, *options, *overrides])).run()
    return result.resources["count/images_encoded"]


@given(st.integers(1, 2000), st.integers(1, 30), st.integers(1, 300))
def test_shards_cover_all_places_in_order_with_borders_between_blocks(n, shards, block):
    parts = [encode.shard_places(n, shards, k, block) for k in range(shards)]
    assert [place for part in parts for place in part] == list(range(n))
    assert all(part.start % block == 0 for part in parts if part)
    blocks = [-(-len(part) // block) for part in parts]
    assert max(blocks) - min(blocks) <= 1


@pytest.mark.parametrize("shard", [-1, 8, 2.5, "3"])
def test_a_shard_that_is_not_there_is_refused(shard, tmp_path):
    with pytest.raises(ValueError, match=r"shard=.*: with shards=8 use 0 to 7"):
        encode.shard_places(100, 8, shard, 10)


@pytest.mark.parametrize("shards", [0, -2, 1.5])
def test_a_wrong_number_of_shards_is_refused(shards):
    with pytest.raises(ValueError, match=f"shards must be a whole number >= 1, got {shards}"):
        encode.shard_places(100, shards, 0, 10)


@pytest.fixture(scope="module")
def encoded(tmp_path_factory):
    """In three shards, the last one first; and at once."""
    shards, whole = (tmp_path_factory.mktemp(name) for name in ("shards", "whole"))
    lines = [line for k in (2, 0, 1) for line in run(shards, MODELS, "shards=3", f"shard={k}")]
    run(whole, MODELS)
    return shards, whole, lines


def test_shards_in_any_order_are_equal_to_the_byte_to_all_at_once(encoded):
    shards, whole, _ = encoded
    assert entries(shards) == entries(whole)
    assert len(entries(shards)) == 3 * (3 + 1)


def test_a_cell_then_encodes_nothing(encoded):
    shards, _, _ = encoded
    before = entries(shards)
    assert cell(shards, "encoder=random", "decoder=pca") == 0
    assert entries(shards) == before


def test_a_model_that_is_fitted_is_fitted_once_to_the_whole_split(encoded):
    shards, whole, _ = encoded
    assert len(entries(shards, "fits")) == 1
    assert entries(shards, "fits") == entries(whole, "fits")


def test_each_line_says_what_was_encoded_how_fast_and_what_was_there(encoded):
    lines = encoded[2]
    assert lines[0].startswith("random train, images 200 to 249 of 250: blocks encoded 1, there")
    assert lines[0].endswith("images/s")


def test_a_shard_without_blocks_has_nothing_to_do(encoded):
    assert (
        "random test: nothing for this shard, there are more shards than blocks (1)"
        in (encoded[2])
    )


def test_what_is_there_is_not_encoded_again(encoded):
    lines = run(encoded[0], MODELS)
    assert lines[0] == "random train, images 0 to 249 of 250: blocks encoded 0, there already 3"


def test_images_of_other_shards_are_never_read(tmp_path, monkeypatch):
    asked, images = set(), ImageSet.images

    def spy(self, places):
        asked.update(self.ids[i] for i in places)
        return images(self, places)

    monkeypatch.setattr(ImageSet, "images", spy)
    run(tmp_path, "models=[random]", "splits=[train]", "shards=3", "shard=1")
    ids = config.build_data(config.compose_config(SMALL).settings["data"]).split("train").ids
    assert asked == set(ids[100:200])


def test_the_roles_are_what_is_encoded_where_no_models_are_named(tmp_path):
    lines = run(tmp_path, "encoder=random", "decoder=pca", "splits=[test]")
    assert [line.split()[0] for line in lines] == ["random", "pca"]


def test_the_protocol_decides_what_is_encoded(tmp_path):
    options = ["protocol=paper", "data.n_train=20", "data.n_test=130"]
    run(tmp_path, "models=[untrained]", *options)
    before = entries(tmp_path)
    assert len(before) == 2  # 100 of the test images, and draws of the posterior
    assert cell(tmp_path, "encoder=untrained", "decoder=untrained", *options) == 0
    assert entries(tmp_path) == before


def test_reconstructions_are_those_that_cells_ask_for(tmp_path):
    run(tmp_path, "models=[pca,random]", "reconstructions=true")
    before = entries(tmp_path, "unclamped")
    assert len(before) == 1  # `random` cannot decode
    cell(tmp_path, "encoder=random", "decoder=pca")
    assert entries(tmp_path, "unclamped") == before


def test_what_a_model_drew_is_known_without_encoding(tmp_path):
    options = ["data=drawn", "data.image_size=64", "data.n_train=4", "data.n_test=2"]
    lines = run(tmp_path, "models=[gan]", *options)
    assert lines[0] == "gan train, images 0 to 3 of 4: known, as it drew them"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["shards=2", "shard=2"], "shard=2: with shards=2 use 0 to 1"),
        (["shards=2", "reconstructions=true"], "reconstructions=true needs the latents of all"),
        (["splits=[pretrain]"], "use a list of train and test"),
        (["splits=[]"], "use a list of train and test"),
        (["models=[]"], "use a list of names, such as"),
        (["models=vae"], "use a list of names, such as"),
        (["models=[nobody]"], "models=nobody: there is no model named nobody"),
        (["batch_size=0"], "batch_size must be >= 1"),
        (["models=[gan]", "data.image_size=64"], "models=gan: this model has no encoder"),
    ],
)
def test_wrong_input_is_refused_before_anything_is_encoded(tmp_path, overrides, message):
    with pytest.raises(ValueError, match=message):
        run(tmp_path, *overrides)
    assert not entries(tmp_path)


class Slow(GenerativeModel):
    """Takes its time; a class that a user could have written."""

    def __init__(self, name, image_size):
        super().__init__(name, image_size, (3,))

    def _encode(self, x):
        time.sleep(0.3)
        return x.mean((2, 3))

    def _decode(self, z):
        return z[:, :, None, None].expand(-1, -1, self.image_size, self.image_size)


@pytest.fixture
def slow(tmp_path):
    """Start the command with a model that takes 0.3 s for 64 images."""
    (tmp_path / "conf/model").mkdir(parents=True)
    text = "_target_: slow_model.Slow\nname: slow\nimage_size: ${data.image_size}\n"
    (tmp_path / "conf/model/slow.yaml").write_text(text)
    source = Path(__file__).read_text()
    body = source[source.index("class Slow") : source.index("@pytest.fixture\ndef slow")]
    header = "import time\nfrom stitching.models.base import GenerativeModel\n\n\n"
    (tmp_path / "slow_model.py").write_text(header + body)

    def start(*overrides):
        own = {"PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1", "STITCHING_CACHE": "cache"}
        command = [sys.executable, "-m", "stitching.encode", "--config-dir", "conf"]
        options = ["models=[slow]", "splits=[train]", *SMALL, "data.n_train=600", *overrides]
        return subprocess.Popen(
            [*command, *options], cwd=tmp_path, env=os.environ | own, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    return start


def wait_for(condition, timeout_s=60):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.long
def test_a_killed_shard_goes_on_where_it_was(slow, tmp_path):
    killed = slow()
    wait_for(lambda: len(entries(tmp_path / "cache")) >= 2)
    killed.kill()
    killed.communicate()
    n = len(entries(tmp_path / "cache"))
    output, _ = (again := slow()).communicate(timeout=120)
    assert again.returncode == 0, output
    assert f"blocks encoded {6 - n}, there already {n}," in output
    assert len(entries(tmp_path / "cache")) == 600 // BLOCK_IMAGES


@pytest.mark.long
def test_shards_at_once_fill_one_cache_and_nothing_else(slow, tmp_path):
    started = [slow("shards=2", f"shard={k}") for k in (0, 1)]
    outputs = [process.communicate(timeout=120)[0] for process in started]
    assert "images 0 to 299 of 600: blocks encoded 3, there already 0" in outputs[0]
    assert "images 300 to 599 of 600: blocks encoded 3, there already 0" in outputs[1]
    assert len(entries(tmp_path / "cache")) == 6
    names = {path.name for path in tmp_path.iterdir()} - {"__pycache__"}
    assert names == {"conf", "slow_model.py", "cache"}


def test_wrong_input_is_one_message_and_exit_code_1(slow):
    output, _ = (process := slow("shards=8", "shard=8")).communicate(timeout=60)
    assert process.returncode == 1
    assert output == "shard=8: with shards=8 use 0 to 7\n"
