"""`untrained`: another model's architecture at initialisation, under a name of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import stitching
from stitching import config
from stitching.config import assemble
from stitching.models.vae import VAE

SMALL = ["data.image_size=32", "data.n_train=12", "data.n_test=4", "metric=[rmse]", "tracker=none"]


MINE = """
_target_: stitching.models.vae.VAE
name: mine
image_size: ${data.image_size}
patch_size: 4
latent_dim: 6
channels: [8, 8]
value_range: [0.0, 1.0]
weights: gone.safetensors
"""


def composed(*overrides):
    return config.compose_config([*SMALL, *overrides])


def load(*overrides):
    return stitching.load_model("untrained", "data.image_size=32", *overrides)


@pytest.mark.parametrize(
    ("of", "options"), [("vae", {"latent_dim": 7}), ("nf", {"n_flow": 1, "hidden_channels": 8})]
)
def test_it_is_the_named_model_without_its_weights(of, options):
    values = [f"encoder.{key}={value}" for key, value in options.items()]
    model = load(f"encoder.of={of}", *(f"+{value}" for value in values))
    same = stitching.load_model(of, "data.image_size=32", "encoder.weights=null", *values)
    assert type(model) is type(same)
    said = ",".join(f"{key}={value}" for key, value in options.items())
    assert model.name == f"untrained-{of}[{said}]"
    assert model.weights_hash == same.weights_hash


def test_the_seed_chooses_the_initialisation():
    first, again, other = load(), load(), load("encoder.seed=1")
    assert first.weights_hash == again.weights_hash != other.weights_hash
    assert load("seed=1").weights_hash == other.weights_hash


def test_an_untrained_flow_is_invertible():
    model = load("encoder.of=nf", "+encoder.n_flow=2", "+encoder.hidden_channels=8")
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    z = model.encode(x)
    torch.testing.assert_close(model.decode(z), x, atol=1e-4, rtol=0)
    assert 0.5 < float(z.norm() / (x - 0.5).norm()) < 2  # rotations, and no activation scaling


def test_an_untrained_flow_is_the_pixels_turned():
    model = stitching.load_model("untrained", "encoder.of=nf", "data.image_size=32",
                                 dtype="float64")  # fmt: skip
    x = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    z = model.encode(x)
    distances = torch.pdist(z) / torch.pdist(x.flatten(1))
    torch.testing.assert_close(distances, torch.ones_like(distances), atol=1e-6, rtol=0)
    between = model.encode(0.3 * x[:2] + 0.7 * x[2:])  # affine
    torch.testing.assert_close(between, 0.3 * z[:2] + 0.7 * z[2:], atol=1e-6, rtol=0)


def test_it_takes_both_roles_of_a_cell(tmp_path):
    cell = assemble.build_cell(
        composed("encoder=untrained", "encoder.of=nf", "+encoder.n_flow=1",
                 "+encoder.hidden_channels=8", "decoder=untrained", "+decoder.latent_dim=8",
                 "probe=none", f"cache={tmp_path}")
    )  # fmt: skip
    result = cell.run()
    assert result.metrics["encoder"] == "untrained-nf[n_flow=1,hidden_channels=8]"
    assert result.metrics["decoder"] == "untrained-vae[latent_dim=8]"
    assert result.metrics["weights/encoder"] != result.metrics["weights/decoder"]


def test_a_named_model_is_read_in_the_context_of_the_configuration():
    found = composed("zoo=elsewhere", "via=vae")
    node = found.models["via"].node
    assert (node["image_size"], node["weights"]) == (32, "elsewhere/vae.safetensors")
    assert found.settings == composed("zoo=elsewhere").settings | {"via": "vae"}


def test_null_options_are_taken_from_the_weight_file(tmp_path, monkeypatch):
    def complete(cls, options, file):
        return {**options, "latent_dim": len(file.state_dict()["z"])}

    monkeypatch.setattr(VAE, "complete_options", classmethod(complete))
    save_file({"z": torch.zeros(5)}, tmp_path / "vae.safetensors")
    assert load("+encoder.latent_dim=null", f"zoo={tmp_path}").latent_dim == 5


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["encoder.of=nope"], r"(?s)encoder.of=nope: there is no model named nope.*vae"),
        (["encoder.of=untrained"], "give a model of its own, such as encoder.of=vae"),
        (["encoder.of=random"], "no weights to leave untrained"),
        (["encoder.of=pca"], "no weights to leave untrained"),
        (["encoder.seed=-1"], "encoder.seed must be >= 0, got -1"),
    ],
)
def test_what_cannot_be_untrained_is_refused(overrides, message):
    with pytest.raises(ValueError, match=message):
        load(*overrides)


def test_too_few_images_for_the_components_are_refused_when_built():
    with pytest.raises(ValueError, match="width=12, but 12 images have 11"):
        assemble.build_cell(composed("encoder=pca", "encoder.width=12", "decoder=pixels"))


def test_a_sweep_takes_models_of_a_users_folder(tmp_path):
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "mine.yaml").write_text(MINE)
    # Hydra composes it: defaults lists work as they do for encoder=wider.
    wider = "defaults: [mine]\nname: wider\nlatent_dim: 9\n"
    (tmp_path / "conf" / "model" / "wider.yaml").write_text(wider)
    arguments = ["-m", "--config-dir", "conf", "encoder=untrained", "encoder.of=mine,wider",
                 "decoder=pixels", "probe=none", "hydra.sweep.dir=grid", *SMALL]  # fmt: skip
    launch = Path(__file__).parent.parent / "launch.py"
    done = subprocess.run(
        [sys.executable, str(launch), *arguments], cwd=tmp_path, capture_output=True, text=True,
        timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    cells = [json.loads(p.read_text()) for p in sorted(tmp_path.glob("grid/*/metrics.json"))]
    assert [(cell["encoder"], cell["d_source"]) for cell in cells] == [
        ("untrained-mine", 6), ("untrained-wider", 9),
    ]  # fmt: skip
