"""Glow against the outputs of rosinality/glow-pytorch, tolerances as in the fixtures' README."""

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from stitching.models.flow import Glow, ZeroConv2d
from tests.parity import (
    entries_of,
    full_size,
    full_size_entries,
    largest_difference,
    loaded,
    parameters_of,
    tensors,
)

SIZES = {"additive": 32, "affine": 16}
CONTAINERS = ("bare.safetensors", "parallel.pt")
FROM_FILE = {"n_flow": None, "n_block": None, "affine": None, "hidden_channels": None}
#: Absolute; in float64 the differences measured are below 1e-13.
TOLERANCE = {
    "z": {torch.float32: 3e-5, torch.float64: 1e-12},
    "x": {torch.float32: 1e-4, torch.float64: 1e-12},
}
DTYPES = (torch.float32, torch.float64)


@pytest.fixture(scope="module", params=SIZES)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def reference(kind):
    return tensors(f"glow/{kind}_reference.safetensors.xz")


@pytest.fixture(scope="module")
def folder(kind, tmp_path_factory):
    """The public containers: a bare state dict, and one as a parallel wrapper saves it."""
    folder = tmp_path_factory.mktemp(kind)
    state = tensors(f"glow/{kind}.safetensors.xz")
    save_file(state, folder / "bare.safetensors")
    torch.save({f"module.{name}": value for name, value in state.items()}, folder / "parallel.pt")
    return folder


def glow(kind, folder, container="bare.safetensors", dtype=torch.float32, **options):
    options = {"image_size": SIZES[kind], "value_range": (-0.5, 0.5), **FROM_FILE, **options}
    return loaded(Glow, folder / container, dtype, name="nf", **options)


@pytest.fixture(scope="module")
def model(kind, folder):
    return glow(kind, folder)


@pytest.fixture(scope="module", params=DTYPES, ids=str)
def dtype(request):
    return request.param


@pytest.fixture(scope="module")
def of_dtype(kind, folder, dtype):
    return glow(kind, folder, dtype=dtype)


def parts(reference, name, dtype=torch.float32):
    found = [reference[key] for key in sorted(reference) if key.startswith(f"{name}.")]
    return [part.to(dtype) for part in found]


def as_rows(latents):
    return torch.cat([z.flatten(1) for z in latents], 1)


def test_latents_and_densities_are_those_of_the_original(of_dtype, dtype, reference):
    with torch.no_grad():
        latents, log_p, log_det = of_dtype.transform(reference["x"].to(dtype))
    for ours, theirs in zip(latents, parts(reference, "z_outs", torch.float64), strict=True):
        assert ours.shape == theirs.shape
        assert largest_difference(ours, theirs) < TOLERANCE["z"][dtype]
    rtol = 1e-5 if dtype == torch.float32 else 1e-12
    for ours, theirs in ((log_p, reference["log_p_sum"]), (log_det, reference["logdet"])):
        # The additive flow's determinant does not depend on the image; theirs has one value.
        torch.testing.assert_close(
            ours.double().expand(theirs.shape), theirs.double(), rtol=rtol, atol=0
        )


def test_noise_becomes_the_samples_of_the_original(of_dtype, dtype, reference):
    with torch.no_grad():
        images = of_dtype.invert(parts(reference, "z_samples", dtype), noise=True)
    assert largest_difference(images, reference["reverse_sample"]) < TOLERANCE["x"][dtype]


@pytest.mark.parametrize(
    ("latents", "images"),
    [("z_outs", "reverse_reconstruct"), ("z_samples", "reverse_zsample_as_reconstruct")],
)
def test_features_are_inverted_as_by_the_original(model, reference, latents, images):
    with torch.no_grad():
        ours = model.invert(parts(reference, latents))
    assert largest_difference(ours, reference[images]) < TOLERANCE["x"][torch.float32]


def test_pictures_come_back_through_the_public_functions(model, reference):
    x = (reference["x"] + 0.5).clamp(0, 1)
    z = model.encode(x)
    expected = as_rows(parts(reference, "z_outs", torch.float64))
    assert largest_difference(z, expected) < TOLERANCE["z"][torch.float32]
    assert largest_difference(model.decode(z), x) < TOLERANCE["x"][torch.float32]


@pytest.mark.parametrize("container", CONTAINERS)
def test_every_container_gives_every_value_of_the_file(kind, folder, container):
    state = glow(kind, folder, container).state_dict()
    for name, value in tensors(f"glow/{kind}.safetensors.xz").items():
        assert torch.equal(state[name], value), name


def test_parts_of_a_step_are_those_of_the_original(model, reference):
    step = model.blocks[0].flows[0].invconv
    assert largest_difference(step.weight(), reference["debug.block0_flow0_invconv_weight"]) < 1e-6
    theirs = reference["debug.last_prior_on_zeros"]
    nothing = torch.zeros(1, theirs.shape[1] // 2, *theirs.shape[2:])
    assert largest_difference(model.blocks[-1].prior(nothing), theirs) < 1e-6


def pad_with_zeros(self, x):
    return self.conv(functional.pad(x, (1, 1, 1, 1))) * torch.exp(self.scale * 3)


def use_all_of_the_triangles(model):
    for name, mask in model.named_buffers():
        if name.endswith(("u_mask", "l_mask")):
            mask.fill_(1)


def difference_of_latents(model, reference):
    with torch.no_grad():
        return largest_difference(
            as_rows(model.transform(reference["x"])[0]), as_rows(parts(reference, "z_outs"))
        )


def test_padding_with_zeros_would_be_seen(model, reference, monkeypatch):
    monkeypatch.setattr(ZeroConv2d, "forward", pad_with_zeros)
    assert difference_of_latents(model, reference) > 1e-3


def test_using_what_lies_outside_the_masks_would_be_seen(kind, folder, reference):
    model = glow(kind, folder)
    use_all_of_the_triangles(model)
    assert difference_of_latents(model, reference) > 1e-1


def test_taking_features_for_noise_would_be_seen(model, reference):
    with torch.no_grad():
        wrong = model.invert(parts(reference, "z_outs"), noise=True)
    assert largest_difference(wrong, reference["reverse_reconstruct"]) > 1e-1


def test_taking_noise_for_features_would_be_seen(model, reference):
    with torch.no_grad():
        wrong = model.invert(parts(reference, "z_samples"))
    assert largest_difference(wrong, reference["reverse_sample"]) > 1e-1


@pytest.mark.parametrize(
    ("option", "wrong"), [("n_flow", 4), ("n_block", 4), ("affine", None), ("hidden_channels", 64)]
)
def test_an_option_that_contradicts_the_file_is_named(kind, folder, model, option, wrong):
    wrong = kind == "additive" if wrong is None else wrong
    with pytest.raises(ValueError, match=f"{option}={wrong} but the file was made with"):
        glow(kind, folder, **{option: wrong})


def test_weights_of_another_family_are_named_as_such(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"conv.weight": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="no Glow in the layout of rosinality/glow-pytorch"):
        loaded(Glow, path, name="nf", image_size=16, value_range=(-0.5, 0.5), **FROM_FILE)


@pytest.fixture(scope="module")
def public():
    return full_size("nf-celeba64")


def test_the_full_size_model_has_the_public_names_shapes_and_types(public):
    expected = full_size_entries("glow/full_celeba64_keys.txt.xz")
    assert len(expected) == 2316
    assert entries_of(public.state_dict()) == expected


def test_the_full_size_model_has_the_public_number_of_values(public):
    assert parameters_of(public) == 61_214_032
    assert sum(buffer.numel() for buffer in public.buffers()) == 1_572_608
    assert public.latent_dim == 12_288
    assert public.shapes == [(6, 32, 32), (12, 16, 16), (24, 8, 8), (96, 4, 4)]
