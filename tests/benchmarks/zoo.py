"""How good the zoo is: reconstruction and samples on held-out images, next to a simple floor.

    python tests/benchmarks/zoo.py [--zoo zoo:faces] [--n 512] [--out outputs/zoo-check]

Prints RMSE of each model's own reconstruction (0-1 scale), and the Fréchet distance in
EfficientNet features of its samples to held-out images, beside that of its reconstructions, of
samples of Gaussians fitted in PCA space, and of other real images. Writes sheets to look at, in
`samples.png` a row of held-out images and one of samples of each model.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from PIL import Image

from stitching import config
from stitching.compute.images import to_uint8
from stitching.metrics.effnet import EffNet
from stitching.metrics.frechet import frechet_distance
from stitching.pipeline.cache import Cache
from stitching.train.__main__ import load_pixels

#: 512 is the width of the VAE's latent.
RANKS = (16, 32, 64, 256, 512, 1024)


def sheet(x, path, columns=16):
    """Write images (N, 3, S, S) side by side."""
    rows = to_uint8(x[: columns * (len(x) // columns)]).permute(0, 2, 3, 1)
    rows = rows.unflatten(0, (-1, columns)).transpose(1, 2).flatten(0, 1).flatten(1, 2)
    Image.fromarray(rows.numpy()).save(path)


def pca_gaussians(pixels, n, ranks, seed=0):
    """Sample Gaussians fitted to images in the space of their first principal components."""
    x = pixels.flatten(1).double() / 255
    mean = x.mean(0)
    torch.manual_seed(seed)  # of the directions that the method starts from
    _, s, v = torch.pca_lowrank(x - mean, q=max(ranks), center=False, niter=3)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(n, max(ranks), generator=generator, dtype=torch.float64)
    noise = noise * (s / len(x) ** 0.5)
    for rank in ranks:
        out = mean + noise[:, :rank] @ v[:, :rank].T
        yield rank, out.clamp(0, 1).float().view(n, *pixels.shape[1:])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--zoo", default="zoo:faces")
    parser.add_argument("--n", type=int, default=512)
    parser.add_argument("--models", nargs="*", default=["vae", "vqvae", "nf", "dm", "gan", "pca"])
    parser.add_argument("--out", default="outputs/zoo-check")
    parser.add_argument("--overrides", nargs="*", default=[])
    args = parser.parse_args()
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    overrides = [f"data.n_test={args.n}", "data.n_train=1", f"zoo={args.zoo}", *args.overrides]
    data = config.build_data(config.compose_config(overrides).settings["data"])
    x = data.split("test").images(slice(None))
    cache = Cache(config.cache_root(None))
    pixels = load_pixels(data.split("pretrain"), cache)
    space = EffNet(224)
    reference = space.features(x)

    def distance(images):
        return frechet_distance(reference, space.features(images))

    real = pixels[: args.n].float() / 255
    result = {"other real images": distance(real)}
    for rank, gaussian in pca_gaussians(pixels[:5000], args.n, RANKS):
        sheet(gaussian[:64], out / f"samples-pca-{rank}.png")
        result[f"PCA Gaussian, rank {rank}"] = distance(gaussian)
    print(json.dumps(result, indent=1), flush=True)
    shown = [x[:16]]
    for name in args.models:
        row = {}
        chosen = config.compose_config([f"encoder={name}", *overrides]).models["encoder"]
        model = config.build_model(chosen.node)
        if model.needs_fit:  # as many images as the maps are fitted on by default
            model.fit_images(pixels[:1500].float() / 255)
        if model.can_encode:  # a GAN does not
            started = time.perf_counter()
            z = torch.cat([model.encode(part) for part in x.split(32)])
            row["encode_s"] = time.perf_counter() - started
            started = time.perf_counter()
            y = torch.cat([model.decode(part) for part in z.split(32)])
            row["decode_s"] = time.perf_counter() - started
            row["rmse"] = float((y - x).double().square().mean().sqrt())
            row["fd_effnet_reconstructions"] = distance(y)
            row["latent_std"] = float(z.std())
            sheet(torch.cat([x[:16], y[:16]]), out / f"reconstructions-{name}.png")
        if name not in ("vqvae", "pca"):  # have no prior
            samples = model.sample(args.n, seed=0)
            sheet(samples[:64], out / f"samples-{name}.png")
            shown.append(samples[:16])
            if model.fitted_prior is None:
                row["fd_effnet_samples"] = distance(samples)
            else:
                row["prior_rank"] = model.fitted_prior.rank
                row["fd_effnet_samples_fitted"] = distance(samples)
                own = model.sample(args.n, seed=0, fitted=False)
                sheet(own[:64], out / f"samples-{name}-unfitted.png")
                row["fd_effnet_samples"] = distance(own)
        result[name] = row
        print(name, json.dumps(row), flush=True)
    sheet(torch.cat(shown), out / "samples.png")
    (out / "zoo.json").write_text(json.dumps({"n": args.n, **result}, indent=1) + "\n")


if __name__ == "__main__":
    main()
