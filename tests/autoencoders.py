"""Small autoencoders of diffusers, one of each kind, saved as they are published."""

import functools
import json

import diffusers
import torch

from stitching import config

DOWN, UP = ["DownEncoderBlock2D"] * 3, ["UpDecoderBlock2D"] * 3
CONV = {
    "down_block_types": DOWN, "up_block_types": UP, "block_out_channels": [8, 8, 8],
    "layers_per_block": 1, "norm_num_groups": 4,
}  # fmt: skip
#: One small model of each kind; the names are for the tests alone.
SMALL = {
    "kl": ("AutoencoderKL", CONV),
    # As FLUX.1 has it: a shift, 16 channels, no convolutions around the latent.
    "flux": ("AutoencoderKL", CONV | {
        "latent_channels": 16, "scaling_factor": 0.3611, "shift_factor": 0.1159,
        "use_quant_conv": False, "use_post_quant_conv": False,
    }),
    "sd3": ("AutoencoderKL", CONV | {
        "latent_channels": 16, "scaling_factor": 1.5305, "shift_factor": 0.0609,
        "use_quant_conv": False, "use_post_quant_conv": False,
    }),
    # As playground-v2.5 has it: mean and standard deviation of every channel.
    "channels": ("AutoencoderKL", CONV | {
        "scaling_factor": 0.5, "latents_mean": [-1.6, 1.1, 0.3, -0.2],
        "latents_std": [8.4, 5.1, 6.0, 7.2],
    }),
    "asymmetric": ("AsymmetricAutoencoderKL", {
        "down_block_types": DOWN, "down_block_out_channels": [8, 8, 8], "norm_num_groups": 4,
        "up_block_types": UP, "up_block_out_channels": [8, 8, 16],
    }),
    "tiny": ("AutoencoderTiny", {
        "encoder_block_out_channels": [8, 8, 8], "decoder_block_out_channels": [8, 8, 8],
        "num_encoder_blocks": [1, 1, 1], "num_decoder_blocks": [1, 1, 1],
    }),
    "dc": ("AutoencoderDC", {
        "latent_channels": 4, "attention_head_dim": 4,
        "encoder_block_types": ["ResBlock", "ResBlock", "EfficientViTBlock"],
        "decoder_block_types": ["ResBlock", "ResBlock", "EfficientViTBlock"],
        "encoder_block_out_channels": [4, 8, 8], "decoder_block_out_channels": [4, 8, 8],
        "encoder_layers_per_block": [1, 1, 1], "decoder_layers_per_block": [1, 1, 1],
        "encoder_qkv_multiscales": [[], [], [5]], "decoder_qkv_multiscales": [[], [], [5]],
        "upsample_block_type": "interpolate", "downsample_block_type": "Conv",
        "scaling_factor": 0.41407,
    }),
    "vq": ("VQModel", CONV | {"num_vq_embeddings": 32}),
    # As Kandinsky has it: the decoder's normalisation sees the codes.
    "vq-spatial": ("VQModel", CONV | {
        "block_out_channels": [32, 32, 32], "num_vq_embeddings": 32, "norm_type": "spatial",
    }),
}  # fmt: skip


def save_all(root):
    """Write a folder per small model, as `save_pretrained` does, with weights of its own."""
    for seed, (key, (kind, options)) in enumerate(SMALL.items()):
        torch.manual_seed(seed)
        network = getattr(diffusers, kind)(**options)
        if kind == "VQModel":
            # Codes as far apart as the latents of an untrained encoder.
            torch.nn.init.normal_(network.quantize.embedding.weight, 0, 0.3)
        network.save_pretrained(root / key)
    return root


def node(folder, **options):
    target = "stitching.models.autoencoder.Autoencoder"
    base = {"_target_": target, "name": "mine", "image_size": 16, "weights": str(folder)}
    return base | options


def build(folder, **options):
    return config.build_model(node(folder, **options), "cpu")


#: The same, once per folder and options: not to be changed.
built = functools.cache(build)


def loaded(folder):
    """What the library's own loader makes of a folder."""
    kind = json.loads((folder / "config.json").read_text())["_class_name"]
    # It recommends a package otherwise, on the error stream.
    return getattr(diffusers, kind).from_pretrained(folder, low_cpu_mem_usage=False).eval()


#: The same, once per folder: not to be changed.
theirs = functools.cache(loaded)


@torch.no_grad()
def raw_latent(network, x):
    out = network.encode(x * 2 - 1)
    if hasattr(out, "latent_dist"):
        return out.latent_dist.mean
    return out.latents if hasattr(out, "latents") else out.latent


def same(a, b, tolerance=1e-6):
    torch.testing.assert_close(a, b, atol=tolerance, rtol=0)
