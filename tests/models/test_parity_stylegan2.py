"""The StyleGAN2 generator against values that NVIDIA's code computed (see parity/README.md)."""

import inspect
import types

import pytest
import torch
from safetensors.torch import save_file

from stitching.models import stylegan2
from stitching.models.gan import GAN
from stitching.models.stylegan2 import Generator
from tests import parity
from tests.gans import network, small_gan_options, write_snapshot

STATE = parity.tensors("stylegan2/state_dict.safetensors.xz")
REFERENCE = parity.tensors("stylegan2/reference.safetensors.xz")
REFERENCE_F64 = parity.tensors("stylegan2/reference_f64.safetensors.xz")
#: Rounding of either side is 1e-6 at most; a wrong setting is off by 1e-2 and more.
WS_TOLERANCE, IMAGE_TOLERANCE = 2e-5, 1e-5

PUBLISHED = {"z_dim": 64, "c_dim": 0, "w_dim": 64, "img_resolution": 32, "img_channels": 3}
KWARGS = {
    "mapping_kwargs": {"num_layers": 4},
    "synthesis_kwargs": {
        "channel_base": 512, "channel_max": 32, "num_fp16_res": 4, "conv_clamp": 256,
    },
}  # fmt: skip


def generator(module=stylegan2, conv_clamp=256.0):
    made = module.Generator(64, 64, 32, 4, 512, 32, conv_clamp)
    made.load_state_dict(STATE)
    return made.requires_grad_(False)


def conv(layer, x, w):
    return layer(x, layer.affine(w), "none")


#: How a generator gives each published output that takes no other weights.
OUTPUTS = {
    "ws": lambda made: made.mapping(REFERENCE["z"]),
    "ws_psi0.7": lambda made: made.mapping(REFERENCE["z"], 0.7),
    "ws_psi0.5_cutoff4": lambda made: made.mapping(REFERENCE["z"], 0.5, 4),
    "img_none": lambda made: made.synthesis(REFERENCE["ws"], "none"),
    "img_const": lambda made: made.synthesis(REFERENCE["ws"], "const"),
    "img_none_psi0.7": lambda made: made.synthesis(REFERENCE["ws_psi0.7"], "none"),
    "img_none_ws_distinct": lambda made: made.synthesis(REFERENCE["ws_distinct"], "none"),
    "debug.b8_conv0_styles": lambda made: made.synthesis.b8.conv0.affine(
        REFERENCE["debug.b8_conv0_w"]
    ),
    "debug.b8_conv0_out_none": lambda made: conv(
        made.synthesis.b8.conv0, REFERENCE["debug.b8_conv0_in"], REFERENCE["debug.b8_conv0_w"]
    ),
    "debug.b8_torgb_out": lambda made: made.synthesis.b8.torgb(
        REFERENCE["debug.b8_torgb_in"],
        made.synthesis.b8.torgb.affine(REFERENCE["debug.b8_conv0_w"]),
    ),
    "debug.b4_conv1_out_none": lambda made: conv(
        made.synthesis.b4.conv1,
        made.synthesis.b4.const.expand(2, -1, -1, -1),
        REFERENCE["ws"][:2, 0],
    ),
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_outputs_are_the_published_ones(name):
    tolerance = WS_TOLERANCE if name.startswith("ws") else IMAGE_TOLERANCE
    value = OUTPUTS[name](generator())
    assert parity.largest_difference(value, REFERENCE[name]) < tolerance


def test_the_image_of_a_block_is_doubled_as_published():
    doubled = stylegan2._double(
        REFERENCE["debug.upsample_in"], STATE["synthesis.b8.resample_filter"]
    )
    assert parity.largest_difference(doubled, REFERENCE["debug.upsample_out"]) < IMAGE_TOLERANCE


def test_outputs_of_layers_are_clamped():
    images = generator(conv_clamp=0.8).synthesis(REFERENCE["ws"], "none")
    name = "img_none_conv_clamp_0p8"
    assert parity.largest_difference(images, REFERENCE[name]) < IMAGE_TOLERANCE
    assert parity.largest_difference(images, REFERENCE["img_none"]) > 0.1


@pytest.mark.parametrize("name", sorted(REFERENCE_F64))
def test_in_double_precision_the_difference_is_rounding_of_the_last_bits(name):
    made = generator().double()
    z = REFERENCE["z"][:1].double()
    value = made.mapping(z) if name == "ws" else made(z, noise_mode=name.removeprefix("img_"))
    assert value.dtype == torch.float64
    assert parity.largest_difference(value, REFERENCE_F64[name]) < 1e-13


def test_styles_give_the_image_of_the_ws_they_came_from():
    synthesis = generator().synthesis
    styles = synthesis.styles(REFERENCE["ws_distinct"])
    assert styles.shape == (4, sum(synthesis.style_sizes))
    images = synthesis.from_styles(styles, "none")
    name = "img_none_ws_distinct"
    assert parity.largest_difference(images, REFERENCE[name]) < IMAGE_TOLERANCE


@pytest.fixture(params=["safetensors", "pickle"])
def published_file(request, tmp_path, monkeypatch):
    if request.param == "safetensors":
        save_file(STATE, tmp_path / "G_ema.safetensors")
        return tmp_path / "G_ema.safetensors"
    made = network(STATE, "raise SystemExit", **PUBLISHED, **KWARGS)
    return write_snapshot(tmp_path / "network.pkl", monkeypatch, G_ema=made)


def test_a_published_file_decodes_to_the_published_images(published_file):
    options = small_gan_options(
        z_dim=64, w_dim=64, mapping_layers=None, channel_base=None, channel_max=None,
        conv_clamp=256,
    )  # fmt: skip
    options.pop("_target_")
    model = parity.loaded(GAN, published_file, **options)
    expected = ((REFERENCE["img_const"] + 1) / 2).clamp(0, 1)
    assert parity.largest_difference(model.decode(REFERENCE["z"]), expected) < IMAGE_TOLERANCE


#: Wrong settings that pass every check of shapes: place in the source, what it becomes, and an
#: output that tells.
MISTAKES = {
    "no demodulation": (
        "x * (power + _EPSILON).rsqrt()[:, :, None, None]", "x", "img_none",
    ),
    "kernel scaled by fan-in": ("style.square() @", "9 * style.square() @", "img_none"),
    "noise after the activation": (
        "x = functional.leaky_relu(x + self.bias[:, None, None], 0.2) * GAIN",
        "x = functional.leaky_relu(x - self.noise_const * self.noise_strength "
        "+ self.bias[:, None, None], 0.2) * GAIN + self.noise_const * self.noise_strength",
        "img_const",
    ),
    "noise before demodulation": (
        "self.noise_const * self.noise_strength",
        "self.noise_const * self.noise_strength * (power + _EPSILON).rsqrt()[:, :, None, None]",
        "img_const",
    ),
    "no gain of the up-convolution's filter": ("kernel.flip(0, 1) * 4", "kernel", "img_none"),
    "no gain of the image's filter": ("(kernel * 4)", "(kernel * 1)", "img_none"),
    "image doubled half a pixel off": (
        "stride=2, padding=1, groups=image.shape[1]",
        "stride=2, padding=0, groups=image.shape[1])[..., :-2, :-2].contiguous(", "img_none",
    ),
    "kernel flipped in upsampling": (
        "self.weight.transpose(0, 1)", "self.weight.flip(2, 3).transpose(0, 1)", "img_none",
    ),
    "kernel not flipped where torch correlates": (
        "conv2d(x, self.weight,", "conv2d(x, self.weight.flip(2, 3),", "img_none",
    ),
    "w index shifted": (
        "start += len(affines) - 1", "start = min(start + len(affines), 5)",
        "img_none_ws_distinct",
    ),
    "gain of the activation missing": (
        "GAIN = math.sqrt(2)", "GAIN = 1.0", "img_none",
    ),
    "ToRGB not scaled": (
        "style = style / math.sqrt(self.weight.shape[1])", "pass", "img_none",
    ),
    "learning rate of the mapping": ("MAPPING_LR = 0.01", "MAPPING_LR = 0.0101", "ws"),
    "z not normalised": (
        "w = z * (z.square().mean(1, keepdim=True) + _EPSILON).rsqrt()", "w = z", "ws",
    ),
    "truncation beyond the cutoff": ("ws[:, cutoff:]", "pulled[:, cutoff:]", "ws_psi0.5_cutoff4"),
    "truncation towards zero": ("self.w_avg + truncation", "truncation", "ws_psi0.7"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_wrong_setting_would_show(mistake):
    right, wrong, name = MISTAKES[mistake]
    source = inspect.getsource(stylegan2)
    assert source.count(right) == 1
    module = types.ModuleType("stitching.models.mistaken")
    exec(compile(source.replace(right, wrong), mistake, "exec"), module.__dict__)
    value = OUTPUTS[name](generator(module))
    assert parity.largest_difference(value, REFERENCE[name]) > 1e-2


@pytest.mark.parametrize(
    ("layers", "base", "parameters"), [(2, 16384, 22_243_608), (8, 32768, 27_032_600)]
)
def test_the_full_size_network_has_the_published_names_and_shapes(layers, base, parameters):
    with torch.device("meta"):
        made = Generator(512, 512, 64, layers, base, 512, 256)
    published = parity.full_size_entries(f"stylegan2/full_64_map{layers}_base{base}_keys.txt.xz")
    assert parity.entries_of(made.state_dict()) == published
    assert parity.parameters_of(made) == parameters
