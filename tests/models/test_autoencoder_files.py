"""Weight files and `config.json` of autoencoders, as they are found in the wild."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from stitching import config
from stitching.pipeline.encoding import FrozenModel
from stitching.weights.containers import read_weights
from tests.autoencoders import CONV, build, built, loaded, node, raw_latent, same, save_all, theirs


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return save_all(tmp_path_factory.mktemp("published"))


@pytest.fixture
def images():
    return torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def test_a_file_of_torch_is_read_like_one_of_safetensors(folders, images, tmp_path):
    theirs(folders / "kl").save_pretrained(tmp_path / "kl", safe_serialization=False)
    assert (tmp_path / "kl" / "diffusion_pytorch_model.bin").is_file()
    z = built(folders / "kl").encode(images)
    assert torch.equal(build(tmp_path / "kl").encode(images), z)


def test_a_file_in_half_precision_computes_in_float32(folders, images, tmp_path):
    loaded(folders / "kl").half().save_pretrained(tmp_path / "kl")
    model = build(tmp_path / "kl")
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    raw = raw_latent(loaded(tmp_path / "kl").float(), images)
    same(model.encode(images), (raw * model.scale).flatten(1))


@pytest.mark.parametrize("key", ["kl", "vq"])
def test_old_names_of_attention_layers_are_read_as_the_library_does(
    folders, images, tmp_path, key
):
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    tensors = load_file(folders / key / "diffusion_pytorch_model.safetensors")
    for new, name in old.items():
        tensors = {k.replace(f".{new}.", f".{name}."): v for k, v in tensors.items()}
    assert sum(".query." in k or ".proj_attn." in k for k in tensors) == 8
    save_file(tensors, tmp_path / "diffusion_pytorch_model.safetensors", {"format": "pt"})
    (tmp_path / "config.json").write_text((folders / key / "config.json").read_text())
    model = build(tmp_path)
    z = model.encode(images)
    assert torch.equal(built(folders / key).encode(images), z)
    if key == "kl":
        same(z, (raw_latent(loaded(tmp_path), images) * model.scale).flatten(1))


def test_a_missing_weight_is_named(folders, tmp_path):
    tensors = load_file(folders / "kl" / "diffusion_pytorch_model.safetensors")
    tensors.pop("encoder.conv_in.bias")
    save_file(tensors, tmp_path / "diffusion_pytorch_model.safetensors", {"format": "pt"})
    (tmp_path / "config.json").write_text((folders / "kl" / "config.json").read_text())
    with pytest.raises(ValueError, match=r"1 keys missing \['network\.encoder\.conv_in\.bias'\]"):
        build(tmp_path)


def test_a_bare_weight_file_takes_its_architecture_from_the_options(folders, images, tmp_path):
    path = tmp_path / "vae.safetensors"
    path.write_bytes((folders / "kl" / "diffusion_pytorch_model.safetensors").read_bytes())
    architecture = {"_class_name": "AutoencoderKL", **CONV}
    model = build(path, architecture=architecture)
    assert torch.equal(model.encode(images), built(folders / "kl").encode(images))
    with pytest.raises(ValueError, match=r"has no config\.json: .*mine\.architecture"):
        build(path)
    with pytest.raises(ValueError, match="AutoencoderKL of diffusers has no option depth"):
        build(path, architecture={**architecture, "depth": 3})


def test_one_left_untrained_takes_its_architecture_from_the_file(folders, images):
    options = {"architecture": None, "init_seed": 3}
    model, trained = build(folders / "flux", **options), built(folders / "flux")
    assert model.latent_shape == trained.latent_shape
    assert torch.equal(model.scale, trained.scale)
    assert not torch.equal(model.encode(images), trained.encode(images))
    assert torch.equal(build(folders / "flux", **options).encode(images), model.encode(images))


def test_without_weights_and_architecture_there_is_no_model():
    with pytest.raises(ValueError, match="model mine has no architecture"):
        config.build_model(node("", weights=None), "cpu")


def with_config(folder, tmp_path, **changes):
    found = json.loads((folder / "config.json").read_text()) | changes
    name = "diffusion_pytorch_model.safetensors"
    (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "config.json").write_text(json.dumps(found))
    return tmp_path


@pytest.mark.parametrize(
    "kind", ["UNet2DModel", "ConsistencyDecoderVAE", "Path", None, ["VQModel"]]
)
def test_another_class_is_refused_with_the_list(folders, tmp_path, kind):
    folder = with_config(folders / "kl", tmp_path, _class_name=kind)
    with pytest.raises(ValueError, match=r"not one of AutoencoderKL, .*AutoencoderDC, VQModel"):
        build(folder)


@pytest.mark.parametrize(
    "value", [{"_target_": "os.getcwd"}, [{"_target_": "os.getcwd"}], "${oc.env:HOME}"]
)
def test_a_config_file_that_would_run_or_look_up_something_is_refused(folders, tmp_path, value):
    folder = with_config(folders / "kl", tmp_path, act_fn=value)
    with pytest.raises(
        ValueError, match=r"config\.json: act_fn must be a number, a text or a list"
    ):
        build(folder)


def test_an_option_of_another_version_of_the_library_is_reported(folders, tmp_path, caplog):
    folder = with_config(folders / "kl", tmp_path, use_newer_layer=True)
    build(folder)
    assert (
        "AutoencoderKL of this version of diffusers has no option use_newer_layer" in caplog.text
    )


def test_what_the_library_writes_itself_is_not_reported(folders, caplog):
    build(folders / "tiny")
    assert "has no option" not in caplog.text


def test_a_folder_without_a_config_file_says_what_to_give(folders, tmp_path):
    folder = with_config(folders / "kl", tmp_path)
    (folder / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        build(folder)


def test_one_model_of_a_whole_pipeline_is_named_by_its_subfolder(folders, images, tmp_path):
    pipeline = tmp_path / "pipeline"
    theirs(folders / "kl").save_pretrained(pipeline / "vae")
    (pipeline / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    model = build(pipeline, subfolder="vae", trained_crop="square")
    assert torch.equal(model.encode(images), built(folders / "kl").encode(images))


def test_another_config_beside_the_same_weights_is_another_identity(folders, tmp_path):
    folder = shutil.copytree(folders / "kl", tmp_path / "kl")
    first = build(folder)
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"scaling_factor": 0.5}))
    second = build(folder)
    identities = [
        FrozenModel(model, model.options, "float32").identity() for model in (first, second)
    ]
    assert first.weights_hash == second.weights_hash
    assert identities[0] != identities[1]


NAME = "diffusion_pytorch_model"


def with_files(folder, place, **files):
    """A copy of a folder whose weights lie under other names: name to dtype."""
    (place / "config.json").write_bytes((folder / "config.json").read_bytes())
    tensors = load_file(folder / f"{NAME}.safetensors")
    for name, dtype in files.items():
        state = {key: value.to(dtype) for key, value in tensors.items()}
        save_file(state, place / f"{NAME}{name.replace('__', '.')}.safetensors", {"format": "pt"})
    return place


@pytest.mark.parametrize("variant", ["fp16", "bf16", "fp32", "non_ema", "ema"])
def test_a_folder_with_a_variant_alone_is_loaded_in_float32(
    folders, images, tmp_path, variant, caplog
):
    dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(variant, torch.float32)
    model = build(with_files(folders / "kl", tmp_path, **{f"__{variant}": dtype}))
    assert {value.dtype for value in model.parameters()} == {torch.float32}
    expected = build(folders / "kl").encode(images)
    assert float((model.encode(images) - expected).abs().max()) < 0.1
    assert f"{NAME}.{variant}.safetensors is taken" in caplog.text


@pytest.mark.parametrize(
    ("names", "taken"),
    [
        (("", "__fp16"), ""),
        (("__fp16", "__bf16"), "__fp16"),
        (("__fp16", "__non_ema"), "__fp16"),
    ],
)
def test_of_several_the_plain_weights_or_the_most_digits_are_taken(
    folders, tmp_path, names, taken
):
    folder = with_files(folders / "kl", tmp_path, **dict.fromkeys(names, torch.float32))
    assert read_weights(folder).path.name == f"{NAME}{taken.replace('__', '.')}.safetensors"


def test_plain_weights_in_several_files_are_not_replaced_by_a_variant(folders, tmp_path):
    with_files(folders / "kl", tmp_path, __fp16=torch.float16)
    (tmp_path / f"{NAME}.safetensors.index.json").write_bytes(b"{}")
    with pytest.raises(ValueError, match=r"in several files .*or choose a single file"):
        read_weights(tmp_path)


def test_one_of_several_other_variants_is_chosen_by_its_file(folders, images, tmp_path):
    names = dict.fromkeys(("__non_ema", "__ema_only"), torch.float32)
    folder = with_files(folders / "kl", tmp_path, **names)
    with pytest.raises(ValueError, match=r"several variants .*encoder\.weights=FOLDER/FILE"):
        build(folder)
    model = build(folder / f"{NAME}.non_ema.safetensors")
    assert torch.equal(model.encode(images), build(folders / "kl").encode(images))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (f"{NAME}.safetensors.index.json", r"FOLDER\).save_pretrained"),
        (f"{NAME}.safetensors.index.fp16.json", r"FOLDER, variant='fp16'\).save_pretrained"),
        (f"{NAME}.fp16-00001-of-00002.safetensors", "there are diffusion_pytorch_model.fp16-000"),
        ("vae.pt", r"beside config\.json there are vae\.pt"),
    ],
)
def test_what_is_there_in_place_of_weights_is_named(folders, tmp_path, name, message):
    with_files(folders / "kl", tmp_path)
    (tmp_path / name).write_bytes(b"{}")
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        read_weights(tmp_path)
