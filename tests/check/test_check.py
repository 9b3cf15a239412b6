"""`python -m stitching.check`: what it finds through the configuration, and its exit codes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from stitching import config
from stitching.check import __main__ as check
from stitching.check.findings import Level
from tests.check import faulty
from tests.gans import small_gan_options

ROOT = Path(__file__).parents[2]
SMALL = ["data.image_size=32", "data.n_train=12", "data.n_test=4", "n_images=4"]


def node(cls, **options):
    """Configuration of a class of the tests."""
    values = {"_target_": f"{cls.__module__}.{cls.__name__}", "name": cls.__name__.lower(),
              "image_size": 32, "weights": None}  # fmt: skip
    return values | options


def found(*overrides, encoder=None):
    composed = config.compose_config([*SMALL, *overrides], "check")
    if encoder is not None:
        composed.models["encoder"] = config.RoleModel("encoder", encoder)
    return {finding.check: finding for finding in check.run(composed)}


def levels(findings, *checks):
    return {name: findings[name].level.value for name in checks}


def test_a_sound_model_without_weights_has_one_warning():
    findings = found(encoder=node(faulty.Sound))
    bad = {n: f.level for n, f in findings.items() if f.level not in (Level.OK, Level.SKIPPED)}
    assert bad == {"weights": Level.WARNING}
    assert "of an untrained model: no weight file" in findings["weights"].text


@pytest.mark.parametrize(
    ("cls", "check"),
    [
        (faulty.Sampling, "encode repeats"),
        (faulty.Renoising, "decode repeats"),
        (faulty.Training, "evaluation mode"),
    ],
)
def test_a_fault_of_the_class_is_found(cls, check):
    assert found(encoder=node(cls))[check].level == Level.FAIL


def test_a_wrong_range_is_found():
    findings = found(encoder=node(faulty.Saturating, value_range=[-1.0, 1.0]))
    assert findings["other ranges"].level == Level.FAIL
    assert "set value_range to [0, 1]" in findings["other ranges"].text


@pytest.mark.parametrize(("prefix", "level"), [("", Level.WARNING), ("ema.", Level.OK)])
def test_raw_weights_beside_averaged_ones_are_found(tmp_path, monkeypatch, prefix, level):
    own = faulty.Sound(image_size=32).state_dict()
    both = own | {f"ema.{name}": value * 0.9 for name, value in own.items()}
    save_file(both, tmp_path / "both.safetensors")

    def state_from(self, file):
        names = {name: f"{prefix}{name}" for name in own}
        return {name: file.state_dict()[there] for name, there in names.items()}

    monkeypatch.setattr(faulty.Sound, "state_from", state_from)
    weights = str(tmp_path / "both.safetensors")
    findings = found(encoder=node(faulty.Sound, weights=weights))
    assert findings["averaged weights"].level == level
    assert "SHA-256" in findings["weights"].text


@pytest.mark.parametrize(
    ("overrides", "skipped"),
    [
        (["encoder=random"], "decode"),
        (["encoder=mean"], "decode"),
        (["encoder=pixels"], "other ranges"),
        (["encoder=pca"], None),
        (["encoder=thumbnail"], None),
        (["encoder=projection", "encoder.latent_dim=20"], None),
        (["encoder=labels"], "encode"),
        (["encoder=untrained", "+encoder.latent_dim=8"], None),
    ],
)
def test_baselines_keep_the_contract(tmp_path, overrides, skipped):
    findings = found(*overrides, f"cache={tmp_path}")
    assert Level.FAIL not in {finding.level for finding in findings.values()}
    assert skipped is None or findings[skipped].level == Level.SKIPPED


def gan(key):
    # Overrides cannot hold "w+" or null lists, which are not needed here.
    options = {**small_gan_options(), "conv_clamp": "null", "value_range": "[-1.0,1.0]"}
    return [f"++{key}.{name}={value}" for name, value in {**options, "weights": "null"}.items()]


def test_a_model_that_only_draws_says_that_it_cannot_encode():
    findings = found("encoder=gan", *gan("encoder"))
    assert levels(findings, "encode", "decode repeats") == {"encode": "skipped",
                                                            "decode repeats": "ok"}  # fmt: skip
    assert "known latents" not in findings
    assert "round trip" not in findings


def test_a_model_that_drew_the_images_is_checked_on_its_own_latents():
    findings = found("encoder=gan", *gan("encoder"), "data=drawn", *gan("data.model"))
    assert levels(findings, "encode", "round trip") == {"encode": "skipped", "round trip": "ok"}
    assert "RMSE 0.00" in findings["round trip"].text  # the images are its own, as bytes


@pytest.fixture(scope="module")
def celeba(tmp_path_factory):
    root = tmp_path_factory.mktemp("celeba")
    (root / "img_align_celeba").mkdir()
    numbers = range(1, 17)
    for k in numbers:
        noise = torch.rand(3, 11, 9, generator=torch.Generator().manual_seed(k))
        pixels = (255 * noise).byte().permute(1, 2, 0).numpy()
        Image.fromarray(pixels).resize((178, 218)).save(root / "img_align_celeba" / f"{k:06d}.png")
    rows = "".join(f"{k:06d}.jpg {1 if k % 2 else -1}\n" for k in numbers)
    (root / "list_attr_celeba.txt").write_text(f"16\nMale\n{rows}")
    parts = "".join(f"{k:06d}.jpg {0 if k < 13 else 2}\n" for k in numbers)
    (root / "list_eval_partition.txt").write_text(parts)
    return ["data=celeba", f"data.root={root}", "data.split_by=partition"]


@pytest.mark.parametrize(("trained", "level"), [("square", Level.OK), ("face128", Level.WARNING)])
def test_the_crops_of_a_data_set_are_compared(celeba, trained, level):
    finding = found(*celeba, encoder=node(faulty.Sound, trained_crop=trained))["crop"]
    assert finding.level == level
    assert all(f"{crop} 0." in finding.text for crop in ("square", "face128"))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["n_images=1"], "n_images must be >= 2, got 1"),
        (["data=celeba"], r"data\.root is not set"),
        (["encoder=pca", "encoder.width=12"], "have 11 components at most"),
        (["encoder=random", "encoder.image_size=16"], "takes images of 16 pixels but data.image"),
        (["encoder=vae"], "set data.image_size=64"),
    ],
)
def test_wrong_usage_is_refused_before_any_pass(overrides, message):
    with pytest.raises(ValueError, match=message):
        found(*overrides)


def command(folder, *arguments, code="import runpy; runpy.run_module('stitching.check', None, "
            "'__main__', True)"):  # fmt: skip
    path = os.pathsep.join([str(folder), str(ROOT)])
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=folder, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": path}, timeout=240,
    )  # fmt: skip


SAMPLING = """
import torch
from stitching.models.base import GenerativeModel

class Sampling(GenerativeModel):
    def __init__(self, name, image_size):
        super().__init__(name, image_size, (3, image_size, image_size))
    def _encode(self, x):
        return x + torch.randn_like(x)
    def _decode(self, z):
        return z
"""


def test_a_broken_contract_is_exit_code_1_and_nothing_is_written(tmp_path):
    (tmp_path / "sampling.py").write_text(SAMPLING)
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "mine.yaml").write_text(
        "_target_: sampling.Sampling\nname: mine\nimage_size: ${data.image_size}\nweights: null\n"
    )
    before = {path.name for path in tmp_path.iterdir()}
    done = command(tmp_path, "--config-dir", "conf", "encoder=mine", *SMALL)
    assert done.returncode == check.BROKEN, done.stdout + done.stderr
    assert "FAIL     encode repeats " in done.stdout
    assert "\n2 failed, " in done.stdout
    assert {path.name for path in tmp_path.iterdir()} - before <= {"__pycache__"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["encoder=nope"], "nope"),
        (["data=celeba"], "data.root is not set"),
        (["-m", "encoder=vae,nf"], "looks at one model"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_one_message(tmp_path, arguments, message):
    done = command(tmp_path, *arguments)
    text = done.stdout + done.stderr
    assert done.returncode == check.WRONG_USAGE, text
    assert message in text
    assert "Traceback" not in text


def test_help_lists_every_model_without_importing_torch(tmp_path):
    code = (
        "import runpy, sys\n"
        "try: runpy.run_module('stitching.check', None, '__main__', True)\n"
        "finally: sys.stderr.write(' '.join(m for m in ('torch', 'wandb', 'diffusers', 'pandas')"
        " if m in sys.modules))"
    )
    done = command(tmp_path, "--help", code=code)
    assert (done.returncode, done.stderr) == (0, "")
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("encoder: ")]
    models = {path.stem for path in (config.conf_dir() / "model").glob("*.yaml")}
    assert set(line.removeprefix("encoder: ").split(", ")) >= models
