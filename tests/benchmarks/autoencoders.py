"""Time and memory of public autoencoders at their real sizes, with random weights, on the CPU.

    python tests/benchmarks/autoencoders.py [--sizes 64 256] [--n 8] [--models sd15 taesd]

Encodes and decodes N images of 64 x 64 at each working size, every case in a process of its own.
Times are per image, on one core: with more images, every core takes a batch of its own. Memory is
the peak beyond the imported libraries, weights included.
"""

import argparse
import json
import resource
import subprocess
import sys
import time

import torch

CONV = {
    "down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4,
    "block_out_channels": [128, 256, 512, 512], "layers_per_block": 2,
}  # fmt: skip
RES_VIT = ["ResBlock"] * 3 + ["EfficientViTBlock"] * 3
#: As the published files say; models of one architecture share a line.
ARCHITECTURES = {
    "sd15, sdxl": {"_class_name": "AutoencoderKL", **CONV},
    "sd3, flux1": {
        "_class_name": "AutoencoderKL", **CONV, "latent_channels": 16,
        "use_quant_conv": False, "use_post_quant_conv": False,
    },
    "taesd": {"_class_name": "AutoencoderTiny"},
    "dc-ae": {
        "_class_name": "AutoencoderDC",
        "encoder_block_types": RES_VIT, "decoder_block_types": RES_VIT,
        "downsample_block_type": "Conv", "upsample_block_type": "interpolate",
    },
    "vqvae-celeba64": {
        "_class_name": "VQModel", **{key: value[:3] for key, value in list(CONV.items())[:3]},
        "layers_per_block": 2, "num_vq_embeddings": 8192,
    },
}  # fmt: skip


def peak_gib():
    """Peak resident memory of this process so far; Linux counts in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def measure(name, size, n):
    """Build one model and run it, and print what it took as JSON."""
    import diffusers  # noqa: F401  (its own memory is not the model's)

    from stitching.models import base
    from stitching.models.autoencoder import Autoencoder

    base.CPU_BATCH = n  # else n images are filled up to a whole batch
    before, started = peak_gib(), time.perf_counter()
    model = Autoencoder(name, 64, ARCHITECTURES[name], working_size=size).freeze()
    row = {"build_s": time.perf_counter() - started}
    row["parameters"] = sum(p.numel() for p in model.parameters())
    row["latent"] = model.latent_shape
    x = torch.rand(n, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    # Time of the processor, not of the clock: other programs may be running.
    started = time.process_time()
    z = model.encode(x)
    row["encode_s"] = (time.process_time() - started) / n
    row["encode_gib"] = peak_gib() - before
    started = time.process_time()
    model.decode(z)
    row["decode_s"] = (time.process_time() - started) / n
    row["peak_gib"] = peak_gib() - before
    print(json.dumps(row))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="*", default=[64, 256])
    parser.add_argument("--n", type=int, default=8)
    parser.add_argument("--models", nargs="*", help="beginnings of the names in the table")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        measure(args.one[0], int(args.one[1]), args.n)
        return
    print("| model | parameters | at | latent | encode, s | decode, s | peak, GiB |")
    print("|---|---:|---:|---:|---:|---:|---:|", flush=True)
    for name in ARCHITECTURES:
        if args.models and not name.startswith(tuple(args.models)):
            continue
        for size in args.sizes:
            command = [sys.executable, __file__, "--n", str(args.n), "--one", name, str(size)]
            out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            row = json.loads(out.splitlines()[-1])
            latent = " x ".join(str(side) for side in row["latent"])
            print(
                f"| {name} | {row['parameters'] / 1e6:.1f} M | {size} | {latent} "
                f"| {row['encode_s']:.3f} | {row['decode_s']:.3f} | {row['peak_gib']:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
