"""The diffusion model against the outputs of ermongroup/ddim, in float32 and float64."""

import logging

import pytest
import torch
from diffusers.models.attention_processor import Attention
from safetensors.torch import save_file

from stitching.models.ddim import DDIM
from stitching.models.diffusion import Diffusion
from stitching.weights.containers import WeightFile, read_weights
from tests.parity import (
    entries_of,
    full_size,
    full_size_entries,
    largest_difference,
    loaded,
    parameters_of,
    tensors,
)

TIMES = (0, 1, 37, 250, 500, 900, 999)
BETAS = (1e-4, 0.02)
OPTIONS = {
    "name": "dm", "image_size": 16, "patch_size": 1, "block_out_channels": [32, 32, 64],
    "layers_per_block": 2, "attention_levels": [1], "norm_num_groups": 32, "norm_eps": 1e-6,
    "freq_shift": 1, "flip_sin_to_cos": False, "downsample_padding": 0, "dropout": 0.1,
    "n_train_steps": 1000, "beta_start": BETAS[0], "beta_end": BETAS[1], "n_steps": 10,
    "prediction": "epsilon", "inversion_iterations": 1, "clip_x0": False,
    "value_range": (-1.0, 1.0),
}  # fmt: skip
#: What the layout of the file settles, so that the configuration may leave it out.
SETTLED = (
    "patch_size", "block_out_channels", "layers_per_block", "attention_levels", "norm_num_groups",
    "norm_eps", "freq_shift", "flip_sin_to_cos", "downsample_padding", "prediction",
)  # fmt: skip
#: Absolute. The library embeds time in float32 whatever the model's precision, and the original
#: keeps its schedule in float32, which float64 shows.
EPS_TOLERANCE = {torch.float32: 1e-5, torch.float64: 2e-6}
SAMPLE_TOLERANCE = {10: {torch.float32: 1e-4, torch.float64: 1e-5},
                    50: {torch.float32: 3e-4, torch.float64: 3e-5}}  # fmt: skip
#: A wrong setting must miss by more than this, ten times the tolerance.
SEEN = 1e-4


@pytest.fixture(scope="module")
def reference():
    return tensors("ddim/reference.safetensors.xz")


@pytest.fixture(scope="module")
def weight_sets():
    """Raw and averaged weights; those that are not stored twice are the same in both."""
    averaged = tensors("ddim/ema.safetensors.xz")
    return averaged | tensors("ddim/raw.safetensors.xz"), averaged


@pytest.fixture(scope="module")
def checkpoint(weight_sets, tmp_path_factory):
    """The list that training with averaging writes."""
    raw, averaged = weight_sets
    path = tmp_path_factory.mktemp("ddim") / "ckpt.pt"
    wrapped = {f"module.{name}": value for name, value in raw.items()}
    torch.save([wrapped, {"state": {}, "param_groups": [{"lr": 2e-4}]}, 0, 1, averaged], path)
    return path


@pytest.fixture(scope="module")
def model(checkpoint):
    return loaded(Diffusion, checkpoint, **OPTIONS)


@pytest.fixture(scope="module", params=[torch.float32, torch.float64], ids=str)
def dtype(request):
    return request.param


@pytest.fixture(scope="module")
def of_dtype(checkpoint, dtype):
    return loaded(Diffusion, checkpoint, dtype, **OPTIONS)


@torch.no_grad()
def predicted(model, x, t, dtype=torch.float32):
    return model.network(x.to(dtype), torch.as_tensor(t).expand(len(x)))


@pytest.mark.parametrize("t", TIMES)
def test_predicted_noise_is_that_of_the_original(of_dtype, dtype, reference, t):
    eps = predicted(of_dtype, reference[f"x_t.{t}"], t, dtype)
    assert largest_difference(eps, reference[f"eps.{t}"]) < EPS_TOLERANCE[dtype]


def test_each_image_of_a_batch_has_its_own_time(of_dtype, dtype, reference):
    eps = predicted(of_dtype, reference["x_T"], [3, 111, 640, 999], dtype)
    assert largest_difference(eps, reference["eps_mixed_t"]) < EPS_TOLERANCE[dtype]


@pytest.mark.parametrize("n", [10, 50])
def test_decoding_visits_the_steps_of_the_original(reference, n):
    assert DDIM(1000, *BETAS, n, "epsilon").steps == reference[f"seq{n}"].tolist()


def test_the_schedule_is_that_of_the_original_to_float32(reference):
    ours = DDIM(1000, *BETAS, 10, "epsilon").alphas_cumprod
    torch.testing.assert_close(ours.float(), reference["alphas_cumprod"], rtol=2e-5, atol=3e-7)


def test_the_schedule_is_part_of_what_cached_latents_are_known_by():
    # Their keys hold the source of the modules in which a model's classes are defined.
    assert DDIM.__module__ in {base.__module__ for base in Diffusion.__mro__}


@pytest.mark.parametrize("n", [10, 50])
def test_decoding_gives_the_images_of_the_original(of_dtype, dtype, reference, n):
    schedule = DDIM(1000, *BETAS, n, "epsilon")
    expected = reference[f"sample{n}"][:1]
    with torch.no_grad():
        x = schedule.generate(of_dtype.network, reference["x_T"][:1].to(dtype))
    assert largest_difference(x, expected) < SAMPLE_TOLERANCE[n][dtype]


def test_every_step_of_decoding_is_that_of_the_original(model, reference):
    points = []

    def watched(x, t):
        points.append(x)
        return model.network(x, t)

    with torch.no_grad():
        points.append(model.ddim.generate(watched, reference["x_T"][:1]))
    trajectory = reference["sample10_trajectory"]
    assert (
        largest_difference(torch.stack(points), trajectory) < SAMPLE_TOLERANCE[10][torch.float32]
    )


def test_images_predicted_on_the_way_are_those_of_the_original(model, reference):
    steps = model.ddim.steps[::-1]
    for i, t in enumerate(steps):
        x = reference["sample10_trajectory"][i]
        level = float(model.ddim.alphas_cumprod[t])
        clean = (x - (1 - level) ** 0.5 * predicted(model, x, t)) / level**0.5
        # Dividing by the root of the level magnifies the tolerance of the prediction.
        tolerance = 1e-5 * max(1, level**-0.5)
        assert largest_difference(clean, reference["sample10_x0_preds"][i]) < 2 * tolerance


def test_the_public_functions_decode_to_the_same_images(model, reference):
    expected = ((reference["sample10"] + 1) / 2).clamp(0, 1)
    images = model.decode(reference["x_T"][: len(expected)].flatten(1))
    assert largest_difference(images, expected) < SAMPLE_TOLERANCE[10][torch.float32]


def test_time_is_embedded_as_in_the_original(model, reference):
    waves = model.unet.time_proj(reference["t"])
    # Rounded frequencies times 999: the sine's argument is off by some units in its last place.
    assert largest_difference(waves, reference["debug.timestep_embedding_of_t"]) < 5e-5
    with torch.no_grad():
        embedded = model.unet.time_embedding(waves)
    assert largest_difference(embedded, reference["debug.temb_of_t"]) < 1e-5


@pytest.mark.parametrize(
    ("option", "wrong", "t"),
    [
        ("flip_sin_to_cos", True, 500),
        ("freq_shift", 0, 500),
        ("downsample_padding", 1, 500),
        # Seen where the input is smooth, hardly in noise.
        ("norm_eps", 1e-5, 0),
    ],
)
def test_a_wrong_setting_of_the_network_would_be_seen(checkpoint, reference, option, wrong, t):
    model = Diffusion(**(OPTIONS | {option: wrong}))
    model.load_state_dict(model.state_from(read_weights(checkpoint)))
    eps = predicted(model.freeze(), reference[f"x_t.{t}"], t)
    assert largest_difference(eps, reference[f"eps.{t}"]) > SEEN


def test_narrower_attention_heads_would_be_seen(checkpoint, reference):
    model = loaded(Diffusion, checkpoint, **OPTIONS)
    for part in model.modules():
        if isinstance(part, Attention):
            assert part.heads == 1
            part.heads = part.to_q.out_features // 8
    eps = predicted(model, reference["x_t.500"], 500)
    assert largest_difference(eps, reference["eps.500"]) > SEEN


@pytest.mark.parametrize("option", SETTLED)
def test_an_option_that_contradicts_the_file_is_named(checkpoint, option):
    wrong = {
        "block_out_channels": [32, 64, 64], "attention_levels": [], "flip_sin_to_cos": True,
        "prediction": "v",
    }.get(option, 4)  # fmt: skip
    with pytest.raises(ValueError, match=f"{option}=.* but the file was made with"):
        loaded(Diffusion, checkpoint, **(OPTIONS | {option: wrong}))


def test_what_the_file_settles_may_be_left_to_it(checkpoint, model):
    options = OPTIONS | dict.fromkeys(SETTLED)
    state = loaded(Diffusion, checkpoint, **options).state_dict()
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_the_raw_weights_are_taken_where_asked_for(checkpoint, reference, caplog):
    with caplog.at_level(logging.INFO):
        raw = loaded(Diffusion, checkpoint, **OPTIONS, ema=False)
    eps = predicted(raw, reference["x_t.500"], 500)
    assert largest_difference(eps, reference["eps_raw_weights.500"]) < 1e-5
    assert largest_difference(eps, reference["eps.500"]) > 0.1
    assert "raw weights of" in caplog.text


def test_the_averaged_weights_are_taken_by_default(checkpoint, weight_sets, caplog):
    with caplog.at_level(logging.INFO):
        state = loaded(Diffusion, checkpoint, **OPTIONS).state_dict()
    theirs = weight_sets[1]["conv_in.bias"]
    assert torch.equal(state["unet.conv_in.bias"], theirs)
    assert not torch.equal(weight_sets[0]["conv_in.bias"], theirs)
    assert "averaged (EMA) weights of" in caplog.text


@pytest.mark.parametrize(("ema", "value"), [(True, 1.0), (False, 0.0)])
def test_all_of_the_chosen_set_and_nothing_else_is_loaded(tmp_path, ema, value):
    small = OPTIONS | {"block_out_channels": [8], "attention_levels": [], "norm_num_groups": 4}
    state = Diffusion(**small).state_dict()
    sets = [{name: torch.full_like(v, fill) for name, v in state.items()} for fill in (0, 1)]
    torch.save([sets[0], {}, 0, 1, sets[1]], tmp_path / "ckpt.pt")
    model = loaded(Diffusion, tmp_path / "ckpt.pt", **small, ema=ema)
    assert all(bool((v == value).all()) for v in model.state_dict().values())


def test_a_list_without_averaged_weights_names_the_remedy(weight_sets, tmp_path):
    torch.save([weight_sets[0], {}, 0, 1], tmp_path / "ckpt.pt")
    with pytest.raises(ValueError, match=r"no averaged weights.*list of 4: set ema=false"):
        loaded(Diffusion, tmp_path / "ckpt.pt", **OPTIONS)
    raw = loaded(Diffusion, tmp_path / "ckpt.pt", **OPTIONS, ema=False).state_dict()
    assert torch.equal(raw["unet.conv_in.bias"], weight_sets[0]["conv_in.bias"])


def test_a_bare_state_dict_does_not_pass_for_averaged(weight_sets, reference, tmp_path, caplog):
    save_file(weight_sets[1], tmp_path / "bare.safetensors")
    with pytest.raises(ValueError, match="one weight set, averaged or not: set ema=false"):
        loaded(Diffusion, tmp_path / "bare.safetensors", **OPTIONS)
    with caplog.at_level(logging.INFO):
        model = loaded(Diffusion, tmp_path / "bare.safetensors", **OPTIONS, ema=False)
    assert "the only weights of" in caplog.text
    eps = predicted(model, reference["x_t.500"], 500)
    assert largest_difference(eps, reference["eps.500"]) < EPS_TOLERANCE[torch.float32]


def test_a_missing_tensor_is_named(weight_sets, tmp_path):
    state = {k: v for k, v in weight_sets[1].items() if k != "up.0.attn.2.proj_out.bias"}
    state.pop("mid.attn_1.proj_out.bias")
    save_file(state, tmp_path / "bare.safetensors")
    with pytest.raises(ValueError, match=r"1 keys missing .*mid_block.attentions.0.to_out.0.bias"):
        loaded(Diffusion, tmp_path / "bare.safetensors", **OPTIONS, ema=False)


def test_a_level_that_is_not_there_cannot_attend():
    with pytest.raises(ValueError, match=r"attention_levels must lie in 0..2.*got \[3\]"):
        Diffusion(**(OPTIONS | {"attention_levels": [3]}))


@pytest.fixture(scope="module")
def public():
    return full_size("dm-celeba64", ema=False)


def test_the_full_size_model_has_the_public_names_shapes_and_types(public, tmp_path):
    entries = full_size_entries("ddim/full_celeba64_keys.txt.xz")
    assert len(entries) == 390
    assert {kind for kind, _ in entries.values()} == {"torch.float32"}
    published = {
        name: torch.empty([int(n) for n in shape.strip("[]").split(",")], device="meta")
        for name, (_, shape) in entries.items()
    }
    mapped = public.state_from(WeightFile(tmp_path, published, sha256=""))
    assert entries_of(mapped) == entries_of(public.state_dict())


def test_the_full_size_model_has_the_public_number_of_values(public):
    assert parameters_of(public) == 78_700_803
    assert public.latent_shape == (3, 64, 64)
